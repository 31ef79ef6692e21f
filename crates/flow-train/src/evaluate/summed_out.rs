//! What a model that is conditioned on classes says of a split when it is not told the class.

use flow_core::Flow;
use flow_data::{Part, Split, Toy};
use tch::Tensor;

use super::draws::Draws;
use super::likelihood::Evaluated;
use super::{Evaluation, Likelihood, Mean, ROWS};
use crate::classify::{ByClass, accuracy, given_each_class};
use crate::{Error, Result};

/// log p(x) with the class summed out, every class being as likely before a row is seen, and the class of each row by
/// Bayes.
#[derive(Debug, Clone, PartialEq)]
pub struct SummedOut {
    /// `log p(x) = logsumexp_c log p(x | c) - ln classes`.
    pub likelihood: Likelihood,
    /// Share of rows whose likeliest class is their own, with the standard error of a binomial.
    pub accuracy: Mean,
    /// How often a row of class `i` is taken for class `j`, at `[i][j]`.
    pub confusion: Vec<Vec<u64>>,
}

impl Evaluation {
    /// Evaluates a flow of `classes` classes without telling it the class, in as many passes as there are classes for
    /// each draw. The likeliest class of a row is that of the greatest `Σ_k p(x_k | c)` over the draws.
    ///
    /// # Errors
    ///
    /// As for [`Evaluation::of`]; [`Error::Config`] for a flow without classes.
    pub fn summed_out(
        &self,
        flow: &Flow,
        classes: usize,
        split: &Split,
        part: Part,
        toy: Option<Toy>,
    ) -> Result<SummedOut> {
        if classes == 0 {
            return Err(Error::Config("the model is not conditioned on classes: there is none to sum out".to_owned()));
        }
        let rows = self.rows(flow, classes, split, part)?;
        let mut sums: Vec<Tensor> = Vec::new();
        let draws = Draws::of(&rows, self.draws, self.seed, self.protocol(), |start, batch| {
            let given = given_each_class(flow, classes, &batch.x);
            match sums.get_mut(start / ROWS) {
                None => sums.push(given.shallow_clone()),
                Some(sum) => *sum = sum.logaddexp(&given),
            }
            Tensor::from_slice(&ByClass { log_prob: given }.marginal())
        })?;
        let evaluated = Evaluated { toy, given_class: false, ..self.evaluated(flow, split, part, &rows) };
        let likelihood = evaluated.likelihood(&draws)?;
        let by_class = ByClass { log_prob: Tensor::cat(&sums, 0) };
        let confusion = by_class.confusion(rows.labels().expect("required by with_classes"));
        Ok(SummedOut { accuracy: share(accuracy(&confusion), rows.len()), likelihood, confusion })
    }
}

/// A share of `n` rows, with the standard error of a binomial.
fn share(share: f64, n: usize) -> Mean {
    Mean { mean: share, se: (share * (1.0 - share) / n as f64).sqrt() }
}
