//! Every figure of the crate, from a flow small enough to write out here: the crescent of `moons`, and drawn digits.
//!
//! `cargo run --release -p flow-viz --example gallery -- FOLDER`

use std::f32::consts::{PI, TAU};
use std::path::PathBuf;

use anyhow::{Context, Result};
use flow_viz::*;
use ndarray::{Array1, Array2, Array3, Array4, ArrayView2, Axis, Zip};
use ndarray_rand::RandomExt;
use ndarray_rand::rand::{SeedableRng, rngs::StdRng};
use ndarray_rand::rand_distr::StandardNormal;

fn main() -> Result<()> {
    let folder = PathBuf::from(std::env::args().nth(1).unwrap_or_else(|| "gallery".into()));
    std::fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    // The library gives bytes: this is the one place that writes files.
    let save = |name: &str, bytes: Vec<u8>| -> Result<()> {
        let path = folder.join(name);
        println!("{:>9} bytes  {}", bytes.len(), path.display());
        std::fs::write(&path, bytes).with_context(|| format!("writing {}", path.display()))
    };
    save("inverse_2d.png", inverse_2d()?)?;
    save("forward_2d.png", forward_2d()?)?;
    save("moons.gif", moving_points()?)?;
    save("density.png", crescent_density()?)?;
    save("curve.png", learning_curve()?)?;
    save("log_log.png", costs()?)?;
    save("inverse_images.png", inverse_images()?)?;
    save("digits.gif", moving_digits()?)?;
    save("samples.png", samples()?)?;
    save("rows.png", interpolations()?)?;
    save("strengths.png", strengths()?)?;
    save("scores.png", scores()?)?;
    save("colour_layers.png", colour_layers()?)?;
    save("colours.gif", moving_colours()?)?;
    save("interpolation.gif", moving_interpolation()?)?;
    save("daylight.gif", moving_daylight()?)?;
    save("confusion.png", confused()?)?;
    save("check.png", checked()?)?;
    save("many_layers.png", many_layers()?)?;
    save("many_layers.gif", many_moving_layers()?)?;
    Ok(())
}

/// The coupling layers of the toy flow.
const COUPLINGS: usize = 4;

/// The crescent's inverse map, a quarter in each coupling, with a reversal after each: every state by its name.
fn crescent(latent: &Array2<f32>) -> Vec<(String, Array2<f32>)> {
    let mut states = vec![("latent".to_string(), latent.clone())];
    let mut x = latent.clone();
    let log_scale = -(33f32.sqrt().ln()) / (COUPLINGS / 2) as f32;
    for k in (1..=COUPLINGS).rev() {
        for mut row in x.rows_mut() {
            // Only every other coupling sees the second column as its condition; the others shift it a little.
            if k % 2 == 0 {
                let (s, t) = (log_scale.exp(), 4.0 / 33f32.sqrt() * (row[1].powi(2) - 1.0));
                row[0] = row[0] * s + t * if k == 2 { 0.6 } else { 0.4 / log_scale.exp() };
            }
        }
        states.push((format!("coupling {k}"), x.clone()));
        x.invert_axis(Axis(1));
        states.push((format!("reverse {k}"), x.clone()));
    }
    if let Some(last) = states.last_mut() {
        last.0 = "data".into();
    }
    states
}

fn latent(n: usize) -> Array2<f32> {
    Array2::random_using((n, 2), StandardNormal, &mut StdRng::seed_from_u64(1))
}

/// The states of points and of a grid, latent first.
fn layers(latent: &Array2<f32>, grid: &Grid) -> Vec<Layer2d> {
    let grids = crescent(&grid.points());
    let with_grid = |((name, points), (_, grid))| Layer2d::new(name, points).with_grid(grid);
    crescent(latent).into_iter().zip(grids).map(with_grid).collect()
}

fn inverse_2d() -> Result<Vec<u8>> {
    let (latent, grid) = (latent(2000), Grid::default());
    let config = Layers2dConfig {
        caption: "A toy flow on moons, latent to data".into(),
        grid: Some(grid),
        ..Layers2dConfig::default()
    };
    let colors = angle_colors(latent.view());
    Ok(layers_2d(&layers(&latent, &grid), &colors, &config)?)
}

fn forward_2d() -> Result<Vec<u8>> {
    let latent = latent(2000);
    let mut layers = layers(&latent, &Grid::default());
    layers.reverse();
    let config = Layers2dConfig { caption: "A toy flow on moons, data to latent".into(), ..Layers2dConfig::default() };
    Ok(layers_2d(&layers[..5], &angle_colors(latent.view()), &config)?)
}

