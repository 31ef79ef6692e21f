//! `cargo xtask compare` from end to end with small scripts in the place of the workers: whose turn comes when, what is
//! left out, and what a stop or a death leaves behind.
#![cfg(unix)]

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use crate::common::{messages, succeeds};

/// This workspace's worker. Both note what they are asked in `turns`, and do as the files in `orders` say.
const OURS: &str = r#"#!/bin/sh
echo "flow $*" >> started
if [ "$1" = cold ]; then [ -e "$2" ] && echo '{"sampled":16}'; exit; fi
[ "$3" != --device ] || set -- "$1" "$2"
if [ -n "$3" ] && [ -e orders/no-$3 ]; then echo '{"error":"there is no field precision"}'; exit 1; fi
echo '{"ready":{"parameters":1000,"operations_per_row":2e6,"without_gradient_per_row":4e5,"versions":{"libtorch":"9"}}}'
while read -r line; do
    echo "flow$3 $line" >> turns
    if [ -e orders/flow-dies ]; then echo "out of memory" >&2; exit 4; fi
    case $line in
    "run step"*) echo '{"ms":[20.0,10.0,30.0]}' ;;
    run*) echo '{"ms":[2.0]}' ;;
    peak) echo '{"bytes":100000000}' ;;
    machine) echo '{"flops":2e11,"how":"FMA","copy":2e10,"read":4e10,"read_bytes":4000}' ;;
    save*) : > "${line#save }/model.safetensors"; echo '{"saved":true}' ;;
    esac
done
"#;

/// A Python that has every package but those that `orders/without-PACKAGE` names, and runs the peers' worker.
const PYTHON: &str = r#"#!/bin/sh
if [ "$1" = -c ]; then [ ! -e "orders/without-$3" ]; exit; fi
echo "$2 $3 $4 $5 $6" >> started
peer=$2
if [ "$5" = cold ]; then sleep 0.02; echo '{"sampled":16}'; exit; fi
echo "a library greets"
echo '{"ready":{"parameters":1000,"versions":{"'$peer'":"1.0"}}}'
while read -r line; do
    echo "$peer $line" >> turns
    case $line in
    run*)
        if [ -e "orders/$peer-dies" ]; then echo "Traceback" >&2; echo "MemoryError: no" >&2; exit 1; fi
        if [ -e "orders/$peer-hangs" ]; then echo $$ > "hangs"; sleep 600 & echo $! >> hangs; wait; fi
        echo '{"ms":[40.0]}' ;;
    peak) echo '{"bytes":250000000}' ;;
    load*)
        if [ -e "orders/$peer-differs" ]; then echo '{"difference":0.5}'; else echo '{"difference":1e-7}'; fi ;;
    esac
done
"#;

/// A python3 that makes environments whose Python has what pip has installed, as far as `orders` let it.
const PYTHON3: &str = r#"#!/bin/sh
echo "$*" >> made
[ "$1 $2" = "-m venv" ] || exit 9
[ ! -e orders/no-venv ] || { echo "ensurepip is not available" >&2; exit 1; }
mkdir -p "$3/bin"
cat > "$3/bin/python" <<'PYTHON'
#!/bin/sh
if [ "$1" = -c ]; then [ -e "installed-$3" ]; exit; fi
if [ "$1 $2" = "-m pip" ]; then
    echo "$*" >> made
    for word; do case $word in *://*) exit 1 ;; esac; package=${word%%==*}; done
    [ ! -e "orders/no-$package" ] || { echo "no such distribution" >&2; exit 1; }
    : > "installed-$package"; exit
fi
exec ./python "$@"
PYTHON
chmod +x "$3/bin/python"
"#;

struct Clone {
    folder: TempDir,
}

