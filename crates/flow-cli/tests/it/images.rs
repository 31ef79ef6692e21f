//! A person's own pictures, from a folder to bits a dimension.

use std::fs;

use crate::common::{Place, SMALL};

#[test]
fn a_folder_of_pictures_keeps_its_size_and_bits_from_training_to_evaluation() {
    let place = Place::new();
    place.train("nice", "digits", "run");
    // Pictures that are at hand.
    for seed in 0..11 {
        place.flow(&format!("sample run -n 1 --seed {seed} --out faces/{seed}.png"));
    }
    fs::write(place.path("faces").join("broken.png"), b"broken").unwrap();
    let line = format!("train nice --data images:faces --set data.size=6 --set data.bits=3 --out faces_run {SMALL}");
    let said = place.command(&line).output().unwrap();
    let said = (said.status.success(), String::from_utf8_lossy(&said.stderr).into_owned());
    assert!(said.0 && said.1.contains("1 of 12 image files") && said.1.contains("broken.png: neither"), "{}", said.1);
    assert_eq!(said.1.matches("broken.png").count(), 1, "{}", said.1);

    let info = place.json("info faces_run --json");
    assert_eq!(info["card"]["data"]["preprocessing"]["levels"], 8);
    let eval = place.json("eval faces_run --json --threads 1");
    let (nats, bits) = (eval["nats"]["mean"].as_f64().unwrap(), eval["bits_per_dim"]["mean"].as_f64().unwrap());
    let dim = info["card"]["event"].as_array().unwrap().iter().map(|d| d.as_f64().unwrap()).product::<f64>();
    assert!((bits - (3.0 - nats / (dim * std::f64::consts::LN_2))).abs() < 1e-9, "{bits} bits, {nats} nats");
}
