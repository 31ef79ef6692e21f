//! Files that are no model files, or damaged or forged ones: each is refused with a reason and the file's name.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use flow_models::{Error, Model, ModelCard, ModelConfig, NiceConfig, Order, RealNvpConfig, file};
use serde_json::{Map, Value, json};
use tch::{Device, Kind, Tensor};

/// A sound file with all that can be damaged: f32 and i64, an ActNorm, a learned bound.
fn sound() -> Vec<u8> {
    let mut config = RealNvpConfig { couplings: 2, order: Order::Random, actnorm: true, ..RealNvpConfig::default() };
    config.conditioner.hidden = 3;
    config.conditioner.layers = 1;
    let model = Model::new(&ModelConfig::RealNvp(config), &[3], 0, Device::Cpu).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model");
    file::save(&path, &model.variables(), &ModelCard::new(&model, Value::Null, 0, Value::Null)).unwrap();
    fs::read(path).unwrap()
}

/// Loads `bytes` and returns the reason of the refusal.
fn refusal(bytes: &[u8]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("forged.safetensors");
    fs::write(&path, bytes).unwrap();
    refusal_at(&path)
}

/// A device, which has no end, in place of a file.
#[cfg(unix)]
#[test]
fn what_is_no_plain_file_is_not_read() {
    assert!(refusal_at(Path::new("/dev/zero")).contains("not a plain file"));
    assert!(refusal_at(Path::new("/dev/null")).contains("not a plain file"));
}

fn refusal_at(path: &Path) -> String {
    let error = file::load(path, Device::Cpu).expect_err("a file that must be refused was loaded");
    assert!(matches!(error, Error::File { .. } | Error::Io { .. }), "{error:?}");
    let text = error.to_string();
    assert!(text.starts_with(&*path.to_string_lossy()), "{text:?} should begin with the file's name");
    text
}

/// A file's header as JSON, and its numbers.
fn take_apart(bytes: &[u8]) -> (Map<String, Value>, Vec<u8>) {
    let len = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let mut header: Map<String, Value> = serde_json::from_slice(&bytes[8..8 + len]).unwrap();
    // With its digest no change would come as far as the check that it is meant for.
    header["__metadata__"].as_object_mut().unwrap().remove("sha256");
    (header, bytes[8 + len..].to_vec())
}

fn put_together(header: &str, numbers: &[u8]) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), numbers].concat()
}

/// A sound file whose header went through `change`.
fn with_header(change: impl FnOnce(&mut Map<String, Value>, &mut Vec<u8>)) -> Vec<u8> {
    let (mut header, mut numbers) = take_apart(&sound());
    change(&mut header, &mut numbers);
    put_together(&Value::Object(header).to_string(), &numbers)
}

/// A sound file whose card went through `change`.
fn with_card(change: impl FnOnce(&mut Value)) -> Vec<u8> {
    with_card_text(|text| {
        let mut card = serde_json::from_str(text).unwrap();
        change(&mut card);
        card.to_string()
    })
}

fn with_card_text(change: impl FnOnce(&str) -> String) -> Vec<u8> {
    with_header(|header, _| {
        let text = change(header["__metadata__"]["flow"].as_str().unwrap());
        header["__metadata__"]["flow"] = Value::String(text);
    })
}

fn assert_refused(cases: &[(&str, Vec<u8>, &str)]) {
    for (what, bytes, reason) in cases {
        let text = refusal(bytes);
        assert!(text.contains(reason), "{what}: {text:?} should say {reason:?}");
    }
}

#[test]
fn taken_apart_and_put_together_a_file_is_still_sound() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model");
    for bytes in [sound(), with_header(|_, _| ()), with_card(|_| ())] {
        fs::write(&path, bytes).unwrap();
        file::load(&path, Device::Cpu).unwrap();
    }
}

#[test]
fn a_file_cut_off_anywhere() {
    let bytes = sound();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cut.safetensors");
    for len in (0..bytes.len()).step_by(13).chain([7, 8, 9, bytes.len() - 1]) {
        fs::write(&path, &bytes[..len]).unwrap();
        refusal_at(&path);
    }
    refusal(&[bytes, vec![0]].concat());
}

#[test]
fn a_file_with_any_bit_turned() {
    let bytes = sound();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model");
    for place in 0..bytes.len() {
        let mut bytes = bytes.clone();
        bytes[place] ^= 1 << (place % 8);
        fs::write(&path, bytes).unwrap();
        refusal_at(&path);
    }
}

