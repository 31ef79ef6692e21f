//! `flow interpolate`: from one test image to another, by way of the latent.

use anyhow::bail;
use flow_core::rng::{derive_seed, permutation};
use flow_data::{Rows, Split};
use flow_viz::{AnimateStripConfig, ImageRow, ImageRowsConfig, animate_strip, image_rows};
use ndarray::{ArrayD, Axis, stack};

use crate::args::InterpolateArgs;
use crate::latent::{decode, encode, slerp};
use crate::loaded::Loaded;
use crate::output::{self, Usage};

/// Images from end to end where nothing is said: as many as a page shows, or as a film wants.
const STEPS_PNG: u32 = 10;
const STEPS_GIF: u32 = 30;

pub fn run(args: &InterpolateArgs) -> anyhow::Result<()> {
    let ending = output::place(&args.out, &["png", "gif"])?;
    if args.from.len() != args.to.len() {
        return Err(Usage(format!("{} --from, but {} --to", args.from.len(), args.to.len())).into());
    }
    let loaded = Loaded::open(&args.model)?;
    loaded.require_images("interpolate")?;
    let test = loaded.data_set()?.test;
    let pairs = pairs(args, &test)?;
    let steps = args.steps.unwrap_or(if ending == "gif" { STEPS_GIF } else { STEPS_PNG });
    let shares: Vec<f64> = (0..steps).map(|i| f64::from(i) / f64::from(steps - 1)).collect();
    let images = between(&loaded, &test, &pairs, &shares)?;
    let bytes = match ending {
        "gif" => film(&loaded, &shares, &images)?,
        _ => picture(&loaded, &pairs, &shares, &images)?,
    };
    output::write(&args.out, &bytes)
}

/// Which test images, from and to.
fn pairs(args: &InterpolateArgs, test: &Split) -> anyhow::Result<Vec<(usize, usize)>> {
    let count = test.len();
    for (flag, &index) in args.from.iter().map(|i| ("--from", i)).chain(args.to.iter().map(|i| ("--to", i))) {
        if index >= count {
            bail!("{flag} {index}: the test split has images 0 to {}", count - 1);
        }
    }
    if !args.from.is_empty() {
        return Ok(args.from.iter().copied().zip(args.to.iter().copied()).collect());
    }
    let wanted = args.pairs as usize;
    if 2 * wanted > count {
        bail!("--pairs {wanted}: the test split has {count} images, enough for {} pairs", count / 2);
    }
    let order = permutation(count, derive_seed(args.seed, "pairs", 0));
    Ok(order[..2 * wanted].chunks(2).map(|pair| (pair[0] as usize, pair[1] as usize)).collect())
}

/// For each share of the way an image of each pair, `[pairs, c, h, w]`.
fn between(
    loaded: &Loaded,
    test: &Split,
    pairs: &[(usize, usize)],
    shares: &[f64],
) -> anyhow::Result<Vec<ArrayD<f32>>> {
    let flow = loaded.model.flow();
    let (from, to): (Vec<usize>, Vec<usize>) = pairs.iter().copied().unzip();
    let (from, to) = (loaded.real(test, &from)?, loaded.real(test, &to)?);
    let (a, b) = (encode(flow, &from.x, from.context.as_ref()), encode(flow, &to.x, to.context.as_ref()));
    let image = |&t: &f64| {
        let context = from.context.as_ref().zip(to.context.as_ref()).map(|(a, b)| a * (1.0 - t) + b * t);
        loaded.pictures(&decode(flow, &slerp(&a, &b, t), context.as_ref()))
    };
    Ok(shares.iter().map(image).collect())
}

fn caption(loaded: &Loaded) -> String {
    let mixed = if loaded.classes() > 0 { ", classes mixed" } else { "" };
    format!("{}: from image to image through the latent{mixed}", loaded.title())
}

fn picture(
    loaded: &Loaded,
    pairs: &[(usize, usize)],
    shares: &[f64],
    images: &[ArrayD<f32>],
) -> anyhow::Result<Vec<u8>> {
    let by_pair = stack(Axis(1), &images.iter().map(|i| i.view()).collect::<Vec<_>>())?;
    let row = |((from, to), images): (&(usize, usize), ndarray::ArrayViewD<f32>)| {
        ImageRow::new(format!("{from} to {to}"), images.to_owned()).with_framed([0, shares.len() - 1])
    };
    let rows: Vec<ImageRow> = pairs.iter().zip(by_pair.outer_iter()).map(row).collect();
    let config = ImageRowsConfig {
        caption: caption(loaded),
        columns: shares.iter().map(|t| format!("{t:.2}")).collect(),
        columns_name: "share of the way".to_owned(),
        frame_note: "test images".to_owned(),
        ..ImageRowsConfig::default()
    };
    Ok(image_rows(&rows, &config)?)
}

/// Forth and back, all pairs at once.
fn film(loaded: &Loaded, shares: &[f64], images: &[ArrayD<f32>]) -> anyhow::Result<Vec<u8>> {
    let names = shares.iter().map(|t| format!("{t:.2} of the way")).collect();
    let config = AnimateStripConfig { title: loaded.title(), names, back: true, ..AnimateStripConfig::default() };
    Ok(animate_strip(images, &config)?)
}
