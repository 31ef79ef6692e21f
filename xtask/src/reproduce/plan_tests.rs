//! What is trained and drawn, and by which command lines.

use super::*;
use crate::text::command_line;

fn names(jobs: &[Job]) -> Vec<&str> {
    jobs.iter().map(|job| job.name.as_str()).collect()
}

#[test]
fn the_gallery_comes_first_and_seed_rows_only_when_asked_for() {
    let plain = jobs(FULL, Data::Mnist, &Choice::default());
    let moons = ["nice-moons", "realnvp-moons", "glow-moons"];
    let images = ["nice-mnist", "realnvp-mnist", "realnvp-image-mnist", "glow-mnist"];
    let fixed = ["nice-moons-fixed-1000", "realnvp-moons-fixed-1000", "glow-moons-fixed-1000"];
    assert_eq!(names(&plain), [&moons[..], &images, &fixed].concat());

    let with_seed = jobs(FULL, Data::Mnist, &Choice { with_seed: true, ..Choice::default() });
    let seeds = ["nice-moons-seed", "realnvp-moons-seed", "nice-mnist-seed", "realnvp-mnist-seed"];
    assert_eq!(names(&with_seed)[10..], seeds, "the original has no others");

    let quick = jobs(QUICK, Data::Digits, &Choice::default());
    let images = ["nice-digits", "realnvp-digits", "realnvp-image-digits", "glow-digits"];
    assert_eq!(names(&quick), [&moons[..], &images].concat());
}

/// The training of `name`, into `run`.
fn training(budget: Budget, choice: &Choice, name: &str) -> String {
    let jobs = jobs(budget, Data::Mnist, choice);
    let job = jobs.iter().find(|job| job.name == name).unwrap();
    command_line(job.train_arguments(choice, Path::new("run")))
}

#[test]
fn every_choice_is_in_the_command_line() {
    let choice = Choice { device: "cuda:1".into(), threads: 2, seed: 7, with_seed: true };
    let common = "--seed 7 --threads 2 --device cuda:1";
    for (budget, name, line) in [
        (FULL, "nice-moons", format!("train nice --data moons --preset default {common}")),
        (
            FULL,
            "realnvp-moons-fixed-1000",
            format!("train realnvp --data moons --preset default {common} --set data.fixed=1000"),
        ),
        (FULL, "nice-mnist-seed", format!("train nice --data mnist --preset seed {common}")),
        (QUICK, "realnvp-mnist", format!("train realnvp --data mnist --preset default {common} --steps 300")),
        (
            QUICK,
            "realnvp-image-mnist",
            format!("train realnvp-image --data mnist --preset default {common} --steps 60"),
        ),
    ] {
        assert_eq!(training(budget, &choice, name), format!("{line} --out run"));
    }
}

#[test]
fn image_models_take_what_a_cpu_can_do_unless_a_gpu_is_asked_for() {
    let preset = |device: &str, name: &str| {
        let line = training(FULL, &Choice { device: device.into(), ..Choice::default() }, name);
        line.split(' ').nth(5).unwrap().to_owned()
    };
    for (device, image) in [("cpu", "cpu"), ("auto", "cpu"), ("mps", "cpu"), ("cuda", "default"), ("cuda:1", "default")]
    {
        assert_eq!(["realnvp-image-mnist", "glow-mnist"].map(|name| preset(device, name)), [image; 2], "{device}");
        for fast in ["glow-moons", "nice-mnist", "realnvp-mnist", "glow-moons-fixed-1000"] {
            assert_eq!(preset(device, fast), "default", "{fast} on {device}");
        }
    }
}

#[test]
fn one_glow_knows_the_classes_of_images() {
    let choice = Choice { device: "cpu".into(), threads: 2, ..Choice::default() };
    let common = "--seed 0 --threads 2 --device cpu";
    assert_eq!(
        training(FULL, &choice, "glow-mnist"),
        format!("train glow --data mnist --preset cpu {common} --set model.classes=10 --out run")
    );
    assert_eq!(
        training(FULL, &choice, "glow-moons"),
        format!("train glow --data moons --preset default {common} --out run")
    );
    let draws = |budget| jobs(budget, Data::Mnist, &choice).iter().map(|job| job.draws).collect::<Vec<_>>();
    assert_eq!(draws(FULL), [1, 1, 1, 10, 10, 10, 3, 1, 1, 1]);
    assert_eq!(draws(QUICK), [1; 7]);
}

