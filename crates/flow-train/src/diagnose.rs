//! Where a number stopped being finite: a step taken again layer by layer.

use flow_core::rng::derive_seed;
use flow_core::{Direction, Flow, Step};
use tch::{Kind, Tensor};

use crate::batches::{Batch, DeviceRows};
use crate::divergence::{Origin, Place};
use crate::evaluate::{ROWS, evaluation_batch};
use crate::flat::FlatParameters;

/// A layer as it was met, still in the graph.
struct Layer {
    name: String,
    /// In the shape that the layer works on: inside a level of images, a part of the image.
    input: Tensor,
    value: Tensor,
    log_det: Tensor,
}

/// The names of parameters that a report gives at most.
const NAMES: usize = 3;
/// A gradient with a number above this has a norm that f32 cannot hold.
const TOO_LONG: f64 = 1e18;

/// The first number of a training step on `batch` that is not finite, from the batch to the latent and back; `parameters`
/// by name.
pub(crate) fn replay(flow: &Flow, batch: &Batch, parameters: &[(&str, &Tensor)], rebuilds: bool) -> Place {
    let (layers, log_prob) = match forward(flow, batch) {
        Ok(passed) => passed,
        Err(place) => return place,
    };
    let loss = log_prob.mean(None::<Kind>).neg();
    let values: Vec<&Tensor> = layers.iter().map(|layer| &layer.value).filter(|value| value.requires_grad()).collect();
    let inputs: Vec<&Tensor> = values.iter().copied().chain(parameters.iter().map(|(_, variable)| *variable)).collect();
    let mut gradients = Tensor::run_backward(&[loss], &inputs, false, false);
    let of_variables = gradients.split_off(values.len());
    let mut of_values = gradients.into_iter();
    // A layer whose value has no gradient has none that could be wrong.
    let of_layers: Vec<Option<Tensor>> =
        layers.iter().map(|layer| layer.value.requires_grad().then(|| of_values.next()).flatten()).collect();
    let names: Vec<&str> = parameters.iter().map(|(name, _)| *name).collect();
    let wrong: Vec<&str> =
        names.iter().zip(&of_variables).filter(|(_, gradient)| !is_finite(gradient)).map(|(name, _)| *name).collect();
    if let Some(place) = backward(&layers, &of_layers, &wrong) {
        return place;
    }
    if let Some(name) = longest(&names, &of_variables) {
        return Place { variables: vec![name.to_owned()], ..gradient_at(&layers, layer_of(&layers, name)) };
    }
    Place::of(if rebuilds { Origin::Rebuilding } else { Origin::Nothing })
}

/// The first number of `log_prob` on `batch` that is not finite, without gradients; `None` where all are.
pub(crate) fn likelihood_fault(flow: &Flow, batch: &Batch) -> Option<Place> {
    flow_core::no_grad(|| forward(flow, batch)).err()
}

/// The layer of a `variable` whose gradient was not finite and is so no more, with what `batch` gives it now.
pub(crate) fn layer_with(flow: &Flow, batch: &Batch, variable: &str) -> Place {
    let layers = forward(flow, batch).map_or_else(|_| Vec::new(), |(layers, _)| layers);
    Place { variables: vec![variable.to_owned()], ..gradient_at(&layers, layer_of(&layers, variable)) }
}

/// From the batch to its likelihood: the layers, and log p(x), or where it went wrong.
fn forward(flow: &Flow, batch: &Batch) -> Result<(Vec<Layer>, Tensor), Place> {
    if !is_finite(&batch.x) {
        return Err(Place::of(Origin::Batch));
    }
    // With a gradient of its own, the batch makes every layer's value a part of the graph.
    let x = batch.x.detach().set_requires_grad(true);
    let context = batch.context.as_ref();
    let mut layers: Vec<Layer> = Vec::new();
    // Not a trace: what it shows of a level's steps are whole images, made for the eye beside the graph.
    let mut visit = |name: &str, step: &dyn Step, input: &Tensor| {
        let (value, log_det) = step.forward(input, context);
        let next = value.shallow_clone();
        layers.push(Layer { name: name.to_owned(), input: input.shallow_clone(), value, log_det });
        next
    };
    let z = flow.bijection().steps("", Direction::Forward, &x, context, &mut visit);
    let log_prob = layers.iter().fold(flow.base().log_prob(&z), |sum, layer| sum + &layer.log_det);
    for layer in &layers {
        let origin = match (is_finite(&layer.value), is_finite(&layer.log_det)) {
            (false, _) => Origin::Output,
            (true, false) => Origin::LogDet,
            (true, true) => continue,
        };
        return Err(Place::at(origin, &layer.name, &layer.input));
    }
    if !is_finite(&log_prob) {
        return Err(Place { layer: None, ..Place::at(Origin::Density, "", &z) });
    }
    Ok((layers, log_prob))
}

