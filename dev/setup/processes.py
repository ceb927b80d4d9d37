"""Going on with a command in the Python of the ComfyUI."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from same_subject.dev.setup.caching import cache_folder
from same_subject.dev.setup.comfyui import Host

CHILD = "SAME_SUBJECT_CHILD"
"""The variable that tells a command that it runs inside already."""


PATIENCE = 20.0
"""Seconds in which a command may end by itself once it is told to stop."""


def continue_inside(
    host: Host, script: str | Path, arguments: Sequence[str], *tools: Path | None, patience: float = PATIENCE
) -> int:
    """Run a command again with the host's Python, which finds packages in these folders, too; return its exit code."""
    environment = {**os.environ, **bytecode_elsewhere(host), CHILD: "1", "COMFYUI_PATH": str(host.root)}
    environment.pop("PYTHONHOME", None)
    if any(tools):
        environment["PYTHONPATH"] = os.pathsep.join(
            [*map(str, filter(None, tools)), *filter(None, [os.environ.get("PYTHONPATH")])]
        )
    return wait_for(subprocess.Popen([str(host.python), "-u", str(script), *arguments], env=environment), patience)


def wait_for(process: subprocess.Popen, patience: float = PATIENCE) -> int:
    """The exit code of a child process; if this one is told to stop, the child may first clean up.

    On Ctrl-C a terminal tells both. A SIGTERM, or a SIGINT for this process alone, is handed on.
    """
    before = signal.signal(signal.SIGTERM, lambda *_: process.terminate())
    try:
        return process.wait()
    except KeyboardInterrupt:
        told = (lambda: None) if _in_front() else lambda: process.send_signal(signal.SIGINT)
        for stop in (told, process.terminate, process.kill):
            stop()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=patience)
                break
        raise
    finally:
        signal.signal(signal.SIGTERM, before)


def _in_front() -> bool:
    """Whether a terminal tells this process and its children of Ctrl-C."""
    try:
        return os.tcgetpgrp(0) == os.getpgrp()
    except (OSError, AttributeError):  # there is none; on Windows nobody can ask, and a console tells all
        return os.name == "nt"


def end(process: subprocess.Popen, patience: float = 10) -> None:
    """End a process whatever its state; one that does not stop when it is told to is killed."""
    process.terminate()
    try:
        process.wait(timeout=patience)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def bytecode_elsewhere(host: Host) -> dict[str, str]:
    """Variables that keep the bytecode of a user's own ComfyUI out of its folder."""
    return {} if host.private else {"PYTHONPYCACHEPREFIX": str(cache_folder() / "bytecode")}


def inside() -> Host | None:
    """The `Host` whose Python this process is, where `continue_inside` started it; else None."""
    if os.environ.get(CHILD) != "1":
        return None
    root = Path(os.environ["COMFYUI_PATH"])
    return Host(root, Path(sys.executable), private=cache_folder() in root.parents)
