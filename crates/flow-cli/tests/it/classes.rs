//! Models that are conditioned on classes: told the class, asked for it, and with the class summed out.

use std::fs;

use crate::common::{Place, SMALL, SMALL_GLOW, png_size};
use ndarray::{Array2, Array4};
use serde_json::Value;

fn mean(value: &Value) -> f64 {
    value["mean"].as_f64().unwrap_or_else(|| panic!("no mean in {value}"))
}

#[test]
fn eval_and_classify_tell_the_same_of_a_class_that_is_not_told() {
    let place = Place::with_glow();
    let eval = place.json("eval run --json --threads 1");
    assert_eq!(eval["given_class"], true);
    let classify = place.json("classify run --out table.png --json --threads 1");
    for field in ["marginal_nats", "marginal_bits_per_dim", "accuracy"] {
        assert_eq!(eval[field], classify[field], "{field}");
    }
    // p(x) = Σ_c p(x|c) / 10 is a tenth of p(x | the true class) at least.
    assert!(mean(&eval["marginal_nats"]) >= mean(&eval["nats"]) - 10f64.ln());
    let bits = 17f64.log2() - mean(&eval["marginal_nats"]) / (64.0 * std::f64::consts::LN_2);
    assert!((mean(&eval["marginal_bits_per_dim"]) - bits).abs() < 1e-9);

    let counts: Vec<Vec<u64>> = serde_json::from_value(classify["confusion"].clone()).unwrap();
    assert_eq!((counts.len(), counts.iter().flatten().sum::<u64>()), (10, 250));
    let right: u64 = (0..10).map(|i| counts[i][i]).sum();
    assert!((mean(&classify["accuracy"]) - right as f64 / 250.0).abs() < 1e-12);
    assert_eq!(place.json("classify run -n 20 --json")["count"], 20);
    let (width, height) = png_size(&place.path("table.png"));
    assert!(width > 300 && height > 300);

    let text = place.flow("classify run --threads 1");
    assert!(text.contains("class summed out") && text.contains("equally likely"), "{text}");
    assert!(place.flow("eval run --threads 1").contains("log p(x|c)"));
    assert!(place.json("eval run --no-marginal --json")["accuracy"].is_null());
}

#[test]
fn a_class_is_summed_out_unless_it_is_told() {
    let place = Place::with_glow();
    let rows = Array2::from_shape_fn((2, 64), |(i, j)| ((i * 31 + j * 7) % 17) as f32 / 17.0 + 0.02);
    ndarray_npy::write_npy(place.path("rows.npy"), &rows).unwrap();
    let given = |class: usize| -> Vec<f64> {
        place.flow(&format!("log-prob run --input rows.npy --class {class} --out lp.npy --threads 1"));
        ndarray_npy::read_npy::<_, ndarray::Array1<f64>>(place.path("lp.npy")).unwrap().to_vec()
    };
    let by_class: Vec<Vec<f64>> = (0..10).map(given).collect();
    assert!(place.flow("log-prob run --input rows.npy --out all.npy").contains("summed out"));
    let all: ndarray::Array1<f64> = ndarray_npy::read_npy(place.path("all.npy")).unwrap();
    for (i, marginal) in all.iter().enumerate() {
        let most = by_class.iter().map(|lp| lp[i]).fold(f64::MIN, f64::max);
        let sum: f64 = by_class.iter().map(|lp| (lp[i] - most).exp()).sum();
        let wanted = most + (sum / 10.0).ln();
        assert!((marginal - wanted).abs() < 1e-3, "{marginal} {wanted}");
    }
}

#[test]
fn samples_are_of_the_class_that_is_asked_for() {
    let place = Place::with_glow();
    let draw = |flags: &str| -> Array4<f32> {
        place.flow(&format!("sample run -n 40 {flags} --out s.npy --threads 1"));
        ndarray_npy::read_npy(place.path("s.npy")).unwrap()
    };
    let (three, again, four, any) = (draw("--class 3"), draw("--class 3"), draw("--class 4"), draw(""));
    assert_eq!(three, again);
    assert_ne!(three, four);
    // The noise is the same, so a row of any class is that of the class it drew: some are threes, most are not.
    let same = (0..40).filter(|&i| any.outer_iter().nth(i) == three.outer_iter().nth(i)).count();
    assert!((0..20).contains(&same), "{same}");
    assert_eq!(any, draw(""));
    assert_ne!(any, draw("--seed 1"));
    assert_eq!(place.json("sample run -n 9 --class 9 --out sheet.png --json")["class"], 9);
    place.flow("sample run -n 30 --out sheet.png");
    assert!(png_size(&place.path("sheet.png")).1 > 200);
}

