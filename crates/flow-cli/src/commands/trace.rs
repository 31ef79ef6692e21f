//! `flow trace`: a picture of every layer's output.

use anyhow::bail;
use flow_data::{Rows, Split};
use flow_viz::{
    Layer2d, LayerImages, Layers2dConfig, LayersImagesConfig, angle_colors, layers_2d, layers_images, most_images,
};

use crate::args::{Direction, TraceArgs};
use crate::layers::{self, State, Walk};
use crate::loaded::Loaded;
use crate::output;
use crate::real::{class_note, of_class};

pub fn run(args: &TraceArgs) -> anyhow::Result<()> {
    output::place(&args.out, &["png"])?;
    let loaded = Loaded::open(&args.model)?;
    let class = loaded.class(args.class)?;
    let number = args.number.unwrap_or(if loaded.image().is_some() { 8 } else { 2_000 }) as usize;
    require_room(&loaded, number)?;
    let walk = walk(&loaded, args, class, number)?;
    let caption = caption(&loaded, args, class, &walk.note());
    let bytes = if loaded.image().is_some() {
        picture_images(&loaded, args, caption, &walk.states)?
    } else {
        picture_2d(args, caption, &walk.states)?
    };
    output::write(&args.out, &bytes)
}

/// Refuses more images than a figure has room for before they take the memory of every layer.
fn require_room(loaded: &Loaded, number: usize) -> anyhow::Result<()> {
    let Some([channels, height, width]) = loaded.image() else { return Ok(()) };
    match most_images([if channels == 3 { 3 } else { 1 }, height, width]) {
        most if number > most => bail!("-n {number}: a picture has room for {most} images of this size; ask for fewer"),
        _ => Ok(()),
    }
}

fn walk(loaded: &Loaded, args: &TraceArgs, class: Option<usize>, number: usize) -> anyhow::Result<Walk> {
    let (flow, most) = (loaded.model.flow(), usize::from(args.layers));
    if args.direction == Direction::Inverse {
        let z = flow.base().sample(number, args.temperature, args.seed, flow.device());
        let context = loaded.context(loaded.class_or_in_turn(class, number).as_deref());
        return Ok(layers::inverse(flow, &z, context.as_ref(), most));
    }
    let test = loaded.data_set()?.test;
    let real = loaded.real(&test, &first(&test, class, number)?)?;
    Ok(layers::forward(flow, &real.x, real.context.as_ref(), most))
}

/// The first test rows, of a class where one is asked for.
fn first(test: &Split, class: Option<usize>, number: usize) -> anyhow::Result<Vec<usize>> {
    let mut index = class.map_or_else(|| (0..test.len()).collect(), |class| of_class(test, class));
    if number > index.len() {
        let which = class.map(|class| format!(" of class {class}")).unwrap_or_default();
        bail!("{number} rows{which} asked for, the test split has {}", index.len());
    }
    index.truncate(number);
    Ok(index)
}

fn caption(loaded: &Loaded, args: &TraceArgs, class: Option<usize>, note: &str) -> String {
    let title = loaded.title();
    match (args.direction, class) {
        (Direction::Forward, None) => format!("{title}, forward{note}: data to latent"),
        (Direction::Forward, Some(class)) => format!("{title}, forward{note}: data of class {class} to latent"),
        (Direction::Inverse, _) if args.temperature == 1.0 => {
            format!("{title}, inverse{note}: latent to data{}", class_note(loaded, class))
        }
        (Direction::Inverse, _) => {
            format!("{title}, inverse{note}, temperature {}{}", args.temperature, class_note(loaded, class))
        }
    }
}

/// Points keep the colour of their angle in the latent.
fn picture_2d(args: &TraceArgs, caption: String, states: &[State]) -> anyhow::Result<Vec<u8>> {
    let latent = match args.direction {
        Direction::Forward => states.last(),
        Direction::Inverse => states.first(),
    };
    let colors = angle_colors(latent.expect("a first state").plane().view());
    let layers: Vec<Layer2d> = states.iter().map(|s| Layer2d::new(&s.name, s.plane())).collect();
    let config = Layers2dConfig { caption, ..Layers2dConfig::default() };
    Ok(layers_2d(&layers, &colors, &config)?)
}

fn picture_images(loaded: &Loaded, args: &TraceArgs, caption: String, states: &[State]) -> anyhow::Result<Vec<u8>> {
    let data = match args.direction {
        Direction::Forward => 0,
        Direction::Inverse => states.len() - 1,
    };
    let layers = image_layers(loaded, states, data);
    let config = LayersImagesConfig { caption, ..LayersImagesConfig::default() };
    Ok(layers_images(&layers, &config)?)
}

/// States as images; the one that is data is shown from 0 to 1.
pub fn image_layers(loaded: &Loaded, states: &[State], data: usize) -> Vec<LayerImages> {
    let image = loaded.image().expect("called for images only");
    let layer = |(i, state): (usize, &State)| {
        let layer = LayerImages::rgb(&state.name, state.images(image));
        if i == data { layer.with_range(0.0, 1.0) } else { layer }
    };
    states.iter().enumerate().map(layer).collect()
}