fn moving_points() -> Result<Vec<u8>> {
    let (latent, grid) = (latent(1500), Grid::default());
    let config = Animate2dConfig { title: "Toy flow".into(), grid: Some(grid), ..Animate2dConfig::default() };
    let colors = angle_colors(latent.view());
    Ok(animate_2d(&layers(&latent, &grid), &colors, &config)?)
}

/// ln p of the standardised crescent, at `[n, 2]` points.
fn log_density(points: ArrayView2<f32>) -> Array1<f32> {
    points
        .rows()
        .into_iter()
        .map(|p| {
            let (x1, x2) = (p[0] * 33f32.sqrt() + 4.0, 4.0 * p[1]);
            let normal = |v: f32| -0.5 * v * v - 0.5 * TAU.ln();
            normal(x1 - x2 * x2 / 4.0) + normal(p[1]) + 33f32.sqrt().ln()
        })
        .collect()
}

fn crescent_density() -> Result<Vec<u8>> {
    let extent = Extent::new((-1.8, 4.2), (-3.0, 3.0));
    let (rows, columns) = (240, 240);
    let cells = extent.cell_centers(rows, columns);
    let truth = log_density(cells.view()).into_shape_with_order((rows, columns))?;
    let blurred = cells.mapv(|v| 0.97 * v + 0.01);
    let model = log_density(blurred.view()).into_shape_with_order((rows, columns))?;
    let config = DensityConfig {
        title: "A toy flow on moons: 1.104 ± 0.003 nats, 0.014 above the floor".into(),
        ..DensityConfig::default()
    };
    let samples = crescent(&latent(2000)).pop().context("a flow has layers")?.1;
    Ok(density(model.view(), Some(truth.view()), Some(samples.view()), extent, &config)?)
}

fn learning_curve() -> Result<Vec<u8>> {
    let noise = Array1::<f32>::random_using(2000, StandardNormal, &mut StdRng::seed_from_u64(2));
    let value = |step: f64| 1.0896 + 0.9 * (-step / 250.0).exp() + 300.0 * (-step / 8.0).exp();
    let train = (0..2000).map(|i| (i as f64, value(i as f64) + 0.06 * noise[i] as f64)).collect();
    let validation = (0..2000).step_by(50).map(|i| (i as f64, value(i as f64) + 0.012)).collect();
    let config = CurveConfig { title: "A toy flow on moons: negative log-likelihood".into(), ..CurveConfig::default() };
    let series = [Series::noisy("training", train), Series::new("validation", validation)];
    Ok(curve(&series, &[Reference::new("entropy of the data", 1.0896)], &config)?)
}

fn costs() -> Result<Vec<u8>> {
    let widths = || (4..12).map(|i| 2f64.powi(i));
    let line = |name: &str, fixed: f64, exponent: f64| {
        Series::new(name, widths().map(|width| (width, fixed + (width / 900.0).powf(exponent))).collect())
    };
    let panel = |y_name: &str, series: [Series; 2]| LogLogPanel {
        x_name: "width".into(),
        y_name: y_name.into(),
        series: series.into(),
    };
    let panels = [
        panel("s a step", [line("one thread", 0.02, 2.0), line("two threads", 0.03, 1.9)]),
        panel("GiB", [line("kept", 0.2, 1.0), line("rebuilt", 0.1, 0.5)]),
    ];
    let config = LogLogConfig { title: "What a toy flow costs".into(), ..LogLogConfig::default() };
    Ok(log_log(&panels, &config)?)
}

/// A drawn digit of 28 x 28: a ring, a stroke or an S, softly edged, each a little different.
fn digit(i: usize) -> Array2<f32> {
    let wobble = |k: usize| ((i * 37 + k * 11) % 17) as f32 / 17.0 - 0.5;
    let curve = |t: f32| -> (f32, f32) {
        let (x, y) = match i % 4 {
            0 => (5.5 * (TAU * t).cos(), 8.0 * (TAU * t).sin()),
            1 => (3.0 * (t - 0.5), 17.0 * (t - 0.5)),
            2 => (5.0 * (1.6 * PI * t).sin() * (1.0 - 0.3 * t), 16.0 * (t - 0.5)),
            _ if t < 0.4 => (25.0 * t - 5.0, -8.0),
            _ => (5.0 - 13.0 * (t - 0.4), -8.0 + 27.0 * (t - 0.4)),
        };
        (13.5 + x + 0.25 * y * wobble(1) + wobble(2), 13.5 + y * (1.0 + 0.2 * wobble(3)))
    };
    let path: Vec<_> = (0..100).map(|k| curve(k as f32 / 99.0)).collect();
    Array2::from_shape_fn((28, 28), |(y, x)| {
        let distance = |p: &(f32, f32)| (x as f32 - p.0).hypot(y as f32 - p.1);
        let nearest = path.iter().map(distance).fold(f32::INFINITY, f32::min);
        (2.3 - nearest).clamp(0.0, 1.0)
    })
}

