//! A training that is killed, SIGKILL, at random moments, in the midst of steps, validations and saves, and taken up again
//! each time, leaves what an unbroken one leaves: the model to the byte, the state to the bit, the metrics but for their
//! wall times.
//!
//! The moments depend on a seed that is printed: `FLOW_KILL_SEED=N cargo test -p flow-cli kill` tries the same ones again.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime};

use flow_core::rng::derive_seed;
use serde_json::Value;

use crate::common::{Place, remains};

/// Kills of each training at least; there are seven.
const KILLS: u64 = 5;
/// Far more than it takes for one to fall behind the first save of a step.
const MOST_KILLS: u64 = 100;

/// What all have in common: a save at every other step, so that many kills fall into one.
const OFTEN: &str = "--device cpu --set train.save_every=2 --set train.validate_every=5 --set train.log_every=3";

fn seed() -> u64 {
    match std::env::var("FLOW_KILL_SEED") {
        Ok(text) => text.parse().expect("FLOW_KILL_SEED is a whole number"),
        Err(_) => SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_micros() as u64,
    }
}

fn quiet(place: &Place, line: &str) -> Command {
    let mut command = place.command(line);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// Starts `line` in `run`, or goes on where it holds a state.
fn next(place: &Place, line: &str, run: &str) -> Command {
    match place.path(run).join("state.safetensors").exists() {
        true => quiet(place, &format!("train --resume {run}")),
        false => quiet(place, &format!("train {line} --out {run} {OFTEN}")),
    }
}

/// Whether `child` had to be killed after this long: it may have ended by itself before.
fn killed(child: &mut Child, after: Duration) -> bool {
    let until = Instant::now() + after;
    while Instant::now() < until {
        if let Some(status) = child.try_wait().unwrap() {
            assert!(status.success());
            return false;
        }
        sleep(Duration::from_millis(2));
    }
    child.kill().unwrap();
    child.wait().unwrap().signal() == Some(9)
}

/// Trains by `line` unbroken; and, as often as it takes for `KILLS` kills, one of them after a step that was saved, killed
/// again and again until it is done.
fn check(name: &str, line: &str) {
    let seed = seed();
    println!("{name}: FLOW_KILL_SEED={seed}");
    let place = Place::new();
    let began = Instant::now();
    let output = place.command(&format!("train {line} --out whole {OFTEN}")).output().unwrap();
    assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    let unbroken = began.elapsed();
    let mut span = unbroken;
    let (mut kills, mut moments, mut midway) = (0, 0, false);
    for round in 0.. {
        let run = format!("killed_{round}");
        let mut steps = Vec::new();
        let mut done = false;
        while !done && (kills < KILLS || !midway) {
            assert!(kills < MOST_KILLS, "{name}: every kill came before a step was saved");
            // From the start of the process to the end of its training: most has to be done again after a kill.
            let share = derive_seed(seed, name, moments) as f64 / u64::MAX as f64;
            moments += 1;
            let began = Instant::now();
            done = !killed(&mut next(&place, line, &run).spawn().unwrap(), span.mul_f64(0.9 * share));
            if done {
                // The machine was busier when the span was taken.
                span = span.min(began.elapsed());
            }
            kills += u64::from(!done);
            steps.push(step(&place.path(&run)));
            midway |= !done && steps.last() != Some(&0);
        }
        let output = next(&place, line, &run).stderr(Stdio::piped()).output().unwrap();
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
        println!("{name}: {unbroken:?} unbroken; {kills} kills so far, and then at steps {steps:?}");
        assert!(steps.is_sorted(), "a step that was saved was lost: {steps:?}");
        compare(&place.path(&run), &place.path("whole"), &format!("{name}, seed {seed}"));
        if kills >= KILLS && midway {
            return;
        }
    }
}

fn compare(killed: &Path, whole: &Path, name: &str) {
    let model = |run: &Path| fs::read(run.join("model.safetensors")).unwrap();
    assert!(model(killed) == model(whole), "{name}: the model");
    let ((state, metrics), (expected, lines)) = (remains(killed), remains(whole));
    assert_eq!(metrics, lines, "{name}: the metrics");
    let differ: Vec<&String> = expected.keys().filter(|key| state.get(*key) != expected.get(*key)).collect();
    assert!(state.len() == expected.len() && differ.is_empty(), "{name}: {differ:?} of the state differ");
    let names = fs::read_dir(killed).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let left: Vec<String> = names.filter(|name| name.ends_with(".part")).collect();
    assert!(left.is_empty(), "{name}: {left:?}");
}

/// The step of the save in `run`; 0 where the training was killed before it had made one.
fn step(run: &Path) -> u64 {
    flow_train::runs::run(run).map_or(0, |run| run.step)
}

#[test]
fn nice_with_fresh_draws_and_an_average() {
    check(
        "nice",
        "nice --data moons --threads 1 --steps 40 --batch 256 --set model.conditioner.hidden=64 --set train.warmup=10 --set train.ema=0.9",
    );
}

/// Hidden layers of 512 numbers by 512: Adam's loop over them is dealt out to both threads, and so is every product.
#[test]
fn nice_by_two_threads() {
    check("two threads", "nice --data moons --threads 2 --steps 20 --batch 256 --set model.conditioner.hidden=512");
}

#[test]
fn realnvp_with_noise_dropout_and_everything_started_from_data() {
    check(
        "realnvp",
        "realnvp --data digits --threads 1 --steps 30 --batch 300 --set model.conditioner.hidden=32 --set model.order=random \
         --set model.actnorm=true --set model.conditioner.dropout=0.2 --set train.weight_decay=0.1 --set train.clip=5 \
         --set train.ema=0.95",
    );
}

#[test]
fn glow_by_classes() {
    check(
        "glow",
        "glow --data digits --preset cpu --classes --threads 1 --steps 24 --batch 32 --set model.net.width=8 --set model.depth=1",
    );
}

#[test]
fn glow_with_rebuilt_activations() {
    check(
        "rebuild",
        "glow --data digits --preset cpu --threads 1 --steps 20 --batch 32 --set model.net.width=8 --set model.depth=1 \
         --set train.rebuild=true",
    );
}

#[test]
fn realnvp_of_images_with_running_moments() {
    check(
        "realnvp-image",
        "realnvp-image --data digits --preset cpu --threads 1 --steps 20 --batch 32 --set model.net.width=8 \
         --set model.net.norm=batch",
    );
}

#[test]
fn a_training_that_is_rewound() {
    let line = "realnvp --data moons --threads 1 --steps 30 --batch 64 --set model.conditioner.hidden=16 --set train.warmup=0 \
                --set train.schedule=constant --set train.rewinds=100 --on-divergence rewind \
                --set train.learning_rate=1e4";
    check("rewind", line);
}

/// Of a finished state: is it true that this really was a training in which something was at stake?
#[test]
fn what_is_compared_is_not_empty() {
    let place = Place::new();
    assert!(
        quiet(&place, &format!("train nice --data moons --threads 1 --steps 7 --batch 8 --out run {OFTEN}"))
            .status()
            .unwrap()
            .success()
    );
    let (state, metrics) = remains(&place.path("run"));
    let names: Vec<&str> = state.keys().map(String::as_str).collect();
    assert!(["average", "best", "first_moment", "parameters", "second_moment"].iter().all(|name| names.contains(name)));
    assert_eq!(metrics.iter().filter(|line| line["train_nats"] != Value::Null).count(), 3);
    assert!(metrics.iter().all(|line| line["seconds"] == Value::Null));
}
