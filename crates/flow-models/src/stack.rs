//! What NICE and RealNVP have in common: a head, a stack of couplings, a base.

use flow_core::{
    ActNorm, Base, Chain, Coupling, ElementwiseAffine, Flow, Law, Logistic, Mask, Permute, StandardNormal, rng,
};
use serde::{Deserialize, Serialize};
use tch::nn;

use crate::error::require;
use crate::head::{Entry, Head};
use crate::{Error, MlpConfig, Result};

/// Which coordinates each coupling keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pattern {
    /// The first half.
    Halves,
    /// Every other coordinate.
    Alternating,
    /// The squares of one colour of a chessboard; images only.
    Checkerboard,
}

/// How one coupling's kept part comes to be changed by the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Order {
    /// Every other coupling keeps what the one before changed.
    Flip,
    /// The coordinates are reversed before each coupling. Refused where that leads what is kept to where it is kept
    /// again, and no coupling would ever change it: an odd number of coordinates; a checkerboard whose rows, those of
    /// all channels, and columns are even in number together.
    Reverse,
    /// The coordinates are shuffled before each coupling, in orders drawn by the model's seed and saved with the model.
    Random,
}

/// The distribution of the latent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BaseKind {
    /// Standard normal.
    Normal,
    /// Standard logistic.
    Logistic,
}

impl BaseKind {
    /// Standard deviation of a coordinate.
    fn std(self) -> f64 {
        match self {
            BaseKind::Normal => 1.0,
            BaseKind::Logistic => std::f64::consts::PI / 3f64.sqrt(),
        }
    }
}

/// The last step, by which the latent is given the base's scale.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scaling {
    /// There is none.
    None,
    /// NICE's own: a learned scale for each coordinate that starts at 1.
    One,
    /// An ActNorm: a learned scale and shift that start from data so that the latent has the base's mean and standard
    /// deviation. Pixels differ in scale a hundredfold, which from 1 on takes Adam thousands of steps.
    Data,
}

/// What a stack of couplings is built from; NICE and RealNVP each fill it in.
pub(crate) struct Stack<'a> {
    pub head: &'a Head,
    pub actnorm: bool,
    pub couplings: usize,
    pub pattern: Pattern,
    pub order: Order,
    pub conditioner: &'a MlpConfig,
    pub parameters_each: usize,
    pub scaling: Scaling,
    pub base: BaseKind,
    pub context: usize,
}

impl Stack<'_> {
    pub(crate) fn validate(&self, event: &[usize]) -> Result<usize> {
        let dim = crate::image::dim(event)?;
        require((1..=1024).contains(&self.couplings), "couplings", "between 1 and 1024", self.couplings)?;
        require(self.context <= 1 << 20, "context", "at most 1048576", self.context)?;
        self.conditioner.validate("conditioner")?;
        self.entry().validate(dim)?;
        let is_image = matches!(event, [_, _, _]);
        let needs_image = self.pattern == Pattern::Checkerboard;
        require(
            is_image || !needs_image,
            "pattern",
            "halves or alternating for data that is no image",
            "checkerboard",
        )?;
        Ok(dim)
    }

    /// Refuses a stack some of whose coordinates are changed by no coupling, however many there are.
    pub(crate) fn require_all_changed(&self, event: &[usize]) -> Result<()> {
        let dim = self.validate(event)?;
        // Turned round, such a pattern lies on itself, or on a part of itself.
        let stays = match (self.pattern, event) {
            (Pattern::Checkerboard, [channels, height, width]) => (channels * height + width).is_multiple_of(2),
            _ => !dim.is_multiple_of(2),
        };
        require(
            self.order != Order::Reverse || !stays,
            "order",
            "flip or random (turned round, this pattern keeps coordinates that it kept before)",
            "reverse",
        )
    }

    fn entry(&self) -> Entry<'_> {
        Entry { head: self.head, spline: None, actnorm: self.actnorm }
    }

    /// Number of saved numbers, trained or fixed; known before anything is allocated.
    pub(crate) fn saved_numbers(&self, event: &[usize], law_extra: impl Fn(usize) -> u128) -> Result<u128> {
        let dim = self.validate(event)?;
        let wide = dim as u128;
        let mut total = self.entry().saved_numbers(dim);
        total += match self.scaling {
            Scaling::None => 0,
            Scaling::One => wide,
            Scaling::Data => 2 * wide + 1,
        };
        total += if self.order == Order::Random { wide * self.couplings as u128 } else { 0 };
        for i in 0..self.couplings {
            // Every pattern keeps the larger half, flipped the smaller; counted without building a mask.
            let (small, large) = (dim / 2, dim.div_ceil(2));
            let (kept, changed) = if self.flipped(i) { (small, large) } else { (large, small) };
            total += self.conditioner.parameters(kept + self.context, changed * self.parameters_each);
            total += law_extra(changed);
        }
        Ok(total)
    }

    pub(crate) fn build(
        &self,
        path: &nn::Path,
        event: &[usize],
        seed: u64,
        law: impl Fn(&nn::Path, usize) -> Law,
    ) -> Result<Flow> {
        let dim = self.validate(event)?;
        let device = path.device();
        let mut chain = Chain::default();
        self.entry().build(&mut chain, path, dim)?;
        for i in 0..self.couplings {
            match self.order {
                Order::Flip => {}
                Order::Reverse => chain.push(format!("reverse_{i}"), Permute::reverse(dim))?,
                Order::Random => {
                    let seed = rng::derive_seed(seed, "permutation", i as u64);
                    let name = format!("shuffle_{i}");
                    let shuffle = Permute::saved(&(path / &name), dim, seed);
                    chain.push(name, shuffle)?;
                }
            }
            let name = format!("coupling_{i}");
            let path = path / &name;
            let mask = self.mask(event, i, device)?;
            let (kept, changed) = (mask.kept().len(), mask.changed().len());
            let net = self.conditioner.build(&path, kept + self.context, changed * self.parameters_each, seed)?;
            chain.push(name, Coupling::new(mask, net, law(&path, changed)))?;
        }
        let last = path / "scaling";
        match self.scaling {
            Scaling::None => {}
            Scaling::One => chain.push("scaling", ElementwiseAffine::scaling(&last, &[dim as i64]))?,
            Scaling::Data => chain.push("scaling", ActNorm::new(&last, dim).starting_at_std(self.base.std()))?,
        }
        let event = [dim as i64];
        let base: Box<dyn Base> = match self.base {
            BaseKind::Normal => Box::new(StandardNormal::new(&event)),
            BaseKind::Logistic => Box::new(Logistic::new(&event)),
        };
        Ok(Flow::new(chain, base, device))
    }

    /// Whether coupling `i` keeps what its pattern would change.
    fn flipped(&self, i: usize) -> bool {
        self.order == Order::Flip && i % 2 == 1
    }

    fn mask(&self, event: &[usize], i: usize, device: tch::Device) -> Result<Mask> {
        let dim = event.iter().product();
        let flipped = self.flipped(i);
        let mask = match (self.pattern, event) {
            (Pattern::Halves, _) => Mask::halves(dim, flipped),
            (Pattern::Alternating, _) => Mask::alternating(dim, flipped),
            (Pattern::Checkerboard, [channels, height, width]) => {
                Mask::checkerboard(channels * height, *width, flipped, device)
            }
            (Pattern::Checkerboard, _) => unreachable!("validate() asks for an image"),
        };
        mask.map_err(Error::from)
    }
}
