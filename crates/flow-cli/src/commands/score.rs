//! `flow score`: log-likelihoods image by image, and how well they tell other images from the model's own kind.

use std::f64::consts::LN_2;
use std::path::Path;

use anyhow::{Context, bail};
use flow_data::{Part, Rows, Split};
use flow_train::evaluate::Mean;
use flow_viz::{Histogram, HistogramsConfig, histograms};
use ndarray::{ArrayD, IxDyn};
use serde_json::json;

use crate::args::{Against, ScoreArgs};
use crate::arrays::{csv, npy};
use crate::loaded::Loaded;
use crate::others::others;
use crate::output;
use crate::roc::{Auroc, auroc};
use crate::rows::{first, log_probs, read};

/// Images under one name, with log p(x) of each in nats and in bits per dimension.
struct Scored {
    name: String,
    nats: Vec<f64>,
    bits: Option<Vec<f64>>,
}

pub fn run(args: &ScoreArgs) -> anyhow::Result<()> {
    for out in &args.out {
        output::place(out, &["png", "npy", "csv"])?;
        refuse_inputs(args, out)?;
    }
    let loaded = Loaded::open(&args.model)?;
    let image = loaded.require_images("score")?;
    let (name, own) = own(&loaded, args)?;
    let own = first(own, args.number);
    let (other_name, other) = match &args.against {
        Against::File(path) => (path.display().to_string(), first(file(&loaded, path)?, args.number)),
        made => (made.to_string(), others(&loaded, made, &own, image, args.seed)?),
    };
    let own = scored(&loaded, name, &own, args.seed)?;
    let other = scored(&loaded, other_name, &other, args.seed)?;
    let auroc = auroc(&own.nats, &other.nats);
    if args.json {
        output::print_json(&report(&loaded, args, [&own, &other], auroc))?;
    } else {
        output::print(&text(&loaded, [&own, &other], auroc))?;
    }
    // Last, so that what was computed is known even where it cannot be drawn or written.
    for out in &args.out {
        output::write(out, &bytes(&loaded, out, [&own, &other], auroc)?)?;
    }
    Ok(())
}

fn refuse_inputs(args: &ScoreArgs, out: &Path) -> anyhow::Result<()> {
    if let Some(input) = &args.input {
        output::refuse_input(out, "--input", input)?;
    }
    match &args.against {
        Against::File(against) => output::refuse_input(out, "--against", against),
        _ => Ok(()),
    }
}

/// The images that the question is about, and their name.
fn own(loaded: &Loaded, args: &ScoreArgs) -> anyhow::Result<(String, Split)> {
    if let Some(path) = &args.input {
        return Ok((path.display().to_string(), file(loaded, path)?));
    }
    let part = args.split.unwrap_or(Part::Test);
    let data = loaded.data_set()?;
    let split = data.split(part).with_context(|| format!("{} has no {part} split", data.spec))?;
    Ok((format!("{part} split"), split.clone()))
}

fn file(loaded: &Loaded, path: &Path) -> anyhow::Result<Split> {
    let (values, _) = read(loaded, path)?;
    Ok(Split::new(values, loaded.model.event().to_vec(), None)?)
}

fn scored(loaded: &Loaded, name: String, split: &Split, seed: u64) -> anyhow::Result<Scored> {
    if split.is_empty() {
        bail!("{name}: no images in it");
    }
    let nats = log_probs(loaded, split, None, 1, seed)?;
    if let Some(row) = nats.iter().position(|lp| !lp.is_finite()) {
        bail!("{name}: log p(x) of row {} is {}", row + 1, nats[row]);
    }
    Ok(Scored { name, bits: bits_per_dim(loaded, &nats), nats })
}

/// log2 L - nats / (D ln 2) of each image of L levels.
fn bits_per_dim(loaded: &Loaded, nats: &[f64]) -> Option<Vec<f64>> {
    let levels = f64::from(loaded.preprocessing.levels()?).log2();
    let dim = loaded.model.event().iter().product::<usize>() as f64;
    Some(nats.iter().map(|nats| levels - nats / (dim * LN_2)).collect())
}