fn digits(n: usize) -> Array3<f32> {
    let mut images = Array3::zeros((n, 28, 28));
    images.outer_iter_mut().enumerate().for_each(|(i, mut image)| image.assign(&digit(i)));
    images
}

/// Noise that turns into digits, each layer on its own scale.
fn image_layers(n: usize) -> Vec<LayerImages> {
    let data = digits(n);
    let noise = Array3::<f32>::random_using(data.dim(), StandardNormal, &mut StdRng::seed_from_u64(3));
    let names = [
        "latent",
        "scaling",
        "coupling 5",
        "reverse 5",
        "coupling 4",
        "reverse 4",
        "coupling 3",
        "reverse 3",
        "coupling 2",
        "coupling 1",
        "data",
    ];
    let last = names.len() - 1;
    let state = |k: usize| {
        let share = k as f32 / last as f32;
        let scale = 1.0 + 2.0 * (share * PI).sin();
        let mut images = Zip::from(&noise).and(&data).map_collect(|&z, &x| {
            let z = if k == 0 { z } else { 0.4 * z };
            scale * (z * (1.0 - share) + (x - 0.4 * (1.0 - share)) * share)
        });
        if (2..8).contains(&k) && k % 4 > 1 {
            images.invert_axis(Axis(2));
            images.invert_axis(Axis(1));
        }
        images
    };
    let layer = |(k, name): (usize, &&str)| match k == last {
        true => LayerImages::new(*name, data.clone()).with_range(0.0, 1.0),
        false => LayerImages::new(*name, state(k)),
    };
    names.iter().enumerate().map(layer).collect()
}

fn inverse_images() -> Result<Vec<u8>> {
    let config = LayersImagesConfig {
        caption: "A toy flow on drawn digits, latent to data".into(),
        ..LayersImagesConfig::default()
    };
    Ok(layers_images(&image_layers(8), &config)?)
}

fn moving_digits() -> Result<Vec<u8>> {
    let config = AnimateImagesConfig { title: "Toy flow".into(), ..AnimateImagesConfig::default() };
    Ok(animate_images(&image_layers(16), &config)?)
}

fn samples() -> Result<Vec<u8>> {
    let config = SheetConfig {
        caption: "A toy flow on drawn digits, 225 samples, temperature 0.75".into(),
        ..SheetConfig::default()
    };
    Ok(sheet(digits(225).view().into_dyn(), &config)?)
}

/// Digit `i` at share 0, digit `j` at share 1, and what a picture of distances would give in between.
fn between_digits(i: usize, j: usize, share: f32) -> Array2<f32> {
    let (a, b) = (digit(i), digit(j));
    Zip::from(&a).and(&b).map_collect(|a, b| (1.4 * (a * (1.0 - share) + b * share) - 0.2).clamp(0.0, 1.0))
}

fn stacked(images: impl Iterator<Item = Array2<f32>>) -> Result<Array3<f32>> {
    let images: Vec<_> = images.collect();
    let views: Vec<_> = images.iter().map(|i| i.view()).collect();
    Ok(ndarray::stack(Axis(0), &views)?)
}

fn interpolations() -> Result<Vec<u8>> {
    let row = |(from, to): (usize, usize)| {
        let images = stacked((0..10).map(|k| between_digits(from, to, k as f32 / 9.0)))?;
        let name = |i: usize| ["0", "1", "2", "7"][i % 4];
        Ok(ImageRow::new(format!("{} → {}", name(from), name(to)), images).with_framed([0, 9]))
    };
    let rows = [(0, 1), (1, 2), (2, 7), (4, 9), (3, 6)].into_iter().map(row).collect::<Result<Vec<_>>>()?;
    let config = ImageRowsConfig {
        caption: "A toy flow on drawn digits, interpolations in the latent".into(),
        columns: (0..10).map(|k| format!("{:.2}", k as f32 / 9.0)).collect(),
        columns_name: "share of the way".into(),
        frame_note: "images of the test set".into(),
        ..ImageRowsConfig::default()
    };
    Ok(image_rows(&rows, &config)?)
}

