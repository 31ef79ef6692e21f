//! The page that shows a gallery: table, pictures, protocol, machine, times. Text in, text out.

use std::fmt::Write;

use super::plan::{self, Data, Model, Purpose};
use super::references::{self, Kind, MOONS_FLOOR, Reference};
use super::stages::{Evaluation, Mean};
use super::summary::{Row, Summary};
use crate::text::{duration, grouped, size};

pub fn page(summary: &Summary) -> String {
    let parts = [
        opening(summary),
        table(summary),
        reading(summary),
        others(summary),
        pictures(summary),
        protocol(summary),
        machine(summary),
        times(summary),
    ];
    parts.concat()
}

fn opening(summary: &Summary) -> String {
    let mut page = format!(
        "# Results\n\nWritten by `{}` on {}, the pictures and the numbers that belong to them. For programs, \
         the same numbers are in [summary.json](summary.json).\n",
        summary.command, summary.date
    );
    if summary.quick {
        page += "\n> **A first look.** Every model was trained for some dozens or hundreds of steps only. None of these numbers is what \
                 the model can reach: for that, leave out `--quick`.\n";
    }
    if let Some(why) = &summary.no_mnist {
        let _ = writeln!(
            page,
            "\n> **Digits, not MNIST.** MNIST could not be had ({why}), so the image part ran on `digits`: 1,797 \
             handwritten digits of 8 x 8 pixels and 17 levels. Its numbers say nothing about MNIST."
        );
    }
    if !summary.failures.is_empty() {
        page += "\n> **Not complete.** These stages failed, and what they should have brought is missing:\n";
        for failure in &summary.failures {
            let first = failure.message.lines().next().unwrap_or_default();
            let _ = writeln!(page, "> - {}: {first}", failure.stage);
        }
    }
    page
}

fn table(summary: &Summary) -> String {
    let mut page = "\n## Likelihood on the test set\n\n\
        | model | data | preset | nats | bits/dim | above the floor, nats | published | the original's nets | \
        parameters | steps x batch (best) | training |\n\
        | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n"
        .to_owned();
    for row in &summary.rows {
        let _ = writeln!(page, "| {} |", cells(row).join(" | "));
    }
    page
}

fn cells(row: &Row) -> [String; 11] {
    let evaluation = &row.evaluation;
    let reached = evaluation.comparable();
    let other = |kind| references::find(row.model, row.data, kind).map_or("-".to_owned(), |it| numbers(&it));
    let published = match row.data {
        Data::Moons => format!("floor {}", -MOONS_FLOOR),
        _ => other(Kind::Published),
    };
    [
        row.model.title().to_owned(),
        row.data.title().to_owned(),
        match row.purpose {
            Purpose::Gallery if evaluation.given_class => format!("{}, class-conditional", evaluation.preset),
            Purpose::Gallery => evaluation.preset.clone(),
            Purpose::FixedPoints => {
                format!("{}, on {} fixed points", evaluation.preset, grouped(plan::FIXED_POINTS.into()))
            }
            Purpose::Seed => format!("{} (the original's)", evaluation.preset),
        },
        nats(reached.nats),
        reached.bits_per_dim.map_or("-".to_owned(), |bits| format!("{:.4} ± {:.4}", bits.mean, bits.se)),
        evaluation.floor.map_or("-".to_owned(), |floor| format!("{:.4} ± {:.4}", floor.gap, floor.gap_se)),
        published,
        other(Kind::Original),
        grouped(evaluation.parameters),
        steps(evaluation),
        duration(evaluation.train_seconds),
    ]
}

/// More digits than the error has would only pretend.
fn nats(nats: Mean) -> String {
    if nats.mean.abs() < 100.0 {
        format!("{:.4} ± {:.4}", nats.mean, nats.se)
    } else {
        format!("{:.2} ± {:.2}", nats.mean, nats.se)
    }
}

fn steps(evaluation: &Evaluation) -> String {
    let [steps, batch, best] = [evaluation.steps, evaluation.batch, evaluation.best_step].map(grouped);
    format!("{steps} x {batch} ({best})")
}

fn numbers(reference: &Reference) -> String {
    let nats = reference.nats.map(|nats| format!("{nats}"));
    let bits = reference.bits_per_dim.map(|bits| format!("{bits} bits/dim"));
    nats.into_iter().chain(bits).collect::<Vec<_>>().join(" = ")
}

