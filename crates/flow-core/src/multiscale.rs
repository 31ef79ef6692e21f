//! The multi-scale architecture: levels of ever coarser resolution, each of which lets go of a part of the image.

use tch::{Device, Kind, Tensor};

use crate::backward::Taped;
use crate::gpu;
use crate::shape::zero_log_det;
use crate::{Backward, Bijection, Chain, Direction, Error, Gradients, Kept, Probe, Result, SqueezeOrder, Visit};

/// One level of a [`Multiscale`]: what happens at the resolution that comes in, and at half of it.
///
/// A learned prior of what the level lets go of is one more step, the last of `steps`: an affine coupling that keeps the
/// `kept` first channels and turns the others into standard normals (Glow's code; after the last level a
/// [`TopPrior`](crate::TopPrior)).
#[derive(Debug, Default)]
pub struct Level {
    /// Steps on `[n, c, h, w]`, before the squeeze.
    pub before: Chain,
    /// Steps on `[n, 4c, h/2, w/2]`.
    pub steps: Chain,
    /// How many of the `4c` channels go on to the next level; nothing to the last.
    pub kept: usize,
}

/// Levels inside one another (RealNVP, section 3.6, equations 13 to 15; Glow, figure 2):
///
/// ```text
/// level(h):  h = before(h);  s = steps(squeeze(h));  s[:kept] = next level(s[:kept]);  return unsqueeze(s)
/// ```
///
/// Every latent lies where the pixels lie that it was made of: `z` has the shape of `x`, whatever the number of levels,
/// so states of any level can be looked at on the plane of the image, and a latent is not a list of parts. Which level let
/// go of a coordinate is said by [`Multiscale::levels`].
///
/// A side that is odd is not padded: the last row or column stays out of the squeeze and is let go of by the level, after
/// its `before`. So likelihoods are those of the real pixels, exactly.
///
/// Shapes: `[n, ..event]` with `c * h * w` coordinates to the same; flat batches `[n, D]` are taken as images.
#[derive(Debug)]
pub struct Multiscale {
    event: [i64; 3],
    order: SqueezeOrder,
    levels: Vec<Level>,
}

/// Takes one chain of a level: its name, the chain, its input, and how a state of it is put on the whole image.
type Take<'a> = dyn FnMut(&str, &Chain, &Tensor, &dyn Fn(&Tensor) -> Tensor) -> (Tensor, Tensor) + 'a;
/// Puts a state of a level on the whole image.
type Lift<'a> = dyn Fn(&Tensor) -> Tensor + 'a;

impl Multiscale {
    /// `levels` from fine to coarse for images `[c, h, w]`.
    ///
    /// # Errors
    ///
    /// [`Error::Levels`] where there is none, an image becomes too small to be squeezed, or a level keeps no channel or
    /// more than there are; [`Error::DuplicateName`] where two steps of a level have one name, for a trace has both as
    /// `level_i.name`.
    pub fn new(event: [usize; 3], order: SqueezeOrder, levels: Vec<Level>) -> Result<Self> {
        let wrong = |why: String| Err(Error::Levels { levels: levels.len(), event: event.to_vec(), why });
        if levels.is_empty() {
            return wrong("there must be one or more".to_owned());
        }
        let [mut c, mut h, mut w] = event;
        for (i, level) in levels.iter().enumerate() {
            if c == 0 || h < 2 || w < 2 {
                return wrong(format!("level {i} would have to squeeze {c} x {h} x {w}"));
            }
            (h, w) = (h / 2, w / 2);
            let last = i + 1 == levels.len();
            if !last && !(1..=4 * c).contains(&level.kept) {
                return wrong(format!("level {i} has {} channels and cannot keep {}", 4 * c, level.kept));
            }
            c = level.kept;
            let before: Vec<&str> = level.before.iter().map(|(name, _)| name).collect();
            if let Some((name, _)) = level.steps.iter().find(|(name, _)| before.contains(name)) {
                return Err(Error::DuplicateName { name: format!("level_{i}.{name}") });
            }
        }
        Ok(Multiscale { event: event.map(|n| n as i64), order, levels })
    }