#[test]
fn layers_of_many_steps_are_thinned_out() {
    let place = Place::with_glow();
    let info = place.json("info run --json");
    let layers = info["layers"].as_array().unwrap();
    assert!(layers.iter().any(|layer| layer["name"] == "level_1.step_1.coupling"));
    let sum: u64 = layers.iter().map(|l| l["parameters"].as_u64().unwrap()).sum();
    assert_eq!(Some(sum), info["parameters"].as_u64());
    assert!(place.flow("info run").contains("classes: 10"));

    // Data, logit, ActNorm, and for each of two levels two steps and a prior.
    let width = |flags: &str| {
        place.flow(&format!("trace run -n 2 {flags} --out trace.png --threads 1"));
        png_size(&place.path("trace.png")).0
    };
    let (all, few, fewest) = (
        width("--direction inverse"),
        width("--direction inverse --layers 8 --class 2"),
        width("--direction inverse --layers 7"),
    );
    assert!(all > few && few > fewest, "{all} {few} {fewest}");
    assert_eq!(width("--direction forward"), all);
    width("--direction forward --class 7");
    assert!(place.fails("trace run --direction forward -n 100 --class 7 --out t.png", 1).contains("of class 7"));
    assert!(place.fails("trace run --direction inverse -n 323 --out t.png", 1).contains("room for 322 images"));
    place.flow("animate run -n 4 --layers 5 --out film.gif --threads 1");
    assert!(fs::read(place.path("film.gif")).unwrap().starts_with(b"GIF89a"));
}

#[test]
fn vectors_have_classes_too() {
    let place = Place::new();
    let small = SMALL.replace("model.conditioner.hidden", "model.vector_net.hidden");
    place.flow(&format!("train glow --data iris --classes --out run {small}"));
    let report = place.json("classify run --json");
    assert_eq!((&report["classes"], &report["marginal_bits_per_dim"]), (&3.into(), &Value::Null));
    place.flow("sample run -n 5 --out s.csv");
    place.flow("log-prob run --input s.csv --class 2 --out lp.csv");
    place.flow("trace run --direction forward -n 10 --out t.png");
    place.flow("animate run -n 10 --class 1 --out film.gif");
    assert!(place.fails("sheet run classes --out x.png", 1).contains("models of images"));

    let fixed = "train glow --data two-moons --set data.fixed=100 --classes --out plane";
    place.flow(&format!("{fixed} {small}"));
    place.flow("density plane --out d.png");
    place.flow("animate plane -n 10 --class 1 --out film.gif");
}

#[test]
fn classes_that_are_not_there_are_refused() {
    let place = Place::with_glow();
    assert!(place.fails("sample run --class 10 --out x.png", 1).contains("0 to 9"));
    assert!(place.fails("sample run --class -1 --out x.png", 2).contains("--class"));
    assert!(place.fails("trace run --direction inverse --class 10 --out x.png", 1).contains("0 to 9"));
    place.train("nice", "digits", "plain");
    for line in [
        "sample plain --class 0 --out x.png",
        "sheet plain classes --out x.png",
        "sheet plain temperature --class 1 --out x.png",
        "classify plain --out x.png",
        "animate plain --class 1 --out x.gif",
    ] {
        assert!(place.fails(line, 1).contains("not conditioned on classes"), "{line}");
    }
    let train = |what: &str| place.fails(&format!("train {what} --classes --out other {SMALL_GLOW}"), 1);
    assert!(train("nice --data digits").contains("glow and realnvp-image"));
    assert!(train("glow --data two-moons --set model.depth=1").contains("afresh"));
    assert!(train("glow --data diabetes").contains("no labels"));
    assert!(train("glow --data digits --set model.classes=10").contains("twice"));
    assert!(place.fails("train --resume run --classes", 2).contains("--classes"));
    assert!(!place.path("x.png").exists() && !place.path("other").exists());
}
