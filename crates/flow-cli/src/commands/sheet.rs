//! `flow sheet`: the same noise at several temperatures, or as every class.

use anyhow::bail;
use flow_viz::{ImageRow, ImageRowsConfig, image_rows};
use tch::Tensor;

use crate::args::{SheetArgs, SheetKind};
use crate::loaded::Loaded;
use crate::output;
use crate::real::class_note;

/// More images than this make no sheet.
const LARGEST: usize = 10_000;

pub fn run(args: &SheetArgs) -> anyhow::Result<()> {
    output::place(&args.out, &["png"])?;
    let loaded = Loaded::open(&args.model)?;
    loaded.require_images("sheet")?;
    let rows = match args.kind {
        SheetKind::Temperature => args.temperatures.len(),
        SheetKind::Classes => loaded.classes(),
    };
    if rows * args.number as usize > LARGEST {
        bail!("{rows} rows of {} are too many images for a picture; at most {LARGEST}", args.number);
    }
    let picture = match args.kind {
        SheetKind::Temperature => temperatures(&loaded, args)?,
        SheetKind::Classes => classes(&loaded, args)?,
    };
    output::write(&args.out, &picture)
}

/// The noise of all rows, `[n, D]`.
fn noise(loaded: &Loaded, args: &SheetArgs) -> Tensor {
    let flow = loaded.model.flow();
    flow.base().sample(args.number as usize, 1.0, args.seed, flow.device())
}

fn temperatures(loaded: &Loaded, args: &SheetArgs) -> anyhow::Result<Vec<u8>> {
    let class = loaded.class(args.class)?;
    let labels = loaded.class_or_in_turn(class, args.number as usize);
    let (noise, context) = (noise(loaded, args), loaded.context(labels.as_deref()));
    let row = |&t: &f64| loaded.decoded(format!("T = {t}"), &(&noise * t), context.as_ref());
    let rows: Vec<ImageRow> = args.temperatures.iter().map(row).collect();
    let caption = format!("{}: the same noise at rising temperature{}", loaded.title(), class_note(loaded, class));
    // A column a class is named by it.
    let columns = match (&labels, class) {
        (Some(labels), None) => labels.iter().map(ToString::to_string).collect(),
        _ => Vec::new(),
    };
    let columns_name = if columns.is_empty() { String::new() } else { "class".to_owned() };
    Ok(image_rows(&rows, &ImageRowsConfig { caption, columns, columns_name, ..ImageRowsConfig::default() })?)
}

fn classes(loaded: &Loaded, args: &SheetArgs) -> anyhow::Result<Vec<u8>> {
    if loaded.classes() == 0 {
        bail!("the model is not conditioned on classes; train a glow or realnvp-image with --classes");
    }
    let (n, noise) = (args.number as usize, noise(loaded, args) * args.temperature);
    let rows = (0..loaded.classes()).map(|class| {
        let context = loaded.context(Some(&vec![class; n]));
        loaded.decoded(format!("class {class}"), &noise, context.as_ref())
    });
    let rows: Vec<ImageRow> = rows.collect();
    let caption = format!("{}: the same noise as every class, temperature {}", loaded.title(), args.temperature);
    Ok(image_rows(&rows, &ImageRowsConfig { caption, ..ImageRowsConfig::default() })?)
}
