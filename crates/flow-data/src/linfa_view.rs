//! The same rows as linfa data sets, for those who want to do something else with them.

use linfa::{Dataset, DatasetBase};
use ndarray::{Array1, Array2, Ix1};

use crate::{DataSet, Part, Split};

impl Split {
    /// The rows as real numbers, without targets.
    pub fn to_linfa(&self) -> DatasetBase<Array2<f32>, Array1<()>> {
        DatasetBase::from(self.to_reals())
    }

    /// The rows as real numbers with their labels as targets; `None` where there are no labels.
    pub fn to_linfa_labelled(&self) -> Option<Dataset<f32, usize, Ix1>> {
        let targets: Array1<usize> = self.labels.as_ref()?.mapv(usize::from);
        Some(Dataset::new(self.to_reals(), targets))
    }
}

impl DataSet {
    /// A part as linfa's data set, its columns named; `None` for training rows that are drawn afresh.
    pub fn to_linfa(&self, part: Part) -> Option<DatasetBase<Array2<f32>, Array1<()>>> {
        Some(self.split(part)?.to_linfa().with_feature_names(self.preprocessing.column_names()))
    }

    /// The same with labels as targets; `None` also where there are no labels.
    pub fn to_linfa_labelled(&self, part: Part) -> Option<Dataset<f32, usize, Ix1>> {
        Some(self.split(part)?.to_linfa_labelled()?.with_feature_names(self.preprocessing.column_names()))
    }
}
