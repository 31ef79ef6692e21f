//! `tools/libtorch.py` and `tools/with-libtorch` against hosts, archives, disks and versions that are not as they
//! should be. Archives are tiny, pip is a stand-in, and the only network is this machine's own.

mod host;
mod machine;

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use host::{Host, nobody};
use machine::{Machine, executable, in_cache};

/// What a person gets to read, and whether it went well.
fn run(command: &mut Command) -> (bool, String) {
    told(&command.output().unwrap())
}

fn told(output: &Output) -> (bool, String) {
    (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
}

fn fails_with(command: &mut Command, words: &[&str]) {
    let (ok, text) = run(command);
    assert!(!ok, "went well:\n{text}");
    assert!(text.contains("error: ") && !text.contains("Traceback"), "no clear error:\n{text}");
    for word in words {
        assert!(text.contains(word), "{word:?} is not in:\n{text}");
    }
}

fn wait_until(what: &str, holds: impl Fn() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < Duration::from_secs(60), "{what} did not happen");
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn the_archive_is_fetched_once_for_all_clones() {
    let machine = Machine::new();
    let host = Host::good(machine.archive("2.11.0+cpu"));
    let (ok, text) = run(&mut machine.script(&host.url));
    assert!(ok && machine.is_ready(), "{text}");
    assert!(text.contains("fetching libtorch 2.11.0 for cpu, 0 MB"), "the size is not told:\n{text}");
    assert_eq!(machine.cached(), [in_cache()]);
    let torch = machine.path("clone/.libtorch/cpu");
    assert_eq!(torch.canonicalize().unwrap(), machine.path("cache/flow").join(in_cache()).join("torch"));
    assert!(torch.join("include/c10/cuda/libtorch_cuda_like.h").exists());
    assert!(!torch.join("lib/libtorch_python.so").exists());
    assert!(!machine.path("cache/flow/escaped").exists() && !machine.path("cache/escaped").exists());

    machine.add_clone("another");
    assert!(run(&mut machine.script(&host.url)).0);
    assert!(run(&mut machine.command(&machine.path("another/tools/libtorch.py"), &host.url)).0);
    assert!(machine.path("another/.libtorch/cpu/lib/libc10.so").exists());
    assert_eq!(host.times_asked(), 1);
    assert_eq!(machine.pip_calls(), "");
}

#[test]
fn a_deleted_cache_is_fetched_again() {
    let machine = Machine::new();
    let host = Host::good(machine.archive("2.11.0+cpu"));
    assert!(run(&mut machine.script(&host.url)).0);
    fs::remove_dir_all(machine.path("cache")).unwrap();
    assert!(run(&mut machine.script(&host.url)).0);
    assert!(machine.is_ready());
    assert_eq!(host.times_asked(), 2);
}

#[test]
fn a_complete_cache_is_taken_where_nothing_can_be_written() {
    let machine = Machine::new();
    let host = Host::good(machine.archive("2.11.0+cpu"));
    assert!(run(&mut machine.script(&host.url)).0);
    // A folder in the place of the lock refuses everybody, root too.
    fs::remove_file(machine.path("cache/flow/lock")).unwrap();
    fs::create_dir(machine.path("cache/flow/lock")).unwrap();
    machine.add_clone("another");
    let (ok, text) = run(&mut machine.command(&machine.path("another/tools/libtorch.py"), &host.url));
    assert!(ok && machine.path("another/.libtorch/cpu/lib/libc10.so").exists(), "{text}");
    assert_eq!(host.times_asked(), 1);

    fs::remove_file(machine.path("cache/flow").join(in_cache()).join("torch/build-version")).unwrap();
    fails_with(&mut machine.script(&host.url), &["cannot write to the cache"]);
}

#[test]
fn a_silent_host_costs_seconds_and_the_wheel_takes_over() {
    let machine = Machine::new();
    machine.add_wheels("2.11.0+cu130");
    let host = Host::new(|stream| {
        thread::sleep(Duration::from_secs(120));
        drop(stream);
    });
    let (ok, text) = run(&mut machine.script(&host.url));
    assert!(ok && machine.is_ready(), "{text}");
    assert!(text.contains("no answer within 8 s"), "{text}");
    assert_eq!(machine.cached(), [in_cache()]);
}

#[test]
fn the_wheel_is_cut_down_to_what_the_cpu_needs() {
    let machine = Machine::new();
    machine.add_wheels("2.11.0+cu130");
    let (ok, text) = run(&mut machine.script(&nobody()));
    assert!(ok, "{text}");
    let torch = machine.path("clone/.libtorch/cpu");
    let version = fs::read_to_string(torch.join("build-version")).unwrap();
    assert_eq!(version, "2.11.0+cu130\n");
    for there in
        ["lib/libc10.so", "lib/../../nvidia/cu13/lib/libcudart.so.13", "lib/../../nvidia/cu13/lib/libcupti.so.13"]
    {
        assert!(torch.join(there).exists(), "{there}");
    }
    for left_out in ["lib/libtorch_cuda.so", "lib/libc10_cuda.so", "lib/libtorch_python.so"] {
        assert!(!torch.join(left_out).exists(), "{left_out}");
    }
    // The wheel's libtorch.so asks for the CUDA library; the one put in its place asks for the CPU's.
    let names = fs::read(torch.join("lib/libtorch.so")).unwrap();
    let names = String::from_utf8_lossy(&names).into_owned();
    assert!(names.contains("libtorch_cpu.so") && !names.contains("libtorch_cuda.so"));
    let calls = machine.pip_calls();
    assert_eq!(calls.lines().count(), 2, "{calls}");
    for call in calls.lines() {
        assert!(call.starts_with("download ") && call.contains("--no-deps") && call.contains("--platform"), "{call}");
    }
}

#[test]
fn what_is_not_the_archive_is_refused_and_leaves_nothing() {
    let machine = Machine::new();
    let good = machine.archive("2.11.0+cpu");
    let page = b"<html>You are not connected</html>".to_vec();
    let mut flipped = good.clone();
    let middle = flipped.len() / 2; // within libtorch_cpu.so, stored as it is
    flipped[middle] ^= 1;
    let half = good[..good.len() / 2].to_vec();
    let length = page.len();
    let hosts = [
        (Host::sending("text/html", page.clone(), length, Duration::ZERO), "a page (text/html)"),
        (Host::good(page), "damaged or no archive at all"),
        (Host::sending("application/zip", half, good.len(), Duration::ZERO), "broke off after"),
        (Host::good(flipped), "damaged or no archive at all (Bad CRC-32"),
        (Host::good(machine.archive("2.10.0+cpu")), "holds 2.10.0+cpu, not libtorch 2.11.0"),
        (Host::good(machine.zip("other.zip", "something", "2.11.0", "archive")), "holds nothing that says so"),
    ];
    for (host, reason) in hosts {
        // pip has nothing either, so both reasons and the ways out are named.
        let words =
            [reason, "No matching distribution found for torch==2.11.0", "LIBTORCH_USE_PYTORCH=1", "FLOW_LIBTORCH_URL"];
        fails_with(&mut machine.script(&host.url), &words);
        assert_eq!(machine.cached(), [""; 0]);
        assert!(!machine.path("clone/.libtorch/cpu").exists());
    }
    // An archive that is the right version but lacks a library.
    let gutted = Command::new("python3")
        .args(["-c", "import sys, zipfile\nwith zipfile.ZipFile(sys.argv[1], 'w') as z: z.writestr('libtorch/build-version', '2.11.0')"])
        .arg(machine.path("gutted.zip"))
        .status();
    assert!(gutted.unwrap().success());
    let host = Host::good(fs::read(machine.path("gutted.zip")).unwrap());
    fails_with(&mut machine.script(&host.url), &["lib/libc10.so is missing"]);
    assert_eq!(machine.cached(), [""; 0]);
    // And after all that, a good one.
    assert!(run(&mut machine.script(&Host::good(good).url)).0);
    assert!(machine.is_ready());
}

#[test]
fn a_wheel_of_another_version_is_refused() {
    let machine = Machine::new();
    machine.add_wheels("2.12.0+cu130");
    fails_with(&mut machine.script(&nobody()), &["the wheel holds 2.12.0+cu130, not PyTorch 2.11.0"]);
    assert_eq!(machine.cached(), [""; 0]);
}

#[test]
fn two_at_once_fetch_once() {
    let machine = Machine::new();
    let body = machine.archive("2.11.0+cpu");
    let length = body.len();
    let host = Host::new(move |mut stream| {
        let _ = stream.read(&mut [0; 4096]);
        let head = format!("HTTP/1.1 200 OK\r\nContent-Type: application/zip\r\nContent-Length: {length}\r\n\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        thread::sleep(Duration::from_millis(1500));
        stream.write_all(&body).unwrap();
    });
    let start = |_| machine.script(&host.url).stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    let both: Vec<Child> = (0..2).map(start).collect();
    let texts: Vec<_> = both.into_iter().map(|child| told(&child.wait_with_output().unwrap())).collect();
    assert!(texts.iter().all(|(ok, _)| *ok), "{texts:?}");
    assert!(texts.iter().any(|(_, text)| text.contains("another build is fetching it, waiting")), "{texts:?}");
    assert_eq!(host.times_asked(), 1);
    assert!(machine.is_ready());
    assert_eq!(machine.cached(), [in_cache()]);
}

#[test]
fn a_kill_in_the_middle_is_cleared_up_by_the_next_run() {
    let machine = Machine::new();
    let body = machine.archive("2.11.0+cpu");
    let stalling = Host::sending("application/zip", body[..100_000].to_vec(), body.len(), Duration::from_secs(120));
    let mut child = machine.script(&stalling.url).stderr(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
    wait_until("a download", || machine.cached().iter().any(|name| name.starts_with("unfinished-")));
    child.kill().unwrap(); // SIGKILL
    child.wait().unwrap();
    assert!(!machine.is_ready());
    assert!(machine.cached()[0].starts_with("unfinished-"), "nothing was left to clear up: {:?}", machine.cached());
    let (ok, text) = run(&mut machine.script(&Host::good(body).url));
    assert!(ok && machine.is_ready(), "{text}");
    assert_eq!(machine.cached(), [in_cache()]);
}

#[test]
fn a_full_disk_is_named() {
    let machine = Machine::new();
    let host = Host::good(machine.archive("2.11.0+cpu"));
    // A limit on the size of a file stands in for a disk that fills up while the archive arrives.
    let limited = machine.path("limited");
    executable(&limited, "#!/bin/sh\nulimit -f 64\nexec python3 clone/tools/libtorch.py\n");
    let cache = machine.path("cache/flow");
    fails_with(
        &mut machine.command(&limited, &host.url),
        &["no room left in", cache.to_str().unwrap(), "XDG_CACHE_HOME"],
    );
    assert_eq!(machine.cached(), [""; 0]);
    // Too large to begin with: found out before the download, by the length that is announced.
    let huge = Host::sending("application/zip", Vec::new(), 1 << 55, Duration::ZERO);
    fails_with(&mut machine.script(&huge.url), &["no room left in", "MB free"]);
}

#[test]
fn a_folder_that_cannot_be_written_is_named() {
    let machine = Machine::new();
    let host = Host::good(machine.archive("2.11.0+cpu"));
    // A file where a folder should be refuses everybody, root too.
    fs::write(machine.path("cache"), "").unwrap();
    let cache = machine.path("cache/flow");
    let words = ["cannot write to the cache", cache.to_str().unwrap(), "set XDG_CACHE_HOME", "set LIBTORCH"];
    fails_with(&mut machine.script(&host.url), &words);
    fs::remove_file(machine.path("cache")).unwrap();
    fs::write(machine.path("clone/.libtorch"), "").unwrap();
    fails_with(&mut machine.script(&host.url), &["cannot write to this clone", "clone/.libtorch/cpu"]);
}

#[test]
fn a_terminal_sees_what_cargo_swallows() {
    let machine = Machine::new();
    let host = Host::good(machine.archive("2.11.0+cpu"));
    let quiet = machine.path("quiet");
    executable(&quiet, "#!/bin/sh\nexec python3 clone/tools/libtorch.py > swallowed 2>&1\n");
    let mut command = machine.command(Path::new("python3"), &host.url);
    let output =
        command.args(["-c", "import pty, sys; sys.exit(pty.spawn(sys.argv[1]))"]).arg(&quiet).output().unwrap();
    let seen = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && machine.is_ready(), "{seen}");
    assert!(seen.contains("fetching libtorch 2.11.0 for cpu"), "{seen}");
    let swallowed = fs::read_to_string(machine.path("swallowed")).unwrap();
    assert!(!swallowed.contains("fetching"), "{swallowed}");
}

#[test]
fn the_cuda_build_is_one_switch_there_and_back() {
    let machine = Machine::new();
    assert!(run(&mut machine.script(&Host::good(machine.archive("2.11.0+cpu")).url)).0);
    let without = Host::good(machine.archive("2.11.0+cu130"));
    fails_with(
        machine.script(&without.url).arg("--cuda"),
        &["lib/libtorch_cuda.so is missing", "tools/libtorch.py --cuda"],
    );
    let host = Host::good(machine.zip("cuda.zip", "libtorch", "2.11.0+cu130", "cuda"));
    let output = machine.script(&host.url).arg("--cuda").output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stdout).contains("libtorch 2.11.0 (cuda)"), "{output:?}");
    assert!(machine.path("clone/.libtorch/cuda/lib/libtorch_cuda.so").exists());
    assert!(machine.is_ready(), "programs are still linked against the CPU's");
    let output = machine.script(&host.url).arg("--cpu").output().unwrap();
    assert!(String::from_utf8_lossy(&output.stdout).contains("libtorch 2.11.0 (cpu)"), "{output:?}");
    assert!(!machine.path("clone/.libtorch/cuda").exists());
    assert!(run(machine.script(&nobody()).arg("--cuda")).0, "the cache has it by now");
}

