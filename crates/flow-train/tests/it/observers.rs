//! Observers are told what happens in the order in which it happens, and may end it anywhere.

use std::ops::ControlFlow;

use flow_data::Spec;
use flow_train::folder::metrics_file;
use flow_train::{Event, Outcome, Trainer};
use serde_json::Value;

use crate::{tiny, watch};

const FIELDS: [&str; 6] = [
    "train.steps=7",
    "train.batch=20",
    "train.validate_every=3",
    "train.save_every=2",
    "train.log_every=3",
    "train.learning_rate=1e-3",
];

fn word(event: &Event) -> String {
    match event {
        Event::Step { step, .. } => format!("step {step}"),
        Event::Validated { step, .. } => format!("validated {step}"),
        Event::RebuiltInexactly { step, .. } => format!("inexact {step}"),
        Event::Rewound { step, .. } => format!("rewound {step}"),
        Event::Saved { step } => format!("saved {step}"),
    }
}

/// What is heard by an observer that breaks off at the event `until`.
fn heard(keep: bool, until: &str) -> (Vec<String>, Outcome, u64) {
    let dir = tempfile::tempdir().unwrap();
    let (config, data) = tiny("nice", Spec::Moons, &FIELDS);
    let mut trainer = Trainer::new(config, data).unwrap();
    if keep {
        trainer.keep_in(dir.path()).unwrap();
    }
    let mut words = Vec::new();
    let outcome = trainer.run(&mut |event: &Event| {
        words.push(word(event));
        if words.last().unwrap() == until { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    drop(trainer);
    let on_disk = if keep { Trainer::resume(dir.path()).unwrap().progress().step } else { 0 };
    (words, outcome.unwrap(), on_disk)
}

const ALL: [&str; 14] = [
    "step 1",
    "step 2",
    "saved 2",
    "step 3",
    "validated 3",
    "step 4",
    "saved 4",
    "step 5",
    "step 6",
    "validated 6",
    "saved 6",
    "step 7",
    "validated 7",
    "saved 7",
];

#[test]
fn everything_is_told_once_and_in_order() {
    let (words, outcome, on_disk) = heard(true, "");
    assert_eq!((words.as_slice(), outcome, on_disk), (&ALL.map(String::from)[..], Outcome::Finished, 7));
    let (in_memory, ..) = heard(false, "");
    let unsaved: Vec<&str> = ALL.into_iter().filter(|word| !word.starts_with("saved")).collect();
    assert_eq!(in_memory, unsaved);
}

#[test]
fn breaking_off_saves_at_once() {
    for (until, rest, on_disk) in [
        ("step 1", &["saved 1"][..], 1),
        // The validation that is due is still done: the run that goes on does not come by here again.
        ("step 3", &["validated 3", "saved 3"], 3),
        ("validated 3", &["saved 3"], 3),
        // A save that was due is done once.
        ("step 4", &["saved 4"], 4),
        ("saved 4", &[], 4),
        ("validated 6", &["saved 6"], 6),
    ] {
        let (words, outcome, saved) = heard(true, until);
        let upto = ALL.iter().position(|word| *word == until).unwrap() + 1;
        assert_eq!(words, [&ALL[..upto], rest].concat(), "until {until}");
        assert_eq!((outcome, saved), (Outcome::Interrupted, on_disk), "until {until}");
    }
    // All steps were taken before the wish was heard.
    assert_eq!(heard(true, "step 7").1, Outcome::Finished);
}

#[test]
fn events_and_metrics_tell_the_same_numbers() {
    let dir = tempfile::tempdir().unwrap();
    let (config, data) = tiny("nice", Spec::Moons, &FIELDS);
    let rates: Vec<f64> = (0..7).map(|step| config.train.rate(step)).collect();
    let mut trainer = Trainer::new(config, data).unwrap();
    trainer.keep_in(dir.path()).unwrap();
    let (mut steps, mut validated) = (Vec::new(), Vec::new());
    let mut before = 0.0;
    let outcome = trainer.run(&mut |event: &Event| {
        match event {
            Event::Step { steps: all, nats, rate, gradient_norm, seconds, step } => {
                assert_eq!((*all, *rate), (7, rates[*step as usize - 1]));
                assert!(*gradient_norm > 0.0 && *seconds >= before);
                before = *seconds;
                steps.push(*nats);
            }
            Event::Validated { nats, .. } => validated.push(*nats),
            Event::Saved { .. } => {}
            Event::RebuiltInexactly { .. } | Event::Rewound { .. } => unreachable!("nothing is rebuilt or rewound"),
        }
        ControlFlow::Continue(())
    });
    outcome.unwrap();
    let text = std::fs::read_to_string(metrics_file(dir.path())).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of = |key: &str| -> Vec<(u64, f64)> {
        let with = lines.iter().filter(|line| line.get(key).is_some());
        with.map(|line| (line["step"].as_u64().unwrap(), line[key].as_f64().unwrap())).collect()
    };
    let mean = |nats: &[f64]| nats.iter().sum::<f64>() / nats.len() as f64;
    assert_eq!(of("train_nats"), [(3, mean(&steps[..3])), (6, mean(&steps[3..6])), (7, steps[6])]);
    assert_eq!(of("validation_nats"), [(3, validated[0]), (6, validated[1]), (7, validated[2])]);
    assert_eq!(of("rate")[2], (7, rates[6]));
}

#[test]
fn training_makes_the_likelihood_higher() {
    let fields = ["train.steps=150", "train.batch=100", "train.validate_every=50", "train.learning_rate=5e-3"];
    let (config, data) = tiny("realnvp", Spec::Moons, &fields);
    let mut trainer = Trainer::new(config, data).unwrap();
    trainer.run(&mut watch).unwrap();
    // The standard normal, where the model starts, has -2.84; the truth has -1.09.
    let reached = trainer.progress().best_nats.unwrap();
    assert!((-2.3..-1.0).contains(&reached), "{reached}");
}
