//! Tests once more, by other loops.

/// Runs all tests of a file but that of this name by the loops for processors with fewer instructions and with none, which are held
/// to the same.
pub fn again_with_fewer_instructions(but: &str) {
    // Where there is no AMX the first is what has run already.
    for products in ["avx512", "avx2", "libtorch"].into_iter().skip(usize::from(!flow_dense::multiplies_bf16())) {
        let own = std::env::current_exe().expect("a test has a file");
        let mut again = std::process::Command::new(own);
        again.env("FLOW_PRODUCTS", products).args(["--skip", but]);
        let output = again.output().expect("what runs can be run again");
        assert!(output.status.success(), "{products}: {}", String::from_utf8_lossy(&output.stdout));
    }
}
