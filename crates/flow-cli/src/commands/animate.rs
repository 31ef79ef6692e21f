//! `flow animate`: a film from latent to data.

use flow_viz::{Animate2dConfig, AnimateImagesConfig, Grid, Layer2d, angle_colors, animate_2d, animate_images};

use crate::args::AnimateArgs;
use crate::arrays::tensor;
use crate::commands::trace::image_layers;
use crate::layers;
use crate::loaded::Loaded;
use crate::output;

/// The original's temperature for digits.
const IMAGE_TEMPERATURE: f64 = 0.75;

pub fn run(args: &AnimateArgs) -> anyhow::Result<()> {
    output::ending(&args.out, &["gif"])?;
    let loaded = Loaded::open(&args.model)?;
    let bytes = if loaded.image().is_some() { film_images(&loaded, args)? } else { film_2d(&loaded, args)? };
    output::write(&args.out, &bytes)
}

fn film_2d(loaded: &Loaded, args: &AnimateArgs) -> anyhow::Result<Vec<u8>> {
    let flow = loaded.model.flow();
    let number = args.number.unwrap_or(1_000) as usize;
    let z = flow.base().sample(number, args.temperature.unwrap_or(1.0), args.seed, flow.device());
    let states = layers::inverse(flow, &z);
    let colors = angle_colors(states[0].plane().view());
    let mut config = Animate2dConfig { title: loaded.title(), ..Animate2dConfig::default() };
    let mut film: Vec<Layer2d> = states.iter().map(|s| Layer2d::new(&s.name, s.plane())).collect();
    // A grid of the plane can be pushed along only where the flow is one of the plane.
    if loaded.model.event() == [2] {
        let grid = Grid::default();
        let warped = layers::inverse(flow, &tensor(grid.points().view(), flow.device()));
        film = film.into_iter().zip(warped).map(|(layer, grid)| layer.with_grid(grid.rows)).collect();
        config.grid = Some(grid);
    }
    Ok(animate_2d(&film, &colors, &config)?)
}

fn film_images(loaded: &Loaded, args: &AnimateArgs) -> anyhow::Result<Vec<u8>> {
    let flow = loaded.model.flow();
    let number = args.number.unwrap_or(16) as usize;
    let temperature = args.temperature.unwrap_or(IMAGE_TEMPERATURE);
    let z = flow.base().sample(number, temperature, args.seed, flow.device());
    let states = layers::inverse(flow, &z);
    let film = image_layers(loaded, &states, states.len() - 1);
    let config = AnimateImagesConfig { title: loaded.title(), ..AnimateImagesConfig::default() };
    Ok(animate_images(&film, &config)?)
}
