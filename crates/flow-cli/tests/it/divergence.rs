//! A training whose numbers run away: it stops with a report, or goes back and on at half the rate, as it was told.

use std::fs;

use serde_json::Value;

use crate::common::{Place, SMALL, remains};

/// A rate at which the first step leaves numbers that f32 cannot square.
const ABSURD: &str = "--set train.learning_rate=1e20 --set train.warmup=0 --set train.schedule=constant";
/// One that some halvings make bearable.
const HIGH: &str = "--set train.learning_rate=1e4 --set train.warmup=0 --set train.schedule=constant \
                    --set train.rewinds=50";

fn events(place: &Place, run: &str) -> Vec<Value> {
    let text = fs::read_to_string(place.path(run).join("metrics.jsonl")).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.filter(|line| line["event"] != Value::Null).collect()
}

#[test]
fn stop_names_step_layer_range_and_remedy() {
    let place = Place::new();
    let text = place.fails(&format!("train realnvp --data moons --out run {SMALL} {ABSURD}"), 1);
    for part in
        ["the run in run", "at step ", "\"coupling_", "its input lies between", "train.learning_rate", "is kept"]
    {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert_eq!(text.lines().filter(|line| line.starts_with("error: ")).count(), 1, "{text}");
    let events = events(&place, "run");
    assert_eq!(events.len(), 1);
    let report = &events[0]["divergence"];
    assert_eq!((&events[0]["event"], &report["origin"]), (&"diverged".into(), &"output".into()));
    assert!(report["input"]["count"].as_u64().unwrap() >= 64 && report["input"]["max"].is_f64(), "{report}");
    // What was saved is good, and a curve can be looked at, report or no report.
    assert_eq!(place.json("info run --json")["card"]["reached"]["steps"], 0);

    // The same again, for nothing has changed.
    assert_eq!(place.fails("train --resume run", 1).lines().last(), text.lines().last());
}

#[test]
fn a_run_that_stopped_goes_on_with_leave_to_go_back() {
    let place = Place::new();
    place.fails(&format!("train realnvp --data moons --out run {SMALL} {HIGH}"), 1);
    let report = place.json("train --resume run --on-divergence rewind --json");
    assert_eq!(report["outcome"], "finished", "{report}");
    assert!(report["rewinds"].as_u64().unwrap() > 0);
    assert!(events(&place, "run").iter().all(|event| event["event"] == "rewound"));
}

#[test]
fn rewind_halves_the_rate_and_tells() {
    let place = Place::new();
    let often = "--set train.save_every=2 --on-divergence rewind --json";
    let output =
        place.command(&format!("train realnvp --data moons --out run {SMALL} {HIGH} {often}")).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let events = events(&place, "run");
    let rewinds = events.len() as u64;
    assert!(rewinds >= 2 && report["rewinds"] == rewinds, "{report} {events:?}");
    for (i, event) in events.iter().enumerate() {
        assert_eq!((&event["event"], &event["rewinds"]), (&"rewound".into(), &(i + 1).into()));
        let (back, from) = (event["step"].as_u64().unwrap(), event["divergence"]["step"].as_u64().unwrap());
        assert!(back < from && back.is_multiple_of(2), "{event}");
        assert!(event["divergence"]["origin"].is_string(), "{event}");
    }
    assert_eq!(said.matches("half the learning rate").count() as u64, rewinds, "{said}");
    // The last step was taken at the rate that all the halvings leave.
    let text = fs::read_to_string(place.path("run/metrics.jsonl")).unwrap();
    let mut rates = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).unwrap()["rate"].as_f64());
    assert_eq!(rates.next_back(), Some(1e4 * 0.5f64.powi(rewinds as i32)));
    assert!(place.flow("runs run").contains(&format!("done, rewound {rewinds} times")));
    // The same command leaves the same.
    place.flow(&format!("train realnvp --data moons --out again {SMALL} {HIGH} {often}"));
    assert_eq!(remains(&place.path("run")), remains(&place.path("again")));
}

#[test]
fn rewinding_has_an_end() {
    let place = Place::new();
    let line =
        format!("train realnvp --data moons --out run {SMALL} {ABSURD} --on-divergence rewind --set train.rewinds=2");
    let text = place.fails(&line, 1);
    assert!(text.contains("rewind 2 of 2") && !text.contains("rewind 3"), "{text}");
    let events = events(&place, "run");
    let names: Vec<&str> = events.iter().map(|event| event["event"].as_str().unwrap()).collect();
    assert_eq!(names, ["rewound", "rewound", "diverged"]);
    assert!(place.flow("runs run").contains("diverged at step") && place.flow("runs run").contains("rewound 2 times"));
    // None is left for a run that is resumed either.
    assert!(place.fails("train --resume run", 1).contains("stopped being finite"));
}

#[test]
fn what_may_be_chosen() {
    let place = Place::new();
    assert!(place.fails("train nice --data moons --on-divergence ignore", 2).contains("rewind"));
    let set = |assignment: &str| place.fails(&format!("train nice --data moons {SMALL} --set {assignment}"), 1);
    assert!(set("train.on_divergence=ignore").contains("stop"));
    assert!(set("train.rewinds=1000").contains("at most 100"));
    assert!(set("train.rewinds=-1").contains("train.rewinds"));
}
