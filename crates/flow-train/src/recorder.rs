//! What a step starts on a GPU, recorded once.

use flow_cuda::Graph;
use tch::{Device, Kind, Tensor};

use crate::batches::{Batch, Pick};

/// Steps before the one that is recorded: what is set up at a first call must have been.
const BEFORE: u32 = 3;

/// Runs steps on a GPU, and from some step on replays one.
#[derive(Debug)]
pub(crate) struct Recorder {
    device: Device,
    state: State,
}

#[derive(Debug)]
enum State {
    /// Not asked for, or not possible.
    Off,
    /// So many steps were run as they are.
    Running(u32),
    Recording(Recording),
}

/// A step's kernels, and the memory by which they are told what is the step's own.
#[derive(Debug)]
struct Recording {
    graph: Graph,
    own: Tensor,
    result: Tensor,
}

impl Recorder {
    /// For steps on `device`, which are recorded if that is `wanted`.
    pub fn new(device: Device, wanted: bool) -> Self {
        let possible = wanted && device.is_cuda() && flow_cuda::is_available();
        Recorder { device, state: if possible { State::Running(0) } else { State::Off } }
    }

    /// Whether steps can be run by it at all.
    pub fn can_run(&self) -> bool {
        self.device.is_cuda() && flow_cuda::has_adam_step()
    }

    /// `work` of the batch of `pick`, the learning rate and the number of the step, each a tensor of one on the device; its
    /// result, on the processor. `work` must be the same function at every call, and wait for nothing itself. The noise of the
    /// batch is drawn as ever.
    pub fn run(&mut self, pick: &Pick, rate: f64, t: u64, work: impl Fn(&Batch, &Tensor, &Tensor) -> Tensor) -> Tensor {
        let own = packed(pick, rate, t);
        match &mut self.state {
            State::Running(steps) if *steps < BEFORE => *steps += 1,
            State::Running(_) if pick.is_on_device() => self.state = self.record(pick, &own, &work),
            _ => {}
        }
        let result = match &self.state {
            State::Recording(recording) => {
                recording.own.shallow_clone().copy_(&own);
                recording.graph.replay().expect("what was recorded can be started");
                recording.result.shallow_clone()
            }
            _ => unpacked(pick, &own.to_device(self.device), &work),
        };
        result.to_device(Device::Cpu)
    }

    fn record(&self, pick: &Pick, own: &Tensor, work: &impl Fn(&Batch, &Tensor, &Tensor) -> Tensor) -> State {
        let Device::Cuda(device) = self.device else { return State::Off };
        let own = own.to_device(self.device);
        match Graph::record(device, || unpacked(pick, &own, work)) {
            Ok((graph, result)) => State::Recording(Recording { graph, own, result }),
            Err(_) => State::Off,
        }
    }
}

/// Bytes of the learning rate and the number of the step.
const NUMBERS: i64 = 8;

/// All that a step has of its own as bytes, so that one copy brings it to the device: the learning rate and the number of the
/// step as f32, then what its batch is made of.
fn packed(pick: &Pick, rate: f64, t: u64) -> Tensor {
    let numbers = Tensor::from_slice(&[rate as f32, t as f32]).view_dtype(Kind::Uint8);
    Tensor::cat(&[numbers, pick.own().flatten(0, -1).view_dtype(Kind::Uint8)], 0)
}

fn unpacked(pick: &Pick, own: &Tensor, work: &impl Fn(&Batch, &Tensor, &Tensor) -> Tensor) -> Tensor {
    let numbers = own.narrow(0, 0, NUMBERS).view_dtype(Kind::Float);
    let batch =
        own.narrow(0, NUMBERS, own.size()[0] - NUMBERS).view_dtype(pick.own().kind()).view(&pick.own().size()[..]);
    work(&pick.batch_of(&batch), &numbers.narrow(0, 0, 1), &numbers.narrow(0, 1, 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_packed_is_unpacked() {
        let points = Tensor::arange(6, (Kind::Float, Device::Cpu)).reshape([3, 2]);
        let pick = Pick::Ready(points.shallow_clone(), Device::Cpu);
        let work = |batch: &Batch, rate: &Tensor, step: &Tensor| {
            assert_eq!(batch.x, points);
            Tensor::cat(&[rate, step], 0)
        };
        let told = unpacked(&pick, &packed(&pick, 0.25, 1_000_001), &work);
        assert_eq!(Vec::<f64>::try_from(told).unwrap(), [0.25, 1_000_001.0]);
    }
}
