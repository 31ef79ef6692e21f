//! Images that are none of the model's kind, made of some that are.

use anyhow::Result;
use flow_core::rng::{derive_seed, with_seed};
use flow_data::{Split, Values};
use ndarray::Array2;
use tch::{Device, Kind, Tensor};

use crate::args::Against;
use crate::arrays::matrix;
use crate::loaded::Loaded;

/// `own` turned upside down, as a negative, or as much noise; in the unit of `own`.
pub fn others(loaded: &Loaded, made: &Against, own: &Split, image: [usize; 3], seed: u64) -> Result<Split> {
    let values = match (made, &*own.values()) {
        (Against::Negative, Values::Levels { data, levels }) => {
            let top = (levels - 1) as u8;
            Values::Levels { data: data.mapv(|k| top - k), levels: *levels }
        }
        (Against::Negative, Values::Reals(data)) => Values::Reals(data.mapv(|x| 1.0 - x)),
        (Against::Noise, Values::Levels { data, levels }) => {
            let noise = noise(data.dim(), seed).mapv(|u| ((u * *levels as f32) as u8).min((levels - 1) as u8));
            Values::Levels { data: noise, levels: *levels }
        }
        (Against::Noise, Values::Reals(data)) => Values::Reals(noise(data.dim(), seed)),
        (_, Values::Levels { data, levels }) => Values::Levels { data: upside_down(data, image), levels: *levels },
        (_, Values::Reals(data)) => Values::Reals(upside_down(data, image)),
    };
    Ok(Split::new(values, loaded.model.event().to_vec(), None)?)
}

/// Every image turned by half a turn.
fn upside_down<T: Copy>(rows: &Array2<T>, [channels, height, width]: [usize; 3]) -> Array2<T> {
    let plane = height * width;
    debug_assert_eq!(rows.ncols(), channels * plane);
    // Half a turn reverses the pixels of a channel.
    Array2::from_shape_fn(rows.dim(), |(i, j)| rows[[i, j / plane * plane + (plane - 1 - j % plane)]])
}

/// Uniform on the unit cube.
fn noise((n, dim): (usize, usize), seed: u64) -> Array2<f32> {
    let size = [n as i64, dim as i64];
    matrix(&with_seed(derive_seed(seed, "noise", 0), || Tensor::rand(size, (Kind::Float, Device::Cpu))))
}

#[cfg(test)]
mod tests {
    use ndarray::array;

    use super::*;

    #[test]
    fn half_a_turn_keeps_channels_apart() {
        let image = array![[1, 2, 3, 4, 5, 6, 10, 20, 30, 40, 50, 60]];
        assert_eq!(upside_down(&image, [2, 2, 3]), array![[6, 5, 4, 3, 2, 1, 60, 50, 40, 30, 20, 10]]);
    }
}
