//! A data set: its splits, and what a model must know of it.

use std::{fmt, str::FromStr};

use crate::{Error, Preprocessing, Rows, Spec, Split, Toy};

/// A data set with its three splits.
#[derive(Clone, Debug)]
pub struct DataSet {
    /// Which one.
    pub spec: Spec,
    /// The shape of one row: `[2]` for toys, `[channels, height, width]` for images, `[columns]` for tables.
    pub event_shape: Vec<usize>,
    /// What a model must know of it besides the values.
    pub preprocessing: Preprocessing,
    /// What to train on.
    pub train: Source,
    /// What to choose by.
    pub validation: Split,
    /// What to report.
    pub test: Split,
    /// What a person should know of how it was read, each a line to print: the files that were left out, say. Empty as
    /// a rule.
    pub notes: Vec<String>,
}

/// Where training rows come from.
#[derive(Clone, Debug)]
pub enum Source {
    /// Rows that are there, to be gone through again and again.
    Fixed(Split),
    /// Fresh draws at every step, a function of seed and step: see [`Toy::draw_batch`].
    Fresh(Toy),
}

impl Source {
    /// The number of rows, where it is finite.
    pub fn rows(&self) -> Option<usize> {
        match self {
            Source::Fixed(split) => Some(split.len()),
            Source::Fresh(_) => None,
        }
    }
}

impl DataSet {
    /// The toy it is drawn from, whose density is known.
    pub fn toy(&self) -> Option<Toy> {
        self.spec.toy()
    }

    /// The number of values in a row, D.
    pub fn dim(&self) -> usize {
        self.event_shape.iter().product()
    }

    /// The rows of a part; `None` for the training part of a data set that is drawn afresh.
    pub fn split(&self, part: Part) -> Option<&Split> {
        match (part, &self.train) {
            (Part::Train, Source::Fixed(split)) => Some(split),
            (Part::Train, Source::Fresh(_)) => None,
            (Part::Validation, _) => Some(&self.validation),
            (Part::Test, _) => Some(&self.test),
        }
    }
}

/// A part of a data set, by its name: `train`, `validation`, `test`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Part {
    /// What a model is fitted to.
    Train,
    /// What checkpoints and settings are chosen by.
    Validation,
    /// What is reported, and nothing chosen by.
    Test,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Part::Train => "train",
            Part::Validation => "validation",
            Part::Test => "test",
        })
    }
}

impl FromStr for Part {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        match name {
            "train" => Ok(Part::Train),
            "validation" => Ok(Part::Validation),
            "test" => Ok(Part::Test),
            _ => Err(Error::UnknownPart { name: name.to_owned() }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_parse_and_print_as_themselves() {
        for part in [Part::Train, Part::Validation, Part::Test] {
            assert_eq!(part.to_string().parse::<Part>().unwrap(), part);
        }
        assert!(matches!("valid".parse::<Part>(), Err(Error::UnknownPart { name }) if name == "valid"));
    }
}
