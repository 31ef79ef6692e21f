//! `benchmarks.md`: the report as a page.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::plan::{Device, Measure, NEARLY, SETTLED, TOLERANCE, TRAINED_SECONDS, WATCHED_SECONDS};
use super::report::{Aspect, Check, Configuration, Entry, Limit, Machine, Report};
use super::statistics::Summary;
use crate::text;

pub fn page(report: &Report) -> String {
    let mut page = format!(
        "# Benchmarks\n\nMade by `{}` on {} in {}.\n\n{}\n",
        report.command,
        report.date,
        text::duration(report.seconds),
        machine(&report.machine)
    );
    section(&mut page, "Against the fastest peer", &ratios(report));
    for configuration in &report.configurations {
        section(&mut page, &configuration.title, &self::configuration(configuration));
    }
    section(&mut page, "How it was measured", &how(report));
    if !report.left_out.is_empty() {
        section(&mut page, "Left out", &left_out(report));
    }
    let versions = report.versions.iter().map(|(name, version)| format!("- {name} {version}\n"));
    section(&mut page, "Versions", &versions.collect::<String>());
    page
}

fn section(page: &mut String, title: &str, text: &str) {
    let _ = write!(page, "\n## {title}\n\n{text}");
}

fn row(cells: &[String]) -> String {
    format!("| {} |\n", cells.join(" | "))
}

fn table(head: &[String], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let rule = vec!["---".to_owned(); head.len()];
    let body = rows.into_iter().map(|cells| row(&cells));
    row(head) + &row(&rule) + &body.collect::<String>()
}

fn machine(machine: &Machine) -> String {
    let Machine { device, card, cpu, cores, threads, os, instructions, flops, how, bf16_flops, copy } = machine;
    let bf16 = bf16_flops.map_or_else(String::new, |flops| format!(" {:.0} in bf16,", flops / 1e9));
    let rates = format!(
        "Measured at most: {:.0} GFLOP/s in f32 ({how}),{bf16} {:.1} GB/s copied (read and written).",
        flops / 1e9,
        copy / 1e9
    );
    if *device == Device::Cuda {
        let card = card.as_ref().map(|card| format!("{}, driver {}", card.name, card.driver));
        let card = card.unwrap_or_else(|| "An NVIDIA GPU".into());
        return format!("{card}, on every side; {cpu}, {cores} cores, {threads} threads, {os}. {rates}");
    }
    let bf16 = ["avx512_bf16", "amx_bf16"].map(|name| match instructions.iter().any(|it| it == name) {
        true => format!("with {name}"),
        false => format!("without {name}"),
    });
    format!("{cpu}, {cores} cores, {threads} threads on every side, {}, {os}. {rates}", bf16.join(", "))
}

/// The table that says who is ahead, and by how much.
pub fn ratios(report: &Report) -> String {
    let mut head = vec![String::new()];
    head.extend(report.configurations.iter().map(|configuration| configuration.name.clone()));
    let mut ours: Vec<&str> = Vec::new();
    for ratio in &report.ratios {
        if !ours.contains(&ratio.ours.as_str()) {
            ours.push(&ratio.ours);
        }
    }
    let mut rows = Vec::new();
    for ours in ours {
        for aspect in Aspect::all() {
            let found = |configuration: &Configuration| {
                let mut all = report.ratios.iter().filter(|it| it.configuration == configuration.name);
                all.find(|it| it.ours == ours && it.aspect == aspect)
            };
            let cells: Vec<String> = report
                .configurations
                .iter()
                .map(|configuration| match found(configuration) {
                    Some(ratio) => format!("{:.2} ({})", ratio.ratio, ratio.peer),
                    None => String::new(),
                })
                .collect();
            if cells.iter().any(|cell| !cell.is_empty()) {
                rows.push([vec![format!("{ours}: {}", aspect.title())], cells].concat());
            }
        }
    }
    let text = "How many times as long the fastest peer takes, or as much memory as the least hungry one needs: above 1 this \
                project is ahead. That peer in brackets, of those that compute the same or, where weights cannot be given, \
                have as many parameters.\n\n";
    text.to_owned() + &table(&head, rows)
}