fn reading(summary: &Summary) -> String {
    let mut page = format!(
        "\n- *nats*: the mean of ln p(x) over the test set, ± its standard error. Higher is better.\n\
         - *above the floor*: the mean over the same test points of ln p_true - ln p, so that the luck of the draw cancels. \
         The entropy of `moons` is {MOONS_FLOOR} nats, so no model reaches more than {} nats on average.\n",
        -MOONS_FLOOR
    );
    if summary.rows.iter().any(|row| row.data.is_image()) {
        let levels = if summary.images == Data::Mnist { 256 } else { 17 };
        let _ = writeln!(
            page,
            "- *bits/dim*: log2({levels}) - nats / (D ln 2), for D pixels of {levels} levels. Lower is better."
        );
    }
    for row in summary.rows.iter().filter(|row| row.evaluation.given_class) {
        page += &given_class(row);
    }
    page += "- *steps x batch (best)*: how long it was trained, and the step whose weights did best on the validation set \
             and are the ones tested.\n- *training*: wall time on the machine below, validation included.\n";
    page
}

/// What a class-conditional model's numbers are numbers of.
fn given_class(row: &Row) -> String {
    let evaluation = &row.evaluation;
    let name = format!("*{} on {}*", row.model.title(), row.data.title());
    let given = nats(evaluation.nats);
    if evaluation.marginal_nats.is_none() {
        return format!(
            "- {name} is told the class of each image, and its nats and bits/dim are those of p(x|c) for the true one: not to \
             be compared with the others'.\n"
        );
    }
    let accuracy = evaluation.accuracy.map_or(String::new(), |accuracy| {
        format!(
            " The class that makes it likeliest is the true one for {:.2} ± {:.2} % of the test images.",
            100.0 * accuracy.mean,
            100.0 * accuracy.se
        )
    });
    format!(
        "- {name} is trained on ln p(x|c), the class c known. Its nats and bits/dim above are those of p(x) = Σ p(x|c)/C, all \
         C classes alike probable, which no label helps, so that they compare with the others'. Told the true class it \
         reaches {given} nats.{accuracy}\n"
    )
}

fn others(summary: &Summary) -> String {
    let mut page = "\n## Beside them\n\n| model | data | reached | by |\n| --- | --- | --- | --- |\n".to_owned();
    for reference in &summary.references {
        let (model, data) = (reference.model.title(), reference.data.title());
        let _ = writeln!(page, "| {model} | {data} | {} | {} |", numbers(reference), reference.source);
    }
    page += "\nThe rows of the original's nets were measured once, by a script that is not kept here, on a machine of 2 cores, \
             with the likelihood as defined below on test data that training has not seen; the original itself reports none.";
    if summary.images == Data::Mnist {
        page += " Preprocessing decides much: NICE here, as in its paper, and the original's nets work on the unit cube with no \
                 logit; RealNVP and Glow of the other presets work on logits of α + (1 - 2α) x with α = 1e-3 (RealNVP in the \
                 MAF paper with α = 1e-6), the convolutional ones with a learned spline behind them. With the preset `cpu` these are small nets, trained for minutes.";
    } else {
        page += " No published numbers are known for `digits` under this protocol.";
    }
    page + "\n"
}

fn pictures(summary: &Summary) -> String {
    let mut page = "\n## Pictures\n".to_owned();
    for row in summary.rows.iter().filter(|row| !row.figures.is_empty()) {
        let _ = writeln!(page, "\n### {} on {}", row.model.title(), row.data.title());
        for file in &row.figures {
            let caption = caption(summary, row, file);
            let alt = format!("{} on {}: {}", row.model.title(), row.data.title(), kind(file));
            let _ = writeln!(page, "\n![{alt}]({file})\n\n*{caption}*");
        }
    }
    page
}

/// What kind of picture a file is, by its ending: the first that fits.
fn kind(file: &str) -> &'static str {
    let endings = [
        ("_interpolation.gif", "interpolation, as a film"),
        (".gif", "from latent to data"),
        ("_forward.png", "from data to latent"),
        ("_inverse.png", "from latent to data, panel by panel"),
        ("_samples.png", "samples"),
        ("_temperatures.png", "temperatures"),
        ("_classes.png", "samples by class"),
        ("_interpolation.png", "interpolation"),
        ("_levels.png", "what the levels hold"),
        ("_attribute.png", "a class as a direction"),
        ("_scores.png", "likelihoods of odd images"),
        ("_confusion.png", "classes by Bayes"),
        ("_density.png", "density"),
        ("_curve.png", "learning curve"),
    ];
    endings.iter().find(|(ending, _)| file.ends_with(ending)).map_or("picture", |(_, kind)| kind)
}

