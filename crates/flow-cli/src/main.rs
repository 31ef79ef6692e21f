//! The command `flow`.
fn main() {}
