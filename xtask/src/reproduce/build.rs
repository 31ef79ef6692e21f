//! The binary `flow`: built by cargo, which fetches libtorch on the way, and found by what cargo says about it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::process::{self, Messages};
use super::stages::Flow;
use crate::fetch::verify::hexadecimal;

/// Builds `flow`, or takes the program that is `given`.
pub fn flow(given: Option<&Path>, root: &Path, runs: &Path) -> Result<Flow> {
    let path = match given {
        Some(path) => std::path::absolute(path).context("the program that was named")?,
        None => build(root, &root.join(runs).join("build.json"))?,
    };
    let bytes = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let build = hexadecimal(&Sha256::digest(&bytes)[..8]);
    Ok(Flow { path, build })
}

fn build(root: &Path, messages: &Path) -> Result<PathBuf> {
    eprintln!("Building flow (the first time this fetches libtorch and takes some minutes)");
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(["build", "--release", "-p", "flow-cli", "--message-format=json-render-diagnostics"]);
    command.current_dir(root);
    process::run(command, &Messages::Shown, Some(messages)).context("building flow")?;
    let said = fs::read_to_string(messages).with_context(|| format!("cannot read {}", messages.display()))?;
    executable(&said).context("cargo has built flow and does not say where")
}

/// One line of what cargo says; most are about something else.
#[derive(Deserialize)]
struct Message {
    target: Option<Target>,
    executable: Option<PathBuf>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
}

fn executable(messages: &str) -> Option<PathBuf> {
    messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Message>(line).ok())
        .filter(|message| message.target.as_ref().is_some_and(|target| target.name == "flow"))
        .find_map(|message| message.executable)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_binary_is_where_cargo_says() {
        let messages = r#"{"reason":"compiler-artifact","target":{"name":"build-script-build","kind":["custom-build"]},"executable":null}
not json
{"reason":"compiler-artifact","target":{"name":"flow_core","kind":["lib"]},"executable":null}
{"reason":"compiler-artifact","target":{"name":"flow","kind":["bin"]},"executable":"/elsewhere/release/flow"}
{"reason":"build-finished","success":true}"#;
        assert_eq!(executable(messages).unwrap(), Path::new("/elsewhere/release/flow"));
        assert_eq!(executable("{}"), None);
    }
}
