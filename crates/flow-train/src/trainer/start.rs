//! What a training begins with.

use flow_core::rng::derive_seed;
use flow_data::{DataSet, Rows, Source};
use flow_models::Model;

use crate::adam::{Adam, Group};
use crate::batches::{Batch, Batches, DeviceRows};
use crate::flat::FlatParameters;
use crate::memory;
use crate::{Error, Result, RunConfig};

/// Rows that ActNorm and its like are started from.
const START_ROWS: usize = 2_048;

/// What is trained on must be what the configuration says, or a run that is taken up would go on with other data.
pub(super) fn check_data(config: &RunConfig, data: &DataSet) -> Result<()> {
    let wrong = |why: String| Err(Error::Config(why));
    if data.spec != config.data.name {
        return wrong(format!("data.name is {}, the data given are {}", config.data.name, data.spec));
    }
    let (fixed, rows) = (config.data.fixed, data.train.rows());
    if data.toy().is_some() && rows.unwrap_or(0) != fixed {
        let rows = rows.map_or_else(|| "fresh draws".to_owned(), |rows| format!("{rows} fixed points"));
        return wrong(format!("data.fixed is {fixed}, the data given are {rows}"));
    }
    let levels = data.preprocessing.levels();
    let (bits, whole) = (config.data.bits, if data.spec == flow_data::Spec::Digits { 17 } else { 256 });
    if levels.is_some_and(|levels| levels != if bits == 0 { whole } else { 1 << bits }) {
        return wrong(format!("data.bits is {bits}, the data given have {} levels", levels.unwrap_or(0)));
    }
    if rows == Some(0) || data.validation.is_empty() {
        return wrong("there must be at least one training row and one validation row".to_owned());
    }
    Ok(())
}

/// Refuses a model that this machine cannot train, before anything is built of it: of its parameters there are two moments
/// and the best so far at least. On a GPU its driver says so.
pub(super) fn require_memory(config: &RunConfig, event: &[usize], device: tch::Device) -> Result<()> {
    let numbers = config.model.saved_numbers(event)?;
    let copies = if config.train.ema > 0.0 { 5 } else { 4 };
    let needed = numbers.saturating_mul(copies * size_of::<f32>() as u128);
    match memory::installed() {
        Some(installed) if device == tch::Device::Cpu && needed > installed => {
            let gib = |bytes: u128| bytes as f64 / f64::from(1 << 30);
            Err(Error::Config(format!(
                "{} of events {event:?} has {numbers} numbers, and training it takes {:.1} GiB at least, of which this \
                 machine has {:.1}; fewer couplings, narrower nets, nets without a skip or smaller data make it smaller",
                config.model.name(),
                gib(needed),
                gib(installed)
            )))
        }
        _ => Ok(()),
    }
}

/// Starts what starts from data (ActNorm, splines) from the first training rows.
pub(super) fn start_from_data(model: &Model, data: &DataSet, seed: u64) -> Result<()> {
    let seed = derive_seed(seed, "start", 0);
    let (flow, classes) = (model.flow(), model.config().classes());
    let Batch { x, context } = match &data.train {
        Source::Fresh(toy) => {
            Batches::new(&Source::Fresh(*toy), START_ROWS, classes, seed, flow.device())?.pick(0).batch()
        }
        Source::Fixed(split) => {
            let rows = DeviceRows::with_classes(split, classes, flow.device())?;
            rows.dequantized(0, rows.len().min(START_ROWS), seed)
        }
    };
    let _ = flow_core::no_grad(|| flow.bijection().start_from_data(&x, context.as_ref()));
    Ok(())
}

/// The optimizer, with the rate and the decay that each variable has by its name.
pub(super) fn adam(config: &RunConfig, parameters: &FlatParameters) -> Adam {
    let train = &config.train;
    let groups = parameters.places().iter().map(|place| {
        let factors = train.rates.iter().filter(|(prefix, _)| place.name.starts_with(prefix.as_str()));
        let decays = place.name.ends_with(".weight");
        Group {
            rate: factors.map(|(_, factor)| factor).product(),
            decay: if decays { train.weight_decay } else { 0.0 },
        }
    });
    Adam::new(parameters, groups.collect(), (train.beta1, train.beta2), train.epsilon)
}
