//! The binary `flow` and other programs: built by cargo, which fetches libtorch on the way, and found by what cargo says.

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
    say!("Building flow (the first time this fetches libtorch and takes some minutes)");
    cargo(root, &["-p", "flow-cli"], "flow", messages)
}

/// Builds an example of a package of the workspace.
pub fn example(root: &Path, package: &str, name: &str, messages: &Path) -> Result<PathBuf> {
    say!("Building {name} (the first time this fetches libtorch and takes some minutes)");
    cargo(root, &["-p", package, "--example", name], name, messages)
}

fn cargo(root: &Path, what: &[&str], name: &str, messages: &Path) -> Result<PathBuf> {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(["build", "--release"]).args(what).arg("--message-format=json-render-diagnostics");
    command.current_dir(root);
    process::run(command, &Messages::Shown, Some(messages)).with_context(|| format!("building {name}"))?;
    let said = fs::read_to_string(messages).with_context(|| format!("cannot read {}", messages.display()))?;
    executable(&said, name).with_context(|| format!("cargo has built {name} and does not say where"))
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

fn executable(messages: &str, name: &str) -> Option<PathBuf> {
    messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Message>(line).ok())
        .filter(|message| message.target.as_ref().is_some_and(|target| target.name == name))
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
        assert_eq!(executable(messages, "flow").unwrap(), Path::new("/elsewhere/release/flow"));
        assert_eq!(executable("{}", "flow"), None);
    }
}
