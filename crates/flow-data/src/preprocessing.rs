//! What a model must know of its data besides the values, as a value that is stored with the model.

use serde::{Deserialize, Serialize};

use crate::Toy;

/// How rows as read become what a model is trained on. Serializable, so that a stored model carries it.
///
/// No row is changed by this crate. Noise on levels is added in training; the logit and the standardisation of columns
/// are bijections at the head of a model, so that their log-determinants are inside its likelihood. In JSON the field
/// `kind` tells the variants apart: `toy`, `levels`, `table`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Preprocessing {
    /// A toy is *defined* as already standardised by its population moments: raw = mean + std · x is only for pictures
    /// in the raw unit.
    Toy {
        /// Which one.
        toy: Toy,
        /// The raw distribution's exact mean, by coordinate.
        mean: Vec<f64>,
        /// The raw distribution's exact standard deviation, by coordinate.
        std: Vec<f64>,
    },
    /// Images of whole numbers k: the model sees (k + u) / levels, u uniform on [0, 1), on the unit cube.
    Levels {
        /// How many different numbers a value can have: 256 as read, 2^bits where [`crate::ImageOptions::bits`] took
        /// the lowest bits away, 17 in `digits`.
        levels: u32,
        /// Rows of pixels.
        height: usize,
        /// Pixels in a row.
        width: usize,
        /// Values in a pixel.
        channels: usize,
    },
    /// A table as read; a model starts with (x - mean) / std by column.
    Table {
        /// The names of the columns.
        columns: Vec<String>,
        /// The mean of each column over the *training* rows.
        mean: Vec<f64>,
        /// The standard deviation (divided by n) of each column over the *training* rows, never 0.
        std: Vec<f64>,
    },
}

impl Preprocessing {
    /// A toy's preprocessing.
    pub fn toy(toy: Toy) -> Preprocessing {
        let moments = toy.moments();
        Preprocessing::Toy { toy, mean: moments.mean.to_vec(), std: moments.std.to_vec() }
    }

    /// How many different numbers a value can have, where values are levels.
    pub fn levels(&self) -> Option<u32> {
        match self {
            Preprocessing::Levels { levels, .. } => Some(*levels),
            _ => None,
        }
    }

    /// Whether it can be that of rows of `event_shape`; a stored one may have been made by anybody.
    ///
    /// # Errors
    /// What does not fit, in words.
    pub fn check(&self, event_shape: &[usize]) -> Result<(), String> {
        let dim = event_shape.iter().try_fold(1usize, |product, &n| product.checked_mul(n));
        let fits = match self {
            Preprocessing::Levels { levels, height, width, channels } => {
                (2..=256).contains(levels) && event_shape == [*channels, *height, *width]
            }
            Preprocessing::Toy { mean, std, .. } => dim == Some(2) && moments_fit(2, mean, std),
            Preprocessing::Table { columns, mean, std } => {
                dim == Some(columns.len()) && moments_fit(columns.len(), mean, std)
            }
        };
        match fits {
            true => Ok(()),
            false => Err(format!("{self:?} is no preprocessing of rows of {event_shape:?}")),
        }
    }

    /// A name for each value of a row: `x1`, `x2` for toys, the header's names for tables, `row,column` for pixels, and
    /// `channel,row,column` where they have more than one channel.
    pub fn column_names(&self) -> Vec<String> {
        match self {
            Preprocessing::Toy { .. } => vec!["x1".into(), "x2".into()],
            Preprocessing::Table { columns, .. } => columns.clone(),
            Preprocessing::Levels { height, width, channels, .. } => pixel_names(*channels, *height, *width),
        }
    }
}

fn moments_fit(dim: usize, mean: &[f64], std: &[f64]) -> bool {
    let positive = |x: &f64| x.is_finite() && *x > 0.0;
    mean.len() == dim && std.len() == dim && mean.iter().all(|x| x.is_finite()) && std.iter().all(positive)
}

fn pixel_names(channels: usize, height: usize, width: usize) -> Vec<String> {
    let name = |i: usize| match (i / (height * width), i / width % height, i % width) {
        (_, row, column) if channels == 1 => format!("{row},{column}"),
        (channel, row, column) => format!("{channel},{row},{column}"),
    };
    (0..channels * height * width).map(name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stored_form_is_tagged_by_kind() {
        let levels = Preprocessing::Levels { levels: 17, height: 8, width: 8, channels: 1 };
        let json = serde_json::to_string(&levels).unwrap();
        assert_eq!(json, r#"{"kind":"levels","levels":17,"height":8,"width":8,"channels":1}"#);
        let table = Preprocessing::Table { columns: vec!["a".into()], mean: vec![0.1], std: vec![2.0] };
        for value in [levels, table, Preprocessing::toy(Toy::TwoMoons)] {
            let json = serde_json::to_string(&value).unwrap();
            assert_eq!(serde_json::from_str::<Preprocessing>(&json).unwrap(), value);
        }
    }

    #[test]
    fn what_fits_no_row_is_refused() {
        let levels = |levels, height, width, channels| {
            Preprocessing::Levels { levels, height, width, channels }.check(&[1, 8, 9])
        };
        levels(17, 8, 9, 1).unwrap();
        levels(256, 8, 9, 1).unwrap();
        for wrong in [levels(1, 8, 9, 1), levels(257, 8, 9, 1), levels(17, 9, 8, 1), levels(17, 8, usize::MAX, 1)] {
            wrong.unwrap_err();
        }
        let table = |mean: f64, std: &[f64]| {
            Preprocessing::Table { columns: vec!["a".into()], mean: vec![mean], std: std.to_vec() }.check(&[1])
        };
        table(0.0, &[1.0]).unwrap();
        for wrong in
            [table(f64::NAN, &[1.0]), table(0.0, &[0.0]), table(0.0, &[1.0, 1.0]), table(0.0, &[f64::INFINITY])]
        {
            wrong.unwrap_err();
        }
        let toy = Preprocessing::toy(Toy::Moons);
        toy.check(&[2]).unwrap();
        toy.check(&[3]).unwrap_err();
        toy.check(&[usize::MAX, 2]).unwrap_err();
    }

    #[test]
    fn pixels_are_named_by_where_they_are() {
        assert_eq!(pixel_names(1, 2, 2), ["0,0", "0,1", "1,0", "1,1"]);
        assert_eq!(pixel_names(2, 1, 2), ["0,0,0", "0,0,1", "1,0,0", "1,0,1"]);
    }
}
