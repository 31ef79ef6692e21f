//! Model files: what is saved comes back to the bit, and means what PyTorch says it means.

use std::path::{Path, PathBuf};

use flow_models::{Head, Model, ModelCard, ModelConfig, NiceConfig, Order, RealNvpConfig, file};
use serde_json::{Value, json};
use tch::{Device, Kind, Tensor};

use crate::common::{batch, log_prob, randomised, zoo};

fn save(model: &Model, seed: u64, path: &Path) {
    let card = ModelCard::new(model, json!({"name": "none"}), seed, Value::Null);
    file::save(path, &model.variables(), &card).unwrap();
}

#[test]
fn a_loaded_model_is_the_saved_one_to_the_bit() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    for case in zoo() {
        let model = randomised(&case.config, &case.event);
        // Not the seed that the model was built with: nothing may depend on it any more.
        save(&model, 4, &path);
        let (loaded, card) = file::load(&path, Device::Cpu).unwrap();
        assert_eq!(loaded.config(), &case.config);
        assert_eq!(loaded.event(), case.event);
        assert_eq!(card, ModelCard::new(&model, json!({"name": "none"}), 4, Value::Null));
        assert_eq!(loaded.variables(), model.variables(), "{}", case.name);
        assert_eq!(log_prob(&loaded), log_prob(&model), "{}", case.name);
        assert_eq!(loaded.parameters(), model.parameters());

        let draws = |model: &Model| {
            let (_, context) = batch(model, 4);
            model.flow().sample(4, 0.8, 1, context.as_ref())
        };
        assert_eq!(draws(&loaded), draws(&model), "{}", case.name);
    }
}

#[test]
fn the_same_model_gives_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let [first, second] = ["first", "second"].map(|name| folder.path().join(name));
    for case in zoo().iter().take(6) {
        save(&randomised(&case.config, &case.event), 0, &first);
        let (loaded, card) = file::load(&first, Device::Cpu).unwrap();
        file::save(&second, &loaded.variables(), &card).unwrap();
        assert_eq!(std::fs::read(&first).unwrap(), std::fs::read(&second).unwrap(), "{}", case.name);
    }
}

#[test]
fn actnorm_starts_once_in_the_life_of_a_model() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    let config = ModelConfig::RealNvp(RealNvpConfig { actnorm: true, couplings: 1, ..RealNvpConfig::default() });
    let model = Model::new(&config, &[3], 0, Device::Cpu).unwrap();
    let data = |scale: f64| Tensor::arange(30, (Kind::Float, Device::Cpu)).reshape([10, 3]) * scale;

    save(&model, 0, &path);
    let fresh = file::load(&path, Device::Cpu).unwrap().0;
    assert_eq!(fresh.variables()["actnorm.started"].double_value(&[0]), 0.0);

    let _ = tch::no_grad(|| model.flow().bijection().start_from_data(&data(1.0), None));
    let after_start = log_prob(&model);
    save(&model, 0, &path);
    let loaded = file::load(&path, Device::Cpu).unwrap().0;
    let _ = tch::no_grad(|| loaded.flow().bijection().start_from_data(&data(5.0), None));
    assert_eq!(log_prob(&loaded), after_start);
    let _ = tch::no_grad(|| fresh.flow().bijection().start_from_data(&data(5.0), None));
    assert_ne!(log_prob(&fresh), after_start);
}

#[test]
fn the_order_of_a_shuffle_comes_from_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    let config = NiceConfig { order: Order::Random, couplings: 1, head: Head::None, ..NiceConfig::default() };
    let model = Model::new(&ModelConfig::Nice(config), &[4], 0, Device::Cpu).unwrap();
    let order = Tensor::from_slice(&[2i64, 0, 3, 1]);
    let mut tensors = model.variables();
    tensors.insert("shuffle_0.order".to_owned(), order);
    file::save(&path, &tensors, &ModelCard::new(&model, Value::Null, 0, Value::Null)).unwrap();

    let (loaded, _) = file::load(&path, Device::Cpu).unwrap();
    let x = Tensor::from_slice(&[10.0f32, 11.0, 12.0, 13.0]).reshape([1, 4]);
    // The coupling is the identity and the scaling 1 at the start.
    let (z, _) = tch::no_grad(|| loaded.flow().bijection().forward(&x, None));
    assert_eq!(Vec::<f32>::try_from(z.get(0)).unwrap(), [12.0, 10.0, 13.0, 11.0]);
    let (back, _) = tch::no_grad(|| loaded.flow().bijection().inverse(&z, None));
    assert_eq!(back, x);
}

#[test]
fn tensors_of_every_kind_come_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tensors");
    let tensors = [
        ("single", Tensor::from_slice(&[1.5f32, -0.0, f32::MIN_POSITIVE]).reshape([3, 1])),
        ("double", Tensor::from_slice(&[0.1f64, 1e300])),
        ("whole", Tensor::from_slice(&[i64::MIN, 7])),
        ("strided", Tensor::arange(6, (Kind::Float, Device::Cpu)).reshape([2, 3]).transpose(0, 1)),
        ("one", Tensor::from(2.5f64)),
    ];
    let tensors = tensors.into_iter().map(|(name, tensor)| (name.to_owned(), tensor)).collect();
    file::write_tensors(&path, &tensors, "some text").unwrap();
    let (read, text) = file::read_tensors(&path).unwrap();
    assert_eq!(text, "some text");
    assert_eq!(read.keys().collect::<Vec<_>>(), tensors.keys().collect::<Vec<_>>());
    for (name, tensor) in &tensors {
        assert_eq!((read[name].kind(), read[name].size()), (tensor.kind(), tensor.size()), "{name}");
        assert_eq!(&read[name], tensor, "{name}");
    }
}

/// The folders of `tests/files` were written by `examples/random_model.rs`, their `log_prob.npy` by
/// `docs/model_format_check.py`: PyTorch's opinion in f64. They also hold format 1 to what it was.
#[test]
fn densities_agree_with_pytorch() {
    let folders: Vec<PathBuf> = std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/files"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    assert_eq!(folders.len(), 9, "{folders:?}");
    for folder in folders {
        let (mut model, _) = file::load(&folder.join("model.safetensors"), Device::Cpu).unwrap();
        let read = |name: &str| Tensor::read_npy(folder.join(name)).unwrap();
        let context = (model.config().context() > 0).then(|| read("context.npy"));
        let (rows, expected) = (read("rows.npy"), read("log_prob.npy"));
        assert_eq!(expected.kind(), Kind::Double);
        assert_eq!(expected.size(), [16]);
        let dim: usize = model.event().iter().product();
        // In f64 what is computed must be the same; in f32, as programs compute it, to the rounding of steep splines.
        for (kind, tolerance) in [(Kind::Float, 1e-4), (Kind::Double, 1e-12)] {
            if kind == Kind::Double {
                model.vs_mut().double();
            }
            let context = context.as_ref().map(|context| context.to_kind(kind));
            let log_prob = tch::no_grad(|| model.flow().log_prob(&rows.to_kind(kind), context.as_ref()));
            assert_eq!((log_prob.kind(), log_prob.size()), (kind, expected.size()));
            let worst = (log_prob.to_kind(Kind::Double) - &expected).abs().max().double_value(&[]) / dim as f64;
            assert!(worst < tolerance, "{}: off by {worst:e} nats per dimension in {kind:?}", folder.display());
        }
    }
}
