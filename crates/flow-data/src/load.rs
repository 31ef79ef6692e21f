//! From a name to a data set.

use std::path::PathBuf;

use crate::{
    DataSet, Error, ImageOptions, Preprocessing, Source, Spec, Split, Table, Toy, Values, cifar, digits, idx_images,
    images, mnist,
    random::{Purpose, stream},
    table,
};

/// Points a toy is validated on.
const TOY_VALIDATION: usize = 5_000;
/// Points a toy is tested on.
const TOY_TEST: usize = 20_000;

/// How to load a data set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoadOptions {
    /// What drawing, shuffling and splitting depend on.
    pub seed: u64,
    /// The folder of fetched data, in place of the environment's `FLOW_DATA_DIR` and of `datasets` in the current
    /// folder. MNIST is looked for in its sub-folder `mnist` and in the folder itself, CIFAR-10 in
    /// `cifar-10-batches-bin`, `cifar10` and the folder itself.
    pub data_dir: Option<PathBuf>,
    /// Toys only: so many fixed training points in place of fresh draws.
    pub fixed: Option<usize>,
    /// Images only: their side and their levels.
    pub image: ImageOptions,
}

/// Loads a data set, ready to train on.
///
/// A toy has 5,000 validation and 20,000 test points of its own streams; a finite set is split in a seeded order.
///
/// `npy:PATH`, and `idx:FILE` where it is not gzipped, stay in their file: it is mapped, gone through once (NPY only: are
/// all values finite, what are the moments of the training rows), and rows are read when they are asked for. Of each row
/// 4 bytes are kept in memory, its place in the seeded order, and its label where there are any. The file must not be
/// written to as long as the data set is in use: a changed value is taken as it is, and a file that gets shorter ends the
/// process (SIGBUS). To replace a file, write another beside it and rename that.
///
/// # Errors
/// [`Error`] where a file is missing or not what it should be, or `options.fixed` is set for what is not a toy, or
/// `options.image` for what has no pixels, or not those.
pub fn load(spec: &Spec, options: &LoadOptions) -> Result<DataSet, Error> {
    let seed = options.seed;
    options.image.check(spec)?;
    if let Some(toy) = spec.toy() {
        return load_toy(toy, options);
    }
    if let Some(fixed) = options.fixed {
        return Err(Error::Fixed { spec: spec.to_string(), fixed });
    }
    match spec {
        Spec::Moons | Spec::TwoMoons | Spec::Circles => unreachable!("toys were loaded above"),
        Spec::Digits => digits::load(seed),
        Spec::Mnist => mnist::load(options),
        Spec::Cifar10 => cifar::load(options),
        Spec::Images(folder) => images::load(folder, spec, options),
        Spec::Idx(file) => idx_images::load(file, spec, options),
        Spec::Iris => table::iris(seed),
        Spec::WineQuality => table::winequality(seed),
        Spec::Diabetes => table::diabetes(seed),
        Spec::Csv(path) => Table::read_csv(path)?.into_data_set(spec.clone(), seed),
        Spec::Npy(path) => table::npy(path, spec, seed),
    }
}

fn load_toy(toy: Toy, options: &LoadOptions) -> Result<DataSet, Error> {
    let points = |n, purpose| {
        let (points, labels) = toy.draw_from(n, stream(purpose, options.seed, 0));
        Split::new(Values::Reals(points), vec![2], labels)
    };
    let train = match options.fixed {
        None => Source::Fresh(toy),
        Some(0) => return Err(Error::Fixed { spec: toy.to_string(), fixed: 0 }),
        Some(n) => Source::Fixed(points(n, Purpose::Fixed)?),
    };
    Ok(DataSet {
        spec: toy.into(),
        event_shape: vec![2],
        preprocessing: Preprocessing::toy(toy),
        train,
        validation: points(TOY_VALIDATION, Purpose::Validation)?,
        test: points(TOY_TEST, Purpose::Test)?,
        notes: Vec::new(),
    })
}