    /// The levels, fine to coarse.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Level> {
        self.levels.iter()
    }

    /// Which level lets go of each coordinate: `[c, h, w]` of kind i64, 0 for the finest.
    pub fn levels(&self) -> Tensor {
        let [c, h, w] = self.event;
        let zero = Tensor::zeros([1, c, h, w], (Kind::Int64, Device::Cpu));
        self.deepen(0, &zero).squeeze_dim(0)
    }

    /// `levels` from level `i` on, which holds `h` so far.
    fn deepen(&self, i: usize, h: &Tensor) -> Tensor {
        let this = h.ones_like() * i as i64;
        if i + 1 == self.levels.len() {
            return this;
        }
        let s = self.order.squeeze(&corner(&this));
        let (first, rest) = self.part(i, &s);
        let s = Tensor::cat(&[self.deepen(i + 1, &first), rest], 1);
        paste(&this, &self.order.unsqueeze(&s))
    }

    /// The channels that go on, and those that do not.
    fn part(&self, i: usize, s: &Tensor) -> (Tensor, Tensor) {
        let kept = self.levels[i].kept as i64;
        (s.narrow(1, 0, kept), s.narrow(1, kept, s.size()[1] - kept))
    }

    fn down(&self, i: usize, h: &Tensor, lift: &Lift, take: &mut Take) -> (Tensor, Tensor) {
        let level = &self.levels[i];
        let (h, before) = take(&format!("level_{i}"), &level.before, h, lift);
        let lift = |s: &Tensor| lift(&paste(&h, &self.order.unsqueeze(s)));
        let (s, own) = take(&format!("level_{i}"), &level.steps, &self.order.squeeze(&corner(&h)), &lift);
        let (s, log_det) = self.deeper(i, s, before + own, |first, rest| {
            let lift = |first: &Tensor| lift(&Tensor::cat(&[first, rest], 1));
            self.down(i + 1, first, &lift, take)
        });
        (paste(&h, &self.order.unsqueeze(&s)), log_det)
    }

    fn up(&self, i: usize, h: &Tensor, lift: &Lift, take: &mut Take) -> (Tensor, Tensor) {
        let level = &self.levels[i];
        let s = self.order.squeeze(&corner(h));
        let lift_steps = |s: &Tensor| lift(&paste(h, &self.order.unsqueeze(s)));
        let (s, log_det) = self.deeper(i, s, zero_log_det(h), |first, rest| {
            let lift = |first: &Tensor| lift_steps(&Tensor::cat(&[first, rest], 1));
            self.up(i + 1, first, &lift, take)
        });
        let (s, own) = take(&format!("level_{i}"), &level.steps, &s, &lift_steps);
        let h = paste(h, &self.order.unsqueeze(&s));
        let (h, before) = take(&format!("level_{i}"), &level.before, &h, lift);
        (h, log_det + own + before)
    }

    /// The channels of `s` that go on, through the next level where there is one: `next(first, rest)`.
    fn deeper(
        &self,
        i: usize,
        s: Tensor,
        log_det: Tensor,
        next: impl FnOnce(&Tensor, &Tensor) -> (Tensor, Tensor),
    ) -> (Tensor, Tensor) {
        if i + 1 == self.levels.len() {
            return (s, log_det);
        }
        let (first, rest) = self.part(i, &s);
        let (first, own) = next(&first, &rest);
        (Tensor::cat(&[first, rest], 1), log_det + own)
    }

    fn as_image(&self, x: &Tensor) -> Tensor {
        let [c, h, w] = self.event;
        x.reshape([x.size()[0], c, h, w])
    }

    fn run(
        &self,
        x: &Tensor,
        walk: impl Fn(&Tensor, &Lift, &mut Take) -> (Tensor, Tensor),
        take: &mut Take,
    ) -> (Tensor, Tensor) {
        let size = x.size();
        let (z, log_det) = walk(&self.as_image(x), &|h| h.reshape(&size), take);
        (z.reshape(&size), log_det)
    }
}

