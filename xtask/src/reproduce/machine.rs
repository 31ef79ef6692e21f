//! What the numbers were made on: machine and versions, as far as they can be found out.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde::Serialize;

use super::plan::Choice;

#[derive(Debug, Clone, Serialize)]
pub struct Machine {
    pub cpu: String,
    pub threads: usize,
    /// Distribution, system and architecture.
    pub os: String,
    /// As asked for; with the card's name for CUDA.
    pub device: String,
    pub versions: Versions,
}

#[derive(Debug, Clone, Serialize)]
pub struct Versions {
    /// Of this workspace, with the commit it was built from.
    pub flow: String,
    pub tch: String,
    pub rustc: String,
}

impl Versions {
    pub fn by_name(self) -> BTreeMap<String, String> {
        [("flow", self.flow), ("tch", self.tch), ("rustc", self.rustc)].map(|(name, it)| (name.to_owned(), it)).into()
    }
}

pub fn describe(root: &Path, choice: &Choice) -> Machine {
    let asked = choice.device.clone();
    let card =
        asked.starts_with("cuda").then(|| first_line("nvidia-smi", &["--query-gpu=name", "--format=csv,noheader"]));
    Machine {
        cpu: cpu().unwrap_or_else(|| "unknown".into()),
        threads: choice.threads,
        os: os(),
        device: match card.flatten() {
            Some(card) => format!("{asked} ({card})"),
            None => asked,
        },
        versions: versions(root),
    }
}

pub fn cpu() -> Option<String> {
    match fs::read_to_string("/proc/cpuinfo") {
        Ok(info) => cpu_model(&info),
        Err(_) => first_line("sysctl", &["-n", "machdep.cpu.brand_string"]),
    }
}

/// The first processor's name; some architectures have none there.
fn cpu_model(cpuinfo: &str) -> Option<String> {
    let value = |line: &str| line.split_once(':').map(|(_, value)| value.trim().to_owned());
    cpuinfo.lines().find(|line| line.starts_with("model name")).and_then(value)
}

/// Those of `wanted` instructions that the first processor has, as Linux calls them.
pub fn instructions(wanted: &[&str]) -> Vec<String> {
    instructions_of(&fs::read_to_string("/proc/cpuinfo").unwrap_or_default(), wanted)
}

fn instructions_of(cpuinfo: &str, wanted: &[&str]) -> Vec<String> {
    let flags = cpuinfo.lines().find(|line| line.starts_with("flags")).unwrap_or_default();
    let has = |name: &&str| flags.split_whitespace().any(|flag| flag == *name);
    wanted.iter().copied().filter(has).map(str::to_owned).collect()
}

pub fn os() -> String {
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let name = release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME=")).map(|name| name.trim_matches('"'));
    let system = format!("{} {}", std::env::consts::OS, std::env::consts::ARCH);
    name.map_or(system.clone(), |name| format!("{name}, {system}"))
}

pub fn versions(root: &Path) -> Versions {
    let commit = commit(root);
    let lock = fs::read_to_string(root.join("Cargo.lock")).unwrap_or_default();
    Versions {
        flow: match commit {
            Some(commit) => format!("{} ({commit})", env!("CARGO_PKG_VERSION")),
            None => env!("CARGO_PKG_VERSION").to_owned(),
        },
        tch: locked_version(&lock, "tch").unwrap_or_else(|| "unknown".into()),
        rustc: first_line("rustc", &["--version"])
            .map_or_else(|| "unknown".into(), |line| line.trim_start_matches("rustc ").to_owned()),
    }
}

/// The commit that is checked out, `-dirty` where tracked files differ from it. Those in `results/` do not count:
/// nothing is built from them, and a start that goes on finds there what the one before has drawn.
fn commit(root: &Path) -> Option<String> {
    let at = root.display().to_string();
    let commit = first_line("git", &["-C", &at, "describe", "--always", "--exclude=*"])?;
    let tracked = ["-C", &at, "status", "--porcelain", "--untracked-files=no", "--", ".", ":(exclude)results"];
    Some(if first_line("git", &tracked).is_some() { commit + "-dirty" } else { commit })
}

fn locked_version(lock: &str, package: &str) -> Option<String> {
    let (_, entry) = lock.split_once(&format!("name = \"{package}\"\n"))?;
    let version = entry.lines().next()?.strip_prefix("version = ")?;
    Some(version.trim_matches('"').to_owned())
}

pub fn first_line(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok().filter(|output| output.status.success())?;
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().next().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_in_system_files() {
        let info = "processor\t: 0\nmodel name\t: Some CPU @ 3 GHz\n\nprocessor\t: 1\nmodel name\t: Some CPU @ 3 GHz\n";
        assert_eq!(cpu_model(info).as_deref(), Some("Some CPU @ 3 GHz"));
        assert_eq!(cpu_model("processor\t: 0\n"), None);
        let flags = "flags\t\t: fpu avx2 avx512f\n\nflags\t\t: fpu amx_bf16\n";
        assert_eq!(instructions_of(flags, &["avx512f", "avx", "amx_bf16", "avx2"]), ["avx512f", "avx2"]);
        let lock =
            "[[package]]\nname = \"tch\"\nversion = \"0.24.0\"\n\n[[package]]\nname = \"toml\"\nversion = \"1.2.1\"\n";
        assert_eq!(locked_version(lock, "tch").as_deref(), Some("0.24.0"));
        assert_eq!(locked_version(lock, "rand"), None);
    }
}
