//! `flow score`: likelihoods image by image, and what they are worth.

use std::fs;

use crate::common::{Place, png_size};
use ndarray::Array2;

#[test]
fn noise_is_told_from_digits() {
    let place = Place::with_glow();
    let line = "score run --against noise --out h.png --out s.csv --out s.npy --json --threads 1";
    let report = place.json(line);
    assert!(report["auroc"]["mean"].as_f64().unwrap() > 0.9, "{report}");
    assert_eq!((&report["images"]["count"], &report["against"]["name"]), (&250.into(), &"noise".into()));
    assert_eq!(report["class_summed_out"], true);
    assert!(png_size(&place.path("h.png")).0 > 400);

    let table = fs::read_to_string(place.path("s.csv")).unwrap();
    assert_eq!((table.lines().count(), table.lines().next()), (501, Some("set,image,nats,bits_per_dim")));
    let scores: Array2<f64> = ndarray_npy::read_npy(place.path("s.npy")).unwrap();
    assert_eq!(scores.dim(), (500, 2));
    assert_eq!(scores.column(0).sum(), 250.0);
    let mean = scores.column(1).iter().take(250).sum::<f64>() / 250.0;
    assert!((mean - report["images"]["nats"]["mean"].as_f64().unwrap()).abs() < 1e-6);
    // With one draw of the same noise it is the number of flow eval.
    let eval = place.json("eval run --json --threads 1");
    assert!((mean - eval["marginal_nats"]["mean"].as_f64().unwrap()).abs() < 1e-3);
}

#[test]
fn images_are_told_from_themselves_upside_down_and_from_files() {
    let place = Place::with_glow();
    let text = place.flow("score run --threads 1");
    assert!(text.contains("upside down") && text.contains("AUROC") && text.contains("Nalisnick"), "{text}");
    let few = place.json("score run --against negative --split validation -n 30 --json");
    assert_eq!((&few["images"]["count"], &few["against"]["count"]), (&30.into(), &30.into()));

    let levels = Array2::from_shape_fn((6, 64), |(i, j)| ((i * 5 + j) % 17) as u8);
    ndarray_npy::write_npy(place.path("levels.npy"), &levels).unwrap();
    ndarray_npy::write_npy(place.path("cube.npy"), &levels.mapv(|k| (f32::from(k) + 0.5) / 17.0)).unwrap();
    ndarray_npy::write_npy(place.path("raw.npy"), &levels.mapv(f32::from)).unwrap();
    let same = place.json("score run --input levels.npy --against levels.npy --json");
    assert_eq!(same["auroc"]["mean"], 0.5);
    let files = place.json("score run --input cube.npy --against levels.npy --json");
    assert_eq!((&files["images"]["name"], &files["images"]["count"]), (&"cube.npy".into(), &6.into()));
    place.flow("score run --input cube.npy --against negative");
    assert!(place.fails("score run --against raw.npy", 1).contains("raw.npy: row 1, column 4: 3 is outside"));
    ndarray_npy::write_npy(place.path("many.npy"), &Array2::from_elem((1, 64), 17u8)).unwrap();
    assert!(place.fails("score run --against many.npy", 1).contains("many.npy: row 1, column 1: level 17"));
    assert!(place.fails("score run --input none.npy", 1).contains("none.npy"));
    assert!(place.fails("score run --against sideways", 2).contains("upside-down"));
    assert!(place.fails("score run --input cube.npy --split test", 2).contains("--split"));
    assert!(place.fails("score run --out report.pdf", 1).contains("report.pdf"));
}
