//! Convolutional nets by [`flow_dense`]: a thread takes some images through all layers, and a layer is one pass, its
//! activation, sum and gradient's mask included.

use std::sync::{Mutex, PoisonError};

use flow_core::dense::{ImageRows, NewTensor, in_images, numbers, rounding, threads};
use flow_core::plain::lock;
use flow_core::{ConditionerBackward, ConditionerKept, Gradients};
use flow_dense::{
    Filters, Images, Planes, Rounding, Slope, ThenPlanes, convolve, convolve_back, filter_gradient, in_parallel,
    in_turn,
};
use tch::{Kind, Tensor};

use crate::conv_net::{Conv, ConvNet};

/// Numbers of a hidden layer that go through all layers before the next: these stay in a core's own cache.
const CACHED: usize = 1 << 17;

/// `[n, inputs, h, w]` and a context `[n, c]`, for a net that was built for one, to `[n, outputs, h, w]`, outside of training.
pub(crate) fn forward(net: &ConvNet, slope: Slope, x: &Tensor, context: Option<&Tensor>) -> Tensor {
    let weights = weights(net);
    let plain = Plain::new(net, &weights, slope, context);
    let x = in_images(x);
    let x = plain.images(&x);
    let width = plain.convs[0].0.outputs();
    let most = (CACHED / (width * x.images.height * x.images.width).max(1)).max(1);
    // As many blocks for each thread, as equal as can be.
    let block = x.images.count.div_ceil(x.images.count.div_ceil(most).next_multiple_of(threads()).max(1)).max(1);
    by_parts(x.images, plain.outputs(), block, |part, y, each| {
        let first = part * block;
        plain.run(&mut vec![x.planes(first, y.len() / each)], first, false).to_images(y);
    })
}

/// Images of a thread's part where threads share all of them; the last may have fewer.
fn own(images: Images) -> usize {
    images.count.div_ceil(threads()).max(1)
}

/// `[count, channels, h, w]`: calls `work(part, y, each)` for every part of `own` images, of which each is so many numbers.
fn by_parts(images: Images, channels: usize, own: usize, work: impl Fn(usize, &mut [f32], usize) + Sync) -> Tensor {
    let Images { count, height, width } = images;
    let size = [count, channels, height, width].map(|n| n as i64);
    let each = channels * height * width;
    let mut y = NewTensor::empty(&size);
    let parts: Vec<_> = y.numbers_mut().chunks_mut((own * each).max(1)).map(Mutex::new).collect();
    in_turn(parts.len(), threads(), &|part| work(part, &mut lock(&parts[part]), each));
    drop(parts);
    y.done()
}

/// The weights that a net convolves with, in the order in which they follow one another; taped where they are made of others
/// and autograd looks on.
fn weights(net: &ConvNet) -> Vec<Tensor> {
    net.convs().map(Conv::weight).collect()
}

/// A net as numbers, which threads can share.
struct Plain<'a> {
    convs: Vec<(Filters<'a>, &'a [f32])>,
    residual: bool,
    slope: Slope,
    /// What a context adds to every pixel behind the first convolution, a number for each channel of each image.
    shift: Option<Vec<f32>>,
    rounding: Rounding,
}

impl<'a> Plain<'a> {
    fn new(net: &'a ConvNet, weights: &'a [Tensor], slope: Slope, context: Option<&Tensor>) -> Self {
        let of = |(conv, weight): (&'a Conv, &'a Tensor)| {
            let size = weight.size();
            let filters = (size[0] as usize, size[1] as usize);
            (Filters::new(numbers(weight), filters, (size[2] * size[3]) as usize), numbers(&conv.bias))
        };
        let shift = context.zip(net.context.as_ref()).map(|(context, weight)| {
            let shift = flow_core::no_grad(|| context.linear(weight, None::<&Tensor>));
            Vec::try_from(shift.flatten(0, -1)).expect("numbers")
        });
        let convs = net.convs().zip(weights).map(of).collect();
        // Threads that compute it do not know what is asked for on this one.
        Plain { convs, residual: net.residual(), slope, shift, rounding: rounding() }
    }

    fn last(&self) -> usize {
        self.convs.len() - 1
    }