impl Clone {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("orders")).unwrap();
        for (name, script) in [("ours", OURS), ("python", PYTHON), ("python3", PYTHON3)] {
            let path = folder.path().join(name);
            fs::write(&path, script).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        Self { folder }
    }

    fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    fn order(&self, order: &str) {
        fs::write(self.path("orders").join(order), "").unwrap();
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
        command.current_dir(self.folder.path()).stdin(Stdio::null());
        command.arg("--root").arg(self.folder.path()).args(["compare", "--threads", "2"]);
        command.arg("--python").arg(self.path("python")).arg("--worker").arg(self.path("ours")).args(arguments);
        command
    }

    fn compare(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    fn report(&self, folder: &str) -> Value {
        serde_json::from_slice(&fs::read(self.path(folder).join("benchmarks.json")).unwrap()).unwrap()
    }

    fn has_no_report(&self) -> bool {
        !self.path("docs").exists() && !self.path("preview").exists()
    }
}

fn entry<'a>(report: &'a Value, name: &str) -> &'a Value {
    let entries = report["configurations"][0]["entries"].as_array().unwrap();
    entries.iter().find(|entry| entry["name"] == name).unwrap_or_else(|| panic!("no {name}"))
}

#[test]
fn everybody_has_a_turn_and_the_report_says_who_is_ahead() {
    let clone = Clone::new();
    clone.order("nflows-differs");
    let output = clone.compare(&["--quick", "--only", "nice-mnist,torch,nflows"]);
    succeeds(&output);

    // Each measure goes round before the next begins.
    let turns = fs::read_to_string(clone.path("turns")).unwrap();
    let steps: Vec<&str> = turns.lines().filter_map(|line| line.strip_suffix(" run step 0.3")).collect();
    assert_eq!(steps, ["flow", "torch", "nflows"].repeat(3));
    let lines: Vec<&str> = turns.lines().collect();
    let second = lines.iter().position(|line| *line == "flow run log_prob 0.1").unwrap();
    assert_eq!(lines[second - 1], "nflows run step 0.3");
    let peak = lines.iter().position(|line| *line == "flow peak").unwrap();
    assert!(lines[..peak].iter().all(|line| line.contains("run step 0.5")), "memory is that of training alone");

    let report = clone.report("preview/compare");
    assert_eq!(report["command"], "cargo xtask compare --only nice-mnist,torch,nflows --quick --threads 2");
    let ours = &entry(&report, "flow")["times"]["step"];
    assert_eq!((ours["median"].as_f64(), ours["count"].as_u64()), (Some(20.0), Some(9)));
    assert_eq!(ours["quartiles"], serde_json::json!([10.0, 30.0]));
    assert_eq!(entry(&report, "torch")["check"]["same_weights"], 1e-7);
    assert_eq!(entry(&report, "torch")["cold_start"]["count"], 2);
    assert_eq!(report["versions"]["torch"], "1.0");
    assert_eq!(report["versions"]["libtorch"], "9");
    // 128 rows: 3 of 2 M operations less 0.4 M, at 200 G a second.
    let limit = report["configurations"][0]["limits"]["step"]["operations_ms"].as_f64().unwrap();
    assert!((limit - 128.0 * 5.6e6 / 2e11 * 1e3).abs() < 1e-9, "{limit}");
    let ratios = report["ratios"].as_array().unwrap();
    assert!(ratios.iter().all(|ratio| ratio["peer"] == "torch"), "nflows computes something else: {ratios:?}");
    assert_eq!(ratios[0]["ratio"], 2.0);
    let memory = ratios.iter().find(|ratio| ratio["aspect"] == "memory").unwrap();
    assert_eq!(memory["ratio"], 2.5);

    let page = fs::read_to_string(clone.path("preview/compare/benchmarks.md")).unwrap();
    assert!(page.contains("| flow: training step | 2.00 (torch) |"), "{page}");
    assert!(page.contains("**NO**: 5.0e-1 nats/dim apart with the same weights"), "{page}");
    assert!(String::from_utf8_lossy(&output.stdout).contains("| flow: training step | 2.00 (torch) |"));
    assert!(!clone.path("docs").exists(), "a part is not the report that is kept");
}