/// The first gradient that is not finite, from the last layer back to the first; `wrong` are the parameters with one.
fn backward(layers: &[Layer], of_layers: &[Option<Tensor>], wrong: &[&str]) -> Option<Place> {
    for (i, (layer, gradient)) in layers.iter().zip(of_layers).enumerate().rev() {
        if gradient.as_ref().is_some_and(|gradient| !is_finite(gradient)) {
            // What the layer behind it, or the base, has made of a gradient that was finite.
            return Some(gradient_at(layers, (i + 1 < layers.len()).then_some(i + 1)));
        }
        let own: Vec<String> = wrong.iter().filter(|name| belongs(name, layer)).map(|&name| name.to_owned()).collect();
        if !own.is_empty() {
            return Some(Place { variables: few(own), ..gradient_at(layers, Some(i)) });
        }
    }
    let rest: Vec<String> = wrong.iter().map(|&name| name.to_owned()).collect();
    (!rest.is_empty()).then(|| Place { variables: few(rest), ..gradient_at(layers, None) })
}

/// The parameter with the largest gradient, where that is finite but its square is not.
fn longest<'a>(names: &[&'a str], gradients: &[Tensor]) -> Option<&'a str> {
    let sizes = gradients.iter().map(|gradient| match gradient.defined() {
        true => gradient.detach().abs().max().double_value(&[]),
        false => 0.0,
    });
    let largest = names.iter().zip(sizes).max_by(|a, b| a.1.total_cmp(&b.1))?;
    (largest.1 > TOO_LONG).then_some(*largest.0)
}

fn gradient_at(layers: &[Layer], layer: Option<usize>) -> Place {
    match layer {
        Some(i) => Place::at(Origin::Gradient, &layers[i].name, &layers[i].input),
        None => Place::of(Origin::Gradient),
    }
}

fn layer_of(layers: &[Layer], variable: &str) -> Option<usize> {
    layers.iter().position(|layer| belongs(variable, layer))
}

/// A variable's name is the path of its step, and more.
fn belongs(variable: &str, layer: &Layer) -> bool {
    variable.strip_prefix(layer.name.as_str()).is_some_and(|rest| rest.starts_with('.'))
}

fn few(mut names: Vec<String>) -> Vec<String> {
    let more = names.len().saturating_sub(NAMES);
    names.truncate(NAMES);
    if more > 0 {
        names.push(format!("and {more} more"));
    }
    names
}

/// An undefined gradient holds nothing that could be wrong.
pub(crate) fn is_finite(t: &Tensor) -> bool {
    !t.defined() || t.detach().isfinite().all().int64_value(&[]) == 1
}

/// The parameters of which a number in `buffers`, each of the parameters' layout, is not finite.
pub(crate) fn broken_parameters(parameters: &FlatParameters, buffers: &[&Tensor]) -> Option<Place> {
    if buffers.iter().all(|buffer| is_finite(buffer)) {
        return None;
    }
    let wrong = parameters.places().iter().filter(|place| {
        let part = |buffer: &&Tensor| !is_finite(&buffer.narrow(0, place.offset, place.len));
        buffers.iter().any(part)
    });
    let names = wrong.map(|place| place.name.clone()).collect();
    Some(Place { variables: few(names), ..Place::of(Origin::Parameters) })
}

/// Row `row` with the noise that it had in [`log_probs`](crate::evaluate::log_probs), as a batch of one.
pub(crate) fn validation_row(rows: &DeviceRows, row: usize, seed: u64) -> Batch {
    let Batch { x, context } = evaluation_batch(rows, row / ROWS * ROWS, derive_seed(seed, "evaluation", 0));
    let row = |part: Tensor| part.narrow(0, (row % ROWS) as i64, 1);
    Batch { x: row(x), context: context.map(row) }
}

#[cfg(test)]
mod tests {
    use flow_core::{Bijection, Chain, ElementwiseAffine, Level, Multiscale, SqueezeOrder, StandardNormal};
    use tch::{Device, nn};

    use super::*;

    /// The identity, whose gradient is 0 · ∞ where a coordinate is 0.
    #[derive(Debug)]
    struct Cusp;