    fn outputs(&self) -> usize {
        self.convs[self.last()].0.outputs()
    }

    fn images<'b>(&self, x: &'b Tensor) -> ImageRows<'b> {
        let x = ImageRows::new(x);
        assert_eq!(x.channels, self.convs[0].0.inputs(), "channels of a net's input");
        x
    }

    /// Whether the `i`-th convolution is the second of a residual block, whose result is added to what came in.
    fn adds(&self, i: usize) -> bool {
        self.residual && i > 0 && i < self.last() && i.is_multiple_of(2)
    }

    /// Whether it is the first of a residual block.
    fn branches(&self, i: usize) -> bool {
        self.residual && i < self.last() && !i.is_multiple_of(2)
    }

    /// Products and nothing else.
    fn then<'b>(&self) -> ThenPlanes<'b> {
        ThenPlanes { rounding: self.rounding, ..ThenPlanes::default() }
    }

    /// The shift of the images from the `first` on, of which `x` is the planes.
    fn shift(&self, x: &Planes, first: usize) -> Option<Planes> {
        let width = self.convs[0].0.outputs();
        let own = first * width..(first + x.images().count) * width;
        self.shift.as_ref().map(|shift| Planes::of_constants(&shift[own], x.images(), width))
    }

    /// From the images in `inputs`, of all the `first` and those behind it, to what comes out; what every later convolution is
    /// given is put behind them, or instead of them where nothing is to be kept.
    fn run(&self, inputs: &mut Vec<Planes>, first: usize, keep: bool) -> Planes {
        // What residual blocks have come to; before the first convolution the shift.
        let mut sum = self.shift(&inputs[0], first);
        for (i, &(filters, bias)) in self.convs[..self.last()].iter().enumerate() {
            let mut before = None;
            let then = ThenPlanes {
                bias: Some(bias),
                sum: sum.as_ref().filter(|_| self.adds(i) || i == 0),
                before_activation: self.branches(i + 1).then_some(&mut before),
                activation: Some(self.slope),
                ..self.then()
            };
            let y = convolve(filters, &inputs[inputs.len() - 1], then);
            sum = before.or(sum);
            if !keep {
                inputs.clear();
            }
            inputs.push(y);
        }
        let (filters, bias) = self.convs[self.last()];
        convolve(filters, &inputs[inputs.len() - 1], ThenPlanes { bias: Some(bias), ..self.then() })
    }

    /// The way back of images that went through with these `inputs`, from the gradient of what came out.
    fn back(&self, inputs: &[Planes], grad: Planes, shifted: bool, wanted: bool) -> Given {
        let mut given = Vec::with_capacity(self.convs.len());
        // The gradient of what residual blocks have come to, behind the one that is gone back through.
        let (mut own, mut above) = (grad, None);
        for i in (0..self.convs.len()).rev() {
            let (filters, input) = (self.convs[i].0, &inputs[i]);
            given.push([filter_gradient(&own, input, self.rounding, filters.taps()), own.sums()]);
            if i == 0 {
                let of_shift = shifted.then(|| own.sums_of_images());
                let of_images = wanted.then(|| convolve_back(filters, &own, self.then()));
                given.reverse();
                return Given { of_parameters: given, of_shift, of_images };
            }
            let then = ThenPlanes {
                derivative: Some((input, self.slope)),
                sum: above.as_ref().filter(|_| self.branches(i)),
                ..self.then()
            };
            let below = convolve_back(filters, &own, then);
            if self.adds(i) {
                above = Some(own);
            }
            own = below;
        }
        unreachable!("there is a first convolution");
    }
}

/// What is kept for the way back.
struct Back<'a> {
    net: &'a ConvNet,
    weights: Vec<Tensor>,
    slope: Slope,
    context: Option<Tensor>,
    /// What every convolution is given, of each part of the images.
    inputs: Vec<Vec<Planes>>,
}