#[test]
fn without_a_digest_a_turned_bit_is_refused_or_not_but_never_a_panic() {
    let (header, numbers) = take_apart(&sound());
    let bytes = put_together(&Value::Object(header).to_string(), &numbers);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model");
    let len = bytes.len() - numbers.len();
    let refused = (0..len).step_by(3).filter(|&place| {
        let mut bytes = bytes.clone();
        bytes[place] ^= 1 << (place % 7);
        fs::write(&path, bytes).unwrap();
        // What is in the card for people may read otherwise.
        file::load(&path, Device::Cpu).is_err()
    });
    assert!(refused.count() > len / 6);
}

/// By its own description: the SHA-256 of the file with the digits of the digest as zeros.
#[test]
fn the_digest_is_what_the_documentation_says() {
    use sha2::{Digest, Sha256};

    let mut bytes = sound();
    let len = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header: Map<String, Value> = serde_json::from_slice(&bytes[8..8 + len]).unwrap();
    let digest = header["__metadata__"]["sha256"].as_str().unwrap().to_owned();
    let at = bytes.windows(64).position(|part| part == digest.as_bytes()).unwrap();
    bytes[at..at + 64].fill(b'0');
    let expected: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(digest, expected);
    assert_eq!(len % 8, 0, "numbers begin at a multiple of 8 bytes");
}

#[test]
fn the_header_alone_tells_what_the_file_says_and_whether_it_is_cut_off() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    let bytes = sound();
    fs::write(&path, &bytes).unwrap();
    let (_, card) = file::load(&path, Device::Cpu).unwrap();
    assert_eq!(file::read_card(&path).unwrap(), card);
    for len in (0..bytes.len()).step_by(17).chain([7, 8, 9, bytes.len() - 1]) {
        fs::write(&path, &bytes[..len]).unwrap();
        let text = file::read_card(&path).unwrap_err().to_string();
        assert!(text.starts_with(&*path.to_string_lossy()), "{text}");
    }
    fs::write(&path, [&u64::MAX.to_le_bytes()[..], &bytes[8..]].concat()).unwrap();
    assert!(file::read_card(&path).unwrap_err().to_string().contains("header"));
    assert!(file::read_card(folder.path()).is_err());
}

#[test]
fn what_is_no_safetensors_file() {
    let folder = tempfile::tempdir().unwrap();
    assert!(matches!(file::load(&folder.path().join("none"), Device::Cpu), Err(Error::Io { .. })));
    refusal_at(&folder.path().join("none"));
    refusal_at(folder.path());
    assert_refused(&[
        ("an empty file", vec![], "not a sound model file"),
        ("a text", b"This is not a model, but a text of some length.".to_vec(), "not a sound model file"),
        ("a web page", b"<!DOCTYPE html><html><body>404</body></html>".to_vec(), "not a sound model file"),
        ("zeros", vec![0; 4096], "not a sound model file"),
        ("an absurd length", [&u64::MAX.to_le_bytes()[..], &sound()[8..]].concat(), "not a sound model file"),
        ("a length past the end", [&99_999_999u64.to_le_bytes()[..], &sound()[8..]].concat(), "not a sound model file"),
        ("a header that is no JSON", put_together("{\"a\": ", &[]), "not a sound model file"),
        ("a header that is a list", put_together("[1, 2]", &[]), "not a sound model file"),
        ("a header without end", put_together(&"[".repeat(100_000), &[]), "not a sound model file"),
        ("an empty header", put_together("{}", &[]), "no metadata key \"flow\""),
        ("no metadata", with_header(|h, _| drop(h.remove("__metadata__"))), "no metadata key \"flow\""),
        ("a key more", with_header(|h, _| h["__metadata__"]["sha257"] = json!("")), "unknown metadata key \"sha257\""),
        ("no digest", with_header(|h, _| h["__metadata__"]["sha256"] = json!("")), "it is damaged"),
        ("another's digest", with_header(|h, _| h["__metadata__"]["sha256"] = json!("0".repeat(64))), "it is damaged"),
        ("other metadata", with_header(|h, _| h["__metadata__"] = json!({"format": "pt"})), "no metadata key \"flow\""),
    ]);
}