fn caption(summary: &Summary, row: &Row, file: &str) -> String {
    let image = row.data.is_image();
    let classes = row.evaluation.given_class;
    match kind(file) {
        "from latent to data" if image => format!(
            "Draws from the base times {} (the temperature; 1 is the model itself) on their way through the inverse, layer by \
             layer. Between two layers the picture only moves evenly from one to the other: those frames are no states of the \
             model. They are the first draws, not picked.",
            plan::TEMPERATURE
        ),
        "from latent to data" => {
            "Draws from the base on their way through the inverse, layer by layer; each point keeps the colour it was born \
             with. Between two layers the points only move evenly: those frames are no states of the model."
                .into()
        }
        "from data to latent" if image => format!(
            "Test images on their way to the latent: a row a digit, a column a layer, left to right. The grey scale is chosen \
             for the picture's sake and named in it.{}",
            if row.model.is_convolutional(row.data) {
                " All levels are shown on the plane of the image: a number stands where the pixels are that it was made of. \
                 Where there are more layers than fit, some are left out, evenly."
            } else {
                ""
            }
        ),
        "from data to latent" => "Test points on their way to the latent: one panel a layer, all axes alike.".into(),
        "from latent to data, panel by panel" if image => {
            "Draws from the base on their way to an image: a row a draw, a column a layer, left to right.".into()
        }
        "from latent to data, panel by panel" => {
            "Draws from the base on their way to the data: one panel a layer, all axes alike.".into()
        }
        "samples" => format!(
            "The first {} samples of seed {}{}, none picked, at temperature {}: more alike and cleaner than draws from the model \
             itself, whose temperature is 1.",
            plan::SHEET,
            summary.seed,
            if classes { ", a row a class and again from the first after the last" } else { "" },
            plan::TEMPERATURE
        ),
        "temperatures" => format!(
            "The same noise in every row, times the temperature of the row: a column is one draw{}. Temperature 1 is the model \
             itself; 0 is the image at the latent's origin, which need not look like any other.",
            if classes { ", of the class above it" } else { "" }
        ),
        "samples by class" => format!(
            "A row a class, the same noise in all of them: what differs within a column is the class alone. The first draws of \
             seed {}, none picked, at temperature {}.",
            summary.seed,
            plan::TEMPERATURE
        ),
        "interpolation" => {
            "The framed ends are test images, drawn at random; what is between them is made from points on the arc between \
             their latents (spherical, since draws of the base all lie about as far from the origin), the class mixed in the \
             same shares."
                .into()
        }
        "interpolation, as a film" => "The same pairs, all at once, forth and back.".into(),
        "what the levels hold" => {
            "Test images above. In the rows below, the latents of the coarsest levels are kept and those of the finer ones drawn \
             anew at temperature 1, the same draw in every row: what survives is what the kept levels hold. The last row \
             keeps none, only the class."
                .into()
        }
        "a class as a direction" => format!(
            "Test images of a {from} (framed), moved in the latent along the mean latent of the {to}s less that of the {from}s, \
             both of training images. The model goes on being told that it is a {from}: what changes is what the latent holds \
             of a class beside what the model is told.",
            from = plan::FROM_TO[0],
            to = plan::FROM_TO[1]
        ),
        "likelihoods of odd images" => {
            "Log-likelihoods ln p(x) of the test images and of the same turned by half a turn. The AUROC in the title is how \
             often one of the former gets the higher one; 0.5 is chance. Flows may give odd images more than their own kind, so \
             likelihood by itself is no detector of what does not belong."
                .into()
        }
        "classes by Bayes" => {
            "Test images by their true class (row) and by the class that makes them likeliest (column), all classes alike \
             probable beforehand. The model was trained for likelihood, not to tell classes apart."
                .into()
        }
        "density" => "The model's density beside the true one.".into(),
        "learning curve" => learning_curve(row),
        _ => String::new(),
    }
}

fn learning_curve(row: &Row) -> String {
    let best = grouped(row.evaluation.best_step);
    let line = match (row.data, row.model) {
        (Data::Moons, _) => format!(" The line is the floor, {} nats.", -MOONS_FLOOR),
        (Data::Mnist, Model::Nice) => " The line is the NICE paper's test result.".to_owned(),
        (Data::Mnist, Model::RealNvp) => " The line is the test result of RealNVP(5) in the MAF paper.".to_owned(),
        (Data::Mnist, Model::RealNvpImage | Model::Glow) => {
            let model = if row.model == Model::Glow { "Glow" } else { "multi-scale RealNVP" };
            format!(" The line is the test result of {model} as reported by FFJORD.")
        }
        (Data::Digits, _) => String::new(),
    };
    let given = if row.evaluation.given_class { ", given the true class (the table has p(x))" } else { "" };
    format!(
        "Training and validation likelihood against steps{given}. The tested weights are those of step {best}.{line}"
    )
}

