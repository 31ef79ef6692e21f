//! A function of a batch that is recorded by itself.

use tch::{Device, Tensor};

use crate::Graph;

/// A function of a batch, recorded once for each size of batch that comes more than once, where that lies on a GPU.
///
/// ```
/// use flow_cuda::Recorded;
/// use tch::{Kind, Tensor};
///
/// let x = Tensor::arange(3, (Kind::Float, tch::Device::cuda_if_available()));
/// let mut squares = Recorded::default();
/// for _ in 0..3 {
///     assert_eq!(squares.call(&x, |x| x.square()), x.square());
/// }
/// ```
#[derive(Debug, Default)]
pub struct Recorded {
    known: Vec<(Vec<i64>, Known)>,
}

/// What is known of a size.
#[derive(Debug)]
enum Known {
    /// It came once.
    Seen,
    /// It cannot be recorded.
    Refused,
    Recording {
        graph: Graph,
        x: Tensor,
        result: Tensor,
    },
}

/// Sizes that are kept at once: each has memory of its own.
const SIZES: usize = 4;

impl Recorded {
    /// `work(x)`, without gradients, in memory of its own.
    ///
    /// `work` is the same function at every call. It keeps to what [`Graph::record`] asks for and draws no random numbers; the
    /// tensors that it reads beside its argument stay where they are from call to call, though their numbers may change.
    pub fn call(&mut self, x: &Tensor, work: impl Fn(&Tensor) -> Tensor) -> Tensor {
        let plain = || tch::no_grad(|| work(x));
        let Device::Cuda(device) = x.device() else { return plain() };
        let size = x.size();
        let Some((_, known)) = self.known.iter_mut().find(|(known, _)| *known == size) else {
            if self.known.len() == SIZES {
                self.known.remove(0);
            }
            self.known.push((size, Known::Seen));
            return plain();
        };
        if matches!(known, Known::Seen) {
            *known = record(device, x.detach().copy(), &work);
        }
        let Known::Recording { graph, x: own, result } = known else { return plain() };
        tch::no_grad(|| own.copy_(x));
        graph.replay().expect("what was recorded can be started");
        result.detach_copy()
    }
}

fn record(device: usize, x: Tensor, work: &impl Fn(&Tensor) -> Tensor) -> Known {
    let recorded = Graph::record(device, || tch::no_grad(|| work(&x)));
    recorded.map_or(Known::Refused, |(graph, result)| Known::Recording { graph, x, result })
}

#[cfg(test)]
mod tests {
    use tch::Kind;

    use super::*;

    /// More sizes than are kept, in turns, on a GPU where there is one.
    #[test]
    fn every_call_is_one_of_the_function() {
        let options = (Kind::Float, Device::cuda_if_available());
        let weight = Tensor::arange(12, options).reshape([3, 4]);
        let work = |x: &Tensor| x.matmul(&weight).tanh().sum_dim_intlist(1i64, false, None::<Kind>);
        let mut recorded = Recorded::default();
        let mut results = Vec::new();
        for turn in 0..4 {
            for rows in [1, 7, 2, 30, 4, 7] {
                let x = (Tensor::arange(rows * 3, options).reshape([rows, 3]) - f64::from(turn)) / 50.0;
                results.push((recorded.call(&x, work), work(&x)));
            }
        }
        // A result is not overwritten by a later call.
        for (result, expected) in results {
            assert_eq!(result, expected);
        }
    }

    #[test]
    fn what_cannot_be_recorded_is_called_as_it_is() {
        let x = Tensor::arange(5, (Kind::Float, Device::cuda_if_available()));
        // Waits for the number.
        let work = |x: &Tensor| x * x.max().double_value(&[]);
        let mut recorded = Recorded::default();
        for _ in 0..4 {
            assert_eq!(recorded.call(&x, work), work(&x));
        }
        assert_eq!((&x + 1.0).sum(None::<Kind>).double_value(&[]), 15.0);
    }
}
