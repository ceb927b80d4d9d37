"""Run a ComfyUI server with this pack in it.

The server works from a temporary base directory of its own, so a user's ComfyUI folder is never
written to. `Server.client` talks to it.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType

from same_subject.dev import host as hosts
from same_subject.dev import pack
from same_subject.dev.client import Client, ServerDied, ServerError

FOLDER = "comfyui-same-subject"  # the pack's folder name inside custom_nodes
START_SECONDS = 600  # a machine may be slow or busy; a server that ends is noticed at once


class Server:
    """A ComfyUI server with this pack, as a context manager; `client` talks to it.

    What it prints goes to a log file, which is kept (and its place is said) where something fails.
    """

    def __init__(
        self,
        host: hosts.Host,
        extra_arguments: Sequence[str] = (),
        cpu: bool | None = None,
        say: Callable[[str], object] = print,
        variables: dict[str, str] | None = None,
        folder: Path = pack.ROOT,
    ) -> None:
        self.host, self.extra_arguments, self.cpu, self.say = host, tuple(extra_arguments), cpu, say
        self.variables, self.folder = variables or {}, folder
        self.process: subprocess.Popen | None = None

    def __enter__(self) -> Server:
        self.base = Path(tempfile.mkdtemp(prefix="same-subject-"))
        for name in ("custom_nodes", "input", "output", "models/checkpoints", "models/jedi_demo"):
            (self.base / name).mkdir(parents=True)
        self.log = self.base / "server.log"
        try:
            link_folder(self.folder, self.base / "custom_nodes" / FOLDER)
            self.start()
        except BaseException:
            self.stop(failed=True)
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.stop(failed=kind is not None and issubclass(kind, (ServerError, OSError)))

    def start(self) -> None:
        """Start the process and wait until it answers."""
        started = time.monotonic()
        cpu = needs_cpu(self.host.python) if self.cpu is None else self.cpu
        port = free_port()
        self.client = Client(f"http://127.0.0.1:{port}", self.log_tail)
        command = [
            str(self.host.python), "-u", str(self.host.root / "main.py"),
            "--listen", "127.0.0.1", "--port", str(port), "--base-directory", str(self.base),
            "--database-url", "sqlite:///:memory:", "--disable-auto-launch", "--disable-api-nodes",
            "--disable-all-custom-nodes", "--whitelist-custom-nodes", FOLDER,
            *(["--cpu", "--use-pytorch-cross-attention"] if cpu else []), *self.extra_arguments,
        ]  # fmt: skip
        own_group = {"start_new_session": True} if os.name != "nt" else {
            "creationflags": subprocess.CREATE_NEW_PROCESS_GROUP
        }  # fmt: skip
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, cwd=self.base,
                env={**server_environment(self.host), **self.variables}, **own_group,
            )  # fmt: skip
        self.wait_until_ready(started)
        if any("IMPORT FAILED" in line and FOLDER in line for line in self.log_text().splitlines()):
            raise ServerDied(f"ComfyUI could not import this pack.{self.log_tail(40)}")
        self.say(
            f"ComfyUI {self.host.version} is up on {'the CPU' if cpu else 'its accelerator'} ({time.monotonic() - started:.0f} s)"
        )

    def wait_until_ready(self, started: float) -> None:
        """Poll until the server answers; raises `ServerDied` where it ends or takes too long."""
        while time.monotonic() - started < START_SECONDS:
            if self.process.poll() is not None:
                raise ServerDied(f"ComfyUI ended while starting.{self.log_tail()}")
            try:
                self.client.get("/system_stats")
                return
            except (ServerError, OSError):
                time.sleep(0.2)
        raise ServerDied(f"ComfyUI did not answer within {START_SECONDS} s.{self.log_tail()}")

    def stop(self, failed: bool = False) -> None:
        """End the process whatever its state, and remove the base directory; a log is kept on failure."""
        if self.process is not None and self.process.poll() is None:
            hosts.end(self.process)
        if failed and self.log.exists():
            kept = Path(tempfile.gettempdir()) / f"{self.base.name}.log"
            shutil.copyfile(self.log, kept)
            self.say(f"The server's log is kept: {kept}")
        unlink_folder(self.base / "custom_nodes" / FOLDER)
        shutil.rmtree(self.base, ignore_errors=True)

    def log_text(self) -> str:
        """Everything that the server has printed so far."""
        return self.log.read_text(encoding="utf-8", errors="replace") if self.log.exists() else ""

    def log_tail(self, lines: int = 15) -> str:
        """The end of the log, on lines of its own, for an error message."""
        tail = self.log_text().splitlines()[-lines:]
        return "".join(f"\n    {line}" for line in tail)


def server_environment(host: hosts.Host) -> dict[str, str]:
    """Variables for the server: this process's, without those that would change its imports."""
    environment = {**os.environ, **hosts.bytecode_elsewhere(host)}
    for name in ("PYTHONHOME", "PYTHONPATH", hosts.CHILD):
        environment.pop(name, None)
    return environment


def needs_cpu(python: Path) -> bool:
    """Whether the host must be told to use the CPU, because its torch sees no accelerator."""
    devices = ("/dev/nvidiactl", "/dev/kfd", "/dev/dri", "/dev/dxg", "/dev/davinci_manager")
    if sys.platform.startswith("linux") and not any(map(os.path.exists, devices)):
        return True
    probe = (
        "import torch; a = getattr(torch, 'accelerator', None); "
        "print(bool(torch.cuda.is_available() or torch.backends.mps.is_available() or (a and a.is_available())))"
    )
    answer = subprocess.run([str(python), "-c", probe], capture_output=True, text=True)
    return "True" not in answer.stdout


def free_port() -> int:
    """A port that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def link_folder(source: Path, link: Path) -> None:
    """Make the folder `source` appear at `link`: a link (on Windows a junction), else a copy."""
    try:
        if os.name == "nt":
            import _winapi

            _winapi.CreateJunction(str(source), str(link))
        else:
            os.symlink(source, link, target_is_directory=True)
    except OSError:
        shutil.copytree(source, link, ignore=shutil.ignore_patterns(".git", "__pycache__", "runs", "output"))


def unlink_folder(link: Path) -> None:
    """Remove what `link_folder` made, never what it points to."""
    try:
        if os.path.islink(link):
            os.unlink(link)
        elif os.name == "nt":
            os.rmdir(link)  # a junction; a copy is not empty and stays for rmtree
    except OSError:
        pass


def link_file(source: Path, link: Path) -> None:
    """Make a (large) file appear at `link`: a link, else a hard link, else a copy."""
    for way in (os.symlink, os.link, shutil.copyfile):
        try:
            way(source, link)
            return
        except OSError as error:
            failure = error
    raise ServerError(f"{source} cannot be put into the server's folder: {failure}")