#[test]
fn the_cuda_wheels_are_those_the_torch_wheel_asks_for() {
    let machine = Machine::new();
    machine.add_wheels("2.11.0+cu130");
    let asking = "import sys, pathlib; sys.path.insert(0, 'clone/tools'); import libtorch\n\
                  print(libtorch.cuda_requirements(pathlib.Path('wheels/torch-2.11.0-cp311.whl')))";
    let output = machine.command(Path::new("python3"), &nobody()).args(["-c", asking]).output().unwrap();
    let found = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(found.trim(), "['cuda-toolkit[cublas,cudart]==13.0.2', 'nvidia-nccl-cu13==2.28.9']", "{output:?}");
}

#[test]
fn the_linker_fetches_for_torch_sys_and_tells_programs_where_libtorch_is() {
    let machine = Machine::new();
    let host = Host::good(machine.archive("2.11.0+cpu"));
    // What cargo's [env] hands over.
    let ours = machine.path("clone/.libtorch/cpu");
    let script = ["-o", "target/debug/build/torch-sys-0123/build_script_build"];
    // A compiler that is set to nothing is none that is set.
    let (ok, text) = run(machine.linker(&host.url).env("LIBTORCH", &ours).env("CXX", " ").args(script));
    assert!(ok && machine.is_ready(), "{text}");
    assert_eq!(machine.linked().unwrap(), script);

    let program = ["-o", "target/a b", "deps/libtorch_sys-4567.rlib"];
    assert!(run(machine.linker(&host.url).env("LIBTORCH", &ours).args(program)).0);
    let cache = machine.path("cache/flow").join(in_cache()).join("torch/lib");
    let clone = machine.path("clone/.libtorch");
    let mut expected: Vec<String> = program.map(str::to_owned).to_vec();
    // The order is the switch: where the CUDA folder is there, it gives everything.
    expected.push(format!("-Wl,-rpath,{}/cuda/lib", clone.display()));
    expected.push(format!("-Wl,-rpath,{}/cpu/lib", clone.display()));
    expected.push(format!("-Wl,-rpath,{}", cache.display()));
    expected.push(format!("-L{}/cpu/lib", clone.display()));
    expected.extend(["-Wl,--no-as-needed", "-ltorch", "-Wl,--as-needed"].map(str::to_owned));
    assert_eq!(machine.linked().unwrap(), expected);

    // The same by a file of arguments, and with the folder spelled through a link, as --config from elsewhere may do.
    fs::write(machine.path("arguments"), program.join("\n")).unwrap();
    symlink(machine.path("clone"), machine.path("alias")).unwrap();
    let by_file = format!("@{}", machine.path("arguments").display());
    assert!(run(machine.linker(&host.url).env("LIBTORCH", machine.path("alias/.libtorch/cpu")).arg(&by_file)).0);
    assert_eq!(machine.linked().unwrap()[1..], expected[3..]);
    assert_eq!(host.times_asked(), 1);
}

