"""Finding a ComfyUI, and installing a private one: every step whole or not there at all."""

import io
import os
import signal
import subprocess
import sys
import tarfile
import time
from collections import namedtuple
from pathlib import Path

import pytest
from same_subject.dev import host as hosts
from same_subject.dev import pack
from same_subject.dev.setup import caching, comfyui, finding, installing, pip, pythons, unpacking


def silent(*_):
    pass


def make_comfyui(folder):
    """A folder that looks like ComfyUI."""
    (folder / "comfy").mkdir(parents=True)
    (folder / "comfy" / "samplers.py").touch()
    (folder / "main.py").touch()
    (folder / "comfyui_version.py").write_text('__version__ = "9.8.7"\n')
    (folder / "requirements.txt").write_text("torch\n")
    return folder


def make_archive(path, members):
    """A .tar.gz of (name, content) pairs; content may be the name of another kind of entry."""
    kinds = {"symbolic link": tarfile.SYMTYPE, "hard link": tarfile.LNKTYPE, "device": tarfile.CHRTYPE}
    with tarfile.open(path, "w:gz") as tar:
        for name, content in members:
            member = tarfile.TarInfo(name)
            if content in kinds:
                member.type, member.linkname = kinds[content], "/etc/passwd"
                tar.addfile(member)
            else:
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
    return path


# -- finding --------------------------------------------------------------------------------------


@pytest.fixture
def any_python(monkeypatch):
    """Every Python counts as one that can run ComfyUI."""
    monkeypatch.setattr(pythons, "can_import", lambda python, *modules: True)


def test_a_named_folder_comes_before_the_environment_variable(tmp_path, monkeypatch, any_python):
    named, variable = make_comfyui(tmp_path / "named"), make_comfyui(tmp_path / "variable")
    monkeypatch.setenv("COMFYUI_PATH", str(variable))
    assert hosts.find(str(named)).root == named
    assert hosts.find(None).root == variable


def test_the_comfyui_around_this_folder_comes_before_a_private_one(tmp_path, monkeypatch, any_python):
    around = make_comfyui(tmp_path / "ComfyUI")
    monkeypatch.delenv("COMFYUI_PATH", raising=False)
    monkeypatch.setattr(sys, "argv", [str(around / "custom_nodes" / "same-subject" / "dev" / "demo.py")])
    monkeypatch.setattr(installing, "private_host", lambda *_: pytest.fail("installed a private one"))
    assert hosts.find(None, silent).root == around


def test_a_private_one_is_the_last_resort(tmp_path, monkeypatch):
    monkeypatch.delenv("COMFYUI_PATH", raising=False)
    monkeypatch.setattr(finding, "surrounding_comfyui", lambda command: None)
    monkeypatch.setattr(installing, "private_host", lambda cache, say: cache)
    monkeypatch.setenv("SAME_SUBJECT_CACHE", str(tmp_path))
    assert hosts.find(None) == tmp_path.resolve()


def test_the_portable_folder_above_comfyui_is_understood(tmp_path, any_python):
    make_comfyui(tmp_path / "ComfyUI")
    assert finding.users_host(tmp_path).root == tmp_path / "ComfyUI"


def test_the_python_of_the_users_own_environment_is_taken_first(tmp_path, any_python):
    root = make_comfyui(tmp_path / "ComfyUI")
    python = pythons.environment_python(root / ".venv")
    python.parent.mkdir(parents=True)
    python.touch()
    assert finding.users_host(root).python == python
    assert not finding.users_host(root).private


def test_a_folder_that_is_no_comfyui_is_refused(tmp_path):
    with pytest.raises(hosts.SetupError, match="is not a ComfyUI folder: give the folder that holds main.py"):
        finding.users_host(tmp_path)


def test_a_comfyui_without_a_python_that_has_torch_is_refused_and_names_those_that_were_tried(tmp_path, monkeypatch):
    monkeypatch.setattr(pythons, "can_import", lambda python, *modules: False)
    root = make_comfyui(tmp_path / "ComfyUI")
    python = pythons.environment_python(root / "venv")
    python.parent.mkdir(parents=True)
    python.touch()
    monkeypatch.setattr(sys, "argv", ["custom_nodes/same-subject/dev/demo.py"])
    with pytest.raises(hosts.SetupError) as error:
        finding.users_host(root)
    said = str(error.value)
    assert str(python) in said and sys.executable in said, "which Pythons lack torch"
    assert "run this command with the Python that runs your ComfyUI, as in `PYTHON custom_nodes/same-subject/dev/demo.py`" in said


