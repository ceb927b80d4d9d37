"""Training in the processes that accelerate's launcher starts, which end with this one."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import psutil

TOLD = (signal.SIGINT, signal.SIGTERM)


def launch(configuration: Path, script: str, arguments: Sequence[str], patience: float) -> int:
    """Run a command again in processes as accelerate's ``configuration`` says, see `together`."""
    command = [sys.executable, "-m", "accelerate.commands.launch", "--quiet", "--config_file", str(configuration)]
    return together([*command, script, *arguments], patience)


def together(command: Sequence[str], patience: float) -> int:
    """Run a command in a group of its own; its exit code, once all of the group have ended.

    A SIGINT or SIGTERM is handed on to all, for the launcher of a single process ends without it; who is still there after
    ``patience`` seconds is killed. Then it is 128 and the signal.
    """
    if os.name == "nt":
        return subprocess.call(command)
    told: list[tuple[int, float]] = []

    def hand_on(number: int, frame: object) -> None:
        told.append((number, time.monotonic()))
        _signal(process.pid, number)

    before = {number: signal.signal(number, hand_on) for number in TOLD}
    try:
        process = subprocess.Popen(command, start_new_session=True)
        while process.poll() is None or (told and _alive(process.pid)):
            if told and time.monotonic() - told[0][1] > patience:
                _signal(process.pid, signal.SIGKILL)
            time.sleep(0.1)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return 128 + told[0][0] if told else process.returncode


def _signal(group: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, number)


def _alive(group: int) -> bool:
    """Whether a process of the group is there; one that ended, and that nobody asked after, is not."""
    for one in psutil.process_iter():
        with contextlib.suppress(psutil.Error, ProcessLookupError):
            if os.getpgid(one.pid) == group and one.status() != psutil.STATUS_ZOMBIE:
                return True
    return False