#[test]
fn the_linker_leaves_the_rest_alone() {
    let machine = Machine::new();
    // No python3 on this PATH: nothing must need it.
    let bin = machine.path("bin");
    fs::create_dir(&bin).unwrap();
    for tool in ["sh", "dirname"] {
        symlink(which(tool), bin.join(tool)).unwrap();
    }
    let mut command = machine.linker(&nobody());
    let path = format!("{}:{}", machine.path("fake-cc").display(), bin.display());
    // python3 itself is looked up on the PATH of the tests, as `command` starts it by name.
    let output = Command::new(which("sh"))
        .arg(machine.path("clone/tools/with-libtorch"))
        .args(["-o", "target/debug/xtask", "a.o"])
        .env_clear()
        .env("PATH", &path)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(machine.linked().unwrap(), ["-o", "target/debug/xtask", "a.o"]);
    // With python3 there, a link without libtorch still fetches nothing.
    assert!(run(command.args(["-o", "target/debug/xtask"])).0);
    assert_eq!(machine.linked().unwrap(), ["-o", "target/debug/xtask"]);
    assert_eq!(machine.pip_calls(), "");
    assert!(!machine.path("cache").exists());
}

#[test]
fn the_users_libtorch_is_taken_or_refused_by_name() {
    let machine = Machine::new();
    let header = "#define TORCH_VERSION_MAJOR 2\n#define TORCH_VERSION_MINOR 5\n#define TORCH_VERSION_PATCH 1\n";
    let wrong = [
        ("build-version", "2.5.1+cpu\n", "version 2.5.1+cpu"),
        ("version.py", "__version__ = '2.5.1+cu121'\n", "version 2.5.1+cu121"),
        ("include/torch/headeronly/version.h", header, "version 2.5.1"),
        ("lib/nothing", "", "version unknown"),
    ];
    for (file, text, found) in wrong {
        let torch = machine.own_libtorch(file, text);
        let mut command = machine.linker(&nobody());
        // The first thing a build links has nothing to do with torch-sys: it is refused there.
        command.env("LIBTORCH", &torch).args(["-o", "target/debug/build/libc-0123/build_script_build"]);
        fails_with(&mut command, &["LIBTORCH", torch.to_str().unwrap(), found, "needs 2.11.0", "Unset LIBTORCH"]);
        assert_eq!(machine.linked(), None, "cc ran all the same");
        fs::remove_dir_all(&torch).unwrap();
    }
    for (value, words) in
        [("", "must be an absolute path"), ("libtorch", "must be an absolute path"), ("/no/such", "there is no folder")]
    {
        fails_with(machine.linker(&nobody()).env("LIBTORCH", value).arg("x"), &["LIBTORCH", words]);
    }

    let torch = machine.own_libtorch("version.py", "__version__ = '2.11.0+cu130'\n");
    let program = ["deps/libtorch_sys-4567.rlib"];
    let (ok, text) = run(machine.linker(&nobody()).env("LIBTORCH", &torch).args(program));
    assert!(ok, "{text}");
    let rpath = format!("-Wl,-rpath,{}/lib", torch.display());
    assert_eq!(machine.linked().unwrap(), [program[0], &rpath]);
    assert!(!machine.path("cache").exists(), "something was fetched");
    // One with CUDA is linked so that CUDA is seen.
    fs::write(torch.join("lib/libtorch_cuda.so"), "").unwrap();
    assert!(run(machine.linker(&nobody()).env("LIBTORCH", &torch).args(program)).0);
    assert!(machine.linked().unwrap().contains(&"-ltorch".to_owned()));

    // Unsetting the variable later: torch-sys reads this file before anything of ours can run, and says what is in it.
    let note = fs::read_to_string(machine.path("clone/.libtorch/cpu/build-version")).unwrap();
    assert!(note.contains("tools/libtorch.py"), "{note}");
    assert!(run(&mut machine.script(&Host::good(machine.archive("2.11.0+cpu")).url)).0);
    assert!(machine.is_ready());
}

