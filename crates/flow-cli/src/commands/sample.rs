//! `flow sample`: draws, as a picture or an array.

use std::ops::Range;

use anyhow::bail;
use flow_core::rng::{derive_seed, with_seed};
use flow_viz::{Layer2d, Layers2dConfig, SheetConfig, angle_colors, layers_2d, sheet};
use ndarray::{Array2, Axis, concatenate, s};
use serde_json::json;
use tch::{Device, Kind, Tensor};

use crate::args::SampleArgs;
use crate::arrays::{csv, matrix, npy, with_event};
use crate::loaded::Loaded;
use crate::output;

/// Rows drawn at a time, so that any number fits in memory.
const ROWS: usize = 1_000;
/// More images than this make no sheet.
const LARGEST_SHEET: u32 = 10_000;
/// The most bytes that draws may take, of 4 a number: they are in memory three times before they are written.
const LARGEST: u64 = 1 << 32;

pub fn run(args: &SampleArgs) -> anyhow::Result<()> {
    let ending = output::place(&args.out, &["png", "npy", "csv"])?;
    let loaded = Loaded::open(&args.model)?;
    if ending == "png" && args.number > LARGEST_SHEET {
        bail!("{} are too many for a picture; at most {LARGEST_SHEET}, or write .npy", args.number);
    }
    require_memory(&loaded, args.number)?;
    let class = loaded.class(args.class)?;
    let rows = draw(&loaded, args, ending == "png" && loaded.image().is_some(), class)?;
    let bytes = match ending {
        "png" => picture(&loaded, args, class, rows)?,
        "npy" => npy(&with_event(rows, loaded.model.event()))?,
        _ => csv(&loaded.preprocessing.column_names(), rows.rows().into_iter().map(|row| row.to_vec()))?,
    };
    output::write(&args.out, &bytes)?;
    if args.json {
        let (n, temperature) = (args.number, args.temperature);
        let out = output::path_text(&args.out);
        output::print_json(
            &json!({"out": out, "number": n, "temperature": temperature, "class": class, "seed": args.seed}),
        )?;
    }
    Ok(())
}

fn require_memory(loaded: &Loaded, number: u32) -> anyhow::Result<()> {
    let dim = loaded.model.event().iter().product::<usize>() as u64;
    match u64::from(number).saturating_mul(dim).saturating_mul(4) {
        bytes if bytes > LARGEST => bail!(
            "-n {number}: as many rows of {dim} numbers are {bytes} bytes, and at most {LARGEST} are drawn at once; draw fewer, \
             and more of them with another --seed"
        ),
        _ => Ok(()),
    }
}

/// `[n, D]`.
fn draw(loaded: &Loaded, args: &SampleArgs, sheet: bool, class: Option<usize>) -> anyhow::Result<Array2<f32>> {
    let number = args.number as usize;
    let chunks: Vec<Array2<f32>> = (0..number.div_ceil(ROWS))
        .map(|i| {
            let (first, n) = (i * ROWS, ROWS.min(number - i * ROWS));
            let seed = derive_seed(args.seed, "sample", i as u64);
            let classes = match class {
                None if sheet => by_row(loaded, number, first..first + n),
                None => drawn(loaded, n, derive_seed(args.seed, "class", i as u64)),
                Some(class) => vec![class; n],
            };
            let context = (loaded.classes() > 0).then_some(classes).and_then(|c| loaded.context(Some(&c)));
            matrix(&loaded.model.flow().sample(n, args.temperature, seed, context.as_ref()))
        })
        .collect();
    let views: Vec<_> = chunks.iter().map(|chunk| chunk.view()).collect();
    Ok(concatenate(Axis(0), &views)?)
}

/// A row of the sheet a class, again from the first after the last.
fn by_row(loaded: &Loaded, number: usize, images: Range<usize>) -> Vec<usize> {
    images.map(|i| i / columns(number) % loaded.classes().max(1)).collect()
}

/// Classes drawn uniformly.
fn drawn(loaded: &Loaded, n: usize, seed: u64) -> Vec<usize> {
    let classes = loaded.classes().max(1) as i64;
    let drawn = with_seed(seed, || Tensor::randint(classes, [n as i64], (Kind::Int64, Device::Cpu)));
    Vec::<i64>::try_from(drawn).expect("a vector").into_iter().map(|class| class as usize).collect()
}

/// Images in a row of a square sheet.
fn columns(number: usize) -> usize {
    (number as f64).sqrt().ceil() as usize
}

fn picture(loaded: &Loaded, args: &SampleArgs, class: Option<usize>, rows: Array2<f32>) -> anyhow::Result<Vec<u8>> {
    let which = match class {
        Some(class) => format!(" of class {class}"),
        None if loaded.classes() == 0 => String::new(),
        None if loaded.image().is_some() => ", a row a class".to_owned(),
        None => " of all classes".to_owned(),
    };
    let caption = format!("{}: {} samples{which}, temperature {}", loaded.title(), args.number, args.temperature);
    if loaded.image().is_some() {
        let images = with_event(rows, loaded.model.event());
        return Ok(sheet(
            images.view(),
            &SheetConfig { caption, columns: Some(columns(args.number as usize)), ..SheetConfig::default() },
        )?);
    }
    let plane = rows.slice(s![.., ..2]).to_owned();
    let colors = angle_colors(plane.view());
    let names = loaded.preprocessing.column_names();
    let config = Layers2dConfig {
        caption,
        color_note: String::new(),
        axis_names: (names[0].clone(), names[1].clone()),
        panel: 480,
        ..Layers2dConfig::default()
    };
    Ok(layers_2d(&[Layer2d::new("samples", plane)], &colors, &config)?)
}
