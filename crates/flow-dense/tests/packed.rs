//! Packed weights against the numbers that they were made of.

mod common;
#[path = "common/written.rs"]
mod written;

use common::{ROUNDING, again_with_fewer_instructions, close, draw};
use flow_dense::{Bf16, Held, Layer, Packed, Slope, Weight};
use written::written;

/// Rows and columns that fill groups and lines, and do not.
const SIZES: [(usize, usize); 6] = [(8, 320), (16, 96), (65, 48), (500, 400), (15, 333), (23, 512)];

/// One layer and nothing else.
fn product<'a>(weight: impl Into<Held<'a>>, x: &[f32], threads: usize) -> Vec<f32> {
    let weight = weight.into();
    let bias = vec![0.0; weight.outputs()];
    written(&[Layer { weight, bias: &bias, activation: None, residual: false }], None, x, threads)
}

/// Every number of a packed weight: what comes of a row with a one and zeros is a column. So many rows at a time.
fn unpacked(packed: &Packed, rows: usize) -> Vec<f32> {
    let (outputs, inputs) = (packed.outputs(), packed.inputs());
    let mut numbers = vec![0.0; outputs * inputs];
    for columns in (0..inputs).collect::<Vec<_>>().chunks(rows) {
        let mut x = vec![0.0; columns.len() * inputs];
        columns.iter().enumerate().for_each(|(row, column)| x[row * inputs + column] = 1.0);
        let y = product(packed, &x, 2);
        for (y, column) in y.chunks(outputs).zip(columns) {
            y.iter().enumerate().for_each(|(output, &y)| numbers[output * inputs + column] = y);
        }
    }
    numbers
}

/// Bit by bit, but that a zero may have lost its sign.
#[track_caller]
fn same(unpacked: &[f32], right: &[f32]) {
    assert_eq!(unpacked.len(), right.len());
    for (i, (unpacked, right)) in unpacked.iter().zip(right).enumerate() {
        assert!(
            unpacked.to_bits() == right.to_bits() || *right == 0.0 && *unpacked == 0.0,
            "{i}: {unpacked:e} {right:e}"
        );
    }
}

/// Every sign, exponent and mantissa that there may be in a group, and some that may not.
fn numbers(outputs: usize, inputs: usize, largest: i32) -> Vec<f32> {
    let mut numbers = draw(outputs * inputs, largest as u32);
    for (i, x) in numbers.iter_mut().enumerate() {
        let down = if i % 2000 == 1999 { 30 } else { i as i32 % 6 };
        // In two steps: the factor may be none of f32 where the product is.
        *x *= 2f32.powi(largest / 2) * 2f32.powi(largest - largest / 2 - down);
    }
    numbers[3] = 0.0;
    numbers[4] = -0.0;
    numbers[5] = 2f32.powi(largest);
    // The smallest of a group that have an exponent of their own, and the one number that would be taken for 0.
    numbers[6] = -2f32.powi(largest - 14);
    numbers[7] = 2f32.powi(largest - 15) * (1.0 + f32::EPSILON);
    numbers[8] = 2f32.powi(largest - 15);
    numbers[9] = -2f32.powi(largest - 15);
    numbers
}

#[test]
fn no_bit_is_lost() {
    for (outputs, inputs) in SIZES {
        for largest in [0, -5, 100, -100] {
            let numbers = numbers(outputs, inputs, largest);
            let packed = Packed::new(Weight::new(&numbers, inputs)).expect("it is smaller");
            assert_eq!((packed.outputs(), packed.inputs()), (outputs, inputs));
            [1, 2].into_iter().for_each(|rows| same(&unpacked(&packed, rows), &numbers));

            let halves: Vec<Bf16> = numbers.iter().map(|x| Bf16::nearest(*x)).collect();
            let wide: Vec<f32> = halves.iter().map(|x| x.to_f32()).collect();
            let packed = Packed::of_bf16(Weight::new(&halves, inputs)).expect("it is smaller");
            [1, 2].into_iter().for_each(|rows| same(&unpacked(&packed, rows), &wide));
        }
    }
}