#[test]
fn the_users_pytorch_is_taken_or_refused_by_name() {
    let machine = Machine::new();
    let mut without = machine.linker(&nobody());
    without.env("LIBTORCH_USE_PYTORCH", "1").env_remove("VIRTUAL_ENV").arg("x");
    let torch = machine.path("python/torch");
    fs::create_dir(&torch).unwrap();
    fs::write(torch.join("__init__.py"), "raise SystemExit('importing takes seconds and is not needed')").unwrap();
    fs::write(torch.join("version.py"), "__version__ = '2.4.0'").unwrap();
    fails_with(&mut without, &["LIBTORCH_USE_PYTORCH", torch.to_str().unwrap(), "version 2.4.0", "needs 2.11.0"]);
    fs::write(torch.join("version.py"), "__version__ = '2.11.0+cpu'").unwrap();
    let (ok, text) = run(without.arg("libtorch_sys-1.rlib"));
    assert!(ok, "{text}");
    assert_eq!(machine.linked().unwrap().last().unwrap(), &format!("-Wl,-rpath,{}/lib", torch.display()));
}

#[test]
fn missing_tools_are_named() {
    let machine = Machine::new();
    let bin = machine.path("bin");
    fs::create_dir(&bin).unwrap();
    let mut linker = Command::new(which("sh"));
    linker.arg(machine.path("clone/tools/with-libtorch")).arg("build/torch-sys-1/build_script_build");
    linker.env_clear().env("PATH", &bin).env("XDG_CACHE_HOME", machine.path("cache")).stdin(Stdio::null());
    for tool in ["sh", "dirname"] {
        symlink(which(tool), bin.join(tool)).unwrap();
    }
    fails_with(&mut linker, &["no C compiler (cc)", "apt-get install g++"]);
    symlink(which("cc"), bin.join("cc")).unwrap();
    fails_with(&mut linker, &["python3 is not on the PATH", "apt-get install python3"]);
    symlink(which("python3"), bin.join("python3")).unwrap();
    fails_with(&mut linker, &["no C++ compiler (c++)", "apt-get install g++"]);
    fails_with(linker.env("CXX", "/no/such g++"), &["no C++ compiler (/no/such g++)", "apt-get install g++"]);
    symlink(which("cc"), bin.join("c++")).unwrap();
    linker.env_remove("CXX").env("LIBTORCH_USE_PYTORCH", "1").env("VIRTUAL_ENV", "/no/such");
    fails_with(&mut linker, &["LIBTORCH_USE_PYTORCH is set, but python cannot be started", "VIRTUAL_ENV is set"]);

    fs::remove_dir_all(machine.path("python/pip")).unwrap();
    fs::write(machine.path("python/pip.py"), "raise SystemExit(1)").unwrap();
    fails_with(&mut machine.script(&nobody()), &["has no pip", "apt-get install python3-pip"]);
}

/// The program itself: a version manager puts scripts on the PATH that only work there.
fn which(tool: &str) -> PathBuf {
    let asking =
        "import os, shutil, sys; t = sys.argv[1]; print(sys.executable if t == 'python3' else shutil.which(t))";
    let output = Command::new("python3").args(["-c", asking, tool]).output().unwrap();
    PathBuf::from(String::from_utf8(output.stdout).unwrap().trim())
}
