//! What tests of the binary have in common: its messages.

use std::process::Output;

pub fn messages(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[track_caller]
pub fn succeeds(output: &Output) -> String {
    let messages = messages(output);
    assert!(output.status.success(), "{messages}");
    messages
}