/// The part with even sides, which can be squeezed.
fn corner(h: &Tensor) -> Tensor {
    let (_, _, rows, columns) = h.size4().expect("an image");
    h.narrow(2, 0, rows / 2 * 2).narrow(3, 0, columns / 2 * 2)
}

/// `h` with its even corner replaced.
fn paste(h: &Tensor, corner: &Tensor) -> Tensor {
    let (_, _, rows, columns) = h.size4().expect("an image");
    let (_, _, even_rows, even_columns) = corner.size4().expect("an image");
    if (rows, columns) == (even_rows, even_columns) {
        return corner.shallow_clone();
    }
    let right = h.narrow(2, 0, even_rows).narrow(3, even_columns, columns - even_columns);
    let above = Tensor::cat(&[corner, &right], 3);
    Tensor::cat(&[above, h.narrow(2, even_rows, rows - even_rows)], 2)
}

impl Bijection for Multiscale {
    fn forward(&self, x: &Tensor, context: Option<&Tensor>) -> (Tensor, Tensor) {
        self.run(x, |h, lift, take| self.down(0, h, lift, take), &mut |_, chain, h, _| chain.forward(h, context))
    }

    fn inverse(&self, z: &Tensor, context: Option<&Tensor>) -> (Tensor, Tensor) {
        self.run(z, |h, lift, take| self.up(0, h, lift, take), &mut |_, chain, h, _| chain.inverse(h, context))
    }

    fn forward_traced(
        &self,
        name: &str,
        x: &Tensor,
        context: Option<&Tensor>,
        probe: &mut dyn Probe,
    ) -> (Tensor, Tensor) {
        let take: &mut Take = &mut |level, chain, h, lift| {
            let mut lifted = |step: &str, value: &Tensor, log_det: &Tensor| probe.step(step, &lift(value), log_det);
            chain.forward_traced(&crate::chain::join(name, level), h, context, &mut lifted)
        };
        self.run(x, |h, lift, take| self.down(0, h, lift, take), take)
    }

    fn inverse_traced(
        &self,
        name: &str,
        z: &Tensor,
        context: Option<&Tensor>,
        probe: &mut dyn Probe,
    ) -> (Tensor, Tensor) {
        let take: &mut Take = &mut |level, chain, h, lift| {
            let mut lifted = |step: &str, value: &Tensor, log_det: &Tensor| probe.step(step, &lift(value), log_det);
            chain.inverse_traced(&crate::chain::join(name, level), h, context, &mut lifted)
        };
        self.run(z, |h, lift, take| self.up(0, h, lift, take), take)
    }