fn configuration(configuration: &Configuration) -> String {
    let mut head = vec![String::new(), "parameters".into()];
    head.extend(Measure::ALL.map(|measure| match measure {
        Measure::Step => format!("{} of {}, ms", measure.title(), text::grouped(configuration.batch.into())),
        _ => format!("{}, ms", measure.title()),
    }));
    head.push("peak memory of training, MB".into());
    head.extend(was_watched(configuration).then(|| "GPU busy in training, %".to_owned()));
    head.extend(was_started_cold(configuration).then(|| "cold start, s".to_owned()));
    head.push("computes the same".into());
    let rows = configuration.entries.iter().map(|entry| entry_row(configuration, entry));
    let mut text = "Median (first and third quartile).\n\n".to_owned() + &table(&head, rows);
    let Some(ours) = configuration.reference() else { return text };
    let of_bf16 = |entry: &&Entry| entry.ours && entry.name.ends_with("bf16");
    let bf16 = configuration.entries.iter().find(of_bf16).filter(|_| !configuration.limits_bf16.is_empty());
    // What the machine multiplies of another precision is not measured.
    let known = |entry: &Entry| entry.name == ours.name || bf16.is_some_and(|bf16| entry.name == bf16.name);
    let others = configuration.entries.iter().filter(|entry| entry.ours && !known(entry));
    let none: String = others.map(|entry| format!(" For {} no limit is known.", entry.name)).collect();
    text += &format!(
        "\nThe least that this project's f32 could take on this machine, the larger of the two times, and the share of \
         it that is reached.{none}\n\n"
    );
    text += &limits(&configuration.limits, ours);
    if let Some(bf16) = bf16 {
        text += &format!("\nThe same of {}.\n\n{}", bf16.name, limits(&configuration.limits_bf16, bf16));
    }
    text
}

/// Whether a GPU said how busy it was.
fn was_watched(configuration: &Configuration) -> bool {
    configuration.entries.iter().any(|entry| entry.busy.is_some())
}

fn was_started_cold(configuration: &Configuration) -> bool {
    configuration.entries.iter().any(|entry| entry.cold_start.is_some())
}

fn entry_row(configuration: &Configuration, entry: &Entry) -> Vec<String> {
    let name = if entry.ours { format!("**{}**", entry.name) } else { entry.name.clone() };
    let mut cells = vec![name, text::grouped(entry.parameters)];
    cells.extend(Measure::ALL.map(|measure| entry.times.get(&measure).map_or_else(String::new, spread)));
    cells.push(entry.peak_bytes.map_or_else(String::new, |bytes| format!("{:.0}", bytes as f64 / 1e6)));
    let busy = || entry.busy.map_or_else(String::new, |percent| format!("{percent:.0}"));
    cells.extend(was_watched(configuration).then(busy));
    let cold = || entry.cold_start.as_ref().map_or_else(String::new, spread);
    cells.extend(was_started_cold(configuration).then(cold));
    let same = configuration.is_same(entry);
    cells.push(match &entry.check {
        Check::Reference => String::new(),
        _ if entry.ours => "the same program".into(),
        Check::SameWeights(difference) if same => format!("yes: the same weights, {difference:.0e} nats/dim apart"),
        Check::SameWeights(difference) => format!("**NO**: {difference:.1e} nats/dim apart with the same weights"),
        Check::NotGiven(why) if same => format!("as many parameters; {why}"),
        Check::NotGiven(why) => format!("no, not counted: {why}"),
    });
    cells
}

fn spread(summary: &Summary) -> String {
    let [first, third] = summary.quartiles.map(number);
    format!("{} ({first} – {third})", number(summary.median))
}

