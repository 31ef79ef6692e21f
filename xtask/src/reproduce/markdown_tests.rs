//! The page from given numbers, checked as text.

use super::*;
use crate::reproduce::machine::{Machine, Versions};
use crate::reproduce::stages::{Failure, StageTime};

const NICE_MOONS: &str = r#"{"model":"nice","data":"moons","preset":"default","parameters":25612,"steps":4000,
    "best_step":3900,"batch":1000,"train_seconds":31.24,"split":"test","count":20000,"draws":1,"unit":"as read",
    "nats":{"mean":-1.09312,"se":0.0071},"bits_per_dim":null,"floor":{"nats":1.0896,"gap":0.00412,"gap_se":0.00061}}"#;
const REALNVP_MNIST: &str = r#"{"model":"realnvp","data":"mnist","preset":"default","parameters":8270160,"steps":10000,
    "best_step":9750,"batch":128,"train_seconds":571.0,"split":"test","count":10000,"draws":10,"unit":"unit cube",
    "nats":{"mean":3380.127,"se":1.504},"bits_per_dim":{"mean":1.78012,"se":0.0028},"floor":null,"more":"to come"}"#;
const GLOW_MNIST: &str = r#"{"model":"glow","data":"mnist","preset":"cpu","parameters":271000,"steps":6000,
    "best_step":5500,"batch":64,"train_seconds":602.0,"split":"test","count":10000,"draws":3,"unit":"unit cube",
    "nats":{"mean":3699.514,"se":1.702},"bits_per_dim":{"mean":1.19237,"se":0.0031},"floor":null,"given_class":true,
    "marginal_nats":{"mean":3697.211,"se":1.711},"marginal_bits_per_dim":{"mean":1.19661,"se":0.0032},
    "accuracy":{"mean":0.9731,"se":0.0016}}"#;

fn row(model: Model, data: Data, purpose: Purpose, evaluation: &str, figures: &[&str]) -> Row {
    Row {
        name: format!("{}-{}", model.name(), data.name()),
        model,
        data,
        purpose,
        another_build: false,
        evaluation: serde_json::from_str(evaluation).unwrap(),
        figures: figures.iter().map(|figure| figure.to_string()).collect(),
    }
}

const GLOW_FIGURES: [&str; 10] = [
    "glow_mnist.gif",
    "glow_mnist_samples.png",
    "glow_mnist_temperatures.png",
    "glow_mnist_classes.png",
    "glow_mnist_interpolation.png",
    "glow_mnist_interpolation.gif",
    "glow_mnist_levels.png",
    "glow_mnist_attribute.png",
    "glow_mnist_scores.png",
    "glow_mnist_confusion.png",
];

/// Numbers as they might come out.
pub fn summary(images: Data) -> Summary {
    let stage = |job: &str, stage: &str, seconds, now| StageTime { job: job.into(), stage: stage.into(), seconds, now };
    Summary {
        format: 1,
        date: "2026-11-23".into(),
        command: "cargo xtask reproduce".into(),
        quick: false,
        seed: 0,
        images,
        no_mnist: None,
        machine: Machine {
            cpu: "Some CPU".into(),
            threads: 2,
            os: "Some Linux, linux x86_64".into(),
            device: "cpu".into(),
            versions: Versions { flow: "0.1.0 (abc1234)".into(), tch: "0.24.0".into(), rustc: "1.95.0".into() },
        },
        rows: vec![
            row(
                Model::Nice,
                Data::Moons,
                Purpose::Gallery,
                NICE_MOONS,
                &["nice_moons.gif", "nice_moons_density.png", "nice_moons_curve.png"],
            ),
            row(
                Model::RealNvp,
                images,
                Purpose::Gallery,
                REALNVP_MNIST,
                &["realnvp_mnist.gif", "realnvp_mnist_samples.png"],
            ),
            row(Model::Nice, Data::Moons, Purpose::FixedPoints, NICE_MOONS, &[]),
            row(Model::Glow, images, Purpose::Gallery, GLOW_MNIST, &GLOW_FIGURES),
        ],
        references: references::all(images),
        stages: vec![
            stage("nice-moons", "train", 31.5, false),
            stage("nice-moons", "eval", 1.25, true),
            stage("nice-moons", "nice_moons.gif", 4.0, true),
            stage("nice-moons", "nice_moons_density.png", 2.0, true),
            stage("realnvp-mnist", "train", 571.0, true),
        ],
        stage_seconds: 609.75,
        wall_seconds: 700.2,
        folder_bytes: 8_345_678,
        failures: Vec::new(),
    }
}

#[track_caller]
fn has(page: &str, wanted: &[&str]) {
    for wanted in wanted {
        assert!(page.contains(wanted), "no `{wanted}` in\n{page}");
    }
}

#[test]
fn the_table_gives_our_numbers_with_their_errors_and_the_others_beside() {
    let page = page(&summary(Data::Mnist));
    has(
        &page,
        &[
            "| NICE | moons | default | -1.0931 ± 0.0071 | - | 0.0041 ± 0.0006 | floor -1.0896 | -1.186 | 25,612 | 4,000 x 1,000 (3,900) | 31.2 s |\n",
            "| RealNVP | MNIST | default | 3380.13 ± 1.50 | 1.7801 ± 0.0028 | - | 1.93 bits/dim | 1006 = 6.149 bits/dim | 8,270,160 | 10,000 x 128 (9,750) | 9 min 31 s |\n",
            "| NICE | moons | default, on 1,000 fixed points | ",
            "| NICE | MNIST | 1980.5 = 4.356 bits/dim | the NICE paper",
            "| RealNVP, multi-scale | MNIST | 1.06 bits/dim | multi-scale RealNVP, convolutional, as reported by FFJORD |",
            "| Glow | MNIST | 1.05 bits/dim | Glow, as reported by FFJORD |",
            "log2(256)",
        ],
    );
    assert!(!page.contains("first look") && !page.contains("Not complete") && !page.contains("Digits"));
}

