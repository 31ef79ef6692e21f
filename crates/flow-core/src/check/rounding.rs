//! Variables that have gone through a coarser type than they are kept in.
//!
//! A weight rounded to float16 is a sound weight: nothing that is computed from it is wrong, in any precision. What gives it
//! away is itself. An f32 has 24 significant bits; the last 13 of a trained number are as good as random, and in a float16,
//! which keeps 11, they are 0. By chance that is so once in 2^13 numbers.

use tch::{Device, Kind, Tensor};

/// A variable all of whose numbers fit a type that is coarser than its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rounded {
    /// The variable.
    pub name: String,
    /// How many numbers it holds.
    pub numbers: usize,
    /// The type that they fit.
    pub fits: Coarse,
}

/// A type of 16 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coarse {
    /// 11 significant bits.
    Float16,
    /// 8 significant bits.
    BFloat16,
}

/// So many numbers that are no plain ones must be seen: by chance all of four fit once in 2^52 variables.
const LEAST: usize = 4;

/// Bits that plain numbers (0, 1, ½, small whole ones: what people write into a model, and where it starts) are content
/// with; they say nothing of rounding.
const PLAIN: u32 = 5;

/// What `variable` has gone through, of kind f32; nothing for one of another kind, or one that says too little.
pub fn rounded(name: &str, variable: &Tensor) -> Option<Rounded> {
    if variable.kind() != Kind::Float {
        return None;
    }
    let values: Vec<f32> = Vec::try_from(variable.detach().to_device(Device::Cpu).contiguous().flatten(0, -1)).ok()?;
    let bits = values.iter().map(|value| significant_bits(*value));
    let (most, telling) =
        bits.fold((0, 0), |(most, telling), bits| (bits.max(most), telling + usize::from(bits > PLAIN)));
    let fits = match most {
        0..=8 => Coarse::BFloat16,
        9..=11 => Coarse::Float16,
        _ => return None,
    };
    (telling >= LEAST).then(|| Rounded { name: name.to_owned(), numbers: values.len(), fits })
}

/// How many significant bits `value` needs: 0 for 0, 1 for a power of two, 2 for 3.
fn significant_bits(value: f32) -> u32 {
    if value == 0.0 {
        return 0;
    }
    let fraction = value.to_bits() & 0x7f_ffff;
    if fraction == 0 { 1 } else { 24 - fraction.trailing_zeros() }
}

impl Coarse {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Coarse::Float16 => "float16",
            Coarse::BFloat16 => "bfloat16",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(values: &[f32]) -> Option<Coarse> {
        rounded("v", &Tensor::from_slice(values)).map(|r| r.fits)
    }

    #[test]
    fn bits_are_counted() {
        let bits = [0.0, 1.0, -0.5, 3.0, 0.1, 1.0 + f32::EPSILON].map(significant_bits);
        assert_eq!(bits[..4], [0, 1, 1, 2]);
        // 0.1 is 1.10011001100110011001101 in binary.
        assert_eq!(bits[4..], [24, 24]);
    }

    #[test]
    fn only_what_went_through_a_coarser_type_is_named() {
        let weights: Vec<f32> = (1..40).map(|i| (i as f32 * 0.7).sin()).collect();
        let through = |kind| {
            let there = Tensor::from_slice(&weights).to_kind(kind).to_kind(Kind::Float);
            Vec::<f32>::try_from(there).unwrap()
        };
        assert_eq!(seen(&weights), None);
        assert_eq!(seen(&through(Kind::Half)), Some(Coarse::Float16));
        assert_eq!(seen(&through(Kind::BFloat16)), Some(Coarse::BFloat16));
        // One number that is not rounded clears the rest.
        let mut one = through(Kind::Half);
        one[7] = 0.1;
        assert_eq!(seen(&one), None);
        // What people write.
        assert_eq!(seen(&[0.0, 1.0, 2.0, -1.0, 0.5, 10.0, 7.0, 0.25]), None);
    }
}
