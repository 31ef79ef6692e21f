//! `digits`: 1,797 handwritten digits of 8 x 8 pixels with levels 0 to 16, embedded, so that images need no download.
//!
//! E. Alpaydin, C. Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine Learning Repository, CC BY 4.0; its
//! test file, as in scikit-learn. It comes with the crate smartcore (whose names for its columns are another data set's).

use ndarray::{Array1, Array2};
use smartcore::dataset::digits::load_dataset;

use crate::{
    DataSet, Error, Preprocessing, Spec, Split, Values,
    partition::{Sizes, deal},
};

/// The side of an image.
pub(crate) const SIDE: usize = 8;
/// Pixels are 0 to 16.
const LEVELS: u32 = 17;

/// The digits in a seeded order: 1,297 to train on, 250 and 250 to validate and test.
pub(crate) fn load(seed: u64) -> Result<DataSet, Error> {
    let embedded = load_dataset();
    let labels: Array1<u8> = embedded.target.iter().map(|&label| label as u8).collect();
    let pixels = embedded.data.iter().map(|&level| level as u8).collect();
    let data = Array2::from_shape_vec((embedded.num_samples, SIDE * SIDE), pixels).expect("64 pixels a digit");
    let all = Split::new(Values::Levels { data, levels: LEVELS }, vec![1, SIDE, SIDE], Some(labels))?;
    let preprocessing = Preprocessing::Levels { levels: LEVELS, height: SIDE, width: SIDE, channels: 1 };
    Ok(deal(&all, Sizes { validation: 250, test: 250 }, seed).into_data_set(Spec::Digits, preprocessing))
}