/// `x Wᵀ` by plain loops in f64.
fn plain(numbers: &[f32], inputs: usize, x: &[f32]) -> Vec<f64> {
    let sum = |w: &[f32], x: &[f32]| w.iter().zip(x).map(|(w, x)| f64::from(*w) * f64::from(*x)).sum();
    x.chunks(inputs).flat_map(|x| numbers.chunks(inputs).map(move |w| sum(w, x))).collect()
}

/// Of every number of rows that there may be, on all threads, with what follows.
#[test]
fn layers_by_the_rows() {
    for (outputs, inputs) in SIZES {
        let numbers = numbers(outputs, inputs, -4);
        let weight = Weight::new(&numbers, inputs);
        let packed = Packed::new(weight).expect("it is smaller");
        let bias = draw(outputs, 7);
        let layer = |weight, activation| [Layer { weight, bias: &bias, activation, residual: false }];
        for rows in [0, 1, 2, 3, 4, 15] {
            let x = draw(rows * inputs, 8);
            let products = plain(&numbers, inputs, &x);
            let with_bias =
                |times: f64| products.iter().zip(bias.iter().cycle()).map(move |(y, b)| times * y + f64::from(*b));
            let activated: Vec<f64> =
                with_bias(1.0).map(|y| if y < 0.0 { f64::from(0.01f32) * y } else { y }).collect();
            let twice: Vec<f64> = with_bias(2.0).collect();
            for threads in [1, 2, 3, 8] {
                let [full, packed] = [Held::Full(weight), Held::Packed(&packed)];
                let y = written(&layer(packed, Some(Slope(0.01))), None, &x, threads);
                close(&y, &activated, ROUNDING);
                // A skip is added to the same outputs, in whatever way both are held.
                for (own, skip) in [(full, packed), (packed, full), (packed, packed)] {
                    close(&written(&layer(own, None), Some(skip), &x, threads), &twice, ROUNDING);
                }
            }
        }
    }
}

/// What would be larger is left as it is.
#[test]
fn weights_that_are_not_worth_it() {
    let none = |numbers: &[f32], inputs| assert!(Packed::new(Weight::new(numbers, inputs)).is_none());
    none(&draw(2 * 512, 1), 512);
    none(&draw(512 * 2, 1), 2);
    // One in twenty of another size, which would be smaller, and slower.
    let mut uneven = draw(64 * 64, 2);
    uneven.iter_mut().step_by(20).for_each(|x| *x *= 1e-9);
    none(&uneven, 64);
    uneven.fill(f32::NAN);
    none(&uneven, 64);
    // Nor have the smallest numbers an exponent.
    uneven.fill(1e-40);
    none(&uneven, 64);
    let zeros = [0.0; 64 * 64];
    let packed = Packed::new(Weight::new(&zeros, 64)).expect("zeros are smaller");
    same(&unpacked(&packed, 1), &zeros);
}

/// What is not finite stays so in its row, and other rows of its group do not see it.
#[test]
fn a_weight_that_is_not_finite() {
    let mut weight = draw(64 * 64, 3);
    weight[64 + 5] = f32::NAN;
    weight[2 * 64 + 6] = f32::INFINITY;
    weight[3 * 64 + 7] = 1e-40;
    let packed = Packed::new(Weight::new(&weight, 64)).expect("it is smaller");
    let (of_packed, of_numbers) =
        [Held::Packed(&packed), Held::Full(Weight::new(&weight, 64))].map(|held| product(held, &draw(64, 4), 2)).into();
    let right: Vec<f64> = of_numbers.iter().copied().map(f64::from).collect();
    assert!(right[1].is_nan() && right[2].is_infinite());
    close(&of_packed, &right, ROUNDING);
}

#[test]
fn the_same_with_fewer_instructions() {
    again_with_fewer_instructions("the_same_with_fewer_instructions");
}
