//! `flow eval`: draws, protocols, classes, and what it refuses.

use flow_data::{LoadOptions, Spec, load};
use serde_json::Value;

use crate::common::Place;

fn mean(value: &Value) -> f64 {
    value["mean"].as_f64().unwrap_or_else(|| panic!("no mean in {value}"))
}

#[test]
fn draws_and_protocols_of_a_model_of_images() {
    let place = Place::new();
    place.train("realnvp", "digits", "run");
    let cube = place.json("eval run --draws 3 --json --threads 1");
    let maf = place.json("eval run --draws 3 --protocol logit-1e-6 --json --threads 1");
    assert_eq!((&cube["protocol"], &maf["protocol"]), (&"unit-cube".into(), &"logit-1e-6".into()));
    assert_eq!((&cube["unit"], &maf["unit"]), (&"unit cube".into(), &"logit space, alpha 1e-6".into()));
    assert_eq!(
        (&cube["bits_per_dim"], &cube["importance_weighted"]),
        (&maf["bits_per_dim"], &maf["importance_weighted"])
    );
    // ln|dz/dx| is ln 4 a pixel at least, where the slope of the logit is least.
    assert!(mean(&cube["nats"]) - mean(&maf["nats"]) > 64.0 * 4f64.ln());
    // Jensen's inequality, row by row.
    let bound = &cube["importance_weighted"];
    assert!(mean(&bound["nats"]) > mean(&cube["nats"]) && mean(&bound["bits_per_dim"]) < mean(&cube["bits_per_dim"]));
    assert!(cube["between_draws"]["sd"].as_f64().unwrap() > cube["between_draws"]["se"].as_f64().unwrap());

    let classes = cube["by_class"].as_array().unwrap();
    assert_eq!(classes.iter().map(|c| c["count"].as_u64().unwrap()).sum::<u64>(), 250);
    let sum: f64 = classes.iter().map(|c| mean(&c["nats"]) * c["count"].as_f64().unwrap()).sum();
    assert!((sum / 250.0 - mean(&cube["nats"])).abs() < 1e-6);

    let text = place.flow("eval run --draws 2 --threads 1");
    for expected in ["of which the noise", "log P(k)", "by 2 draws", "class     rows", "bits/dim"] {
        assert!(text.contains(expected), "{expected}: {text}");
    }
    assert_eq!(text.lines().filter(|line| line.trim_start().starts_with(char::is_numeric)).count(), 10, "{text}");
    let one = place.json("eval run --json");
    assert!(one["between_draws"].is_null() && one["importance_weighted"].is_null());
    assert!(place.fails("eval run --protocol logit-0.5", 2).contains("logit-1e-6"));
    assert!(place.fails("eval run --protocol nats", 2).contains("unit-cube"));
}

#[test]
fn a_class_summed_out_by_several_draws() {
    let place = Place::with_glow();
    let one = place.json("eval run --json --threads 1");
    let eval = place.json("eval run --marginal-draws 2 --protocol logit-1e-6 --json --threads 1");
    assert_eq!((&eval["draws"], &eval["marginal"]["draws"]), (&1.into(), &2.into()));
    assert_eq!(eval["marginal"]["nats"], eval["marginal_nats"]);
    assert_eq!(eval["marginal"]["given_class"], false);
    assert!(mean(&eval["marginal"]["importance_weighted"]["bits_per_dim"]) < mean(&eval["marginal_bits_per_dim"]));
    let off = mean(&eval["marginal_bits_per_dim"]) - mean(&one["marginal_bits_per_dim"]);
    assert!(off != 0.0 && off.abs() < 0.05, "{off}");
    assert!(mean(&one["marginal_nats"]) - mean(&eval["marginal_nats"]) > 64.0 * 4f64.ln());
    assert!(place.flow("eval run --marginal-draws 2").contains("the class summed out, 2 draw(s)"));
    assert!(place.fails("eval run --no-marginal --marginal-draws 2", 2).contains("--marginal-draws"));
}

#[test]
fn real_numbers_are_evaluated_as_read() {
    let place = Place::new();
    place.train("nice", "iris", "run");
    let eval = place.json("eval run --draws 5 --json");
    assert_eq!((&eval["draws"], &eval["protocol"], &eval["unit"]), (&1.into(), &Value::Null, &"as read".into()));
    assert_eq!(eval["by_class"].as_array().unwrap().len(), 3);
    assert!(place.fails("eval run --protocol unit-cube", 1).contains("as read"));
}

#[test]
fn samples_that_have_no_likelihood_are_named() {
    let place = Place::new();
    // Numbers whose squares are beyond f32 in the rows `far`.
    let table = |far: &[usize]| -> String {
        let row = |i: usize| match far.contains(&i) {
            true => format!("{}e30,{}e30\n", (i * 7) % 11 + 1, (i * i) % 13 + 1),
            false => format!("{i},{}\n", (i * i) % 13),
        };
        (0..600).map(row).collect()
    };
    place.write("table.csv", &table(&[]));
    // Which rows are those of the test split depends on their number alone.
    let test = load(&Spec::Csv(place.path("table.csv")), &LoadOptions::default()).unwrap().test;
    let far: Vec<usize> = test.to_reals().column(0).iter().map(|&i| i as usize).collect();
    place.write("table.csv", &table(&far));
    place.train("realnvp", "csv:table.csv", "run");
    assert!(place.json("eval run --split validation --json")["count"] == 60);
    let error = place.fails("eval run", 1);
    assert!(
        error.contains("60 of 60 test rows") && error.contains("0, 1, 2, 3, 4, 5, 6, 7, 8, 9 and 50 more"),
        "{error}"
    );
}