#[test]
fn a_first_look_does_not_try_every_class_on_ten_thousand_images() {
    let choice = Choice { device: "cpu".into(), threads: 2, ..Choice::default() };
    let common = "--seed 0 --threads 2 --device cpu";
    let glow = |budget, images| jobs(budget, images, &choice).into_iter().find(|job| job.classes.is_some()).unwrap();
    let eval = |job: &Job| command_line(job.evaluate_arguments(&choice, Path::new("run")));
    let quick = glow(QUICK, Data::Mnist);
    assert_eq!(eval(&quick), format!("eval run --split test --draws 1 --json --no-marginal {common}"));
    let files: Vec<_> = quick.figures(&choice, Path::new("run")).into_iter().map(|figure| figure.file).collect();
    assert!(files.contains(&"glow_mnist_classes.png".into()) && !files.contains(&"glow_mnist_scores.png".into()));
    assert_eq!(files.len(), 11);

    assert_eq!(eval(&glow(QUICK, Data::Digits)), format!("eval run --split test --draws 1 --json {common}"));
    assert_eq!(eval(&glow(FULL, Data::Mnist)), format!("eval run --split test --draws 3 --json {common}"));
    assert_eq!(glow(FULL, Data::Mnist).figures(&choice, Path::new("run")).len(), 13);
}

#[test]
fn pictures_are_named_after_the_data_that_was_used() {
    let choice = Choice { device: "cuda:1".into(), threads: 2, seed: 7, ..Choice::default() };
    let jobs = jobs(FULL, Data::Digits, &choice);
    let figures = |name: &str| jobs.iter().find(|job| job.name == name).unwrap().figures(&choice, Path::new("run"));
    let files = |name: &str| -> Vec<_> { figures(name).into_iter().map(|figure| figure.file).collect() };
    let first = [".gif", "_forward.png", "_inverse.png"];
    for (name, prefix, more) in [
        ("nice-moons", "nice_moons", &["_density.png", "_curve.png"][..]),
        ("glow-moons", "glow_moons", &["_density.png", "_curve.png"]),
        ("realnvp-digits", "realnvp_digits", &["_samples.png", "_curve.png"]),
        ("realnvp-image-digits", "realnvp_image_digits", &["_samples.png", "_temperatures.png", "_curve.png"]),
        (
            "glow-digits",
            "glow_digits",
            &[
                "_samples.png",
                "_temperatures.png",
                "_classes.png",
                "_interpolation.png",
                "_interpolation.gif",
                "_levels.png",
                "_attribute.png",
                "_scores.png",
                "_confusion.png",
                "_curve.png",
            ],
        ),
    ] {
        let expected: Vec<_> = first.iter().chain(more).map(|ending| format!("{prefix}{ending}")).collect();
        assert_eq!(files(name), expected);
    }
    assert!(files("glow-moons-fixed-1000").is_empty(), "rows have no pictures");

    let line = |name: &str, ending: &str| {
        let figure = figures(name).into_iter().find(|figure| figure.file.ends_with(ending)).unwrap();
        command_line(figure.arguments)
    };
    for (name, ending, asked) in [
        ("nice-moons", "_forward.png", "trace run --direction forward"),
        ("nice-moons", "_density.png", "density run"),
        ("nice-digits", ".gif", "animate run --temperature 0.75"),
        ("nice-digits", "_samples.png", "sample run -n 225 --temperature 0.75"),
        ("realnvp-image-digits", "_temperatures.png", "sheet run temperature"),
        ("glow-digits", "_classes.png", "sheet run classes --temperature 0.75"),
        ("glow-digits", "_interpolation.gif", "interpolate run --pairs 8"),
        ("glow-digits", "_levels.png", "resample run"),
        ("glow-digits", "_scores.png", "score run --against upside-down"),
        ("glow-digits", "_confusion.png", "classify run"),
    ] {
        assert_eq!(line(name, ending), format!("{asked} --seed 7 --threads 2 --device cuda:1"));
    }
    let attribute = "attribute run --from-class 3 --to-class 8 --threads 2 --device cuda:1";
    assert_eq!(line("glow-digits", "_attribute.png"), attribute, "nothing in it is random");
    assert_eq!(line("nice-digits", "_curve.png"), "curve run", "nothing is published for digits");
    let moons = &figures("glow-moons")[4];
    assert!(moons.arguments[2].starts_with("--reference=-1.0896:"), "{moons:?}");
}
