//! The name of a data set, as it is typed and as it is stored with a model.

use std::{fmt, path::PathBuf, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{Error, Toy};

/// Which data: parses from the names people type and prints as them, in serde too.
///
/// ```
/// use flow_data::Spec;
///
/// let spec: Spec = "two-moons".parse()?;
/// assert_eq!(spec, Spec::TwoMoons);
/// assert_eq!("csv:a/b.csv".parse::<Spec>()?.to_string(), "csv:a/b.csv");
/// # Ok::<_, flow_data::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Spec {
    /// `moons`: the crescent, a parabola with Gaussian noise, see [`Toy::Moons`].
    Moons,
    /// `two-moons`: two interleaved half circles, see [`Toy::TwoMoons`].
    TwoMoons,
    /// `circles`: two concentric circles, see [`Toy::Circles`].
    Circles,
    /// `digits`: 1,797 handwritten digits of 8 x 8 pixels, levels 0 to 16, embedded.
    Digits,
    /// `mnist`: 70,000 handwritten digits of 28 x 28 pixels, levels 0 to 255, from four IDX files.
    Mnist,
    /// `cifar10`: 60,000 colour images of 32 x 32 pixels in ten classes, levels 0 to 255, from the six files of its
    /// binary version.
    Cifar10,
    /// `iris`: 150 flowers, 4 measurements, embedded.
    Iris,
    /// `winequality`: 1,599 red wines, 11 measurements, embedded.
    WineQuality,
    /// `diabetes`: 441 patients, 10 measurements, embedded.
    Diabetes,
    /// `csv:PATH`: a table of one's own.
    Csv(PathBuf),
    /// `npy:PATH`: a NumPy array of one's own, of two axes or more.
    Npy(PathBuf),
    /// `images:DIR`: the PNG and JPEG files of a folder of one's own, and of its sub-folders, which are their classes.
    Images(PathBuf),
    /// `idx:FILE`: images of one's own in an IDX file as MNIST's, gzipped or not.
    Idx(PathBuf),
}

impl Spec {
    /// The toy that is drawn, where the data set is one.
    pub fn toy(&self) -> Option<Toy> {
        match self {
            Spec::Moons => Some(Toy::Moons),
            Spec::TwoMoons => Some(Toy::TwoMoons),
            Spec::Circles => Some(Toy::Circles),
            _ => None,
        }
    }
}

impl FromStr for Spec {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        let unknown = || Error::UnknownSpec { name: name.to_owned() };
        Ok(match name {
            "moons" => Spec::Moons,
            "two-moons" => Spec::TwoMoons,
            "circles" => Spec::Circles,
            "digits" => Spec::Digits,
            "mnist" => Spec::Mnist,
            "cifar10" => Spec::Cifar10,
            "iris" => Spec::Iris,
            "winequality" => Spec::WineQuality,
            "diabetes" => Spec::Diabetes,
            _ => match name.split_once(':').ok_or_else(unknown)? {
                (_, "") => return Err(unknown()),
                ("csv", path) => Spec::Csv(path.into()),
                ("npy", path) => Spec::Npy(path.into()),
                ("images", path) => Spec::Images(path.into()),
                ("idx", path) => Spec::Idx(path.into()),
                _ => return Err(unknown()),
            },
        })
    }
}

impl fmt::Display for Spec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Spec::Moons => "moons",
            Spec::TwoMoons => "two-moons",
            Spec::Circles => "circles",
            Spec::Digits => "digits",
            Spec::Mnist => "mnist",
            Spec::Cifar10 => "cifar10",
            Spec::Iris => "iris",
            Spec::WineQuality => "winequality",
            Spec::Diabetes => "diabetes",
            Spec::Csv(path) => return write!(f, "csv:{}", path.display()),
            Spec::Npy(path) => return write!(f, "npy:{}", path.display()),
            Spec::Images(path) => return write!(f, "images:{}", path.display()),
            Spec::Idx(path) => return write!(f, "idx:{}", path.display()),
        })
    }
}

impl TryFrom<String> for Spec {
    type Error = Error;

    fn try_from(name: String) -> Result<Self, Error> {
        name.parse()
    }
}

impl From<Spec> for String {
    fn from(spec: Spec) -> String {
        spec.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_parses_and_prints_as_itself() {
        for name in [
            "moons",
            "two-moons",
            "circles",
            "digits",
            "mnist",
            "cifar10",
            "iris",
            "winequality",
            "diabetes",
            "csv:a b/c.csv",
            "npy:c:x.npy",
            "images:my pictures",
            "idx:a/train-images-idx3-ubyte.gz",
        ] {
            let spec: Spec = name.parse().unwrap();
            assert_eq!(spec.to_string(), name);
            let json = serde_json::to_string(&spec).unwrap();
            assert_eq!(json, format!("{name:?}"));
            assert_eq!(serde_json::from_str::<Spec>(&json).unwrap(), spec);
        }
    }

    #[test]
    fn other_names_are_refused_with_the_known_ones() {
        for name in ["", "moon", "csv", "csv:", "npy:", "images", "images:", "idx:", "cifar", "xml:a", "Moons"] {
            let error = name.parse::<Spec>().unwrap_err().to_string();
            assert!(error.contains(&format!("{name:?}")) && error.contains("images:DIR"), "{error}");
        }
        assert!(serde_json::from_str::<Spec>("\"moon\"").is_err());
    }
}
