#!/usr/bin/env python3
"""Fetches libtorch once and links `.libtorch/cpu` in this clone to it. Standard library only.

    tools/libtorch.py            fetch libtorch for the CPU, unless it is there
    tools/libtorch.py --cuda     fetch the CUDA build too; every program of this clone uses it from then on
    tools/libtorch.py --cpu      go back to the CPU

Nobody needs to run it by hand for a build: `tools/with-libtorch`, cargo's linker here, does. docs/libtorch.md says
where things lie and what can be set.
"""

import argparse
import contextlib
import errno
import fcntl
import mmap
import os
import platform
import pwd
import re
import shutil
import signal
import stat
import subprocess
import sys
import threading
import time
import zipfile
import zlib
from pathlib import Path

VERSION = "2.11.0"  # what tch 0.24 is made for
CUDA = "cu130"  # the CUDA flavour of the same release that is on the package index, hence the same as the wheel's
ROOT = Path(__file__).resolve().parent.parent
MAC = sys.platform == "darwin"
ARM = platform.machine() in ("aarch64", "arm64")
SUFFIX = "dylib" if MAC else "so"

ANSWER_WITHIN = 8  # seconds until a host must have begun to answer, name look-up and all its addresses included
SILENT_FOR = 15  # seconds without a byte after which a download is given up
PIP_PLATFORMS = (
    ["macosx_14_0_arm64", "macosx_12_0_arm64", "macosx_11_0_arm64"] if MAC
    # pip does not take one tag to imply the older ones when it is told tags, and the wheels needed are spread over these.
    else [f"manylinux{tag}_{platform.machine()}" for tag in [f"_2_{minor}" for minor in range(28, 16, -1)] + ["2014"]]
)
# The CPU part of the wheel's libtorch is linked against two small CUDA libraries, which come in wheels of their own.
SMALL_CUDA_WHEELS = {"libcudart.so.13": "nvidia-cuda-runtime==13.0.96", "libcupti.so.13": "nvidia-cuda-cupti==13.0.85"}
WHEELS_ROOM = {"cpu": 1_300_000_000, "cuda": 6_500_000_000}  # wheels and unpacked files side by side


class Stop(Exception):
    """Nothing else is worth a try; the text is for the person."""


class Unavailable(Exception):
    """This source did not work out; the next one may."""


# ---------------------------------------------------------------------------------------------------------------------
# Talking. cargo keeps a linker's output to itself until it fails, so what is going on is told to the terminal directly.

def open_terminal():
    try:
        return open("/dev/tty", "w")
    except OSError:  # CI, an editor's language server
        return None


TERMINAL = open_terminal()


def tell(text, passing=False):
    """One line; a `passing` one is overwritten by the next, and only a terminal gets it."""
    try:
        if TERMINAL:
            TERMINAL.write(f"\r\x1b[Klibtorch: {text}" + ("" if passing else "\n"))
            TERMINAL.flush()
        elif not passing:
            print(f"libtorch: {text}", file=sys.stderr, flush=True)
    except OSError:  # a terminal that has gone away is no reason to fail
        pass


def megabytes(count):
    return f"{count / 1e6:,.0f} MB"


class Progress:
    def __init__(self, what, total):
        self.what, self.total, self.done, self.shown, self.began = what, total, 0, 0.0, time.monotonic()

    def add(self, count):
        self.done += count
        now = time.monotonic()
        if now - self.shown > 0.2:
            self.shown = now
            of = f" of {megabytes(self.total)} ({100 * self.done // self.total} %)" if self.total else ""
            rate = self.done / max(now - self.began, 1e-9)
            tell(f"{self.what}: {megabytes(self.done)}{of}, {megabytes(rate)}/s", passing=True)


# ---------------------------------------------------------------------------------------------------------------------
# Where it lies.

def cache_folder():
    """`flow` in the user's cache: one copy for all clones."""
    if os.environ.get("XDG_CACHE_HOME"):
        return Path(os.environ["XDG_CACHE_HOME"]) / "flow"
    try:
        home = os.environ.get("HOME") or pwd.getpwuid(os.getuid()).pw_dir
    except KeyError:
        raise Stop("there is no home folder to keep libtorch in. Set HOME, or XDG_CACHE_HOME to a folder for it.")
    return Path(home) / ("Library/Caches" if MAC else ".cache") / "flow"


