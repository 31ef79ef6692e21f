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

    /// A name for each value of a row: `x1`, `x2` for toys, `row,column` for pixels, the header's names for tables.
    pub fn column_names(&self) -> Vec<String> {
        match self {
            Preprocessing::Toy { .. } => vec!["x1".into(), "x2".into()],
            Preprocessing::Table { columns, .. } => columns.clone(),
            Preprocessing::Levels { height, width, channels, .. } => pixel_names(*channels, *height, *width),
        }
    }
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
    fn pixels_are_named_by_where_they_are() {
        assert_eq!(pixel_names(1, 2, 2), ["0,0", "0,1", "1,0", "1,1"]);
        assert_eq!(pixel_names(2, 1, 2), ["0,0,0", "0,0,1", "1,0,0", "1,0,1"]);
    }
}