/// Lists in one another.
fn nested(depth: usize) -> Value {
    (0..depth).fold(Value::Null, |inner, _| json!([inner]))
}

#[test]
fn cards_that_say_something_else() {
    let model = |field: &'static str, value: Value| with_card(move |card| card["model"][field] = value);
    assert_refused(&[
        ("no JSON", with_card_text(|_| "{".to_owned()), "not JSON"),
        ("cut off", with_card_text(|text| text[..text.len() / 2].to_owned()), "not JSON"),
        ("nested without end", with_card_text(|_| "[".repeat(1 << 20)), "not JSON"),
        (
            "data nested without end",
            with_card_text(|text| text.replacen("\"data\":null", &format!("\"data\":{}", "[".repeat(1 << 20)), 1)),
            "not JSON",
        ),
        ("data nested deeply", with_card(|card| card["data"] = nested(200)), "recursion limit"),
        ("no object", with_card_text(|_| "3".to_owned()), "names no format"),
        ("no format", with_card(|card| drop(card.as_object_mut().unwrap().remove("format"))), "names no format"),
        ("format 2", with_card(|card| card["format"] = json!(2)), "format 2"),
        ("a format of text", with_card(|card| card["format"] = json!("1")), "names no format"),
        ("an unknown field", with_card(|card| card["extra"] = json!(1)), "extra"),
        ("no model", with_card(|card| drop(card.as_object_mut().unwrap().remove("model"))), "model"),
        ("a field twice", with_card_text(|text| text.replacen('{', "{\"seed\": 1, ", 1)), "seed"),
        ("an unknown kind", model("kind", json!("planar")), "planar"),
        ("an unknown field of the model", model("depth", json!(3)), "depth"),
        ("an unknown pattern", model("pattern", json!("stripes")), "stripes"),
        ("an unknown head", model("head", json!({"kind": "log"})), "log"),
        ("an unknown field of a head", model("head", json!({"kind": "none", "alpha": 0.05})), "alpha"),
        ("a negative number", model("couplings", json!(-1)), "-1"),
        ("no coupling", model("couplings", json!(0)), "couplings"),
        ("a field out of range", model("bound", json!({"fixed": 0.0})), "bound"),
        ("another depth", model("couplings", json!(3)), "asks for"),
        ("another event", with_card(|card| card["event"] = json!([4])), "asks for"),
        ("no event", with_card(|card| card["event"] = json!([])), "event"),
        ("an event of nothing", with_card(|card| card["event"] = json!([3, 0])), "event"),
        ("an event without end", with_card(|card| card["event"] = json!([u64::MAX, u64::MAX])), "event"),
    ]);
}

/// As many numbers as the file holds, but under other names.
#[test]
fn a_card_of_the_same_size_but_another_model() {
    let text = refusal(&with_card(|card| {
        card["model"]["actnorm"] = json!(false);
        card["model"]["scaling"] = json!("data");
    }));
    assert!(text.contains("\"actnorm.log_scale\" belongs to no layer"), "{text}");
    let text = refusal(&with_header(|header, _| {
        let tensor = header.remove("coupling_0.bound").unwrap();
        header.insert("coupling_7.bound".to_owned(), tensor);
    }));
    assert!(text.contains("\"coupling_7.bound\" belongs to no layer"), "{text}");
}

#[test]
fn a_card_that_asks_for_terabytes() {
    let giant = with_card(|card| {
        card["event"] = json!([1 << 24]);
        card["model"]["couplings"] = json!(1024);
        card["model"]["conditioner"]["hidden"] = json!(1 << 16);
        card["model"]["conditioner"]["layers"] = json!(256);
    });
    let text = refusal(&giant);
    assert!(text.contains("asks for") && text.contains("its tensors hold"), "{text}");
}