def place_of(kind):
    """The folder of a libtorch in the cache, which machines of several architectures may share."""
    machine = platform.machine()
    return cache_folder() / (f"libtorch-{VERSION}-{kind}" + ("" if machine == "x86_64" else f"-{machine}"))


def is_complete(torch, version=VERSION):
    """`build-version` is the last file written into a folder of ours; torch-sys reads it too."""
    try:
        stamp = (torch / "build-version").read_text()
    except (OSError, ValueError):
        return False
    return bare(stamp) == version and (torch / "lib" / f"libtorch_cpu.{SUFFIX}").exists()


def bare(version):
    return version.strip().split("+")[0]


@contextlib.contextmanager
def locked(folder):
    """Held by one process at a time, and let go by the system however that process ends."""
    with open(folder / "lock", "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            tell("another build is fetching it, waiting")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def point(link, target):
    """Makes `link` a link to `target` in one step."""
    if link.is_symlink() and os.readlink(link) == str(target):
        return
    link.parent.mkdir(exist_ok=True)
    if link.is_dir() and not link.is_symlink():
        shutil.rmtree(link, ignore_errors=True)  # the note that `leave_note` put there; another build may be ahead
    beside = link.with_name(f"{link.name}.{os.getpid()}")
    beside.symlink_to(target)
    os.replace(beside, link)


def ensure(kind):
    """`.libtorch/<kind>` leads to a complete libtorch when this returns."""
    link = ROOT / ".libtorch" / kind
    if is_complete(link):
        return
    if kind == "cuda" and MAC:
        raise Stop("there is no CUDA for macOS.")
    final = place_of(kind)
    cache = place = final.parent
    try:
        # Where all is there nothing is written, so that a cache for reading alone will do.
        if not is_complete(final / "torch"):
            cache.mkdir(parents=True, exist_ok=True)
            with locked(cache):
                # Only leftovers of a process that was killed can be here now: whoever writes one holds the lock.
                for stale in cache.glob("unfinished-*"):
                    shutil.rmtree(stale, ignore_errors=True)
                if not is_complete(final / "torch"):
                    fetch(kind, final)
        place = link
        point(link, final / "torch")
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise Stop(f"no room left in {cache} ({error.strerror}). While it is fetched, libtorch for {kind} needs up to "
                       f"{megabytes(WHEELS_ROOM[kind])}. Make room, or set XDG_CACHE_HOME to a folder on a larger disk, "
                       "and build again.")
        where = "this clone" if place is link else "the cache"
        advice = ("Make it writable" if place is link else "Make it writable, set XDG_CACHE_HOME to a folder that is") \
            + ", or set LIBTORCH to the folder of a libtorch of your own."
        raise Stop(f"cannot write to {where}, {place} ({error.strerror or error}). {advice}")


# ---------------------------------------------------------------------------------------------------------------------
# Getting it.

def fetch(kind, final):
    tried = []
    for source in (from_archive, from_wheels):
        work = final.parent / f"unfinished-{os.getpid()}"
        work.mkdir()
        try:
            source(kind, work)
            finish(kind, work / "x" / "torch")
            shutil.rmtree(final, ignore_errors=True)  # one whose stamp has gone missing
            os.rename(work / "x", final)
            tell(f"ready in {final}")
            return
        except Unavailable as reason:
            tell(f"not from {source.__doc__}: {reason}")
            tried.append(f"  {source.__doc__}: {reason}")
        finally:
            shutil.rmtree(work, ignore_errors=True)
    command = "tools/libtorch.py" + (" --cuda" if kind == "cuda" else "")
    raise Stop(f"libtorch {VERSION} could not be fetched.\n" + "\n".join(tried) + "\n"
               f"When the network is back, build again (or run {command} alone). A proxy is taken from HTTPS_PROXY, a "
               "package index from pip's own settings, another address of the archive from FLOW_LIBTORCH_URL.\n"
               f"Without a network: unpack a libtorch {VERSION} yourself and set LIBTORCH to its folder, or set "
               f"LIBTORCH_USE_PYTORCH=1 where `python3 -c 'import torch'` finds a PyTorch {VERSION}.")


def need_room(folder, count):
    """Says so before the download, not after it."""
    free = shutil.disk_usage(folder).free
    if free < count:
        raise OSError(errno.ENOSPC, f"{megabytes(free)} free")


def archive_url(kind):
    if os.environ.get("FLOW_LIBTORCH_URL"):
        return os.environ["FLOW_LIBTORCH_URL"]
    base = "https://download.pytorch.org/libtorch"
    if MAC and ARM:
        return f"{base}/cpu/libtorch-macos-arm64-{VERSION}.zip"
    if sys.platform == "linux" and platform.machine() == "x86_64":
        flavour = "cpu" if kind == "cpu" else CUDA
        return f"{base}/{flavour}/libtorch-shared-with-deps-{VERSION}%2B{flavour}.zip"
    return None


def from_archive(kind, work):
    "the official archive"
    import http.client  # slow to import, and nearly every run fetches nothing

    url = archive_url(kind)
    if not url:
        raise Unavailable("there is none for this platform")
    tell(f"asking {url}")
    response = answer(url)
    with response:
        kind_of_content = response.headers.get("Content-Type", "")
        if kind_of_content.startswith("text/"):
            raise Unavailable(f"the server sent a page ({kind_of_content}) instead of an archive")
        length = response.headers.get("Content-Length") or ""
        total = int(length) if length.isdigit() else 0
        need_room(work, 4 * total)  # the archive itself, and about three times as much unpacked
        tell(f"fetching libtorch {VERSION} for {kind}" + (f", {megabytes(total)}" if total else ""))
        progress = Progress("fetching", total)
        with open(work / "archive.zip", "wb") as out:
            while True:
                try:
                    block = response.read(1 << 18)
                except (OSError, http.client.HTTPException) as error:
                    raise Unavailable(f"it broke off after {megabytes(progress.done)} ({error})")
                if not block:
                    break
                out.write(block)
                progress.add(len(block))
                spent = time.monotonic() - progress.began
                if spent > 30 and progress.done / spent < 50_000:
                    raise Unavailable("the server is too slow (under 50 kB/s)")
    if total and progress.done != total:
        raise Unavailable(f"it broke off after {progress.done:,} of {total:,} bytes")
    unpack(work / "archive.zip", work / "x", kind, rename=("libtorch/", "torch/"))
    stamp = work / "x" / "torch" / "build-version"
    found = stamp.read_text().strip() if stamp.exists() else "nothing that says so"
    stamp.unlink(missing_ok=True)  # `finish` writes it again, last
    (work / "version").write_text(found)
    if bare(found) != VERSION:
        raise Unavailable(f"it holds {found}, not libtorch {VERSION}")


def answer(url):
    """The response, or `Unavailable` within seconds. A thread, for no timeout of urllib covers the look-up of the name
    or a host with a dozen addresses none of which answers."""
    import http.client
    import urllib.request

    result = []

    def ask():
        try:
            result.append(urllib.request.urlopen(url, timeout=SILENT_FOR))
        except (OSError, ValueError, http.client.HTTPException) as error:
            result.append(error)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(ANSWER_WITHIN)
    if not result:
        raise Unavailable(f"no answer within {ANSWER_WITHIN} s")
    if isinstance(result[0], Exception):
        raise Unavailable(str(result[0]))
    return result[0]


def from_wheels(kind, work):
    "the package index, by pip"
    have_pip = subprocess.run([sys.executable, "-m", "pip", "--version"], stdin=subprocess.DEVNULL,
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    if have_pip.returncode:
        raise Unavailable(f"{sys.executable} has no pip (apt-get install python3-pip | python3 -m ensurepip)")
    need_room(work, WHEELS_ROOM[kind])
    wheel = pip(work, f"torch=={VERSION}")[0]
    unpack(wheel, work / "x", kind)
    stamp = work / "x" / "torch" / "version.py"
    found = python_version(stamp) or "nothing that says so"
    (work / "version").write_text(found)
    if bare(found) != VERSION:
        raise Unavailable(f"the wheel holds {found}, not PyTorch {VERSION}")
    if MAC:
        return
    if kind == "cuda":
        needed = cuda_requirements(wheel)
    else:
        library = work / "x" / "torch" / "lib" / "libtorch_cpu.so"
        needed = [small for name, small in SMALL_CUDA_WHEELS.items() if mentions(library, name)]
    wheel.unlink()
    # A CUDA requirement such as cuda-toolkit[cublas,...] is only a list of wheels; those of CPU are exact.
    for more in pip(work, *needed, dependencies=kind == "cuda") if needed else []:
        unpack(more, work / "x", kind)
        more.unlink()


def cuda_requirements(wheel):
    """The wheels with CUDA's libraries, as the torch wheel asks for them. cuda-bindings and triton are for Python."""
    with zipfile.ZipFile(wheel) as archive:
        name = next(name for name in archive.namelist() if re.fullmatch(r"torch-[^/]+\.dist-info/METADATA", name))
        lines = archive.read(name).decode().splitlines()
    asked = [line.split(":", 1)[1].split(";")[0].strip() for line in lines
             if line.startswith("Requires-Dist:") and "extra ==" not in line]
    return [one for one in asked if re.match(r"nvidia-|cuda-toolkit", one)]


def pip(work, *requirements, dependencies=False):
    """Downloads wheels, checked by pip against the index's digests, for this platform and whatever Python."""
    tell(f"fetching {', '.join(requirements)} with pip")
    into = work / "wheels"
    before = set(into.glob("*"))
    command = [sys.executable, "-m", "pip", "download", "--dest", str(into), "--only-binary=:all:",
               "--python-version", "3.11", "--no-cache-dir", "--no-input", "--disable-pip-version-check",
               "--retries", "2", "--timeout", str(SILENT_FOR)]
    for tag in PIP_PLATFORMS:
        command += ["--platform", tag]
    if not dependencies:
        command += ["--no-deps"]
    # pip collects the file in its own temporary folder first; that one may be small, ours has been found large enough.
    environment = dict(os.environ, TMPDIR=str(work))
    process = subprocess.Popen([*command, *requirements], env=environment, stdin=subprocess.DEVNULL,
                               stdout=TERMINAL or sys.stderr, stderr=subprocess.PIPE, text=True, errors="replace")
    complaints = []
    for line in process.stderr:
        if line.strip():
            complaints.append(line.strip())
            tell(f"pip: {line.strip()}")
    if process.wait():
        if any("No space left" in line or "quota" in line.lower() for line in complaints):
            raise OSError(errno.ENOSPC, "pip: " + complaints[-1])
        raise Unavailable("pip said: " + " / ".join(complaints[-3:]) if complaints
                          else f"pip ended with {process.returncode}")
    wheels = sorted(set(into.glob("*.whl")) - before)
    if not wheels:
        raise Unavailable("pip brought no wheel")
    return wheels


# Of a wheel or an archive: what one needs to compile against it and to run. For the CPU the CUDA libraries stay out,
# which make up most of it.
WANTED = re.compile(r"torch/lib/[^/]+\.(so|dylib)[.\d]*|torch/include/.+[^/]|torch/version\.py|torch/build-version|"
                    r"torch\.libs/[^/]+|torch/\.dylibs/[^/]+|nvidia/(.+/)?lib/[^/]+\.so[.\d]*")
ONLY_CUDA = re.compile(r"libtorch_cuda|libc10_cuda|nvrtc|nvshmem|nvperf|pcsampling|libcheckpoint")
ONLY_PYTHON = re.compile(r"libtorch_python|libshm")


def unpack(archive, into, kind, rename=("", "")):
    """Reads every wanted member to its end, so that zipfile compares its checksum."""
    try:
        with zipfile.ZipFile(archive) as opened:
            members = []
            for member in opened.infolist():
                name = member.filename
                if rename[0] and name.startswith(rename[0]):
                    name = rename[1] + name[len(rename[0]):]
                base = name.rsplit("/", 1)[-1]
                if not WANTED.fullmatch(name) or ".." in name.split("/") or ONLY_PYTHON.match(base):
                    continue
                if kind == "cpu" and not name.startswith("torch/include/") and ONLY_CUDA.search(base):
                    continue
                members.append((member, name))
            progress = Progress(f"unpacking {archive.name}", sum(member.file_size for member, _ in members))
            for member, name in members:
                target = into / name
                target.parent.mkdir(parents=True, exist_ok=True)
                with opened.open(member) as source:
                    if stat.S_ISLNK(member.external_attr >> 16):
                        link = source.read().decode()
                        if "/" in link:
                            raise Unavailable(f"{name} is a link to {link}, which leads out of its folder")
                        target.symlink_to(link)
                        continue
                    with open(target, "wb") as out:
                        while True:
                            block = source.read(1 << 20)
                            if not block:
                                break
                            out.write(block)
                            progress.add(len(block))
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise Unavailable(f"{archive.name} is damaged or no archive at all ({error})")


def finish(kind, torch):
    """Looks whether all is there, and writes the stamp."""
    needed = [f"lib/libc10.{SUFFIX}", f"lib/libtorch_cpu.{SUFFIX}", f"lib/libtorch.{SUFFIX}",
              "include/torch/csrc/api/include/torch/torch.h"]
    if kind == "cuda":
        needed += ["lib/libtorch_cuda.so", "lib/libc10_cuda.so"]
    for name in needed:
        if not (torch / name).exists():
            raise Unavailable(f"{name} is missing in it")
    if not MAC and kind == "cpu" and mentions(torch / "lib/libtorch.so", "libtorch_cuda.so"):
        make_stub(torch / "lib")
    (torch / "build-version").write_text((torch.parent.parent / "version").read_text() + "\n")


def make_stub(lib):
    """libtorch.so holds no code: it names the libraries a program should load, in the wheel the CUDA one among them.
    Programs here are linked against libtorch.so and so get CUDA, or not, by the folder they find it in; for the CPU
    folder this makes one that names the CPU library alone, as the official CPU archive has it."""
    command = ["cc", "-shared", "-nostdlib", "-o", "libtorch.so", "-Wl,-soname,libtorch.so", "-Wl,-rpath,$ORIGIN",
               "-Wl,--no-as-needed", "-Wl,--allow-shlib-undefined", "-L.", "-ltorch_cpu", "-lc10"]
    (lib / "libtorch.so").unlink()
    made = subprocess.run(command, cwd=lib, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace")
    if made.returncode:
        raise Stop(f"cc cannot link a shared library here:\n{made.stderr.strip()}")


def mentions(path, text):
    with open(path, "rb") as file:
        if os.fstat(file.fileno()).st_size == 0:
            return False
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return data.find(text.encode() + b"\0") >= 0


# ---------------------------------------------------------------------------------------------------------------------
# The user's own libtorch.

def python_version(path):
    try:
        found = re.search(r"__version__\s*=\s*['\"]([^'\"]+)", path.read_text())
    except OSError:
        return None
    return found and found.group(1)


def header_version(torch):
    """A distribution's package has neither of the other two."""
    for name in ("torch/headeronly/version.h", "torch/csrc/api/include/torch/version.h"):
        try:
            text = (torch / "include" / name).read_text()
        except OSError:
            continue
        parts = [re.search(rf"#define TORCH_VERSION_{part}\s+(\d+)", text) for part in ("MAJOR", "MINOR", "PATCH")]
        if all(parts):
            return ".".join(part.group(1) for part in parts)
    return None


def users_library_folder():
    """Where the user's libtorch has its libraries, after making sure that it is the right one."""
    if "LIBTORCH_USE_PYTORCH" in os.environ:
        name = "LIBTORCH_USE_PYTORCH"
        python = "python" if "VIRTUAL_ENV" in os.environ else "python3"  # the choice torch-sys makes
        where = "import importlib.util as u; s = u.find_spec('torch'); print(s.submodule_search_locations[0] if s else '')"
        try:
            asked = subprocess.run([python, "-c", where], stdin=subprocess.DEVNULL, capture_output=True, text=True)
        except OSError as error:
            raise Stop(f"LIBTORCH_USE_PYTORCH is set, but {python} cannot be started ({error.strerror}). Put it on the "
                       "PATH, or unset the variable: libtorch is then fetched for you."
                       + (" VIRTUAL_ENV is set, hence python and not python3." if python == "python" else ""))
        if not asked.stdout.strip():
            raise Stop(f"LIBTORCH_USE_PYTORCH is set, but {python} finds no torch. Install PyTorch {VERSION} there, or "
                       "unset the variable: libtorch is then fetched for you.")
        torch = Path(asked.stdout.strip())
        library = torch / "lib"
    else:
        name = "LIBTORCH"
        torch = Path(os.environ.get("LIBTORCH", ROOT / ".libtorch" / "cpu"))
        library = Path(os.environ.get("LIBTORCH_LIB", torch)) / "lib"
        include = Path(os.environ.get("LIBTORCH_INCLUDE", torch)) / "include"
        for variable, folder in (("LIBTORCH", torch), ("LIBTORCH_LIB", library), ("LIBTORCH_INCLUDE", include)):
            if variable in os.environ and not (folder.is_absolute() and folder.is_dir()):
                wrong = f"there is no folder {folder}" if folder.is_absolute() else "it must be an absolute path"
                raise Stop(f"{variable} is set to {os.environ[variable]!r}, but {wrong}. Correct it, or unset it: "
                           f"libtorch {VERSION} is then fetched for you.")
        for folder, file in ((library, f"libtorch_cpu.{SUFFIX}"), (include, "torch")):
            if not (folder / file).exists():
                raise Stop(f"LIBTORCH ({torch}) is no complete libtorch: {folder / file} is missing. Correct it, or "
                           f"unset it: libtorch {VERSION} is then fetched for you.")
    if "LIBTORCH_BYPASS_VERSION_CHECK" in os.environ:
        return library
    try:
        found = (torch / "build-version").read_text().strip()
    except OSError:
        found = python_version(torch / "version.py") or header_version(torch)
    if not found or bare(found) != VERSION:
        raise Stop(f"the libtorch that {name} names, {torch}, is version {found or 'unknown'}; tch 0.24 needs {VERSION}. "
                   f"Unset {name}, and libtorch {VERSION} is fetched for you, or let it name a {VERSION}.")
    return library


def leave_note():
    """Somebody builds with a libtorch of their own and may unset the variable later. Then torch-sys' build script runs
    again without having been linked again, hence before us. It reads this file and says what is in it."""
    note = ROOT / ".libtorch" / "cpu" / "build-version"
    if not os.path.lexists(note.parent):
        with contextlib.suppress(OSError):
            note.parent.mkdir(parents=True)
            note.write_text("no libtorch yet (run tools/libtorch.py in the clone, then build again)\n")


# ---------------------------------------------------------------------------------------------------------------------
# Called by tools/with-libtorch.

def linker_flags(whose, arguments):
    """What to add to the linker's arguments, one a line, with libtorch in place."""
    text = " ".join(arguments)
    for argument in arguments:
        if argument.startswith("@"):  # rustc writes very long command lines into a file
            with contextlib.suppress(OSError):
                text += Path(argument[1:]).read_text(errors="replace")
    program = "torch_sys" in text  # libtorch_sys-*.rlib
    if not program and "torch-sys" not in text and whose == "ours":
        return []
    # As torch-sys' build script reads it: nothing but spaces is not set, a path may have spaces, options may follow.
    compiler = os.environ.get("CXX", "").strip() or "c++"
    if not (shutil.which(compiler) or shutil.which(compiler.split()[0])):
        raise Stop(f"there is no C++ compiler ({compiler}), and torch-sys is in part C++. Install one, for example: "
                   "apt-get install g++ | dnf install gcc-c++ | xcode-select --install")
    if whose == "users":
        library = users_library_folder()
        leave_note()
        folders = [library]
        choose = (library / "libtorch_cuda.so").exists()
    else:
        ensure("cpu")
        own = ROOT / ".libtorch"
        # The first folder that is there gives all of libtorch: CUDA's where somebody asked for it, the clone's link,
        # and what that link led to, for a program that outlives its clone or was built before the clone was moved.
        folders = [own / "cuda" / "lib", own / "cpu" / "lib", Path(os.path.realpath(own / "cpu")) / "lib"]
        library = folders[1]
        choose = not MAC
    if not program:
        return []
    flags = [f"-Wl,-rpath,{folder}" for folder in folders]
    if choose:
        # Nothing refers to a symbol of libtorch.so, which names the CUDA libraries: a linker would leave it out.
        flags += [f"-L{library}", "-Wl,--no-as-needed", "-ltorch", "-Wl,--as-needed"]
    return flags


def command_line():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--cuda", action="store_true", help="fetch the CUDA build and use it")
    which.add_argument("--cpu", action="store_true", help="use the CPU build again")
    options = parser.parse_args()
    ensure("cpu")
    if options.cpu:
        with contextlib.suppress(FileNotFoundError):
            (ROOT / ".libtorch" / "cuda").unlink()
    if options.cuda:
        ensure("cuda")
    used = "cuda" if is_complete(ROOT / ".libtorch" / "cuda") else "cpu"
    print(f"libtorch {VERSION} ({used}): {os.path.realpath(ROOT / '.libtorch' / used)}")


def main():
    # A kill that can be caught leaves nothing behind; one that cannot is cleared up after by the next run.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        if sys.argv[1:2] == ["--for-linker"]:
            print("\n".join(linker_flags(sys.argv[2], sys.argv[3:])))
        else:
            command_line()
        return 0
    except Stop as reason:
        print(f"\nerror: {reason}\n", file=sys.stderr)
    except KeyboardInterrupt:
        print("\nerror: interrupted while fetching libtorch; building again starts it anew\n", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