#[test]
fn who_cannot_take_part_is_named_and_left_out() {
    let clone = Clone::new();
    for order in ["without-nflows", "torch-dies", "no-bf16", "normflows-hangs"] {
        clone.order(order);
    }
    let peers = "realnvp-moons,torch,nflows,normflows,zuko";
    let said = succeeds(&clone.compare(&["--quick", "--precision", "bf16", "--patience", "1", "--only", peers]));
    let report = clone.report("preview/compare");
    let left_out = report["left_out"].as_array().unwrap();
    let why = |name: &str| {
        let one = left_out.iter().find(|one| one["name"] == name).unwrap_or_else(|| panic!("{name} in {left_out:?}"));
        one["why"].as_str().unwrap().to_owned()
    };
    assert!(why("nflows").ends_with("python has no nflows==0.14"), "{}", why("nflows"));
    assert!(why("torch").contains("exit status: 1): Traceback / MemoryError: no"), "{}", why("torch"));
    assert!(why("flow, bf16").contains("there is no field precision"), "{}", why("flow, bf16"));
    assert!(why("normflows").contains("no answer in 1 s"), "{}", why("normflows"));
    assert_eq!(left_out.len(), 4);
    assert!(said.contains("torch is left out"), "{said}");
    let names: Vec<&Value> =
        report["configurations"][0]["entries"].as_array().unwrap().iter().map(|entry| &entry["name"]).collect();
    assert_eq!(names, ["flow", "zuko"]);
    let page = fs::read_to_string(clone.path("preview/compare/benchmarks.md")).unwrap();
    assert!(page.contains("## Left out\n\n- nflows: "), "{page}");
}

#[test]
fn who_has_no_layers_for_it_or_compiles_too_long_says_so() {
    let clone = Clone::new();
    succeeds(&clone.compare(&["--quick", "--only", "glow-mnist"]));
    let report = clone.report("preview/compare");
    let names = |list: &Value| -> Vec<String> {
        list.as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names(&report["configurations"][0]["entries"]), ["flow", "torch", "nflows", "normflows"]);
    assert_eq!(names(&report["left_out"]), ["torch.graph", "torch.compile", "zuko", "flowjax", "tensorflow"]);
    assert_eq!(report["left_out"][0]["why"], "CUDA graphs need a GPU");
    assert_eq!(report["left_out"][2]["why"], "it has no layers for images");
    assert_eq!(report["left_out"][2]["configuration"], "glow-mnist");
    assert_eq!(entry(&report, "torch")["times"]["sample"]["count"], 1, "image models have fewer rounds");

    let compiled = ["--quick", "--only", "glow-mnist,torch.compile"];
    succeeds(&clone.compare(&compiled));
    let report = clone.report("preview/compare");
    assert_eq!(names(&report["configurations"][0]["entries"]), ["flow", "torch.compile"]);
}

