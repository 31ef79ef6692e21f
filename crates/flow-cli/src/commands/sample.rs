//! `flow sample`: draws, as a picture or an array.

use anyhow::bail;
use flow_core::rng::derive_seed;
use flow_viz::{Layer2d, Layers2dConfig, SheetConfig, angle_colors, layers_2d, sheet};
use ndarray::{Array2, Axis, concatenate, s};
use serde_json::json;

use crate::args::SampleArgs;
use crate::arrays::{csv, matrix, npy, with_event};
use crate::loaded::Loaded;
use crate::output;

/// Rows drawn at a time, so that any number fits in memory.
const ROWS: usize = 1_000;
/// More images than this make no sheet.
const LARGEST_SHEET: u32 = 10_000;

pub fn run(args: &SampleArgs) -> anyhow::Result<()> {
    let ending = output::ending(&args.out, &["png", "npy", "csv"])?;
    let loaded = Loaded::open(&args.model)?;
    if ending == "png" && args.number > LARGEST_SHEET {
        bail!("{} are too many for a picture; at most {LARGEST_SHEET}, or write .npy", args.number);
    }
    let rows = draw(&loaded, args)?;
    let bytes = match ending {
        "png" => picture(&loaded, args, rows)?,
        "npy" => npy(&with_event(rows, loaded.model.event()))?,
        _ => csv(&loaded.preprocessing.column_names(), rows.rows().into_iter().map(|row| row.to_vec()))?,
    };
    output::write(&args.out, &bytes)?;
    if args.json {
        let (n, temperature) = (args.number, args.temperature);
        println!("{}", json!({"out": args.out, "number": n, "temperature": temperature, "seed": args.seed}));
    }
    Ok(())
}

/// `[n, D]`.
fn draw(loaded: &Loaded, args: &SampleArgs) -> anyhow::Result<Array2<f32>> {
    let number = args.number as usize;
    let chunks: Vec<Array2<f32>> = (0..number.div_ceil(ROWS))
        .map(|i| {
            let n = ROWS.min(number - i * ROWS);
            let seed = derive_seed(args.seed, "sample", i as u64);
            matrix(&loaded.model.flow().sample(n, args.temperature, seed, None))
        })
        .collect();
    let views: Vec<_> = chunks.iter().map(|chunk| chunk.view()).collect();
    Ok(concatenate(Axis(0), &views)?)
}

fn picture(loaded: &Loaded, args: &SampleArgs, rows: Array2<f32>) -> anyhow::Result<Vec<u8>> {
    let caption = format!("{}: {} samples, temperature {}", loaded.title(), args.number, args.temperature);
    if loaded.image().is_some() {
        let images = with_event(rows, loaded.model.event());
        return Ok(sheet(images.view(), &SheetConfig { caption, ..SheetConfig::default() })?);
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
