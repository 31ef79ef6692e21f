//! What is a fault and what is worth a warning, in numbers; `docs/check.md` says why.

/// A round trip in f64, relative to `1 + |expected|`, is worth a warning from here on: of 16 digits 7 are lost.
pub const ROUND_TRIP_WARNS: f64 = 1e-9;
/// And a fault from here on, where it is no smaller than [`STAYS`] times that in f32, so that rounding cannot be the cause.
pub const ROUND_TRIP_FAILS: f64 = 1e-6;
/// Rounding is 2^29, five hundred million times, smaller in f64 than in f32; an error that is not even a thousand times
/// smaller is none of rounding.
pub const STAYS: f64 = 1e-3;
/// A round trip in f64 is a fault from here on whatever its cause: there is no inverse in any precision at hand.
pub const NO_DIGITS_LEFT: f64 = 1e-3;
/// A round trip in f32 is worth a warning from here on: of 7 digits 4 are lost.
pub const SINGLE_WARNS: f64 = 1e-3;
/// A log-determinant in f64 is wrong from here on, relative to `1 + |expected|`.
pub const LOG_DET_FAILS: f64 = 1e-6;
/// A mixing of coordinates is worth a warning from this condition number on.
pub const CONDITION_WARNS: f64 = 1e4;
/// And from here on, 2^23, it has no inverse in f32: the nearest matrix without one is a rounding away.
pub const CONDITION_FAILS: f64 = 8_388_608.0;
/// Share of coordinates at a bound that is worth a warning.
pub const EDGE_WARNS: f64 = 0.5;
/// Median over coordinates of Kolmogorov's distance to the base that is worth a warning.
pub const LATENT_WARNS: f64 = 0.1;

/// How a step, a flow or a whole check came out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// Nothing to say.
    #[default]
    Ok,
    /// It is right, but something about it may cost digits or quality.
    Warns,
    /// It is wrong, or no bijection in the precision that it is used in.
    Fails,
}

impl Verdict {
    /// The worst of `findings`.
    pub fn of(findings: &[Finding]) -> Self {
        findings.iter().map(|finding| finding.verdict).max().unwrap_or_default()
    }

    /// As tables have it: `ok`, `warn`, `FAIL`.
    pub fn name(self) -> &'static str {
        match self {
            Verdict::Ok => "ok",
            Verdict::Warns => "warn",
            Verdict::Fails => "FAIL",
        }
    }
}

/// A sentence about a step, and how bad it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How bad.
    pub verdict: Verdict,
    /// What and why.
    pub what: String,
}
