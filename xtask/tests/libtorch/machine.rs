//! A machine for `tools/libtorch.py`: clones with nothing but their tools, an empty cache, a stand-in for pip, tiny archives.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

/// Runs its arguments without a terminal of its own, so that what is told goes to stderr and not to whoever runs the
/// tests; `exec` keeps the process id.
const DETACHED: &str = "import os, sys; os.setsid(); os.execvp(sys.argv[1], sys.argv[1:])";

/// Makes archives and wheels: OUT PREFIX VERSION KIND, where KIND is archive, wheel or small.
const MAKE_ZIP: &str = r#"
import os, subprocess, sys, tempfile, zipfile
out, prefix, version, kind = sys.argv[1:]

def library(name, mentions=""):
    """A real one, since the script links a new libtorch.so against those of a wheel."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, name)
        subprocess.run(["cc", "-shared", "-nostdlib", "-Wl,-soname," + name, "-o", path, "-x", "c", "/dev/null"], check=True)
        return open(path, "rb").read() + b"\0" + mentions.encode() + b"\0"

with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as z:
    if kind == "small":
        z.writestr(prefix, library(os.path.basename(prefix)))
        sys.exit()
    wheel = kind == "wheel"
    z.writestr(prefix + "/lib/libc10.so", library("libc10.so"))
    z.writestr(prefix + "/lib/libtorch_cpu.so", library("libtorch_cpu.so", "libcudart.so.13\0libcupti.so.13" if wheel else "") + bytes(200000))
    z.writestr(prefix + "/lib/libtorch.so", library("libtorch.so", "libtorch_cuda.so" if wheel else ""))
    z.writestr(prefix + "/lib/libtorch_python.so", "for Python")
    z.writestr(prefix + "/include/torch/csrc/api/include/torch/torch.h", "// torch.h")
    z.writestr(prefix + "/include/c10/cuda/libtorch_cuda_like.h", "// a header")
    z.writestr(prefix + "/../../escaped", "out of the folder")
    if wheel or kind == "cuda":
        z.writestr(prefix + "/lib/libtorch_cuda.so", library("libtorch_cuda.so"))
        z.writestr(prefix + "/lib/libc10_cuda.so", library("libc10_cuda.so"))
    if wheel:
        z.writestr("torch/version.py", f"__all__ = ['__version__']\n__version__ = '{version}'\n")
        z.writestr("torch-2.11.0.dist-info/METADATA", "Name: torch\n"
            "Requires-Dist: sympy>=1.13\n"
            "Requires-Dist: cuda-toolkit[cublas,cudart]==13.0.2; platform_system == \"Linux\"\n"
            "Requires-Dist: cuda-bindings<14; platform_system == \"Linux\"\n"
            "Requires-Dist: nvidia-nccl-cu13==2.28.9; platform_system == \"Linux\"\n"
            "Requires-Dist: nvidia-other==1; extra == \"more\"\n")
    else:
        z.writestr(prefix + "/build-version", version + "\n")
"#;

/// `python3 -m pip download`, out of the folder FAKE_WHEELS; every call is written down there.
const FAKE_PIP: &str = r#"
import glob, os, shutil, sys
wheels = os.environ["FAKE_WHEELS"]
if "--version" in sys.argv:
    sys.exit(0)
with open(os.path.join(wheels, "calls"), "a") as calls:
    print(*sys.argv[1:], file=calls)
to = sys.argv[sys.argv.index("--dest") + 1]
os.makedirs(to, exist_ok=True)
for asked in (a for a in sys.argv if "==" in a):
    found = glob.glob(os.path.join(wheels, asked.split("==")[0].replace("-", "_") + "-*.whl"))
    if not found:
        sys.exit(f"ERROR: No matching distribution found for {asked}")
    shutil.copy(found[0], to)
"#;

/// A disk with room for everything these tests announce but one: how full this machine's is must not decide them.
const ROOMY_DISK: &str = r#"
import shutil, types
shutil.disk_usage = lambda path: types.SimpleNamespace(free=1 << 40)
"#;

/// A clone with nothing but its tools, an empty cache, and a pip that has no wheel yet.
pub struct Machine {
    pub dir: TempDir,
}

impl Machine {
    pub fn new() -> Machine {
        let machine = Machine { dir: TempDir::new().unwrap() };
        machine.add_clone("clone");
        fs::create_dir_all(machine.path("python/pip")).unwrap();
        fs::write(machine.path("python/pip/__init__.py"), "").unwrap();
        fs::write(machine.path("python/pip/__main__.py"), FAKE_PIP).unwrap();
        // Python reads a module of this name as it starts.
        fs::write(machine.path("python/sitecustomize.py"), ROOMY_DISK).unwrap();
        fs::create_dir(machine.path("wheels")).unwrap();
        machine
    }

    pub fn add_clone(&self, name: &str) {
        let tools = self.path(name).join("tools");
        fs::create_dir_all(&tools).unwrap();
        for file in ["libtorch.py", "with-libtorch"] {
            fs::copy(repository().join("tools").join(file), tools.join(file)).unwrap();
        }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        // Canonical, since the tools compare paths that the system has resolved.
        self.dir.path().canonicalize().unwrap().join(name)
    }

    pub fn command(&self, program: &Path, archive: &str) -> Command {
        let mut command = Command::new("python3");
        command
            .args(["-c", DETACHED])
            .arg(program)
            .current_dir(self.dir.path())
            .stdin(Stdio::null())
            .env("XDG_CACHE_HOME", self.path("cache"))
            .env("PYTHONPATH", self.path("python"))
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .env("FAKE_WHEELS", self.path("wheels"))
            .env("FLOW_LIBTORCH_URL", archive);
        for name in ["LIBTORCH", "LIBTORCH_USE_PYTORCH", "LIBTORCH_LIB", "LIBTORCH_INCLUDE"] {
            command.env_remove(name);
        }
        for name in ["LIBTORCH_BYPASS_VERSION_CHECK", "CXX", "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"] {
            command.env_remove(name);
        }
        command
    }

    /// `tools/libtorch.py` of the clone, told that the archive lies at `archive`.
    pub fn script(&self, archive: &str) -> Command {
        self.command(&self.path("clone/tools/libtorch.py"), archive)
    }

    /// `tools/with-libtorch`, with a `cc` that only writes down its arguments, one a line.
    pub fn linker(&self, archive: &str) -> Command {
        let bin = self.path("fake-cc");
        fs::create_dir_all(&bin).unwrap();
        executable(
            &bin.join("cc"),
            &format!("#!/bin/sh\nprintf '%s\\n' \"$@\" > '{}'\n", self.path("linked").display()),
        );
        let mut command = self.command(&self.path("clone/tools/with-libtorch"), archive);
        let path = std::env::var("PATH").unwrap();
        command.env("PATH", format!("{}:{path}", bin.display()));
        command
    }

    pub fn linked(&self) -> Option<Vec<String>> {
        let text = fs::read_to_string(self.path("linked")).ok()?;
        Some(text.lines().map(str::to_owned).collect())
    }

    pub fn zip(&self, name: &str, prefix: &str, version: &str, kind: &str) -> Vec<u8> {
        let out = self.path(name);
        let status = Command::new("python3").args(["-c", MAKE_ZIP]).arg(&out).args([prefix, version, kind]).status();
        assert!(status.unwrap().success());
        fs::read(out).unwrap()
    }

    pub fn archive(&self, version: &str) -> Vec<u8> {
        self.zip("archive.zip", "libtorch", version, "archive")
    }

    pub fn add_wheels(&self, version: &str) {
        self.zip("wheels/torch-2.11.0-cp311.whl", "torch", version, "wheel");
        self.zip("wheels/nvidia_cuda_runtime-13.0.96.whl", "nvidia/cu13/lib/libcudart.so.13", "", "small");
        self.zip("wheels/nvidia_cuda_cupti-13.0.85.whl", "nvidia/cu13/lib/libcupti.so.13", "", "small");
    }

    pub fn pip_calls(&self) -> String {
        fs::read_to_string(self.path("wheels/calls")).unwrap_or_default()
    }

    /// A folder that looks like somebody's own libtorch.
    pub fn own_libtorch(&self, file: &str, text: &str) -> PathBuf {
        let torch = self.path("my own libtorch");
        fs::create_dir_all(torch.join("lib")).unwrap();
        fs::create_dir_all(torch.join("include/torch/headeronly")).unwrap();
        fs::write(torch.join("lib/libtorch_cpu.so"), "").unwrap();
        fs::write(torch.join(file), text).unwrap();
        torch
    }

    pub fn is_ready(&self) -> bool {
        fs::read_to_string(self.path("clone/.libtorch/cpu/build-version")).is_ok_and(|text| text.starts_with("2.11.0"))
    }

    /// What the cache holds beside the lock.
    pub fn cached(&self) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.path("cache/flow")) else { return Vec::new() };
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.retain(|name| name != "lock");
        names.sort();
        names
    }
}

/// What the CPU's libtorch is called in the cache.
pub fn in_cache() -> String {
    match std::env::consts::ARCH {
        "x86_64" => "libtorch-2.11.0-cpu".to_owned(),
        other => format!("libtorch-2.11.0-cpu-{other}"),
    }
}

pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

pub fn executable(path: &Path, text: &str) {
    use std::os::unix::fs::PermissionsExt;
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}
