//! The page of a small report, word for word.

use std::collections::BTreeMap;

use super::card::Card;
use super::markdown::page;
use super::plan::{Device, Measure, QUICK};
use super::report::{Check, Configuration, Entry, LeftOut, Limit, Machine, Report};
use super::statistics::Summary;

fn entry(name: &str, step: f64, check: Check, cold: Option<f64>) -> Entry {
    let summary = |median: f64| Summary { median, quartiles: [0.9 * median, 1.2 * median], count: 9 };
    Entry {
        name: name.into(),
        ours: name == "flow" || name.starts_with("flow,"),
        parameters: 1_320_967,
        check,
        times: BTreeMap::from([(Measure::Step, summary(step)), (Measure::LogProbOne, summary(step / 100.0))]),
        peak_bytes: Some(640_000_000),
        busy: None,
        cold_start: cold.map(summary),
    }
}

fn report() -> Report {
    let mut smaller = entry("flowjax", 10.0, Check::NotGiven("it has no tanh".into()), None);
    smaller.parameters = 1_000_000;
    let mut nearly = entry("tensorflow", 70.0, Check::NotGiven("its layers are its own".into()), None);
    nearly.parameters -= 2;
    let configuration = Configuration {
        name: "nice-moons".into(),
        title: "NICE, moons".into(),
        batch: 1000,
        entries: vec![
            entry("flow", 40.0, Check::Reference, Some(0.75)),
            entry("flow, bf16", 25.0, Check::NotGiven("the same program".into()), None),
            entry("torch", 60.0, Check::SameWeights(2e-7), Some(1.5)),
            entry("nflows", 50.0, Check::SameWeights(0.25), Some(2.5)),
            smaller,
            nearly,
        ],
        limits: BTreeMap::from([(
            Measure::Step,
            Limit { operations: 4.5e9, operations_ms: 20.0, bytes: 31.7e6, bytes_ms: 1.3 },
        )]),
        limits_bf16: BTreeMap::new(),
    };
    Report {
        format: 1,
        date: "2026-11-25".into(),
        command: "cargo xtask compare --quick --threads 2".into(),
        machine: Machine {
            device: Device::Cpu,
            card: None,
            cpu: "Some CPU".into(),
            cores: 4,
            threads: 2,
            os: "linux x86_64".into(),
            instructions: vec!["avx512f".into(), "avx512_bf16".into()],
            flops: 222e9,
            how: "AVX-512 FMA".into(),
            bf16_flops: None,
            copy: 24.04e9,
        },
        effort: QUICK,
        versions: BTreeMap::from([("torch".into(), "2.11.0".into()), ("flow".into(), "0.1.0 (abc)".into())]),
        ratios: configuration.ratios(),
        configurations: vec![configuration],
        left_out: vec![
            LeftOut { name: "zuko".into(), configuration: None, why: "zuko==1.6.0 could not be installed".into() },
            LeftOut { name: "nflows".into(), configuration: Some("glow-mnist".into()), why: "died".into() },
        ],
        seconds: 61.0,
    }
}

#[test]
fn the_page_is_as_it_should_be() {
    let expected = include_str!("golden.md");
    let page = page(&report());
    for (ours, theirs) in page.lines().zip(expected.lines()) {
        assert_eq!(ours, theirs);
    }
    assert_eq!(page.len(), expected.len(), "{page}");
}

#[test]
fn the_page_of_a_gpu_names_it_and_says_how_busy_it_was() {
    let mut report = report();
    report.machine.device = Device::Cuda;
    let nameless = page(&report);
    assert!(nameless.contains("\n\nAn NVIDIA GPU, on every side; Some CPU, 4 cores, 2 threads, linux"), "{nameless}");
    assert!(!nameless.contains("GPU busy in training"), "{nameless}");

    report.machine.card = Some(Card { name: "Some GPU".into(), driver: "580.1".into() });
    let entries = &mut report.configurations[0].entries;
    entries[0].busy = Some(87.4);
    entries[2].peak_bytes = None;
    let page = page(&report);
    for expected in [
        "Some GPU, driver 580.1, on every side; Some CPU, 4 cores, 2 threads, linux x86_64. Measured at most: 222 GFLOP/s",
        "| peak memory of training, MB | GPU busy in training, % | cold start, s |",
        "| 640 | 87 | 0.750 (0.675 – 0.900) |",
        "|  |  | 1.50 (1.35 – 1.80) | yes: the same weights",
        "`torch.graph` plain PyTorch whose whole step",
        "CUDA's context and what the allocator keeps included, after 0.5 s of training",
        "f32 is f32 on every side",
    ] {
        assert!(page.contains(expected), "no {expected:?} in {page}");
    }
    assert!(!page.contains("TensorFlow has XLA"), "{page}");
}

#[test]
fn the_page_says_what_bf16_could_do_where_that_was_measured() {
    let mut report = report();
    report.machine.bf16_flops = Some(2220e9);
    let limit = Limit { operations: 4.5e9, operations_ms: 2.0, bytes: 31.7e6, bytes_ms: 1.3 };
    report.configurations[0].limits_bf16 = BTreeMap::from([(Measure::Step, limit)]);
    let page = page(&report);
    for expected in [
        "222 GFLOP/s in f32 (AVX-512 FMA), 2220 in bf16, 24.0 GB/s copied",
        "share of it that is reached.\n\n",
        "The same of flow, bf16.\n\n|  | operations, G |",
        "- By AMX a product of f32 is six of bf16",
        "| training step | 4.50 | 2.00 | 31.7 | 1.30 | 25.0 | 8 % |",
    ] {
        assert!(page.contains(expected), "no {expected:?} in {page}");
    }
    assert!(!page.contains("no limit is known"), "{page}");
}

#[test]
fn ratios_count_only_who_computes_the_same() {
    let ratios = report().ratios;
    let of = |ours: &str| {
        let own = ratios.iter().filter(|it| it.ours == ours);
        own.map(|it| format!("{} {:.3}", it.peer, it.ratio)).collect::<Vec<_>>()
    };
    // nflows is quicker, but a quarter of a nat off; flowjax is quicker still, with fewer parameters.
    assert_eq!(of("flow"), ["torch 1.500", "torch 1.500", "torch 1.000", "torch 2.000"]);
    // Another precision was not started cold.
    assert_eq!(of("flow, bf16"), ["torch 2.400", "torch 2.400", "torch 1.000"]);
}