fn bytes(loaded: &Loaded, out: &Path, sets: [&Scored; 2], auroc: Auroc) -> anyhow::Result<Vec<u8>> {
    Ok(match output::ending(out, &["png", "npy", "csv"])? {
        "png" => picture(loaded, sets, auroc)?,
        "npy" => npy(&array(sets))?,
        _ => csv(&["set", "image", "nats", "bits_per_dim"].map(str::to_owned), sets.into_iter().flat_map(table))?,
    })
}

fn picture(loaded: &Loaded, sets: [&Scored; 2], auroc: Auroc) -> anyhow::Result<Vec<u8>> {
    let samples = sets.map(|set| Histogram::new(&set.name, set.nats.clone()));
    let title = format!("{}: told apart by likelihood, AUROC {:.3}", loaded.title(), auroc.mean);
    Ok(histograms(&samples, &[], &HistogramsConfig { title, ..HistogramsConfig::default() })?)
}

/// `[images of both, 2]`: which set (0 the images, 1 the others), nats.
fn array(sets: [&Scored; 2]) -> ArrayD<f64> {
    let rows = sets.iter().enumerate().flat_map(|(i, set)| set.nats.iter().flat_map(move |nats| [i as f64, *nats]));
    let numbers: Vec<f64> = rows.collect();
    ArrayD::from_shape_vec(IxDyn(&[numbers.len() / 2, 2]), numbers).expect("two numbers an image")
}

fn table(set: &Scored) -> impl Iterator<Item = Vec<String>> + '_ {
    set.nats.iter().enumerate().map(|(i, nats)| {
        let bits = set.bits.as_ref().map(|bits| bits[i].to_string()).unwrap_or_default();
        vec![set.name.clone(), i.to_string(), nats.to_string(), bits]
    })
}

fn report(loaded: &Loaded, args: &ScoreArgs, sets: [&Scored; 2], auroc: Auroc) -> serde_json::Value {
    let set = |set: &Scored| {
        json!({
            "name": set.name, "count": set.nats.len(), "nats": Mean::of(&set.nats),
            "bits_per_dim": set.bits.as_ref().map(|bits| Mean::of(bits)),
        })
    };
    let out: Vec<String> = args.out.iter().map(|out| output::path_text(out)).collect();
    json!({
        "model": loaded.card.model.name(), "data": loaded.data.name, "images": set(sets[0]), "against": set(sets[1]),
        "auroc": auroc, "class_summed_out": loaded.classes() > 0, "out": out,
    })
}

fn text(loaded: &Loaded, sets: [&Scored; 2], auroc: Auroc) -> String {
    let summed = if loaded.classes() > 0 { ", the class summed out" } else { "" };
    let mut text = format!("{}, log p(x) of an image{summed}\n", loaded.title());
    let wide = sets.iter().map(|set| set.name.chars().count()).max().unwrap_or(0);
    for set in sets {
        let nats = Mean::of(&set.nats);
        let bits = set.bits.as_ref().map(|bits| Mean::of(bits));
        let bits = bits.map(|bits| format!(", {:.4} ± {:.4} bits/dim", bits.mean, bits.se)).unwrap_or_default();
        let (name, count) = (&set.name, set.nats.len());
        text += &format!("{name:<wide$}  {:.2} ± {:.2} nats{bits}, {count} images\n", nats.mean, nats.se);
    }
    text += &format!("AUROC {:.4} ± {:.4}: {}\n\n", auroc.mean, auroc.se, meaning(auroc.mean));
    text + WEAKNESS
}

fn meaning(auroc: f64) -> &'static str {
    match auroc {
        x if x >= 0.95 => "likelihood tells the two apart",
        x if x >= 0.6 => "likelihood tells the two apart in part",
        x if x > 0.4 => "likelihood hardly tells the two apart",
        _ => "the model takes the others for likelier than the images themselves",
    }
}

const WEAKNESS: &str = "\
AUROC is how often an image of the first kind is given a higher likelihood than one of the second; 0.5 is chance. A high
likelihood does not make an image one of the model's kind: density is not typicality, and smooth or simple images can score
higher than the training data itself (Nalisnick et al. 2019). Below 0.5, a low likelihood is the wrong alarm.
";
