//! `flow attribute`: what makes one class another, as a direction in the latent, added to real images.

use anyhow::{Context, bail};
use flow_data::Split;
use flow_viz::{ImageRow, ImageRowsConfig, image_rows};
use tch::{Kind, Tensor};

use crate::args::AttributeArgs;
use crate::latent::{decode, encode};
use crate::loaded::Loaded;
use crate::output::{self, Usage};
use crate::real::of_class;

/// Training images a class whose latents are averaged.
const MOST: usize = 2_000;

pub fn run(args: &AttributeArgs) -> anyhow::Result<()> {
    output::place(&args.out, &["png"])?;
    if args.from_class == args.to_class {
        return Err(Usage(format!("--from-class and --to-class are both {}", args.from_class)).into());
    }
    let loaded = Loaded::open(&args.model)?;
    loaded.require_images("attribute")?;
    let data = loaded.data_set()?;
    let train = loaded.training(&data.train)?;
    if train.labels.is_none() {
        bail!("{} has no labels, so there are no classes to tell apart", loaded.data.name);
    }
    let direction = direction(&loaded, train, args)?;
    let (shown, rows) = along(&loaded, &data.test, &direction, args)?;
    output::write(&args.out, &picture(&loaded, args, &shown, rows)?)
}

/// The mean latent of one class less that of the other, `[D]`.
fn direction(loaded: &Loaded, train: &Split, args: &AttributeArgs) -> anyhow::Result<Tensor> {
    let mean = |class: usize, flag: &str| {
        let mut index = of_class(train, class);
        if index.is_empty() {
            bail!("{flag} {class}: no training image of {} has this label", loaded.data.name);
        }
        index.truncate(MOST);
        let real = loaded.real(train, &index)?;
        // Told what it is, an image of either class has the same latents: both are seen as the first.
        let context = loaded.context(loaded.class_or_in_turn(Some(args.from_class), index.len()).as_deref());
        Ok(encode(loaded.model.flow(), &real.x, context.as_ref()).mean_dim([0i64].as_slice(), false, Kind::Float))
    };
    Ok(mean(args.to_class, "--to-class")? - mean(args.from_class, "--from-class")?)
}

/// Test images, their numbers and a row for each: as they are, and at every strength of the direction.
fn along(
    loaded: &Loaded,
    test: &Split,
    direction: &Tensor,
    args: &AttributeArgs,
) -> anyhow::Result<(Vec<usize>, Vec<Tensor>)> {
    let flow = loaded.model.flow();
    let mut index = of_class(test, args.from_class);
    if index.is_empty() {
        bail!("--from-class {}: no test image of {} has this label", args.from_class, loaded.data.name);
    }
    index.truncate(args.number as usize);
    let real = loaded.real(test, &index)?;
    let context = real.context.as_ref();
    let z = encode(flow, &real.x, context);
    let at = |strength: &f64| decode(flow, &(&z + direction * *strength), context);
    let columns: Vec<Tensor> = strengths(args).iter().map(at).collect();
    let by_image = Tensor::stack(&columns, 1);
    Ok((index.clone(), (0..index.len() as i64).map(|i| by_image.get(i)).collect()))
}

/// From -1 to 1, always with 0 among them.
fn strengths(args: &AttributeArgs) -> Vec<f64> {
    let half = i32::from(args.steps) / 2;
    (-half..=half).map(|i| args.strength * f64::from(i) / f64::from(half)).collect()
}

fn picture(loaded: &Loaded, args: &AttributeArgs, shown: &[usize], rows: Vec<Tensor>) -> anyhow::Result<Vec<u8>> {
    let strengths = strengths(args);
    let middle = strengths.len() / 2;
    let row = |(index, images): (&usize, Tensor)| {
        ImageRow::new(format!("image {index}"), loaded.pictures(&images)).with_framed([middle])
    };
    let rows: Vec<ImageRow> = shown.iter().zip(rows).map(row).collect();
    let config = ImageRowsConfig {
        caption: format!("{}: from class {} to class {}", loaded.title(), args.from_class, args.to_class),
        columns: strengths.iter().map(|s| format!("{:.2}", s + 0.0)).collect(),
        columns_name: "strength of the mean difference in the latent".to_owned(),
        frame_note: format!("test images of class {}", args.from_class),
        ..ImageRowsConfig::default()
    };
    image_rows(&rows, &config).context("drawing")
}
