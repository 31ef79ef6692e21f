//! Every command on points of the plane, from training to pictures.

use std::fs;

use crate::common::{Place, png_size};

#[test]
fn a_model_of_the_plane_from_training_to_pictures() {
    let place = Place::new();
    assert!(place.train("realnvp", "moons", "run").starts_with("finished after 6 steps"));
    for file in ["model.safetensors", "state.safetensors", "metrics.jsonl", "config.toml"] {
        assert!(place.path("run").join(file).is_file(), "{file}");
    }

    let eval = place.json("eval run --json --threads 1");
    assert_eq!((&eval["model"], &eval["data"]), (&"realnvp".into(), &"moons".into()));
    assert_eq!((&eval["count"], &eval["split"], &eval["unit"]), (&20_000.into(), &"test".into(), &"as read".into()));
    assert_eq!((&eval["preset"], &eval["steps"], &eval["batch"]), (&"default".into(), &6.into(), &64.into()));
    assert!(eval["bits_per_dim"].is_null());
    let (nats, gap) = (eval["nats"]["mean"].as_f64().unwrap(), eval["floor"]["gap"].as_f64().unwrap());
    // Paired: E[log p_true] over the same points is -1.0896 within its standard error of 0.007.
    assert!((nats + gap + 1.0896).abs() < 0.04, "{nats} {gap}");

    place.flow("sample run -n 50 --out s.csv");
    place.flow("sample run -n 50 --out s.npy");
    let csv = fs::read_to_string(place.path("s.csv")).unwrap();
    assert_eq!((csv.lines().count(), csv.lines().next()), (51, Some("x1,x2")));

    // The same rows by way of both formats have the same densities.
    let a = place.json("log-prob run --input s.csv --out a.csv --json");
    let b = place.json("log-prob run --input s.npy --out b.csv --json");
    assert_eq!((&a["rows"], &a["unit"]), (&50.into(), &"as read".into()));
    assert!((a["mean_nats"].as_f64().unwrap() - b["mean_nats"].as_f64().unwrap()).abs() < 1e-5);
    assert_eq!(fs::read_to_string(place.path("a.csv")).unwrap().lines().count(), 51);

    place.flow("trace run --direction forward -n 200 --out forward.png");
    place.flow("trace run --direction inverse -n 200 --out inverse.png");
    place.flow("density run --out density.png");
    place.flow("curve run --reference -1.0896:floor --out curve.png");
    place.flow("sample run -n 200 --out samples.png");
    for picture in ["forward.png", "inverse.png", "density.png", "curve.png", "samples.png"] {
        let (width, height) = png_size(&place.path(picture));
        assert!(width >= 400 && height >= 250, "{picture} is {width} x {height}");
    }
    place.flow("animate run -n 100 --out film.gif");
    assert_eq!(&fs::read(place.path("film.gif")).unwrap()[..6], b"GIF89a");

    let info = place.json("info run --json");
    let layers = info["layers"].as_array().unwrap();
    assert_eq!(layers.len(), 7);
    let sum: u64 = layers.iter().map(|l| l["parameters"].as_u64().unwrap()).sum();
    assert_eq!(Some(sum), info["parameters"].as_u64());
    assert!(place.flow("info run").contains("coupling_5"));
}

#[test]
fn a_fixed_number_of_points_and_a_table_of_ones_own() {
    let place = Place::new();
    let small = crate::common::SMALL;
    place.flow(&format!("train nice --data moons --set data.fixed=100 --out fixed {small}"));
    assert_eq!(place.json("eval fixed --split train --json")["count"], 100);

    let rows: String = (0..60).map(|i| format!("{},{},{}\n", i, (i * 7) % 11, (i * i) % 13)).collect();
    place.write("table.csv", &format!("a,b,c\n{rows}"));
    place.train("nice", "csv:table.csv", "table");
    let info = place.json("info table --json");
    assert_eq!(info["layers"][0]["name"], "standardize");
    assert_eq!(place.json("eval table --json")["unit"], "as read");
    place.flow("sample table -n 5 --out t.csv");
    assert!(fs::read_to_string(place.path("t.csv")).unwrap().starts_with("a,b,c\n"));
    place.flow("log-prob table --input t.csv --out lp.csv");
    place.write("bare.csv", "1,2,3\n");
    place.flow("log-prob table --input bare.csv --out lp.csv");
    place.write("swapped.csv", "a,c,b\n1,2,3\n");
    let said = place.fails("log-prob table --input swapped.csv --out lp.csv", 1);
    assert!(said.contains("swapped.csv: column 2 is \"c\", of the model's data \"b\""), "{said}");
    assert!(place.fails("density table --out d.png", 1).contains("two columns"));
    assert!(!place.path("d.png").exists());
}
