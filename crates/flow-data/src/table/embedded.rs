//! Tables that come with the crate linfa-datasets: their measurements are the columns, what they are measured for is
//! only a label.

use std::path::PathBuf;

use linfa::Dataset;
use ndarray::{Array1, Array2, Ix1};

use super::Table;
use crate::{DataSet, Error, Spec, Values};

/// 150 flowers: length and width of sepal and petal in cm; the label is the species. R. A. Fisher, 1936.
pub(crate) fn iris(seed: u64) -> Result<DataSet, Error> {
    labelled(linfa_datasets::iris(), Spec::Iris, seed)
}

/// 1,599 red wines: 11 physical and chemical measurements; the label is the mark, 3 to 8. P. Cortez et al., 2009.
pub(crate) fn winequality(seed: u64) -> Result<DataSet, Error> {
    labelled(linfa_datasets::winequality(), Spec::WineQuality, seed)
}

/// 441 patients: age, sex, body mass index, blood pressure and six of the blood serum, centred and scaled by its
/// publishers; progress after a year is left out. B. Efron et al., 2004.
///
/// The publication has 442: linfa-datasets takes the first for a header. Its names for the serum are not the paper's
/// (s1 to s6: total cholesterol, LDL, HDL, total/HDL, log triglycerides, glucose), so they are named here.
pub(crate) fn diabetes(seed: u64) -> Result<DataSet, Error> {
    let names = ["age", "sex", "bmi", "bp", "tc", "ldl", "hdl", "tch", "ltg", "glu"].map(String::from);
    table(linfa_datasets::diabetes().records(), &names, &Spec::Diabetes).into_data_set(Spec::Diabetes, seed)
}

fn labelled(embedded: Dataset<f64, usize, Ix1>, spec: Spec, seed: u64) -> Result<DataSet, Error> {
    let labels: Array1<u8> = embedded.targets().iter().map(|&label| label as u8).collect();
    table(embedded.records(), embedded.feature_names(), &spec).with_labels(Some(labels), spec, seed)
}

fn table(records: &Array2<f64>, names: &[String], spec: &Spec) -> Table {
    Table {
        columns: names.to_vec(),
        values: Values::Reals(records.mapv(|value| value as f32)),
        path: PathBuf::from(spec.to_string()),
    }
}
