//! Projects outside this workspace that depend on its crates by path, built by the routes that `docs/libtorch.md` names.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

/// A project in a folder of its own, with the workspace's lockfile, so that nothing has to be fetched.
fn project(dependencies: &[&str], more: &str, main: &str) -> TempDir {
    let dir = TempDir::new().unwrap();
    let mut manifest =
        "[package]\nname = \"outside\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n[dependencies]\n".to_owned();
    for name in dependencies {
        let path = repository().join("crates").join(name);
        manifest += &format!("{name} = {{ path = {path:?} }}\n");
    }
    fs::write(dir.path().join("Cargo.toml"), manifest + more).unwrap();
    fs::copy(repository().join("Cargo.lock"), dir.path().join("Cargo.lock")).unwrap();
    fs::create_dir(dir.path().join("src")).unwrap();
    fs::write(dir.path().join("src/main.rs"), main).unwrap();
    dir
}

/// `cargo run` there: what it prints.
fn run(dir: &Path, target: &Path, set_up: impl FnOnce(&mut Command)) -> String {
    let mut cargo = Command::new(env!("CARGO"));
    set_up(&mut cargo);
    cargo.args(["run", "--offline"]).current_dir(dir).env("CARGO_TARGET_DIR", target);
    if !cfg!(debug_assertions) {
        cargo.arg("--release");
    }
    let output = cargo.output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}");
    String::from_utf8(output.stdout).unwrap()
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// The target folder these tests were built in.
fn workspace_target() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap().to_owned()
}

/// The workspace's profiles: with the same ones, the same torch-sys serves both, which takes minutes to compile.
fn profiles() -> String {
    let manifest = fs::read_to_string(repository().join("Cargo.toml")).unwrap();
    let mut wanted = false;
    let lines = manifest.lines().filter(|line| {
        if line.starts_with('[') {
            wanted = line.starts_with("[profile.");
        }
        wanted
    });
    lines.map(|line| format!("{line}\n")).collect()
}

#[test]
fn flow_core_builds_with_the_clones_configuration() {
    let main = r#"
        use flow_core::{ElementwiseAffine, Flow, StandardNormal};
        use tch::{Device, Tensor, nn};

        fn main() -> Result<(), flow_core::Error> {
            let vs = nn::VarStore::new(Device::Cpu);
            let affine = ElementwiseAffine::standardize(&vs.root(), &[3.0], &[2.0])?;
            let flow = Flow::new(affine, StandardNormal::new(&[1]), Device::Cpu);
            let x = Tensor::from_slice(&[5.0f32]).reshape([1, 1]);
            println!("{:.4}", flow.log_prob(&x, None).double_value(&[0]));
            Ok(())
        }
    "#;
    let dir = project(&["flow-core"], &format!("tch = \"0.24\"\n\n{}", profiles()), main);
    let config = repository().join(".cargo/config.toml");
    let printed = run(dir.path(), &workspace_target(), |cargo| {
        cargo.arg("--config").arg(config);
    });
    assert_eq!(printed.trim(), "-2.1121"); // -(1 + ln 2π)/2 - ln 2

    // The program alone, with nothing set and from elsewhere: it must know where its libtorch is.
    let profile = if cfg!(debug_assertions) { "debug" } else { "release" };
    let program = workspace_target().join(profile).join("outside");
    let alone = Command::new(program).env_clear().current_dir("/").output().unwrap();
    assert_eq!(String::from_utf8_lossy(&alone.stdout).trim(), "-2.1121", "{alone:?}");
}

#[test]
fn flow_data_and_flow_viz_need_no_libtorch_and_no_configuration() {
    let main = r#"
        use flow_data::{LoadOptions, Rows, Values, load};

        fn main() -> Result<(), Box<dyn std::error::Error>> {
            let digits = load(&"digits".parse()?, &LoadOptions::default())?;
            let Values::Levels { data, levels } = digits.test.gather(&[0, 1, 2, 3]) else { panic!("not levels") };
            let images = data.mapv(|level| f32::from(level) / (levels - 1) as f32).into_shape_with_order((4, 8, 8))?;
            let png = flow_viz::sheet(images.view().into_dyn(), &flow_viz::SheetConfig::default())?;
            println!("{} {:?}", digits.test.len(), &png[1..4]);
            Ok(())
        }
    "#;
    let dir = project(&["flow-data", "flow-viz"], "", main);
    // Kept from one run of the tests to the next.
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("outside");
    let printed = run(dir.path(), &target, |cargo| {
        cargo.env("LIBTORCH", "/no/such/folder").env("CARGO_PROFILE_DEV_DEBUG", "false");
    });
    assert_eq!(printed.trim(), format!("250 {:?}", b"PNG"));
    let lock = fs::read_to_string(dir.path().join("Cargo.lock")).unwrap();
    assert!(!lock.contains("\"tch\"") && !lock.contains("\"torch-sys\""), "libtorch is needed after all");
}