    fn forward_keeping<'a>(&'a self, x: &Tensor, context: Option<&Tensor>) -> Kept<'a> {
        if x.device().is_cuda() && !gpu::applies(x) {
            // There a tape of all has fewer kernels than one of each map, and no net is computed by hand.
            return Taped::run(x, |x| self.forward(x, context));
        }
        // In the order in which they are taken.
        let mut chains = self.levels.iter().flat_map(|level| [&level.before, &level.steps]);
        let mut backs = Vec::with_capacity(2 * self.levels.len());
        let take: &mut Take = &mut |_, _, h, _| {
            let chain = chains.next().expect("two of each level");
            let Kept { value, log_det, back } = chain.forward_keeping(h, context);
            backs.push(back);
            (value, log_det)
        };
        let (value, log_det) = self.run(x, |h, lift, take| self.down(0, h, lift, take), take);
        Kept { value, log_det, back: Box::new(MultiscaleBack { multiscale: self, backs }) }
    }

    fn vjp(&self, z: &Tensor, context: Option<&Tensor>, grad_z: &Tensor, grad_log_det: &Tensor) -> (Tensor, Tensor) {
        // Value and gradient take the same way through squeezes and parts: as the two halves of one batch.
        let n = z.size()[0];
        let halves = |both: &Tensor| (both.narrow(0, 0, n), both.narrow(0, n, n));
        let take: &mut Take = &mut |_, chain, both, _| {
            let (h, grad) = halves(both);
            let (x, grad) = chain.vjp(&h, context, &grad, grad_log_det);
            let both = Tensor::cat(&[x, grad], 0);
            let none = zero_log_det(&both);
            (both, none)
        };
        let both = Tensor::cat(&[z, grad_z], 0);
        let (both, _) = self.run(&both, |h, lift, take| self.up(0, h, lift, take), take);
        halves(&both)
    }

    fn start_from_data(&self, x: &Tensor, context: Option<&Tensor>) -> Tensor {
        let take: &mut Take = &mut |_, chain, h, _| (chain.start_from_data(h, context), zero_log_det(h));
        self.run(x, |h, lift, take| self.down(0, h, lift, take), take).0
    }

    fn set_training(&mut self, training: bool) {
        for level in &mut self.levels {
            level.before.set_training(training);
            level.steps.set_training(training);
        }
    }

    fn freeze(&mut self) {
        for level in &mut self.levels {
            level.before.freeze();
            level.steps.freeze();
        }
    }

    fn steps(
        &self,
        name: &str,
        direction: Direction,
        input: &Tensor,
        context: Option<&Tensor>,
        visit: &mut Visit,
    ) -> Tensor {
        let take: &mut Take = &mut |level, chain, h, _| {
            let out = chain.steps(&crate::chain::join(name, level), direction, h, context, visit);
            (out, zero_log_det(h))
        };
        match direction {
            Direction::Forward => self.run(input, |h, lift, take| self.down(0, h, lift, take), take).0,
            Direction::Inverse => self.run(input, |h, lift, take| self.up(0, h, lift, take), take).0,
        }
    }
}

struct MultiscaleBack<'a> {
    multiscale: &'a Multiscale,
    /// Of every level's two chains.
    backs: Vec<Box<dyn Backward + 'a>>,
}

impl Backward for MultiscaleBack<'_> {
    /// Squeezes and parts move numbers and change none, so that a gradient takes their inverse way as a latent does.
    fn backward(
        mut self: Box<Self>,
        grad_value: &Tensor,
        grad_log_det: &Tensor,
        wanted: bool,
        gradients: &mut dyn Gradients,
    ) -> Option<Tensor> {
        let take: &mut Take = &mut |_, _, grad, _| {
            let back = self.backs.pop().expect("two of each level");
            let wanted = wanted || !self.backs.is_empty();
            let below = back.backward(grad, grad_log_det, wanted, gradients);
            (below.unwrap_or_else(|| grad.shallow_clone()), zero_log_det(grad))
        };
        let multiscale = self.multiscale;
        let (grad, _) = multiscale.run(grad_value, |h, lift, take| multiscale.up(0, h, lift, take), take);
        wanted.then_some(grad)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Permute;

    #[test]
    fn two_steps_of_a_level_have_two_names() {
        let chain = |name: &str| {
            let mut chain = Chain::default();
            chain.push(name, Permute::reverse(2)).expect("the first of its name");
            chain
        };
        let of = |before: &str, steps: &str| {
            let level = Level { before: chain(before), steps: chain(steps), kept: 0 };
            Multiscale::new([1, 2, 2], SqueezeOrder::default(), vec![level])
        };
        assert!(of("a", "b").is_ok());
        assert!(matches!(of("a", "a"), Err(Error::DuplicateName { name }) if name == "level_0.a"));
    }
}
