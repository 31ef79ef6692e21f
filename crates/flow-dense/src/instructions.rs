//! What a processor can do, and what the environment lets it.

use std::fmt;
use std::sync::OnceLock;

/// Instructions that tiles here are made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Instructions {
    /// AVX-512F and AVX-512BW: 32 registers of 16 numbers; AMX beside it, where there is one.
    Avx512,
    /// AVX2 and FMA: 16 registers of 8 numbers.
    Avx2,
}

/// The best instructions that this processor has. With `FLOW_PRODUCTS=libtorch` in the environment it is taken for one that has
/// none, and libtorch computes what it can; with `FLOW_PRODUCTS=avx2` for one without AVX-512 and AMX; with `FLOW_PRODUCTS=avx512` for one
/// without AMX. Any other value changes nothing here: whoever runs a program is told by [`check_environment`].
pub fn instructions() -> Option<Instructions> {
    static INSTRUCTIONS: OnceLock<Option<Instructions>> = OnceLock::new();
    *INSTRUCTIONS.get_or_init(|| match Products::asked_for() {
        Ok(Products::Libtorch) => None,
        Ok(Products::Avx2) => there().map(|_| Instructions::Avx2),
        Ok(Products::Best | Products::Avx512) | Err(_) => there(),
    })
}

/// Whether nobody forbids to multiply by AMX.
#[cfg(target_arch = "x86_64")]
pub(crate) fn amx_is_allowed() -> bool {
    matches!(Products::asked_for(), Ok(Products::Best) | Err(_))
}

/// Whether `FLOW_PRODUCTS` in the environment, if it is there, is something that [`instructions`] knows.
///
/// # Errors
///
/// If it is not.
pub fn check_environment() -> Result<(), UnknownProducts> {
    Products::asked_for().map(drop)
}

/// `FLOW_PRODUCTS` in the environment was none of `avx512`, `avx2` and `libtorch`.
#[derive(Debug)]
pub struct UnknownProducts(String);

impl fmt::Display for UnknownProducts {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(
            f,
            "FLOW_PRODUCTS={} in the environment: it must be avx512, avx2 or libtorch, empty or not there",
            self.0
        )
    }
}

impl std::error::Error for UnknownProducts {}

/// Whose products are wanted.
#[derive(Debug, PartialEq)]
enum Products {
    Best,
    Avx512,
    Avx2,
    Libtorch,
}

impl Products {
    fn asked_for() -> Result<Self, UnknownProducts> {
        std::env::var_os("FLOW_PRODUCTS").map_or(Ok(Products::Best), |value| Products::named(&value.to_string_lossy()))
    }

    fn named(name: &str) -> Result<Self, UnknownProducts> {
        match name {
            "" => Ok(Products::Best),
            "avx512" => Ok(Products::Avx512),
            "avx2" => Ok(Products::Avx2),
            "libtorch" => Ok(Products::Libtorch),
            _ => Err(UnknownProducts(name.to_owned())),
        }
    }
}

/// Rows of a batch that are worth taking through all layers before the next: what is between two layers stays in a core's own cache,
/// and each time all weights are read. Processors with AVX-512 have more of it.
pub fn rows_at_a_time() -> usize {
    if instructions() == Some(Instructions::Avx512) { 256 } else { 64 }
}

/// Whether this processor has any of them.
pub fn available() -> bool {
    instructions().is_some()
}

/// Whoever has AVX-512 has AVX2, too.
#[cfg(target_arch = "x86_64")]
fn there() -> Option<Instructions> {
    use std::arch::is_x86_feature_detected as has;
    let narrow = has!("avx2") && has!("fma");
    let wide = narrow && has!("avx512f") && has!("avx512bw");
    wide.then_some(Instructions::Avx512).or(narrow.then_some(Instructions::Avx2))
}

#[cfg(not(target_arch = "x86_64"))]
fn there() -> Option<Instructions> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_name_is_told_and_not_taken() {
        assert_eq!(Products::named("avx512").unwrap(), Products::Avx512);
        assert_eq!(Products::named("avx2").unwrap(), Products::Avx2);
        assert_eq!(Products::named("libtorch").unwrap(), Products::Libtorch);
        assert_eq!(Products::named("").unwrap(), Products::Best);
        for name in ["AVX2", "amx", "mkl"] {
            let said = Products::named(name).unwrap_err().to_string();
            assert!(
                said.contains(&format!("FLOW_PRODUCTS={name} ")) && said.contains("avx512, avx2 or libtorch"),
                "{said}"
            );
        }
    }
}
