//! What others reach: the numbers that stand beside ours, each with its source.

use serde::Serialize;

use super::plan::{Data, Model};

/// The entropy of `moons` in nats, known in closed form: no model's mean log-likelihood on fresh points can be higher
/// than minus this.
pub const MOONS_FLOOR: f64 = 1.0896;

/// A number of somebody else's.
#[derive(Debug, Clone, Serialize)]
pub struct Reference {
    pub model: Model,
    pub data: Data,
    /// Mean log-likelihood on the test set.
    pub nats: Option<f64>,
    pub bits_per_dim: Option<f64>,
    pub source: &'static str,
    pub kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Printed in a paper.
    Published,
    /// The original repository's nets and budget, measured for comparison.
    Original,
}

const NICE_PAPER: &str = "the NICE paper: 4 couplings of 5 x 1,000, 1,500 epochs";
const MAF_PAPER: &str = "RealNVP(5) in the MAF paper, fully connected, logit-MNIST";
const FFJORD_REALNVP: &str = "multi-scale RealNVP, convolutional, as reported by FFJORD";
const FFJORD_GLOW: &str = "Glow, as reported by FFJORD";
const ORIGINAL: &str = "the original's nets, steps and batches, trained in PyTorch; the weights of the last step";

/// All that is known for these data.
pub fn all(images: Data) -> Vec<Reference> {
    let original = |model, data, nats, bits_per_dim| Reference {
        model,
        data,
        nats: Some(nats),
        bits_per_dim,
        source: ORIGINAL,
        kind: Kind::Original,
    };
    let mut references =
        vec![original(Model::Nice, Data::Moons, -1.186, None), original(Model::RealNvp, Data::Moons, -1.326, None)];
    if images == Data::Mnist {
        let data = Data::Mnist;
        let published = |model, nats, bits_per_dim, source| {
            let bits_per_dim = Some(bits_per_dim);
            Reference { model, data, nats, bits_per_dim, source, kind: Kind::Published }
        };
        references.extend([
            original(Model::Nice, data, 1437.0, Some(5.36)),
            original(Model::RealNvp, data, 1006.0, Some(6.149)),
            published(Model::Nice, Some(1980.50), 4.356, NICE_PAPER),
            published(Model::RealNvp, None, 1.93, MAF_PAPER),
            published(Model::RealNvpImage, None, 1.06, FFJORD_REALNVP),
            published(Model::Glow, None, 1.05, FFJORD_GLOW),
        ]);
    }
    references
}

pub fn find(model: Model, data: Data, kind: Kind) -> Option<Reference> {
    all(data).into_iter().find(|it| (it.model, it.data, it.kind) == (model, data, kind))
}

/// The line to draw into a learning curve, as `VALUE:LABEL` in nats.
pub fn line(model: Model, data: Data) -> Option<String> {
    if data == Data::Moons {
        return Some(format!("{}:the best any model can do", -MOONS_FLOOR));
    }
    let published = find(model, data, Kind::Published)?;
    let nats = published.nats.or_else(|| published.bits_per_dim.map(mnist_nats))?;
    let label = match model {
        Model::Nice => "the NICE paper",
        Model::RealNvp => "RealNVP in the MAF paper",
        Model::RealNvpImage => "RealNVP as reported by FFJORD",
        Model::Glow => "Glow as reported by FFJORD, p(x)",
    };
    Some(format!("{nats:.1}:{label}"))
}

/// Bits per dimension of MNIST's 784 pixels of 256 levels as nats on the unit cube.
fn mnist_nats(bits_per_dim: f64) -> f64 {
    (256f64.log2() - bits_per_dim) * 784.0 * std::f64::consts::LN_2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_units_of_a_number_agree() {
        for reference in all(Data::Mnist) {
            if let (Some(nats), Some(bits)) = (reference.nats, reference.bits_per_dim) {
                assert!((mnist_nats(bits) - nats).abs() < 3.0, "{reference:?}: {}", mnist_nats(bits));
            }
        }
    }

    #[test]
    fn lines_are_in_nats() {
        assert_eq!(line(Model::Nice, Data::Mnist).unwrap(), "1980.5:the NICE paper");
        assert_eq!(line(Model::RealNvp, Data::Mnist).unwrap(), "3298.6:RealNVP in the MAF paper");
        assert_eq!(line(Model::RealNvpImage, Data::Mnist).unwrap(), "3771.4:RealNVP as reported by FFJORD");
        assert_eq!(line(Model::Glow, Data::Mnist).unwrap(), "3776.8:Glow as reported by FFJORD, p(x)");
        assert_eq!(line(Model::RealNvp, Data::Digits), None);
        assert_eq!(line(Model::Glow, Data::Moons).unwrap(), "-1.0896:the best any model can do");
    }
}
