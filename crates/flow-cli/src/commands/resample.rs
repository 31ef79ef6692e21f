//! `flow resample`: what each level of a multi-scale model holds, by drawing the finer ones anew.

use anyhow::bail;
use flow_core::rng::derive_seed;
use flow_data::Rows;
use flow_viz::{ImageRow, ImageRowsConfig, image_rows};
use tch::{Kind, Tensor};

use crate::args::ResampleArgs;
use crate::latent::encode;
use crate::loaded::Loaded;
use crate::output;
use crate::real::Real;

pub fn run(args: &ResampleArgs) -> anyhow::Result<()> {
    output::place(&args.out, &["png"])?;
    let loaded = Loaded::open(&args.model)?;
    loaded.require_images("resample")?;
    let levels = Levels::of(&loaded)?;
    if let Some(keep) = args.keep_levels.filter(|keep| *keep > levels.number) {
        bail!("--keep-levels {keep}: the model has {} levels", levels.number);
    }
    let test = loaded.data_set()?.test;
    let number = args.number as usize;
    if number > test.len() {
        bail!("{number} images asked for, the test split has {}", test.len());
    }
    let real = loaded.real(&test, &(0..number).collect::<Vec<_>>())?;
    let rows = rows(&loaded, args, &levels, &real);
    output::write(&args.out, &picture(&loaded, args, &rows)?)
}

/// Which level let go of each coordinate of the latent.
struct Levels {
    /// `[D]`, 0 for the finest.
    of_coordinate: Vec<i64>,
    number: usize,
}

impl Levels {
    fn of(loaded: &Loaded) -> anyhow::Result<Self> {
        let levels = loaded.card.model.latent_levels(loaded.model.event());
        let number = levels.iter().max().map_or(1, |most| most + 1);
        if number == 1 {
            bail!(
                "{} has one level, so there is no finer one to draw anew; glow and realnvp-image take model.levels",
                loaded.title()
            );
        }
        Ok(Levels { of_coordinate: levels.into_iter().map(|level| level as i64).collect(), number })
    }

    /// Where the latent of the `keep` coarsest levels lies, `[D]`, and how much of it that is.
    fn kept(&self, keep: usize) -> (Tensor, f64) {
        let least = (self.number - keep) as i64;
        let kept = Tensor::from_slice(&self.of_coordinate).ge(least);
        let share = kept.to_kind(Kind::Float).mean(None::<Kind>).double_value(&[]);
        (kept, share)
    }
}

/// The images, then what is left of them: a row for each number of levels, or several draws for one number.
fn rows(loaded: &Loaded, args: &ResampleArgs, levels: &Levels, real: &Real) -> Vec<ImageRow> {
    let flow = loaded.model.flow();
    let context = real.context.as_ref();
    let z = encode(flow, &real.x, context);
    let fresh = |draw: u64| {
        let seed = derive_seed(args.seed, "resample", draw);
        flow.base().sample(args.number as usize, args.temperature, seed, flow.device())
    };
    let row = |keep: usize, draw: u64, label: String| {
        let (kept, _) = levels.kept(keep);
        loaded.decoded(label, &z.where_self(&kept.to_device(z.device()), &fresh(draw)), context)
    };
    let original = ImageRow::new("test images", loaded.pictures(&real.x)).with_framed(0..args.number as usize);
    let mixed: Vec<ImageRow> = match args.keep_levels {
        Some(keep) => (0..u64::from(args.draws)).map(|draw| row(keep, draw, format!("draw {}", draw + 1))).collect(),
        // The same draw in all rows: what changes from one to the next is the level alone.
        None => (0..levels.number).rev().map(|keep| row(keep, 0, label(levels, keep))).collect(),
    };
    std::iter::once(original).chain(mixed).collect()
}

fn label(levels: &Levels, keep: usize) -> String {
    match keep {
        0 => "none kept".to_owned(),
        // A tenth of a percent is fine enough, and 50 is easier to read than 50.0.
        _ => {
            let percent = (1_000.0 * levels.kept(keep).1).round() / 10.0;
            format!("{keep} of {} kept: {percent} %", levels.number)
        }
    }
}

fn picture(loaded: &Loaded, args: &ResampleArgs, rows: &[ImageRow]) -> anyhow::Result<Vec<u8>> {
    let what = match args.keep_levels {
        Some(0) => "all levels drawn anew".to_owned(),
        Some(1) => "the coarsest level kept, finer ones drawn anew".to_owned(),
        Some(keep) => format!("the {keep} coarsest levels kept, finer ones drawn anew"),
        None => "the coarsest levels kept, finer ones drawn anew".to_owned(),
    };
    let temperature = if args.temperature == 1.0 { String::new() } else { format!(", T = {}", args.temperature) };
    let caption = format!("{}: {what}{temperature}", loaded.title());
    Ok(image_rows(rows, &ImageRowsConfig { caption, ..ImageRowsConfig::default() })?)
}
