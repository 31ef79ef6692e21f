//! A model checked on the rows of its own data and on draws of its base: [`flow_core::check`] with rows to check on.

use flow_core::check::{Config, Model as Subject, Report, Rows};
use flow_core::rng::derive_seed;
use flow_core::{Base, Direction};
use flow_data::{Part, Split};
use flow_models::{Model, class_context};
use tch::{Kind, Tensor};

use crate::batches::{Batch, DeviceRows};
use crate::evaluate::ROWS;
use crate::{Error, Result};

/// The temperatures at which latents are drawn.
pub const TEMPERATURES: [f64; 3] = [0.5, 1.0, 2.0];

/// No more latents than this are drawn at each temperature.
const LATENTS: usize = 100;

/// Of data and of latents at temperature 1, so many copies of a row altogether are held against the Jacobian, and never
/// more rows than [`JACOBIANS`]: one row of MNIST, sixteen of moons.
const COPIES: usize = 1024;
const JACOBIANS: usize = 16;
/// Of latents at another temperature no more rows than this: a row costs as much there.
const OTHER_JACOBIANS: i64 = 4;

/// Rows of more coordinates than [`FEW`] that go through in f64: enough, for a fault of the maths shows in any of them.
const DOUBLES: i64 = 40;
const FEW: usize = 16;

/// A model with what it is checked on.
#[derive(Debug)]
pub struct Check<'a> {
    model: &'a Model,
    rows: Vec<Rows>,
    seed: u64,
}

impl<'a> Check<'a> {
    /// The first `number` rows of `split`, one draw of the dequantization noise each, and as many latents, 100 at most, at
    /// each of [`TEMPERATURES`]. Rows have their classes as context, latents the model's classes in turn. Everything random
    /// depends on `seed`.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] where there is no row, not the labels that the model wants, or it wants a context that is no class.
    pub fn new(model: &'a Model, split: &Split, part: Part, number: usize, seed: u64) -> Result<Self> {
        let (config, flow) = (model.config(), model.flow());
        let classes = config.classes();
        if config.context() > classes {
            let why = format!("model.context is {}, and no data set here gives one", config.context());
            return Err(Error::Config(why));
        }
        let data = DeviceRows::with_classes(split, classes, flow.device())?;
        let number = number.min(data.len());
        if number == 0 {
            return Err(Error::Config(format!("the {part} split has no rows to check on")));
        }
        let dim: usize = model.event().iter().product();
        let jacobians = (COPIES / dim).clamp(1, JACOBIANS) as i64;
        let doubles = if dim <= FEW { i64::MAX } else { DOUBLES };
        let Batch { x, context } = data.dequantized(0, number, derive_seed(seed, "check", 0));
        let name = format!("{number} {part} rows");
        let mut rows = vec![Rows { context, jacobians, doubles, ..Rows::new(name, Direction::Forward, x) }];
        rows.extend(TEMPERATURES.iter().enumerate().map(|(i, &temperature)| {
            let number = number.min(LATENTS);
            let seed = derive_seed(seed, "check latent", i as u64);
            let z = flow.base().sample(number, temperature, seed, flow.device());
            let labels = Tensor::arange(number as i64, (Kind::Int64, z.device())).remainder(classes.max(1) as i64);
            Rows {
                context: (classes > 0).then(|| class_context(&labels, classes)),
                doubles: if dim <= FEW { i64::MAX } else { DOUBLES / 2 },
                jacobians: if temperature == 1.0 { jacobians } else { jacobians.min(OTHER_JACOBIANS) },
                far: temperature > 1.0,
                ..Rows::new(format!("{number} latents, T = {temperature}"), Direction::Inverse, z)
            }
        }));
        Ok(Check { model, rows, seed })
    }

    /// Carries it out.
    ///
    /// # Errors
    ///
    /// The model cannot be built in f64.
    pub fn run(&self) -> Result<Report> {
        let double = self.model.to_double()?;
        let subject = Subject { single: self.model.flow(), double: double.flow(), variables: &self.model.variables() };
        let config = Config { seed: derive_seed(self.seed, "check probes", 0), ..Config::default() };
        Ok(flow_core::check::check(&subject, &self.rows, &config))
    }

    /// The latent of the rows of data, `[n, D]`, in f32.
    pub fn latent(&self) -> Tensor {
        let Rows { start, context, .. } = &self.rows[0];
        let n = start.size()[0];
        let part = |first: i64| {
            let part = |t: &Tensor| t.narrow(0, first, (ROWS as i64).min(n - first));
            self.model.flow().bijection().forward(&part(start), context.as_ref().map(part).as_ref()).0
        };
        let parts: Vec<Tensor> = flow_core::no_grad(|| (0..n).step_by(ROWS).map(part).collect());
        Tensor::cat(&parts, 0)
    }

    /// The distribution that the latent should have.
    pub fn base(&self) -> &dyn Base {
        self.model.flow().base()
    }
}