/// The same for a training step.
pub(crate) fn forward_keeping<'a>(
    net: &'a ConvNet,
    slope: Slope,
    x: &Tensor,
    context: Option<&Tensor>,
) -> ConditionerKept<'a> {
    let weights = tch::with_grad(|| weights(net));
    let plain = Plain::new(net, &weights, slope, context);
    let x = in_images(x);
    let x = plain.images(&x);
    let own = own(x.images);
    let kept: Vec<Mutex<Vec<Planes>>> = (0..x.images.count.div_ceil(own)).map(|_| Mutex::default()).collect();
    let parameters = by_parts(x.images, plain.outputs(), own, |part, y, each| {
        let mut inputs = lock(&kept[part]);
        inputs.push(x.planes(part * own, y.len() / each));
        plain.run(&mut inputs, part * own, true).to_images(y);
    });
    drop(plain);
    let inputs = kept.into_iter().map(|kept| kept.into_inner().unwrap_or_else(PoisonError::into_inner)).collect();
    let context = context.map(Tensor::shallow_clone);
    ConditionerKept { parameters, back: Box::new(Back { net, weights, slope, context, inputs }) }
}

/// What a part's way back gives.
struct Given {
    /// The gradients of every convolution's filters and bias.
    of_parameters: Vec<[Vec<f32>; 2]>,
    /// That of the shift, for a net with a context.
    of_shift: Option<Vec<f32>>,
    /// That of the images, where it is wanted.
    of_images: Option<Planes>,
}

impl ConditionerBackward for Back<'_> {
    fn backward(self: Box<Self>, grad: &Tensor, wanted: bool, gradients: &mut dyn Gradients) -> Option<Tensor> {
        // The shift itself is not needed on the way back.
        let (plain, shifted) = (Plain::new(self.net, &self.weights, self.slope, None), self.context.is_some());
        let grad = in_images(grad);
        let grad = ImageRows::new(&grad);
        let own = self.inputs.first().map_or(1, |inputs| inputs[0].images().count);
        let given: Vec<Mutex<Option<Given>>> = self.inputs.iter().map(|_| Mutex::default()).collect();
        in_parallel(self.inputs.len(), &|part, _| {
            let inputs = &self.inputs[part];
            let grad = grad.planes(part * own, inputs[0].images().count);
            *lock(&given[part]) = Some(plain.back(inputs, grad, shifted, wanted));
        });
        let given = given.into_iter().filter_map(|given| given.into_inner().unwrap_or_else(PoisonError::into_inner));
        let given: Vec<Given> = given.collect();
        let grad_x = wanted.then(|| {
            by_parts(grad.images, plain.convs[0].0.inputs(), own, |part, x, _| {
                given[part].of_images.as_ref().expect("it was wanted").to_images(x);
            })
        });
        drop(plain);
        if let (Some(weight), Some(context)) = (&self.net.context, &self.context) {
            let of_shift: Vec<f32> =
                given.iter().filter_map(|given| given.of_shift.as_ref()).flatten().copied().collect();
            let of_shift = Tensor::from_slice(&of_shift).view([context.size()[0], weight.size()[0]]);
            gradients.give_product(weight, &of_shift, context);
        }
        if let Some(total) = given.into_iter().map(|given| given.of_parameters).reduce(added) {
            self.give(total, gradients);
        }
        grad_x
    }
}

/// The gradients of two parts together.
fn added(mut total: Vec<[Vec<f32>; 2]>, more: Vec<[Vec<f32>; 2]>) -> Vec<[Vec<f32>; 2]> {
    for (total, more) in total.iter_mut().flatten().zip(more.iter().flatten()) {
        total.iter_mut().zip(more).for_each(|(total, more)| *total += more);
    }
    total
}

impl Back<'_> {
    fn give(&self, total: Vec<[Vec<f32>; 2]>, gradients: &mut dyn Gradients) {
        for ((conv, weight), [of_weight, of_bias]) in self.net.convs().zip(&self.weights).zip(total) {
            let of_weight = Tensor::from_slice(&of_weight).view(&weight.size()[..]);
            match conv.is_normalised() {
                true if weight.requires_grad() => tch::with_grad(|| (weight * of_weight).sum(None::<Kind>).backward()),
                true => {}
                false => gradients.give(&conv.weight, &of_weight),
            }
            gradients.give(&conv.bias, &Tensor::from_slice(&of_bias));
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
