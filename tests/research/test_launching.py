"""A training in several processes ends as a whole."""

import os
import signal
import sys
import time

import psutil
import pytest
from same_subject.research import launching
from same_subject.tests.tiny import apart

pytestmark = pytest.mark.skipif(os.name == "nt", reason="groups of processes are of POSIX")

RANK = """
import os, signal, sys, time
def stop(*_):
    time.sleep(0.5)
    open(sys.argv[1], "a").write(f"written {os.getpid()}\\n")
    sys.exit(0)
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, signal.SIG_IGN if sys.argv[2] == "deaf" else stop)
open(sys.argv[1], "a").write(f"{os.getpid()}\\n")
time.sleep(60)
"""
LAUNCHER = "import subprocess, sys; subprocess.Popen([sys.executable, *sys.argv[1:]]).wait()"
"""As that of accelerate waits for a single process."""


PATIENCE = {"writes": 60, "deaf": 1}


def run(folder):
    """In a process of its own, as `apart` has them; folder: with the kind of rank for a name."""
    command = [sys.executable, "-c", LAUNCHER, str(folder / "rank.py"), str(folder / "said"), folder.name]
    (folder / "code").write_text(str(launching.together(command, PATIENCE[folder.name])))


@pytest.mark.parametrize("number", (signal.SIGINT, signal.SIGTERM))
@pytest.mark.parametrize("kind", ("writes", "deaf"))
def test_what_is_told_to_stop_writes_its_state_first_and_none_is_left(tmp_path, number, kind):
    folder = tmp_path / kind
    folder.mkdir()
    (folder / "rank.py").write_text(RANK)
    process, said = apart.started(__name__, "run", folder), folder / "said"
    while not said.exists() or not said.read_text():
        assert process.poll() is None
        time.sleep(0.05)
    rank = int(said.read_text())
    process.send_signal(number)
    assert process.wait(30) == 0 and int((folder / "code").read_text()) == 128 + number
    assert said.read_text() == f"{rank}\n" + f"written {rank}\n" * (kind == "writes")
    assert not psutil.pid_exists(rank) or psutil.Process(rank).status() == psutil.STATUS_ZOMBIE


def test_the_exit_code_is_the_commands():
    before = signal.getsignal(signal.SIGINT)
    assert launching.together([sys.executable, "-c", "raise SystemExit(3)"], 1) == 3
    assert signal.getsignal(signal.SIGINT) is before