def test_the_comfyui_around_this_folder_is_said_with_its_python(tmp_path, monkeypatch, any_python):
    around, said = make_comfyui(tmp_path / "ComfyUI"), []
    python = pythons.environment_python(around / "venv")
    python.parent.mkdir(parents=True)
    python.touch()
    monkeypatch.delenv("COMFYUI_PATH", raising=False)
    monkeypatch.setattr(sys, "argv", [str(around / "custom_nodes" / "same-subject" / "dev" / "demo.py")])
    hosts.find(None, said.append)
    assert said == [f"Using the ComfyUI around this folder: {around}, with {python}"]


def test_a_comfyui_that_is_too_old_is_refused(tmp_path, any_python):
    root = make_comfyui(tmp_path / "ComfyUI")
    (root / "comfyui_version.py").write_text('__version__ = "0.3.64"\n')
    with pytest.raises(hosts.SetupError, match="is ComfyUI 0.3.64, but 0.16.3 or newer is needed"):
        finding.users_host(root)


def test_the_version_is_read_without_importing(tmp_path):
    assert comfyui.read_version(make_comfyui(tmp_path / "ComfyUI")) == "9.8.7"
    assert comfyui.read_version(tmp_path) == "unknown"


@pytest.mark.skipif(os.name == "nt", reason="the folders of Linux and macOS")
def test_the_cache_is_a_users_folder_and_can_be_moved(tmp_path, monkeypatch):
    monkeypatch.delenv("SAME_SUBJECT_CACHE", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    assert hosts.cache_folder() == tmp_path / ".cache" / "same-subject"
    monkeypatch.setattr(sys, "platform", "darwin")
    assert hosts.cache_folder() == tmp_path / "Library" / "Caches" / "same-subject"
    monkeypatch.setenv("SAME_SUBJECT_CACHE", str(tmp_path / "elsewhere"))
    assert hosts.cache_folder() == (tmp_path / "elsewhere").resolve()


# -- unpacking ------------------------------------------------------------------------------------


def test_only_the_wanted_subtree_is_unpacked(tmp_path):
    archive = make_archive(
        tmp_path / "a.tar.gz", [("p/x/main.py", b"1"), ("p/x/comfy/sd.py", b"2"), ("p/setup.py", b"3"), ("q", b"4")]
    )
    unpacking.unpack(archive, "p/x", tmp_path / "out")
    files = {path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert files == {"main.py", "comfy/sd.py"}


@pytest.mark.parametrize(
    "name, content",
    [
        ("p/x/link", "symbolic link"),
        ("p/x/hard", "hard link"),
        ("p/x/device", "device"),
        ("p/x/../../escape", b""),
        ("p/x/a/../../../escape", b""),
        ("p/x/C:\\escape", b""),
    ],
)
def test_an_entry_that_could_reach_elsewhere_is_refused(tmp_path, name, content):
    archive = make_archive(tmp_path / "a.tar.gz", [("p/x/main.py", b""), (name, content)])
    with pytest.raises(hosts.SetupError, match="no plain file"):
        unpacking.unpack(archive, "p/x", tmp_path / "out")
    assert not list(tmp_path.rglob("escape*"))


def test_an_absolute_name_is_not_unpacked(tmp_path):
    archive = make_archive(tmp_path / "a.tar.gz", [(f"{tmp_path}/absolute", b"")])
    unpacking.unpack(archive, "p/x", tmp_path / "out")
    assert not (tmp_path / "absolute").exists()


def test_sizes_that_no_source_tree_has_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(unpacking, "LARGEST_TREE", 10)
    archive = make_archive(tmp_path / "a.tar.gz", [("p/x/a", b"123456"), ("p/x/b", b"123456")])
    with pytest.raises(hosts.SetupError, match="larger than a source tree"):
        unpacking.unpack(archive, "p/x", tmp_path / "out")


# -- repair ---------------------------------------------------------------------------------------


class FakePip:
    """Stands in for pip: does nothing, or fails before or after it began to write."""

    def __init__(self, error=None, has_written=False):
        self.error, self.has_written, self.log, self.runs = error, has_written, "setup.log", 0

    def run(self, *_):
        self.runs += 1
        if self.error:
            raise self.error


@pytest.fixture
def half_made(tmp_path, monkeypatch, any_python):
    """A tree and an empty environment in a cache folder."""
    root = make_comfyui(tmp_path / "comfyui")
    (tmp_path / "python").mkdir()
    (tmp_path / "python" / "leftover").touch()
    caching.write_stamp(tmp_path / "python", {"python": "empty"})
    made = subprocess.CompletedProcess([], 0, "", "")
    monkeypatch.setattr(installing.subprocess, "run", lambda *_, **__: (tmp_path / "python").mkdir() or made)
    monkeypatch.setattr(installing, "DISK_NEEDED", 0)
    return hosts.Host(root, Path(sys.executable), private=True), tmp_path


def test_an_installation_that_died_while_writing_is_made_anew(half_made):
    host, cache = half_made
    with pytest.raises(RuntimeError):  # not one that pip reports: stands for a process that is killed
        installing.fill_environment(host, cache, FakePip(RuntimeError("killed")))
    installing.make_environment(cache, silent)
    assert not (cache / "python" / "leftover").exists()


def test_an_installation_that_failed_before_writing_is_gone_on_with(half_made):
    host, cache = half_made
    with pytest.raises(hosts.SetupError):
        installing.fill_environment(host, cache, FakePip(hosts.SetupError("no network")))
    installing.make_environment(cache, silent)
    assert (cache / "python" / "leftover").exists()


def test_an_installation_that_failed_while_writing_is_made_anew(half_made):
    host, cache = half_made
    with pytest.raises(hosts.SetupError):
        installing.fill_environment(host, cache, FakePip(hosts.SetupError("disk full"), has_written=True))
    installing.make_environment(cache, silent)
    assert not (cache / "python" / "leftover").exists()


def test_a_complete_environment_is_not_touched(half_made):
    host, cache = half_made
    pip = FakePip()
    for _ in range(2):
        installing.make_environment(cache, silent)
        installing.fill_environment(host, cache, pip)
    assert pip.runs == 1 and (cache / "python" / "leftover").exists()


def test_other_requirements_are_noticed(half_made):
    host, cache = half_made
    installing.fill_environment(host, cache, FakePip())
    assert caching.read_stamp(cache / "python") == caching.environment_stamp(host.root)
    (host.root / "requirements.txt").write_text("torch\nmore\n")
    assert caching.read_stamp(cache / "python") != caching.environment_stamp(host.root)


def test_a_damaged_stamp_counts_as_none(tmp_path):
    (tmp_path / caching.STAMP).write_text("{")
    assert caching.read_stamp(tmp_path) is None


def test_too_little_disk_is_said_before_anything_is_fetched(tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")(10**12, 10**12, 3 * 10**9)
    monkeypatch.setattr(installing.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(hosts.SetupError, match=r"About 7 GB are needed in .*, where 3.0 GB are free"):
        installing.make_environment(tmp_path, silent)
    assert not list(tmp_path.iterdir())


def test_two_set_ups_at_once_do_not_collide(tmp_path):
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD_LOCK, str(pack.ROOT / "dev"), str(tmp_path / "lock")],
        stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert holder.stdout.readline() == "held\n"
        said = []

        def say(line):
            said.append(line)
            holder.kill()  # the system gives the lock of a dead process back

        with caching.locked(tmp_path / "lock", say):
            assert said == ["Another set-up is at work; waiting for it to end."]
    finally:
        holder.kill()
        holder.wait()
        holder.stdout.close()
        holder.stdin.close()


HOLD_LOCK = """
import sys
sys.path.insert(0, sys.argv[1])
import pack; pack.load()
from pathlib import Path
from same_subject.dev.setup import caching
with caching.locked(Path(sys.argv[2])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.mark.skipif(os.name == "nt", reason="signals")
@pytest.mark.parametrize("which", ["SIGINT", "SIGTERM"])
def test_a_command_that_is_stopped_lets_its_child_clean_up(tmp_path, which):
    """Also one that has long to do so is told at once, where no terminal tells it."""
    (tmp_path / "child.py").write_text(CHILD, encoding="utf-8")
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(pack.ROOT / "dev"), str(tmp_path / "child.py"), str(tmp_path / "cleaned")],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    assert parent.stdout.readline() == "child runs\n"
    parent.send_signal(getattr(signal, which))
    assert parent.wait(timeout=30) != 0
    parent.stdout.close()
    assert (tmp_path / "cleaned").exists()


PARENT = """
import signal, subprocess, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs begin with it ignored
sys.path.insert(0, sys.argv[1])
import pack; pack.load()
from same_subject.dev import host
sys.exit(host.wait_for(subprocess.Popen([sys.executable, *sys.argv[2:]]), patience=600))
"""
CHILD = """
import pathlib, signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
try:
    print("child runs", flush=True)
    time.sleep(60)
finally:
    pathlib.Path(sys.argv[1]).touch()
"""


@pytest.mark.skipif(os.name == "nt", reason="signals")
@pytest.mark.parametrize("which", ["SIGINT", "SIGTERM"])
def test_a_set_up_that_is_stopped_ends_pip_and_what_pip_started(tmp_path, which):
    """A program that ends at SIGTERM leaves its children to themselves."""
    (tmp_path / "child.py").write_text(BUILDS, encoding="utf-8")
    process = subprocess.Popen(
        [sys.executable, "-c", SETS_UP, str(pack.ROOT / "dev"), str(tmp_path / "child.py"), str(tmp_path / "pids")],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout.readline() == "pip runs\n"
    pids = [int(line) for line in (tmp_path / "pids").read_text().split()]
    process.send_signal(getattr(signal, which))
    _, errors = process.communicate(timeout=60)
    assert process.returncode == {"SIGINT": 130, "SIGTERM": 143}[which] and "Traceback" not in errors
    deadline = time.monotonic() + 10
    while any(map(runs, pids)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert len(pids) == 2 and not any(map(runs, pids))


def runs(pid):
    """Whether a process is there and not merely waiting to be asked how it ended."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{pid}/stat")
    return not stat.exists() or stat.read_text().rsplit(")", 1)[1].split()[0] != "Z"


SETS_UP = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs begin with it ignored
sys.path.insert(0, sys.argv[1])
import pack; pack.load()
from same_subject.dev import host
from same_subject.dev.setup import pip
with host.plain_errors(), open(sys.argv[3] + ".log", "w") as log:
    pip.watch([sys.executable, "-u", *sys.argv[2:]], None, lambda line, _: print(line, flush=True), log)
"""
BUILDS = """
import os, pathlib, subprocess, sys, time
wheel = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
pathlib.Path(sys.argv[1]).write_text(f"{os.getpid()} {wheel.pid}")
print("pip runs", flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize(
    "output, sentence",
    [
        ("OSError: [Errno 28] No space left on device", "The disk is full"),
        ("THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE", "another file than the pinned one"),
        (
            "NewConnectionError: [Errno 111]\nERROR: No matching distribution found for torch==2.11.0",
            "cannot be reached: check the network",
        ),
        ("ERROR: No matching distribution found for torch==2.11.0", "has no torch==2.11.0 for this system"),
        ("ERROR: something new", "pip failed: ERROR: something new"),
    ],
)
def test_the_failures_of_pip_become_one_sentence(output, sentence):
    message = pip.explain_pip(output, "setup.log")
    assert sentence in message and "\n" not in message and "setup.log" in message


@pytest.mark.slow
def test_without_a_network_there_is_one_sentence_and_exit_code_1(tmp_path):
    environment = {
        **pythons.clean_environment(),
        "SAME_SUBJECT_CACHE": str(tmp_path),
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_INDEX_URL": "http://127.0.0.1:9/simple",
        "PIP_NO_CACHE_DIR": "1",
    }
    for name in ("COMFYUI_PATH", hosts.CHILD, "PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS"):
        environment.pop(name, None)
    result = subprocess.run([sys.executable, str(pack.ROOT / "dev" / "demo.py")], env=environment, capture_output=True, text=True)
    assert result.returncode == 1
    assert "Traceback" not in result.stdout + result.stderr
    (line,) = result.stderr.strip().splitlines()
    assert line.startswith("Error: ") and ("check the network" in line or "GB are needed" in line)
