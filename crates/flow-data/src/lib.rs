//! Data sets for density models: toys with known densities, MNIST, CIFAR-10, digits, classic tables, your own
//! images and tables.
//!
//! A density model is judged by one number, the mean log-likelihood of rows that it has not seen. For that number to mean
//! something, everything in front of the model must be settled: which rows are held back, in which unit the values are,
//! what a seed decides. This crate settles it, and knows nothing of models: it has no dependency on libtorch.
//!
//! A data set is loaded by its name, a [`Spec`], and comes as a [`DataSet`]: rows to train on, to choose by and to report,
//! and a serializable [`Preprocessing`] that is stored with a model.
//!
//! ```
//! use flow_data::{LoadOptions, Part, Rows, Source, Toy, Values, load};
//!
//! // Images: levels 0 to 16 as they were written, split in an order that the seed decides.
//! let digits = load(&"digits".parse()?, &LoadOptions::default())?;
//! let train = digits.split(Part::Train).expect("a finite data set");
//! assert_eq!((train.len(), digits.validation.len(), digits.test.len()), (1_297, 250, 250));
//! let Values::Levels { data: batch, levels: 17 } = train.gather(&[5, 0, 5]) else { unreachable!() };
//! assert_eq!(batch.dim(), (3, 64));
//!
//! // A toy: fresh points at every step of training, and a floor that no model can get below.
//! let moons = load(&"moons".parse()?, &LoadOptions::default())?;
//! let Source::Fresh(toy) = moons.train else { unreachable!() };
//! let batch = toy.draw_batch(256, 0, 1); // seed 0, step 1
//! assert_eq!(batch.dim(), (256, 2));
//! let test = moons.test.to_reals();
//! let nats = -toy.log_prob(test.view()).mean().expect("20,000 points");
//! assert!((nats - toy.entropy()).abs() < 0.03); // 1.0896, within sampling error
//! # assert_eq!(toy, Toy::Moons);
//! # Ok::<_, flow_data::Error>(())
//! ```
//!
//! # Units
//!
//! No value is rescaled on its way, unless [`ImageOptions`] asks for other images: whole numbers stay whole numbers ([`Values::Levels`]), tables stay in their columns'
//! units ([`Values::Reals`]). Noise on levels is a matter of training; a logit or a standardisation of columns is part of
//! a model, so that its log-determinant is part of the likelihood. The toys are *defined* as standardised by their exact
//! moments. All densities are in nats.
//!
//! # Seeds
//!
//! Every number is a function of (purpose, seed, index): they are the key of a counter-based generator, ChaCha with 8
//! rounds. So a training batch depends on seed and step and on nothing that was drawn before; training, validation and
//! test points of a toy share no number whatever the seeds; and splits can be dealt again. A test holds some of the
//! numbers fixed, lest a dependency change them.
//!
//! | purpose | seed | index |
//! | --- | --- | --- |
//! | [`Toy::draw`] | its `seed` | 0 |
//! | [`Toy::draw_batch`] | its `seed` | its `step` |
//! | fixed training points, validation points, test points: a purpose each | [`LoadOptions::seed`] | 0 |
//! | dealing rows out to splits | [`LoadOptions::seed`] | 0 |
//!
//! # Files
//!
//! All files are taken for hostile: sizes are checked before memory is taken, gzip is not unpacked further than promised,
//! and every [`Error`] names the file and the place in it. MNIST and CIFAR-10 are looked for in
//! [`LoadOptions::data_dir`], or else in `FLOW_DATA_DIR` and in `datasets` of the current folder, in each first in the
//! sub-folders `mnist`, and `cifar-10-batches-bin` and `cifar10`. MNIST's files are checked by their SHA-256, CIFAR-10's
//! by size and labels.
//!
//! `npy:PATH`, and `idx:FILE` where it is not gzipped, are mapped: their rows stay in the file until they are asked for, so
//! it may be larger than memory. [`load`] says what that asks of the file.
//!
//! # Images
//!
//! Images are square, grey or RGB, in rows `[channels, height, width]` flattened: a channel after the other, each row by
//! row. `images:DIR` takes the files `.png`, `.jpg` and `.jpeg` (in any case) that lie in the folder or in its
//! sub-folders, not deeper; files of other endings and all whose names begin with a dot are passed over. Where every
//! image lies in a sub-folder, the sub-folders that hold any are, by their sorted names, the classes 0, 1, ..., if they
//! are 256 at most; otherwise there are no labels.
//!
//! Each is turned as its EXIF says, laid on black where it is transparent, taken to 8 bits a channel, cut to its middle
//! square and resized to [`ImageOptions::size`] by a bicubic filter. A set is grey where all images are, pixel for pixel,
//! however they are stored, and otherwise RGB. A file that cannot be read, cut off, broken or absurdly large, is left out
//! and named in [`DataSet::notes`]. The rest is dealt out 80 / 10 / 10 in an order that the seed decides, from an order
//! that file names decide.
//!
//! `idx:FILE` is a file as MNIST's, dealt out likewise. Its labels are those in the file beside it that is named so,
//! `labels-idx1` for `images-idx3`, where it has one for each image.
//!
//! # Elsewhere
//!
//! [`Rows`] is all that training needs of its rows. [`DataSet::to_linfa`] and [`DataSet::to_linfa_labelled`] give the rows
//! to the rest of the Rust world.

mod cifar;
mod dataset;
mod digits;
mod endless;
mod error;
pub mod idx;
mod idx_images;
mod image_options;
mod images;
mod linfa_view;
mod load;
mod mapped;
mod mnist;
mod partition;
mod places;
mod preprocessing;
mod random;
mod rows;
mod spec;
mod split;
mod table;
mod toy;

pub use dataset::{DataSet, Part, Source};
pub use error::{Error, MissingIn};
pub use image_options::ImageOptions;
pub use load::{LoadOptions, load};
pub use places::DATA_DIR_VARIABLE;
pub use preprocessing::Preprocessing;
pub use rows::{Rows, Values};
pub use spec::Spec;
pub use split::Split;
pub use table::Table;
pub use toy::{Moments, Toy};

/// The examples of README.md are tests too.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