/// A coloured landscape of 32 x 32, `[3, 32, 32]`, the sun `height` up in the sky.
fn landscape(i: usize, height: f32) -> Array3<f32> {
    let sun = (8.0 + (i * 7 % 17) as f32, 26.0 - 20.0 * height);
    Array3::from_shape_fn((3, 32, 32), |(c, y, x)| {
        let (x, y) = (x as f32, y as f32);
        let hill = 20.0 + 3.0 * (x / 5.0 + i as f32).sin();
        let sky = [[0.9, 0.45, 0.3], [0.45, 0.7, 0.95]].map(|sky: [f32; 3]| sky[c]);
        let day = sky[0] + (sky[1] - sky[0]) * height;
        let glow = (4.5 - (x - sun.0).hypot(y - sun.1)).clamp(0.0, 1.0);
        match y > hill {
            true => [0.15, 0.4 + 0.01 * (y - hill), 0.18][c] * (0.5 + 0.5 * height),
            false => day * (1.0 - glow) + [1.0, 0.95, 0.6][c] * glow,
        }
    })
}

fn strengths() -> Result<Vec<u8>> {
    let row = |i: usize| {
        let images: Vec<_> = (0..7).map(|k| landscape(i, k as f32 / 6.0)).collect();
        let views: Vec<_> = images.iter().map(|image| image.view()).collect();
        Ok(ImageRow::new(format!("image {i}"), ndarray::stack(Axis(0), &views)?).with_framed([3]))
    };
    let rows = (0..4).map(row).collect::<Result<Vec<_>>>()?;
    let config = ImageRowsConfig {
        caption: "Attribute \"daylight\", added in the latent".into(),
        columns: ["−1", "−2/3", "−1/3", "0", "1/3", "2/3", "1"].map(String::from).to_vec(),
        columns_name: "strength".into(),
        frame_note: "as it is".into(),
        ..ImageRowsConfig::default()
    };
    Ok(image_rows(&rows, &config)?)
}

fn scores() -> Result<Vec<u8>> {
    let sample = |name: &str, n: usize, seed: u64, mean: f64, deviation: f64| {
        let noise = Array1::<f32>::random_using(n, StandardNormal, &mut StdRng::seed_from_u64(seed));
        let mut values: Vec<f64> =
            noise.iter().map(|&z| mean + deviation * z as f64 * (1.0 + 0.1 * z as f64)).collect();
        values[0] = mean - 40.0 * deviation;
        Histogram::new(name, values)
    };
    let samples = [
        sample("training digits", 10_000, 5, -1180.0, 60.0),
        sample("test digits", 2_000, 6, -1192.0, 66.0),
        sample("letters", 2_000, 7, -1620.0, 160.0),
    ];
    let config = HistogramsConfig {
        title: "A toy flow on drawn digits: does it know what it has not seen?".into(),
        ..HistogramsConfig::default()
    };
    Ok(histograms(&samples, &[Reference::new("5 % of the training images lie below", -1283.2)], &config)?)
}

/// A sound flow but for its second coupling, and a latent a little too narrow.
fn checked() -> Result<Vec<u8>> {
    let layer = |(k, name): (usize, &&str)| {
        let wrong = *name == "coupling 2";
        LayerErrors {
            name: (*name).into(),
            single: Some(if wrong { f64::INFINITY } else { 1e-7 * (1.0 + k as f64) }),
            double: Some(if wrong { 0.3 } else { 2e-16 * (1.0 + k as f64) }),
            log_det: Some(1e-15 / (1.0 + k as f64)),
            verdict: if wrong { "FAIL" } else { "ok" }.into(),
        }
    };
    let names = ["logit", "coupling 1", "coupling 2", "coupling 3", "scaling", "whole flow"];
    let layers: Vec<_> = names.iter().enumerate().map(layer).collect();
    let values = Array1::<f64>::random_using(2_000, StandardNormal, &mut StdRng::seed_from_u64(11)) * 0.9;
    let z = (-100..=100).map(|i| f64::from(i) / 20.0);
    let base = z.map(|z| (z, (-0.5 * z * z).exp() / f64::from(TAU).sqrt())).collect();
    let latent = Marginal { name: "coordinate 1".into(), values: values.to_vec(), base };
    let config = CheckConfig { title: "A toy flow, one layer broken".into(), ..CheckConfig::default() };
    Ok(check(&layers, &[latent], &config)?)
}

