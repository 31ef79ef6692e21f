//! Running the binary in a folder of its own.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use serde_json::Value;
use tempfile::TempDir;

/// A folder to run `flow` in.
pub struct Place {
    dir: TempDir,
}

impl Place {
    pub fn new() -> Self {
        Place { dir: tempfile::tempdir().expect("a temporary folder") }
    }

    /// A folder with a small Glow in `run`, of two levels and conditioned on the classes of the digits; trained once for all
    /// tests.
    pub fn with_glow() -> Self {
        static MODEL: OnceLock<Vec<u8>> = OnceLock::new();
        let model = MODEL.get_or_init(|| {
            let place = Place::new();
            place.flow(&format!("train glow --data digits --preset cpu --classes --out run {SMALL_GLOW}"));
            fs::read(place.path("run/model.safetensors")).expect("the trained model")
        });
        let place = Place::new();
        fs::create_dir(place.path("run")).expect("a folder in the temporary one");
        fs::write(place.path("run/model.safetensors"), model).expect("a file in the temporary folder");
        place
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn command(&self, line: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_flow"));
        command.current_dir(self.dir.path()).args(line.split_whitespace());
        // No data of the person who runs the tests.
        command.env_remove("FLOW_DATA_DIR");
        command
    }

    /// Runs `flow LINE`, which must succeed, and returns standard output.
    pub fn flow(&self, line: &str) -> String {
        let output = self.command(line).output().expect("flow starts");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "flow {line}\n{text}\n{errors}");
        text
    }

    /// The one JSON object that `flow LINE` prints.
    pub fn json(&self, line: &str) -> Value {
        let text = self.flow(line);
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("flow {line}: {e}: {text}"))
    }

    /// Runs `flow LINE`, which must fail with `code`, and returns what it said.
    pub fn fails(&self, line: &str, code: i32) -> String {
        let Output { status, stderr, .. } = self.command(line).output().expect("flow starts");
        let text = String::from_utf8_lossy(&stderr).into_owned();
        assert_eq!(status.code(), Some(code), "flow {line}\n{text}");
        assert!(!text.contains("panicked"), "flow {line}\n{text}");
        text
    }

    /// A small model, trained for a few steps.
    pub fn train(&self, model: &str, data: &str, dir: &str) -> String {
        self.flow(&format!("train {model} --data {data} --out {dir} {SMALL}"))
    }

    pub fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).expect("a file in the temporary folder");
    }
}

/// What a run leaves but for wall times: the tensors of its state, to the byte, with its progress, and its metrics.
pub fn remains(run: &Path) -> (BTreeMap<String, Vec<u8>>, Vec<Value>) {
    let (tensors, text) = flow_models::file::read_tensors(&run.join("state.safetensors")).expect("a state");
    let mut state: BTreeMap<String, Vec<u8>> = tensors
        .into_iter()
        .map(|(name, tensor)| {
            let mut bytes = vec![0; tensor.numel() * tensor.kind().elt_size_in_bytes()];
            tensor.copy_data_u8(&mut bytes, tensor.numel());
            (name, bytes)
        })
        .collect();
    let mut header: Value = serde_json::from_str(&text).expect("the state's header");
    for timed in ["seconds", "metrics_bytes"] {
        header["progress"][timed] = Value::Null;
    }
    state.insert("progress".to_owned(), header["progress"].to_string().into_bytes());
    let metrics = fs::read_to_string(run.join("metrics.jsonl")).expect("the metrics");
    let lines = metrics.lines().map(|line| {
        let mut line: Value = serde_json::from_str(line).expect("a line of metrics");
        line.as_object_mut().expect("an object").remove("seconds");
        line
    });
    (state, lines.collect())
}

/// What keeps a training to a second.
pub const SMALL: &str = "--steps 6 --batch 64 --threads 1 --device cpu --set model.conditioner.hidden=16 \
                         --set train.validate_every=3 --set train.log_every=1";

/// The same for a Glow of images.
pub const SMALL_GLOW: &str = "--steps 30 --batch 64 --threads 1 --device cpu --set model.net.width=8 \
                              --set model.depth=2 --set train.validate_every=30 --set train.log_every=10";

/// Width and height of a PNG, from its header.
pub fn png_size(path: &Path) -> (u32, u32) {
    let bytes = fs::read(path).expect("the picture");
    assert_eq!(&bytes[..8], b"\x89PNG\r\n\x1a\n", "{}", path.display());
    let number = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
    (number(16), number(20))
}