#[test]
fn tensors_that_are_not_what_the_card_asks_for() {
    let tensor = |name: &'static str, field: &'static str, value: Value| {
        with_header(move |header, _| header[name][field] = value)
    };
    // The last tensor in the file, so that what is before it stays where it is.
    let last = |header: &Map<String, Value>| {
        let tensors = header.iter().filter(|(name, _)| *name != "__metadata__");
        let end = |t: &Value| t["data_offsets"][1].as_u64().unwrap();
        tensors.max_by_key(|(_, t)| end(t)).map(|(name, t)| (name.clone(), end(t))).unwrap()
    };
    let missing = with_header(|header, numbers| {
        let (name, _) = last(header);
        let start = header.remove(&name).unwrap()["data_offsets"][0].as_u64().unwrap();
        numbers.truncate(start as usize);
    });
    let extra = with_header(|header, numbers| {
        let end = numbers.len();
        header.insert("extra".to_owned(), json!({"dtype": "F32", "shape": [1], "data_offsets": [end, end + 4]}));
        numbers.extend([0; 4]);
    });
    let empty = with_header(|header, numbers| {
        let end = numbers.len();
        header.insert("extra".to_owned(), json!({"dtype": "F32", "shape": [0], "data_offsets": [end, end]}));
    });
    let overflow = with_header(|header, numbers| {
        let (end, shape) = (numbers.len(), json!([1u64 << 62, 3, 0]));
        header.insert("extra".to_owned(), json!({"dtype": "F32", "shape": shape, "data_offsets": [end, end]}));
    });
    assert_refused(&[
        ("one missing", missing, "its tensors hold"),
        ("one too many", extra, "its tensors hold"),
        ("one too many, of no numbers", empty, "\"extra\" of shape [0] holds nothing"),
        ("a shape that overflows", overflow, "\"extra\" of shape [4611686018427387904, 3, 0] holds nothing"),
        ("another shape", tensor("coupling_0.layer_0.weight", "shape", json!([2, 3])), "coupling_0.layer_0.weight"),
        ("a shape too large", tensor("coupling_0.layer_0.weight", "shape", json!([300, 2])), "not a sound model file"),
        ("a shape past counting", tensor("actnorm.shift", "shape", json!([u64::MAX, 8])), "not a sound model file"),
        ("whole numbers for real ones", tensor("coupling_0.layer_0.bias", "dtype", json!("I32")), "I32"),
        ("an unknown type", tensor("coupling_0.layer_0.bias", "dtype", json!("F99")), "not a sound model file"),
        (
            "a place outside the file",
            tensor("actnorm.shift", "data_offsets", json!([0, u64::MAX])),
            "not a sound model file",
        ),
        ("a place backwards", tensor("actnorm.shift", "data_offsets", json!([12, 0])), "not a sound model file"),
    ]);
}

#[test]
fn tensors_of_another_kind_or_with_impossible_numbers() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    let config = ModelConfig::Nice(NiceConfig { order: Order::Random, couplings: 1, ..NiceConfig::default() });
    let model = Model::new(&config, &[3], 0, Device::Cpu).unwrap();
    let card = ModelCard::new(&model, Value::Null, 0, Value::Null);
    let reals = |numbers: [f64; 3]| Tensor::from_slice(&numbers).to_kind(Kind::Float);
    for (name, tensor, reason) in [
        ("scaling.log_scale", reals([0.0, f64::NAN, 0.0]), "not finite"),
        ("scaling.log_scale", reals([0.0, f64::INFINITY, 0.0]), "not finite"),
        ("scaling.log_scale", Tensor::from_slice(&[0.0f64; 3]), "Double"),
        ("scaling.log_scale", Tensor::from_slice(&[0i64; 3]), "Int64"),
        ("scaling.log_scale", reals([0.0; 3]).reshape([3, 1]), "[3, 1]"),
        ("shuffle_0.order", reals([0.0, 1.0, 2.0]), "Float"),
        ("shuffle_0.order", Tensor::from_slice(&[0i64, 1, 1]), "no permutation"),
        ("shuffle_0.order", Tensor::from_slice(&[0i64, 1, 3]), "no permutation"),
        ("shuffle_0.order", Tensor::from_slice(&[0i64, 1, -1]), "no permutation"),
        ("shuffle_0.order", Tensor::from_slice(&[i64::MIN, 1, i64::MAX]), "no permutation"),
    ] {
        let mut tensors = model.variables();
        tensors.insert(name.to_owned(), tensor);
        let text = refusals(&path, &tensors, &card);
        assert!(text.contains(name) && text.contains(reason), "{text:?} should say {name} and {reason:?}");
    }
}

/// What reading says of tensors that were written past the check of a model's.
fn refusals(path: &Path, tensors: &BTreeMap<String, Tensor>, card: &ModelCard) -> String {
    file::write_tensors(path, tensors, &serde_json::to_string(card).unwrap()).unwrap();
    refusal_at(path)
}