/// Three digits that count.
fn number(value: f64) -> String {
    match value.abs() {
        100.0.. => format!("{value:.0}"),
        10.0.. => format!("{value:.1}"),
        1.0.. => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

fn limits(limits: &BTreeMap<Measure, Limit>, ours: &Entry) -> String {
    let head =
        ["", "operations, G", "at the peak, ms", "bytes, MB", "at the bandwidth, ms", "measured, ms", "of the limit"];
    let rows = limits.iter().filter_map(|(measure, limit)| {
        let measured = ours.times.get(measure)?.median;
        Some(vec![
            measure.title().to_owned(),
            number(limit.operations / 1e9),
            number(limit.operations_ms),
            number(limit.bytes / 1e6),
            number(limit.bytes_ms),
            number(measured),
            format!("{:.0} %", 100.0 * limit.ms() / measured),
        ])
    });
    table(&head.map(str::to_owned), rows)
}

fn how(report: &Report) -> String {
    let effort = &report.effort;
    let words = match report.machine.device {
        Device::Cpu => ON_A_CPU,
        Device::Cuda => ON_A_GPU,
    };
    let mut page = format!(
        "- One process for each side, all alive at once; one computes while the others wait. {rounds} rounds, {image_rounds} for image models; in each everybody \
         in turn trains for about {step} s, then everybody computes each other measure for about {other} s, the first call of a turn not \
         counted. Before that everybody was warmed up.\n\
         - Data are made up, of the shape of the real ones, and the same kind on every side: 1,000 points; 10,000 images of 784 \
         levels, gathered and dequantized anew at every step.\n\
         - A training step is forward pass, mean negative log-likelihood, backward pass and Adam. Peers on PyTorch have fused \
         Adam and inference mode; `torch` is plain PyTorch, `torch.compile` the same compiled{peers}\n\
         - A peer computes the same if, given the weights of this project's model, its log-densities of 16 rows differ by at most \
         {TOLERANCE:.0e} nats per dimension. Where it cannot take them, the number of parameters counts, to {nearly} %.\n\
         - Peak memory is {memory} after {TRAINED_SECONDS} s of training, before anything else. A cold start \
         is the time from the start of a process to 16 samples from a saved model; {starts} of each, by turns.\n\
         - The limits: matrix products and convolutions are 2 m k n operations each, a step has three of each but for the gradient \
         of the data; a step reads and writes each parameter and its two moments once, at the speed of a large copy; a pass reads \
         each parameter once, at the speed of {reading}. Weights that stay in a cache from step to step \
         can beat the second.\n",
        rounds = effort.rounds,
        image_rounds = effort.image_rounds,
        step = effort.step_seconds,
        other = effort.other_seconds,
        starts = effort.starts,
        nearly = NEARLY * 100.0,
        peers = words.peers,
        memory = words.memory,
        reading = words.reading,
    );
    if report.machine.device == Device::Cuda {
        let _ = write!(
            page,
            "- Everything lies on the GPU, on every side, data included; a call is timed until the GPU has done all of it. \
             f32 is f32 on every side, in convolutions, too (libtorch's default there is TF32). Peers have cuDNN choose by trial what \
             is fastest; this project has kernels of its own, and libtorch's where it has not, of which the same bits come each time.\n\
             - How busy the GPU is, is the part of the time in which it computed anything, as nvidia-smi tells, in a turn of \
             {WATCHED_SECONDS} s of training after the others, from {settled} s on.\n",
            settled = SETTLED.as_secs(),
        );
    }
    if report.machine.bf16_flops.is_some() {
        page += "- By AMX a product of f32 is six of bf16, of which each factor is three numbers, and as exact. So are this project's dense \
                 layers computed; its convolutions in f32 are not, and cannot come near that limit.\n";
    }
    if report.machine.device == Device::Cpu {
        page += "- One row goes through a frozen model of this project, whose dense layers hold their weights once more, packed without loss \
                 (7/8 of the bytes of f32, 3/4 of those of bf16), which the limit is of; fewer bytes may be read faster.\n";
    }
    let mut entries = report.configurations.iter().flat_map(|configuration| &configuration.entries);
    if report.machine.device == Device::Cpu && entries.any(|entry| entry.ours && entry.name.ends_with("bf16")) {
        page += "- In bf16 both factors of the nets' products are rounded to it; a processor that does not multiply bf16 multiplies them \
                 as f32. One row, and there all rows, go through a model whose dense layers hold their weights in bf16 and compute in \
                 f32; of an image model, which has no such layers, that is f32.\n";
    }
    page
}

/// What is said of one device alone.
struct Words {
    peers: &'static str,
    memory: &'static str,
    reading: &'static str,
}

const ON_A_CPU: Words = Words {
    peers: ". TensorFlow has XLA for what a trial at the start finds faster by it; the versions below name it.",
    memory: "the largest resident set of the process",
    reading: "reading as many bytes again and again",
};

const ON_A_GPU: Words = Words {
    peers: " with CUDA graphs (reduce-overhead), `torch.graph` plain PyTorch whose whole step, and each other measure, is one \
            CUDA graph.",
    memory: "the GPU's memory that the process has by nvidia-smi, CUDA's context and what the allocator keeps included,",
    reading: "the same copy",
};

fn left_out(report: &Report) -> String {
    let line = |it: &super::report::LeftOut| match &it.configuration {
        Some(configuration) => format!("- {}, {configuration}: {}\n", it.name, it.why),
        None => format!("- {}: {}\n", it.name, it.why),
    };
    report.left_out.iter().map(line).collect()
}
