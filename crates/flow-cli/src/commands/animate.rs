//! `flow animate`: a film from latent to data.

use flow_viz::{Animate2dConfig, AnimateImagesConfig, Grid, Layer2d, angle_colors, animate_2d, animate_images};

use crate::args::AnimateArgs;
use crate::arrays::tensor;
use crate::commands::trace::image_layers;
use crate::layers::{self, Walk};
use crate::loaded::Loaded;
use crate::output;

/// The original's temperature for digits.
const IMAGE_TEMPERATURE: f64 = 0.75;

pub fn run(args: &AnimateArgs) -> anyhow::Result<()> {
    output::place(&args.out, &["gif"])?;
    let loaded = Loaded::open(&args.model)?;
    let class = loaded.class(args.class)?;
    let images = loaded.image().is_some();
    let bytes = if images { film_images(&loaded, args, class)? } else { film_2d(&loaded, args, class)? };
    output::write(&args.out, &bytes)
}

fn walk(loaded: &Loaded, args: &AnimateArgs, class: Option<usize>, number: usize, temperature: f64) -> Walk {
    let flow = loaded.model.flow();
    let z = flow.base().sample(number, temperature, args.seed, flow.device());
    let context = loaded.context(loaded.class_or_in_turn(class, number).as_deref());
    layers::inverse(flow, &z, context.as_ref(), usize::from(args.layers))
}

fn temperature(of: f64) -> String {
    format!("T = {of}")
}

fn title(loaded: &Loaded, class: Option<usize>) -> String {
    loaded.title() + &class.map(|class| format!(", class {class}")).unwrap_or_default()
}

fn film_2d(loaded: &Loaded, args: &AnimateArgs, class: Option<usize>) -> anyhow::Result<Vec<u8>> {
    let number = args.number.unwrap_or(1_000) as usize;
    let t = args.temperature.unwrap_or(1.0);
    let Walk { states, .. } = walk(loaded, args, class, number, t);
    let colors = angle_colors(states[0].plane().view());
    let mut title = title(loaded, class);
    if t != 1.0 {
        title = format!("{title}, {}", temperature(t));
    }
    let mut config = Animate2dConfig { title, ..Animate2dConfig::default() };
    let mut film: Vec<Layer2d> = states.iter().map(|s| Layer2d::new(&s.name, s.plane())).collect();
    // A grid of the plane can be pushed along only where the flow is one of the plane, and the same for all points.
    if loaded.model.event() == [2] && (loaded.classes() == 0 || class.is_some()) {
        let grid = Grid::default();
        let points = tensor(grid.points().view(), loaded.model.flow().device());
        let context = loaded.context(loaded.class_or_in_turn(class, grid.len()).as_deref());
        let warped = layers::inverse(loaded.model.flow(), &points, context.as_ref(), usize::from(args.layers));
        film = film.into_iter().zip(warped.states).map(|(layer, grid)| layer.with_grid(grid.rows)).collect();
        config.grid = Some(grid);
    }
    Ok(animate_2d(&film, &colors, &config)?)
}

fn film_images(loaded: &Loaded, args: &AnimateArgs, class: Option<usize>) -> anyhow::Result<Vec<u8>> {
    let number = args.number.unwrap_or(16) as usize;
    let t = args.temperature.unwrap_or(IMAGE_TEMPERATURE);
    let Walk { states, .. } = walk(loaded, args, class, number, t);
    let film = image_layers(loaded, &states, states.len() - 1);
    let config =
        AnimateImagesConfig { title: title(loaded, class), note: temperature(t), ..AnimateImagesConfig::default() };
    Ok(animate_images(&film, &config)?)
}
