//! `flow trace`: a picture of every layer's output.

use anyhow::bail;
use flow_data::Rows;
use flow_viz::{Layer2d, LayerImages, Layers2dConfig, LayersImagesConfig, angle_colors, layers_2d, layers_images};

use crate::args::{Direction, TraceArgs};
use crate::arrays::{shown, tensor};
use crate::layers::{self, State};
use crate::loaded::Loaded;
use crate::output;

pub fn run(args: &TraceArgs) -> anyhow::Result<()> {
    output::ending(&args.out, &["png"])?;
    let loaded = Loaded::open(&args.model)?;
    let number = args.number.unwrap_or(if loaded.image().is_some() { 8 } else { 2_000 }) as usize;
    let states = states(&loaded, args, number)?;
    let bytes = if loaded.image().is_some() {
        picture_images(&loaded, args, &states)?
    } else {
        picture_2d(&loaded, args, &states)?
    };
    output::write(&args.out, &bytes)
}

fn states(loaded: &Loaded, args: &TraceArgs, number: usize) -> anyhow::Result<Vec<State>> {
    let flow = loaded.model.flow();
    if args.direction == Direction::Inverse {
        let z = flow.base().sample(number, args.temperature, args.seed, flow.device());
        return Ok(layers::inverse(flow, &z));
    }
    let test = loaded.data_set()?.test;
    if number > test.len() {
        bail!("{number} rows asked for, the test split has {}", test.len());
    }
    let rows = shown(&test.gather(&(0..number).collect::<Vec<_>>()));
    Ok(layers::forward(flow, &tensor(rows.view(), flow.device())))
}

fn caption(loaded: &Loaded, args: &TraceArgs) -> String {
    match args.direction {
        Direction::Forward => format!("{}, forward: data to latent", loaded.title()),
        Direction::Inverse if args.temperature == 1.0 => format!("{}, inverse: latent to data", loaded.title()),
        Direction::Inverse => format!("{}, inverse, temperature {}", loaded.title(), args.temperature),
    }
}

/// Points keep the colour of their angle in the latent.
fn picture_2d(loaded: &Loaded, args: &TraceArgs, states: &[State]) -> anyhow::Result<Vec<u8>> {
    let latent = match args.direction {
        Direction::Forward => states.last(),
        Direction::Inverse => states.first(),
    };
    let colors = angle_colors(latent.expect("a first state").plane().view());
    let layers: Vec<Layer2d> = states.iter().map(|s| Layer2d::new(&s.name, s.plane())).collect();
    let config = Layers2dConfig { caption: caption(loaded, args), ..Layers2dConfig::default() };
    Ok(layers_2d(&layers, &colors, &config)?)
}

fn picture_images(loaded: &Loaded, args: &TraceArgs, states: &[State]) -> anyhow::Result<Vec<u8>> {
    let data = match args.direction {
        Direction::Forward => 0,
        Direction::Inverse => states.len() - 1,
    };
    let layers = image_layers(loaded, states, data);
    let config = LayersImagesConfig { caption: caption(loaded, args), ..LayersImagesConfig::default() };
    Ok(layers_images(&layers, &config)?)
}

/// States as images; the one that is data is shown from 0 to 1.
pub fn image_layers(loaded: &Loaded, states: &[State], data: usize) -> Vec<LayerImages> {
    let image = loaded.image().expect("called for images only");
    let layer = |(i, state): (usize, &State)| {
        let layer = LayerImages::new(&state.name, state.images(image));
        if i == data { layer.with_range(0.0, 1.0) } else { layer }
    };
    states.iter().enumerate().map(layer).collect()
}