#[test]
fn on_a_gpu_everybody_is_told_so_and_the_card_is_named_and_watched() {
    let clone = Clone::new();
    let said =
        "#!/bin/sh\ncase $2 in *name*) echo 'Some GPU, 580.1' ;; *) while sleep 0.02; do echo 90; done ;; esac\n";
    let tool = clone.path("nvidia-smi");
    fs::write(&tool, said).unwrap();
    fs::set_permissions(&tool, fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", clone.folder.path().display(), std::env::var("PATH").unwrap());
    let arguments = ["--quick", "--device", "cuda", "--only", "nice-mnist,torch,torch.graph,flowjax"];
    succeeds(&clone.command(&arguments).env("PATH", path).output().unwrap());

    let started = fs::read_to_string(clone.path("started")).unwrap();
    for line in ["flow nice-mnist 2 --device cuda", "torch.graph nice-mnist 2 --device cuda"] {
        assert!(started.lines().any(|it| it == line), "no {line:?} in {started}");
    }
    let watched = fs::read_to_string(clone.path("turns")).unwrap();
    let watched: Vec<&str> = watched.lines().filter_map(|line| line.strip_suffix(" run step 1.6")).collect();
    assert_eq!(watched, ["flow", "torch", "torch.graph"]);

    let file = |ending: &str| clone.path("preview/compare").join(format!("benchmarks-cuda.{ending}"));
    let report: Value = serde_json::from_slice(&fs::read(file("json")).unwrap()).unwrap();
    let only = "nice-mnist,torch,torch.graph,flowjax";
    assert_eq!(report["command"], format!("cargo xtask compare --only {only} --quick --device cuda --threads 2"));
    assert_eq!(report["machine"]["device"], "cuda");
    assert_eq!(report["machine"]["card"]["name"], "Some GPU");
    assert_eq!(report["left_out"][0]["name"], "flowjax");
    assert_eq!(report["left_out"][0]["why"], "not timed on a GPU here");
    // These workers answer at once, long before a card's answer is steady.
    assert!(entry(&report, "flow").get("busy").is_none());
    assert!(fs::read_to_string(file("md")).unwrap().contains("Some GPU, driver 580.1, on every side"));
    assert!(!clone.path("preview/compare/benchmarks.md").exists());
}

#[test]
fn another_precision_has_a_row_of_its_own() {
    let clone = Clone::new();
    succeeds(&clone.compare(&["--quick", "--precision", "bf16", "--only", "nice-moons,torch"]));
    let report = clone.report("preview/compare");
    assert_eq!(entry(&report, "flow, bf16")["ours"], true);
    let page = fs::read_to_string(clone.path("preview/compare/benchmarks.md")).unwrap();
    assert!(page.contains("| flow, bf16: training step | 2.00 (torch) |"), "{page}");
}

#[test]
fn without_this_workspace_or_without_peers_there_is_no_report() {
    let clone = Clone::new();
    clone.order("flow-dies");
    let output = clone.compare(&["--quick", "--only", "nice-moons,torch"]);
    assert_eq!(output.status.code(), Some(1));
    let said = messages(&output);
    assert!(
        said.contains("error: flow, asked to `run step 0.5`: its process ended (exit status: 4): out of memory"),
        "{said}"
    );
    assert!(clone.has_no_report());

    let clone = Clone::new();
    clone.order("without-torch");
    let output = clone.compare(&["--only", "torch"]);
    assert_eq!(output.status.code(), Some(1));
    let said = messages(&output);
    assert!(
        said.contains("there is nobody to compare with: torch: ") && said.contains("has no torch==2.11.0"),
        "{said}"
    );
    assert!(clone.has_no_report());
    assert_eq!(clone.compare(&["--only", "pytorch"]).status.code(), Some(1));
}

#[test]
fn where_no_peer_counts_the_report_before_is_kept() {
    let clone = Clone::new();
    let arguments = ["--quick", "--only", "nice-moons,torch,nflows", "--out", "docs"];
    succeeds(&clone.compare(&arguments));
    let page = fs::read_to_string(clone.path("docs/benchmarks.md")).unwrap();
    clone.order("torch-dies");
    clone.order("nflows-differs");
    let output = clone.compare(&arguments);
    assert_eq!(output.status.code(), Some(1));
    let said = messages(&output);
    assert!(said.contains("there was nobody to compare with, and nothing is written: torch: "), "{said}");
    assert!(said.contains("nflows: it computes something else"), "{said}");
    assert_eq!(fs::read_to_string(clone.path("docs/benchmarks.md")).unwrap(), page);
}

#[test]
fn environments_are_made_once_and_what_cannot_be_installed_is_named() {
    let clone = Clone::new();
    clone.order("no-zuko");
    let path = format!("{}:{}", clone.folder.path().display(), std::env::var("PATH").unwrap());
    let compare = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
        command.current_dir(clone.folder.path()).stdin(Stdio::null()).env("PATH", &path);
        command.arg("--root").arg(clone.folder.path()).args(["compare", "--quick", "--threads", "2"]);
        command.arg("--worker").arg(clone.path("ours")).args(["--only", "nice-moons,torch,zuko"]).args(arguments);
        command.output().unwrap()
    };
    // An index of one's own that has nothing: pip's is asked then.
    succeeds(&compare(&["--torch-index", "http://127.0.0.1:9/"]));
    let made = || fs::read_to_string(clone.path("made")).unwrap();
    let first = made();
    let lines: Vec<&str> = first.lines().collect();
    assert!(lines[0].ends_with("target/compare/torch"), "{first}");
    assert!(lines[1].ends_with("torch==2.11.0 --index-url http://127.0.0.1:9/ --retries 1"), "{first}");
    assert!(lines[2].ends_with("torch==2.11.0"), "{first}");
    let report = clone.report("preview/compare");
    let why = report["left_out"][0]["why"].as_str().unwrap();
    assert!(why.contains("zuko==1.6.0 could not be installed") && why.ends_with("no such distribution"), "{why}");

    // The same again installs what is missing, and nothing else.
    fs::remove_file(clone.path("orders/no-zuko")).unwrap();
    succeeds(&compare(&[]));
    let second = made()[first.len()..].to_owned();
    assert_eq!(second.lines().count(), 1, "{second}");
    assert!(second.ends_with("install --disable-pip-version-check zuko==1.6.0\n"), "{second}");

    // Where no index is named, PyTorch is asked for without CUDA first.
    fs::remove_file(clone.path("installed-torch")).unwrap();
    succeeds(&compare(&[]));
    let index = "torch==2.11.0 --index-url https://download.pytorch.org/whl/cpu --retries 1\n";
    assert!(made().contains(index), "{}", made());

    // For a GPU there are environments of its own, of what pip's own index has.
    let before = made().len();
    fs::remove_file(clone.path("installed-torch")).unwrap();
    succeeds(&compare(&["--device", "cuda"]));
    let added = made()[before..].to_owned();
    assert!(added.lines().next().is_some_and(|line| line.ends_with("target/compare/cuda/torch")), "{added}");
    assert!(added.contains(" torch==2.11.0\n") && !added.contains("--index-url"), "{added}");

    fs::remove_dir_all(clone.path("target/compare/torch")).unwrap();
    clone.order("no-venv");
    let output = compare(&[]);
    assert_eq!(output.status.code(), Some(1));
    let said = messages(&output);
    assert!(said.contains("there is nobody to compare with: torch: no Python environment could be made"), "{said}");
    assert!(said.contains("ensurepip is not available"), "{said}");
}

#[test]
fn a_stop_leaves_neither_processes_nor_half_a_report() {
    let clone = Clone::new();
    clone.order("torch-hangs");
    let mut running = clone.command(&["--only", "nice-moons,torch"]).stderr(Stdio::piped()).spawn().unwrap();
    let started = Instant::now();
    let hanging = || fs::read_to_string(clone.path("hangs")).unwrap_or_default();
    while hanging().lines().count() < 2 {
        assert!(started.elapsed() < Duration::from_secs(30), "nobody began");
        sleep(Duration::from_millis(20));
    }
    assert!(Command::new("kill").args(["-INT", &running.id().to_string()]).status().unwrap().success());
    assert_eq!(running.wait().unwrap().code(), Some(130));
    for process in hanging().lines() {
        let alive = || fs::read_to_string(format!("/proc/{process}/stat")).is_ok_and(|stat| !stat.contains(") Z "));
        while alive() {
            assert!(started.elapsed() < Duration::from_secs(30), "process {process} was left behind");
            sleep(Duration::from_millis(20));
        }
    }
    assert!(clone.has_no_report());
}
