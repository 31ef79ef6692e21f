//! The least time that a measure can take on this machine.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::plan::Measure;
use super::report::Limit;

/// What this workspace's worker says of a model.
#[derive(Debug, Clone, Copy, Deserialize)]
pub struct Cost {
    pub parameters: u64,
    /// Operations of all matrix products of one pass of a row: 2 m k n of a product `[m, k] x [k, n]`.
    pub operations_per_row: f64,
    /// Those of the first product, whose input is data, and has no gradient.
    pub without_gradient_per_row: f64,
}

/// What it says of the machine, or of its GPU.
#[derive(Debug, Clone, Deserialize)]
pub struct Speed {
    /// f32 operations a second; where they are those of several products of bf16, a share of these.
    pub flops: f64,
    pub how: String,
    /// bf16 operations a second, where it has instructions of their own and they were measured.
    #[serde(default)]
    pub bf16_flops: Option<f64>,
    /// Bytes a second: of a large copy, both ways counted, and of reading as much as the parameters again and again, for
    /// which on a GPU the copy stands.
    pub copy: f64,
    pub read: f64,
}

/// A number of f32.
const BYTES: f64 = 4.0;
/// What packing leaves of the bytes of a weight, and of those of bf16.
const PACKED: f64 = 7.0 / 8.0;
const PACKED_BF16: f64 = 3.0 / 4.0;
/// A step reads and writes at least each parameter and its two moments.
const MOVED: f64 = 6.0;
const MANY: f64 = 1_000.0;

/// Of all measures of a model in f32, trained in batches of `batch` rows; of dense layers on a processor a single row is taken by a
/// frozen model, whose weights are `packed`.
pub fn of(cost: &Cost, speed: &Speed, batch: u32, packed: bool) -> BTreeMap<Measure, Limit> {
    with(cost, speed, batch, if packed { PACKED * BYTES } else { BYTES })
}

/// The same in bf16; none where its speed was not measured. A single row is computed in f32, by weights that are held in bf16 and packed,
/// or neither.
pub fn of_bf16(cost: &Cost, speed: &Speed, batch: u32, packed: bool) -> BTreeMap<Measure, Limit> {
    let Some(flops) = speed.bf16_flops else { return BTreeMap::new() };
    let bytes = if packed { PACKED_BF16 * BYTES / 2.0 } else { BYTES };
    let many = with(cost, &Speed { flops, ..speed.clone() }, batch, bytes);
    let one = with(cost, speed, batch, bytes);
    let of = |(measure, limit)| match measure {
        Measure::LogProbOne | Measure::SampleOne => (measure, one[&measure]),
        _ => (measure, limit),
    };
    many.into_iter().map(of).collect()
}

fn with(cost: &Cost, speed: &Speed, batch: u32, bytes_for_one: f64) -> BTreeMap<Measure, Limit> {
    let parameters = cost.parameters as f64;
    // Forward, and backward with respect to weights and to inputs.
    let trained = f64::from(batch) * (3.0 * cost.operations_per_row - cost.without_gradient_per_row);
    let step = limit(trained, speed.flops, MOVED * BYTES * parameters, speed.copy);
    let pass =
        |rows: f64, bytes: f64| limit(rows * cost.operations_per_row, speed.flops, bytes * parameters, speed.read);
    let (many, one) = (pass(MANY, BYTES), pass(1.0, bytes_for_one));
    BTreeMap::from([
        (Measure::Step, step),
        (Measure::LogProb, many),
        (Measure::Sample, many),
        (Measure::LogProbOne, one),
        (Measure::SampleOne, one),
    ])
}

fn limit(operations: f64, flops: f64, bytes: f64, bandwidth: f64) -> Limit {
    let ms = |amount: f64, rate: f64| 1e3 * amount / rate;
    Limit { operations, operations_ms: ms(operations, flops), bytes, bytes_ms: ms(bytes, bandwidth) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_of_nice_on_mnist_is_as_computed_by_hand() {
        // Five conditioners 392 -> 512 (four layers) -> 392.
        let weights = 5.0 * (392.0 * 512.0 + 3.0 * 512.0 * 512.0 + 512.0 * 392.0);
        let cost = Cost {
            parameters: 5_952_184,
            operations_per_row: 2.0 * weights,
            without_gradient_per_row: 2.0 * 392.0 * 512.0,
        };
        let speed = Speed { flops: 222e9, how: "FMA".into(), bf16_flops: Some(2220e9), copy: 24e9, read: 48e9 };
        let limits = of(&cost, &speed, 128, true);
        // 128 rows, thrice 11.88 M operations, less 0.40 M: 4.510 G.
        assert!((limits[&Measure::Step].operations / 1e9 - 4.510).abs() < 5e-4);
        assert!((limits[&Measure::Step].operations_ms - 20.315).abs() < 5e-3);
        assert!((limits[&Measure::Step].bytes_ms - 5.952184 * 24.0 / 24.0).abs() < 1e-9);
        assert!((limits[&Measure::LogProb].ms() - 53.5).abs() < 0.05);
        // One row: reading the weights takes longer than multiplying by them.
        assert!((limits[&Measure::SampleOne].ms() - 5.952184 * 3.5 / 48.0).abs() < 1e-9);
        let of_images = of(&cost, &speed, 128, false);
        assert!((of_images[&Measure::SampleOne].ms() - 5.952184 * 4.0 / 48.0).abs() < 1e-9);
        // In bf16 a tenth of the first, as much to move, and less than half as much to read.
        let bf16 = of_bf16(&cost, &speed, 128, true);
        assert!((bf16[&Measure::Step].operations_ms - 2.0315).abs() < 5e-4);
        assert_eq!(bf16[&Measure::Step].bytes_ms, limits[&Measure::Step].bytes_ms);
        assert!((bf16[&Measure::SampleOne].ms() - 5.952184 * 1.5 / 48.0).abs() < 1e-9);
        assert_eq!(bf16[&Measure::SampleOne].operations_ms, limits[&Measure::SampleOne].operations_ms);
        assert_eq!(of_bf16(&cost, &speed, 128, false)[&Measure::SampleOne], of_images[&Measure::SampleOne]);
        assert!(of_bf16(&cost, &Speed { bf16_flops: None, ..speed }, 128, true).is_empty());
    }
}
