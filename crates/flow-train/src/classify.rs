//! Classes by Bayes: p(class | x) of a class-conditional flow, and log p(x) with the class summed out.

use flow_core::Flow;
use flow_core::rng::derive_seed;
use flow_models::class_context;
use tch::{Kind, Tensor};

use crate::batches::DeviceRows;
use crate::evaluate::{ROWS, evaluation_batch};

/// What a class-conditional flow says of rows, one line each.
///
/// With as many rows of each class as of another, p(class) = 1 / classes, and
///
/// ```text
/// log p(x) = logsumexp_c log p(x | c) - ln classes
/// p(c | x) = p(x | c) / Σ_k p(x | k)
/// ```
#[derive(Debug)]
pub struct ByClass {
    /// log p(x | class), `[n, classes]` in nats, of kind f64.
    pub log_prob: Tensor,
}

impl ByClass {
    /// One dequantization draw a row, the noise by `seed`, the same for all classes.
    pub fn of(flow: &Flow, classes: usize, rows: &DeviceRows, seed: u64) -> Self {
        let seed = derive_seed(seed, "evaluation", 0);
        let part = |start| given_each_class(flow, classes, &evaluation_batch(rows, start, seed).x);
        let parts: Vec<Tensor> = (0..rows.len()).step_by(ROWS).map(part).collect();
        ByClass { log_prob: Tensor::cat(&parts, 0) }
    }

    fn classes(&self) -> i64 {
        self.log_prob.size()[1]
    }

    /// log p(x), `[n]`.
    pub fn marginal(&self) -> Vec<f64> {
        let marginal = self.log_prob.logsumexp(&[1i64][..], false) - (self.classes() as f64).ln();
        Vec::try_from(marginal).expect("a vector")
    }

    /// p(class | x), `[n, classes]`.
    pub fn posterior(&self) -> Tensor {
        self.log_prob.softmax(1, Kind::Double)
    }

    /// How often a row of class `i` is taken for class `j`, at `[i][j]`, by the likeliest class.
    pub fn confusion(&self, labels: &Tensor) -> Vec<Vec<u64>> {
        let classes = self.classes() as usize;
        let guessed = Vec::<i64>::try_from(self.log_prob.argmax(1, false)).expect("a vector");
        let labels = Vec::<i64>::try_from(labels.to_device(tch::Device::Cpu)).expect("a vector");
        let mut counts = vec![vec![0; classes]; classes];
        for (label, guess) in labels.into_iter().zip(guessed) {
            counts[label as usize][guess as usize] += 1;
        }
        counts
    }
}

/// log p(x | class) of rows `x: [n, D]` for each class, `[n, classes]` in nats, of kind f64 on the processor.
pub(crate) fn given_each_class(flow: &Flow, classes: usize, x: &Tensor) -> Tensor {
    let given = |class: usize| {
        let labels = Tensor::full([x.size()[0]], class as i64, (Kind::Int64, x.device()));
        flow.log_prob(x, Some(&class_context(&labels, classes)))
    };
    let by_class: Vec<Tensor> = flow_core::no_grad(|| (0..classes).map(given).collect());
    // First to the processor: Metal has no f64.
    Tensor::stack(&by_class, 1).to_device(tch::Device::Cpu).to_kind(Kind::Double)
}

/// The share of rows on the diagonal of a table of [`ByClass::confusion`].
pub fn accuracy(confusion: &[Vec<u64>]) -> f64 {
    let right: u64 = confusion.iter().enumerate().map(|(i, row)| row[i]).sum();
    let all: u64 = confusion.iter().flatten().sum();
    right as f64 / all.max(1) as f64
}