/// What could not be loaded again is not saved, and what was there stays.
#[test]
fn a_model_that_could_not_be_loaded_is_not_saved() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    let config = ModelConfig::Nice(NiceConfig { couplings: 1, order: Order::Random, ..NiceConfig::default() });
    let mut model = Model::new(&config, &[3], 0, Device::Cpu).unwrap();
    let card = ModelCard::new(&model, Value::Null, 0, Value::Null);
    file::save(&path, &model.variables(), &card).unwrap();
    let good = std::fs::read(&path).unwrap();
    let refused = |tensors: &BTreeMap<String, Tensor>, reason: &str| {
        let text = file::save(&path, tensors, &card).unwrap_err().to_string();
        assert!(text.contains("is not written") && text.contains(reason), "{text:?} should say {reason:?}");
        assert_eq!(std::fs::read(&path).unwrap(), good);
    };
    let with = |name: &str, tensor: Tensor| {
        let mut tensors = model.variables();
        tensors.insert(name.to_owned(), tensor);
        tensors
    };
    refused(&with("scaling.log_scale", Tensor::from_slice(&[0.0f32, f32::NAN, 0.0])), "not finite");
    refused(&with("shuffle_0.order", Tensor::from_slice(&[0i64, 1, 1])), "no permutation");
    refused(&with("more", Tensor::from_slice(&[0.0f32])), "its configuration asks for");
    model.vs_mut().double();
    refused(&model.variables(), "Double");
    model.vs_mut().bfloat16();
    refused(&model.variables(), "BFloat16");
    assert!(file::write_tensors(&path, &model.variables(), "").unwrap_err().to_string().contains("BFloat16"));
}

/// Numbers that are finite, and still not what their name says.
#[test]
fn signs_and_variances_that_cannot_be() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    let glow = r#"{"kind": "glow", "levels": 1, "depth": 1, "vector_net": {"hidden": 3, "layers": 1}}"#;
    let image = r#"{"kind": "realnvp-image", "levels": 1, "checkers": 1,
        "net": {"width": 2, "blocks": 1, "residual": true, "norm": "batch"}}"#;
    for (config, event, name, number, reason) in [
        (glow, &[3][..], "step_0.mix.sign", 0.5, "neither 1 nor -1"),
        (glow, &[3], "step_0.mix.sign", 0.0, "neither 1 nor -1"),
        (image, &[1, 2, 2], "level_0.checker_0.batchnorm.variance", -0.1, "negative"),
        (image, &[1, 2, 2], "level_0.checker_0.coupling.first.variance", -0.1, "negative"),
    ] {
        let config: ModelConfig = serde_json::from_str(config).unwrap();
        let model = Model::new(&config, event, 0, Device::Cpu).unwrap();
        let card = ModelCard::new(&model, Value::Null, 0, Value::Null);
        let mut tensors = model.variables();
        file::save(&path, &tensors, &card).unwrap();
        file::load(&path, Device::Cpu).unwrap();
        let forged = tensors[name].full_like(number);
        tensors.insert(name.to_owned(), forged);
        let text = refusals(&path, &tensors, &card);
        assert!(text.contains(name) && text.contains(reason), "{text:?} should say {name} and {reason:?}");
    }
}

/// Whose ends, added to what is before them, are past what 64 bits can count.
#[test]
fn places_past_counting() {
    let each = (1u64 << 61) - 1;
    let tensor = |i: u64| json!({"dtype": "U8", "shape": [each], "data_offsets": [i * each, (i + 1) * each]});
    let header: Map<String, Value> = (0..8).map(|i| (format!("tensor_{i}"), tensor(i))).collect();
    let bytes = put_together(&Value::Object(header).to_string(), &[]);
    assert_refused(&[("a sum past counting", bytes.clone(), "more than can be counted")]);

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    fs::write(&path, bytes).unwrap();
    assert!(file::read_metadata(&path).unwrap_err().to_string().contains("more than can be counted"));
}

#[test]
fn a_name_twice() {
    let (header, numbers) = take_apart(&sound());
    // One tensor under one name in two shapes: a map would keep one of them.
    let twice = format!("{{\"actnorm.shift\": {}, ", header["actnorm.shift"]);
    let header = Value::Object(header).to_string().replacen('{', &twice, 1);
    let text = refusal(&put_together(&header, &numbers));
    assert!(text.contains("two tensors are called \"actnorm.shift\""), "{text}");
}
