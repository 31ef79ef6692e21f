//! `flow check`: sound models pass, and what is planted in a model file is found in its layer.

use std::path::PathBuf;

use flow_models::file::{read_tensors, write_tensors};
use serde_json::Value;
use tch::{Kind, Tensor};

use crate::common::{Place, png_size};

/// Changes one variable of the model in `run`.
fn plant(place: &Place, variable: &str, change: impl Fn(&Tensor) -> Tensor) {
    let path: PathBuf = place.path("run/model.safetensors");
    let (mut tensors, card) = read_tensors(&path).unwrap();
    let changed = change(&tensors[variable]);
    tensors.insert(variable.to_owned(), changed);
    write_tensors(&path, &tensors, &card).unwrap();
}

/// The report of a check that must end with `code`.
fn report(place: &Place, line: &str, code: i32) -> Value {
    let output = place.command(line).output().unwrap();
    let (text, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "flow {line}\n{text}\n{errors}");
    assert!(!errors.contains("panicked"), "flow {line}\n{errors}");
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("flow {line}: {e}: {text}"))
}

/// The layers that fail, and all that is said of them.
fn failing(report: &Value) -> Vec<(String, String)> {
    let layers = report["layers"].as_array().unwrap().iter().filter(|layer| layer["verdict"] == "FAIL");
    layers.map(|layer| (layer["name"].as_str().unwrap().to_owned(), layer["findings"].to_string())).collect()
}

#[test]
fn a_sound_model_passes_with_a_table_and_a_picture() {
    let place = Place::new();
    place.train("realnvp", "moons", "run");
    let text = place.flow("check run -n 200 --threads 1 --out check.png");
    assert!(text.contains("coupling_5") && text.contains("exact") && text.contains("whole flow"), "{text}");
    assert!(text.contains("Kolmogorov") && text.contains("0 fault(s)") && !text.contains("FAIL"), "{text}");
    let (width, height) = png_size(&place.path("check.png"));
    assert!(width > 800 && height > 400, "{width} x {height}");

    let json = place.json("check run -n 200 --threads 1 --json");
    assert_eq!(
        (&json["model"], &json["split"], &json["latent"]["rows"]),
        (&"realnvp".into(), &"test".into(), &200.into())
    );
    let layers = json["layers"].as_array().unwrap();
    let names: Vec<&str> = layers.iter().map(|layer| layer["name"].as_str().unwrap()).collect();
    assert_eq!(names[0], "coupling_0");
    for layer in layers {
        assert!(layer["log_det"]["error"].as_f64().unwrap() < 1e-9, "{layer}");
        assert_eq!(layer["on"].as_array().unwrap().len(), 4);
    }
    assert_eq!(json["latent"]["mean"].as_array().unwrap().len(), 2);
    // The same again; what a seed changes is tested where models are less plain than after six steps.
    assert_eq!(place.json("check run -n 200 --threads 1 --json"), json);
}

#[test]
fn faults_planted_in_a_model_of_images_are_found_in_their_layers() {
    let glow = || Place::with_glow();
    let line = "check run -n 20 --threads 1 --json";
    let sound = report(&glow(), line, 0);
    assert_eq!(failing(&sound), []);
    assert_eq!(sound["layers"].as_array().unwrap().iter().filter(|layer| layer["log_det"].is_null()).count(), 0);

    let half: fn(&Tensor) -> Tensor = |t| t.to_kind(Kind::Half).to_kind(Kind::Float);
    type Change = fn(&Tensor) -> Tensor;
    let cases: [(&str, &str, Change, &str); 3] = [
        ("level_1.step_0.mix.log_diagonal", "level_1.step_0.mix", |t| t - 500.0, "inverse"),
        ("level_0.step_1.actnorm.log_scale", "level_0.step_1.actnorm", |t| t - 900.0, "singular"),
        ("level_0.step_1.coupling.first.weight", "level_0.step_1.coupling", half, "float16"),
    ];
    for (variable, layer, change, word) in cases {
        let place = glow();
        plant(&place, variable, change);
        let found = failing(&report(&place, line, 1));
        assert_eq!(found.len(), 1, "{variable}: {found:?}");
        assert!(found[0].0 == layer && found[0].1.contains(word), "{variable}: {found:?}");
    }
}

#[test]
fn a_plain_matrix_without_an_inverse_is_found_and_no_panic() {
    let place = Place::new();
    place.flow(
        "train glow --data moons --out run --steps 2 --batch 64 --threads 1 --device cpu --set model.mixing=plain \
                --set model.depth=3 --set model.vector_net.hidden=8",
    );
    plant(&place, "step_1.mix.matrix", |t| t.ones_like());
    let found = failing(&report(&place, "check run -n 50 --threads 1 --json --out check.png", 1));
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].0, "step_1.mix");
    // The picture of a broken model is one to look at.
    assert!(png_size(&place.path("check.png")).0 > 800);
    let output = place.command("check run -n 50 --threads 1").output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("FAIL  step_1.mix: "), "{text}");
}

#[test]
fn what_cannot_be_checked_is_said() {
    let place = Place::new();
    assert!(place.fails("check nowhere", 1).contains("nowhere"));
    place.train("nice", "moons", "run");
    assert!(place.fails("check run -n 1", 2).contains("2.."));
    assert!(place.fails("check run --split train", 1).contains("afresh"));
    assert!(place.fails("check run --out check.gif", 1).contains(".png"));
    assert!(!place.path("check.gif").exists());
}
