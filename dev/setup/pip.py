"""Running pip: short progress lines, everything in a log file, one sentence where it fails."""

from __future__ import annotations

import os
import queue
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO

from same_subject.dev import pack
from same_subject.dev.setup.errors import SetupError
from same_subject.dev.setup.pythons import clean_environment

DISK_PLENTY = 12 * 10**9
"""Bytes; where fewer are free, pip keeps no second copy of what it downloads."""


class Pip:
    """Runs an environment's pip: short progress lines here, everything in a log file."""

    def __init__(self, python: Path, cache: Path, say: Callable[[str], object]) -> None:
        self.python, self.cache, self.say = python, cache, say
        self.log = cache / "setup.log"
        self.has_written = False  # whether the last run got as far as writing packages

    def run(self, command: str, *arguments: str) -> None:
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

    def tell(self, line: str | None, seconds: float) -> None:
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


def watch(
    command: list[str],
    environment: dict[str, str],
    tell: Callable[[str | None, float], None],
    log: IO[str],
    quiet: float = 20,
) -> tuple[int, str]:
    """Run a command; returns exit code and whole output. Lines are told as they come, None after `quiet` seconds without."""
    started = time.monotonic()
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment,
        text=True, encoding="utf-8", errors="replace", start_new_session=os.name != "nt",
    )  # fmt: skip
    lines: queue.Queue[str | None] = queue.Queue()

    def read() -> None:
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
            kill(process)
            process.wait()


def kill(process: subprocess.Popen) -> None:
    """End a process that leads a session of its own, with all that it started: pip runs builds in further processes."""
    if os.name == "nt":
        process.kill()
    else:
        os.killpg(process.pid, signal.SIGKILL)


def explain_pip(output: str, log: Path) -> str:
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
        f"Python {sys.version.split()[0]}: Python {pack.PYTHONS} on Linux, Windows or an Apple-silicon Mac is needed.",
    }
    for sign, sentence in signs.items():
        found = re.search(sign, output)
        if found:
            return sentence.format(*found.groups()) + f" (Details: {log})"
    return f"pip failed: {last_line(output)} (Details: {log})"


def last_line(text: str) -> str:
    """The last line that says something."""
    return ([line.strip() for line in text.splitlines() if line.strip()] or ["no message"])[-1]