/// The states of a flow of many layers, named as a multi-scale model names them.
fn path_layers(n: usize) -> Vec<LayerImages> {
    let few = image_layers(n);
    let last = few.len() - 1;
    let state = |k: usize| {
        let (level, step) = (3 - k / 8, 8 - k % 8);
        let kind = ["coupling", "conv1x1", "actnorm"][k % 3];
        let share = k as f32 / 23.0 * last as f32;
        let (from, part) = (share as usize, share.fract());
        let images = &few[from].images * (1.0 - part) + &few[(from + 1).min(last)].images * part;
        LayerImages::rgb(format!("level_{level}.step_{step}.{kind}"), images)
    };
    (0..24).map(state).collect()
}

fn many_layers() -> Result<Vec<u8>> {
    let config = LayersImagesConfig {
        caption: "A toy flow of 24 layers on drawn digits, latent to data".into(),
        ..LayersImagesConfig::default()
    };
    Ok(layers_images(&path_layers(8), &config)?)
}

fn many_moving_layers() -> Result<Vec<u8>> {
    let config = AnimateImagesConfig { title: "Toy flow".into(), ..AnimateImagesConfig::default() };
    Ok(animate_images(&path_layers(16), &config)?)
}

/// Noise in three channels that turns into landscapes.
fn landscape_layers(n: usize) -> Result<Vec<LayerImages>> {
    let data: Vec<_> = (0..n).map(|i| landscape(i, 0.35 + 0.6 * (i % 5) as f32 / 4.0)).collect();
    let views: Vec<_> = data.iter().map(|image| image.view()).collect();
    let data = ndarray::stack(Axis(0), &views)?;
    let noise = Array4::<f32>::random_using(data.dim(), StandardNormal, &mut StdRng::seed_from_u64(8));
    let names = ["latent", "step 4", "step 3", "step 2", "step 1", "logit", "data"];
    let last = names.len() - 1;
    let layer = |(k, name): (usize, &&str)| {
        let share = k as f32 / last as f32;
        match k == last {
            true => LayerImages::rgb(*name, data.clone()).with_range(0.0, 1.0),
            false => LayerImages::rgb(*name, &noise * (1.0 - share) + 4.0 * (&data - 0.5) * share),
        }
    };
    Ok(names.iter().enumerate().map(layer).collect())
}

fn colour_layers() -> Result<Vec<u8>> {
    let config = LayersImagesConfig {
        caption: "A toy flow on drawn landscapes, latent to data".into(),
        ..LayersImagesConfig::default()
    };
    Ok(layers_images(&landscape_layers(6)?, &config)?)
}

fn moving_colours() -> Result<Vec<u8>> {
    let config = AnimateImagesConfig { title: "Toy flow".into(), ..AnimateImagesConfig::default() };
    Ok(animate_images(&landscape_layers(16)?, &config)?)
}

fn moving_interpolation() -> Result<Vec<u8>> {
    let frame = |t: usize| -> Result<_> {
        let images = stacked((0..8).map(|i| between_digits(i, i + 1 + i / 4, t as f32 / 29.0)))?;
        Ok(images.into_dyn())
    };
    let frames = (0..30).map(frame).collect::<Result<Vec<_>>>()?;
    let config = AnimateStripConfig { title: "A toy flow on drawn digits".into(), ..AnimateStripConfig::default() };
    Ok(animate_strip(&frames, &config)?)
}

fn moving_daylight() -> Result<Vec<u8>> {
    let frame = |t: usize| -> Result<_> {
        let images: Vec<_> = (0..5).map(|i| landscape(i, t as f32 / 24.0)).collect();
        let views: Vec<_> = images.iter().map(|image| image.view()).collect();
        Ok(ndarray::stack(Axis(0), &views)?.into_dyn())
    };
    let frames = (0..25).map(frame).collect::<Result<Vec<_>>>()?;
    let config = AnimateStripConfig {
        title: "Daylight".into(),
        names: (0..25).map(|t| format!("strength {:.2}", t as f32 / 24.0)).collect(),
        ..AnimateStripConfig::default()
    };
    Ok(animate_strip(&frames, &config)?)
}

fn confused() -> Result<Vec<u8>> {
    let taken = |(i, j): (usize, usize)| match (i * 7 + j * 3) % 10 {
        _ if i == j => 940 - 13 * i as u64,
        r if r < 4 => 0,
        r => (r * r / 9) as u64 * if (i, j) == (4, 9) || (i, j) == (7, 2) { 12 } else { 1 },
    };
    let counts = Array2::from_shape_fn((10, 10), taken);
    let names: Vec<_> = (0..10).map(|i| i.to_string()).collect();
    let config = ConfusionConfig {
        caption: "A toy flow on drawn digits, p(class | x) by Bayes".into(),
        ..ConfusionConfig::default()
    };
    Ok(confusion(counts.view(), &names, &config)?)
}