    impl Bijection for Cusp {
        fn forward(&self, x: &Tensor, _context: Option<&Tensor>) -> (Tensor, Tensor) {
            (x + x.abs().sqrt() * 0.0, Tensor::zeros([x.size()[0]], (x.kind(), x.device())))
        }

        fn inverse(&self, z: &Tensor, _context: Option<&Tensor>) -> (Tensor, Tensor) {
            self.forward(z, None)
        }
    }

    /// A scaling, the cusp, and another scaling.
    fn around_the_cusp(path: &nn::Path, event: &[i64]) -> Chain {
        let mut chain = Chain::default();
        chain.push("first", ElementwiseAffine::scaling(&(path / "first"), event)).unwrap();
        chain.push("cusp", Cusp).unwrap();
        chain.push("last", ElementwiseAffine::scaling(&(path / "last"), event)).unwrap();
        chain
    }

    fn replayed(vs: &nn::VarStore, flow: &Flow, x: Tensor) -> Place {
        let variables = vs.variables();
        let parameters: Vec<(&str, &Tensor)> = variables.iter().map(|(name, v)| (name.as_str(), v)).collect();
        replay(flow, &Batch { x, context: None }, &parameters, false)
    }

    fn found(x: &[f32], scale: f64) -> Place {
        let vs = nn::VarStore::new(Device::Cpu);
        let chain = around_the_cusp(&vs.root(), &[2]);
        let _ = flow_core::no_grad(|| vs.variables()["last.log_scale"].shallow_clone().fill_(scale));
        let flow = Flow::new(chain, StandardNormal::new(&[2]), Device::Cpu);
        replayed(&vs, &flow, Tensor::from_slice(x).reshape([-1, 2]))
    }

    #[test]
    fn the_layer_is_the_one_that_makes_it_and_not_the_one_that_gets_it() {
        let place = found(&[1.0, 0.0, -2.0, 3.0], 0.0);
        assert_eq!((place.origin, place.layer.as_deref()), (Origin::Gradient, Some("cusp")));
        let input = place.input.unwrap();
        assert_eq!((input.min, input.max, input.not_finite, input.count), (Some(-2.0), Some(3.0), 0, 4));
    }

    /// What a level works on is a part of the image, and so is the gradient that it makes.
    #[test]
    fn inside_a_level_of_images() {
        let vs = nn::VarStore::new(Device::Cpu);
        let path = vs.root() / "levels";
        let level = |name: &str, kept| Level {
            steps: around_the_cusp(&(&path / name), if kept > 0 { &[4, 2, 2] } else { &[8, 1, 1] }),
            kept,
            ..Level::default()
        };
        let levels = vec![level("level_0", 2), level("level_1", 0)];
        let mut chain = Chain::default();
        chain.push("levels", Multiscale::new([1, 4, 4], SqueezeOrder::ChannelMajor, levels).unwrap()).unwrap();
        let flow = Flow::new(chain, StandardNormal::new(&[1, 4, 4]), Device::Cpu);
        let image = Tensor::ones([1, 1, 4, 4], (Kind::Float, Device::Cpu));
        assert_eq!(replayed(&vs, &flow, image.copy()).origin, Origin::Nothing);
        // Of the channels that the squeeze makes the first two go on: the pixels of even rows.
        for (row, layer, count) in [(0, "levels.level_1.cusp", 8), (1, "levels.level_0.cusp", 16)] {
            let x = image.copy();
            let _ = x.narrow(2, row, 1).fill_(0.0);
            let place = replayed(&vs, &flow, x);
            assert_eq!((place.origin, place.layer.as_deref()), (Origin::Gradient, Some(layer)));
            assert_eq!(place.input.unwrap().count, count);
        }
    }

    #[test]
    fn on_the_way_to_the_latent() {
        let origin = |x: &[f32], scale| {
            let place = found(x, scale);
            (place.origin, place.layer)
        };
        let last = || Some("last".to_owned());
        assert_eq!(origin(&[1.0, f32::NAN], 0.0), (Origin::Batch, None));
        assert_eq!(origin(&[1.0, 2.0], 100.0), (Origin::Output, last()));
        assert_eq!(origin(&[0.0, 0.0], f64::INFINITY), (Origin::Output, last()));
        // Of scale 0, as an exponential says: the output is 0, its logarithm is not finite.
        assert_eq!(origin(&[1.0, 2.0], f64::NEG_INFINITY), (Origin::LogDet, last()));
        assert_eq!(origin(&[1e20, 1.0], 0.0), (Origin::Density, None));
        assert_eq!(origin(&[1.0, 2.0], 0.0), (Origin::Nothing, None));
    }
}