fn protocol(summary: &Summary) -> String {
    let mut page = "\n## Protocol\n\n\
        - A likelihood is that of the data as they are, with all constants: preprocessing (logit, scaling) is part of the \
        model and of its log-determinant.\n\
        - The weights tested are chosen on the validation set. The test set is used after that alone, and nothing is \
        chosen on it.\n"
        .to_owned();
    let mut seen = Vec::new();
    for row in summary.rows.iter().filter(|row| row.purpose == Purpose::Gallery) {
        let evaluation = &row.evaluation;
        let draws = match (row.data.is_image(), evaluation.draws) {
            (false, _) => String::new(),
            (true, 1) => ", 1 dequantization draw each".to_owned(),
            (true, draws) if evaluation.marginal_nats.is_some() => {
                format!(", 1 dequantization draw each for p(x), {draws} for p(x|c), averaged")
            }
            (true, draws) => format!(", {draws} dequantization draws each, averaged"),
        };
        let unit = match evaluation.unit.as_str() {
            "unit cube" => "on the unit cube, x = (k + u)/L for level k of L and u uniform in [0, 1)".to_owned(),
            "as read" => "in the unit of the data as they are".to_owned(),
            other => other.to_owned(),
        };
        let line = format!("{} test points{draws}; {unit}.", grouped(evaluation.count));
        // The first line on some data holds for all models but those that have one of their own.
        let data = row.data.title();
        if seen.contains(&(data, line.clone())) {
            continue;
        }
        let exception = seen.iter().any(|(of, _)| *of == data);
        let whose = if exception { format!(", {}", row.model.title()) } else { String::new() };
        let _ = writeln!(page, "- {data}{whose}: {line}");
        seen.push((data, line));
    }
    page += "- `moons` is the crescent x2 ~ N(0, 4²), x1 ~ N(x2²/4, 1), standardised by its exact moments; training draws \
             fresh points at every step unless the row says otherwise.\n";
    let _ = writeln!(page, "- Everything random is drawn from seed {}.", summary.seed);
    page
}

fn machine(summary: &Summary) -> String {
    let machine = &summary.machine;
    let versions = &machine.versions;
    let mut page = format!(
        "\n## Machine\n\n| | |\n| --- | --- |\n| CPU | {} |\n| threads | {} |\n| device | {} |\n| system | {} |\n\
         | versions | flow {}, tch {}, rustc {} |\n",
        machine.cpu, machine.threads, machine.device, machine.os, versions.flow, versions.tch, versions.rustc
    );
    let others: Vec<&str> = summary.rows.iter().filter(|row| row.another_build).map(|row| row.name.as_str()).collect();
    if !others.is_empty() {
        let _ = writeln!(
            page,
            "\nTrained by another build of flow, wholly or in part, and evaluated and drawn by this one: {}.",
            others.join(", ")
        );
    }
    page
}

fn times(summary: &Summary) -> String {
    let mut page = format!(
        "\n## Times\n\nAll stages together: {}. The start that wrote this page took {}, build included{}. The pictures and \
         numbers weigh {}.\n\n| model | training | evaluation | pictures |\n| --- | --- | --- | --- |\n",
        duration(summary.stage_seconds),
        duration(summary.wall_seconds),
        if summary.stages.iter().all(|stage| stage.now) { "" } else { "; stages marked * were done in an earlier one" },
        size(summary.folder_bytes)
    );
    let mut jobs: Vec<&str> = summary.stages.iter().map(|stage| stage.job.as_str()).collect();
    jobs.dedup();
    for job in jobs {
        let cell = |wanted: fn(&str) -> bool| {
            let stages = summary.stages.iter().filter(|stage| stage.job == job && wanted(&stage.stage));
            let (mut seconds, mut earlier, mut any) = (0.0, false, false);
            for stage in stages {
                (seconds, earlier, any) = (seconds + stage.seconds, earlier || !stage.now, true);
            }
            if any { format!("{}{}", duration(seconds), if earlier { " *" } else { "" }) } else { "-".to_owned() }
        };
        let training = cell(|stage| stage == "train");
        let evaluation = cell(|stage| stage == "eval");
        let pictures = cell(|stage| stage != "train" && stage != "eval");
        let _ = writeln!(page, "| {job} | {training} | {evaluation} | {pictures} |");
    }
    page
}

#[cfg(test)]
#[path = "markdown_tests.rs"]
pub mod tests;