#[test]
fn a_class_conditional_model_is_compared_by_the_likelihood_that_no_label_helps() {
    let mut summary = summary(Data::Mnist);
    has(
        &page(&summary),
        &[
            "| Glow | MNIST | cpu, class-conditional | 3697.21 ± 1.71 | 1.1966 ± 0.0032 | - | 1.05 bits/dim | - | 271,000 |",
            "- *Glow on MNIST* is trained on ln p(x|c)",
            "Told the true class it reaches 3699.51 ± 1.70 nats. The class that makes it likeliest is the true one for 97.31 ± 0.16 % of",
            "- MNIST: 10,000 test points, 10 dequantization draws each, averaged;",
            "- MNIST, Glow: 10,000 test points, 1 dequantization draw each for p(x), 3 for p(x|c), averaged;",
        ],
    );

    let glow = &mut summary.rows.last_mut().unwrap().evaluation;
    (glow.marginal_nats, glow.marginal_bits_per_dim, glow.accuracy) = (None, None, None);
    let page = page(&summary);
    has(
        &page,
        &["| cpu, class-conditional | 3699.51 ± 1.70 | 1.1924 ± 0.0031 |", "not to be compared with the others'"],
    );
    assert!(!page.contains("likeliest is the true one"));
}

#[test]
fn every_kind_of_picture_has_a_caption_of_its_own() {
    let summary = summary(Data::Mnist);
    let glow = summary.rows.last().unwrap();
    let captions: Vec<_> = GLOW_FIGURES.iter().map(|file| caption(&summary, glow, file)).collect();
    for (i, caption) in captions.iter().enumerate() {
        assert!(!caption.is_empty() && !captions[..i].contains(caption), "{}: {caption}", GLOW_FIGURES[i]);
    }
    has(
        &page(&summary),
        &[
            "![Glow on MNIST: from latent to data](glow_mnist.gif)\n\n*Draws from the base",
            "![Glow on MNIST: interpolation, as a film](glow_mnist_interpolation.gif)\n\n*The same pairs",
            "samples of seed 0, a row a class and again from the first after the last, none picked",
            "Test images of a 3 (framed)",
        ],
    );
}

#[test]
fn every_picture_stands_below_the_table_with_its_caption() {
    let page = page(&summary(Data::Mnist));
    has(
        &page,
        &[
            "### NICE on moons\n\n![NICE on moons: from latent to data](nice_moons.gif)\n\n*Draws from the base",
            "(nice_moons_density.png)\n\n*The model's density beside the true one.*",
            "The tested weights are those of step 3,900. The line is the floor, -1.0896 nats.",
            "(realnvp_mnist_samples.png)\n\n*The first 225 samples of seed 0, none picked, at temperature 0.75",
        ],
    );
    let place = |text: &str| page.find(text).unwrap();
    assert!(place("## Likelihood") < place("## Pictures") && place("## Pictures") < place("## Protocol"));
}

#[test]
fn protocol_machine_and_times_are_told() {
    let page = page(&summary(Data::Mnist));
    has(
        &page,
        &[
            "- moons: 20,000 test points; in the unit of the data as they are.",
            "- MNIST: 10,000 test points, 10 dequantization draws each, averaged; on the unit cube",
            "chosen on the validation set",
            "| CPU | Some CPU |",
            "| versions | flow 0.1.0 (abc1234), tch 0.24.0, rustc 1.95.0 |",
            "All stages together: 10 min 10 s. The start that wrote this page took 11 min 40 s",
            "weigh 8.3 MB",
            "| nice-moons | 31.5 s * | 1.2 s | 6.0 s |",
            "| realnvp-mnist | 9 min 31 s | - | - |",
        ],
    );
}

#[test]
fn models_of_another_build_are_named() {
    let mut summary = summary(Data::Mnist);
    assert!(!page(&summary).contains("another build"));
    for row in &mut summary.rows[..2] {
        row.another_build = true;
    }
    has(&page(&summary), &["evaluated and drawn by this one: nice-moons, realnvp-mnist.\n\n## Times"]);
}

#[test]
fn what_is_not_the_real_thing_says_so_at_the_top() {
    let mut summary = summary(Data::Digits);
    summary.quick = true;
    summary.no_mnist = Some("no mirror gave x.gz".into());
    summary.failures.push(Failure { stage: "nice-digits train".into(), message: "it broke\nbadly".into() });
    let page = page(&summary);
    let (top, rest) = page.split_once("## Likelihood").unwrap();
    has(top, &["**A first look.**", "**Digits, not MNIST.** MNIST could not be had (no mirror gave x.gz)"]);
    has(top, &["**Not complete.**", "> - nice-digits train: it broke\n"]);
    has(rest, &["| RealNVP | digits |", "No published numbers are known for `digits`", "log2(17)"]);
    assert!(!rest.contains("1980.5") && !rest.contains("FFJORD"), "MNIST's numbers say nothing about digits");
}
