"""A process of its own for each piece of work, with a time limit: a fault in one ends no other. Standard library only.

What is asked for is an order, a dict: `work`, a key of `child.WORK`; `output`, the file for what comes of it; `flags`,
the host's own, such as --novram; and what that work needs besides.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SCRIPT = Path(__file__).resolve().parent.parent / "gpu.py"
KEPT_LINES = 15
"""Lines of what a failed process printed that are kept."""


def run(order, seconds, python=sys.executable, root=None):
    """Run an order. Returns (the error in one line or None, the last lines it printed). root: ComfyUI's; None is the same."""
    variables = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", **({"COMFYUI_PATH": str(root)} if root else {})}
    command = [str(python), "-u", str(SCRIPT), "--child", json.dumps(order)]
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as log:
        process = subprocess.Popen(
            command, stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, env=variables,
            start_new_session=os.name == "posix" and order["work"] != "cases",  # which are a stage's own, and end with it
        )  # fmt: skip
        late = False
        try:
            process.wait(timeout=max(seconds, 1))
        except subprocess.TimeoutExpired:
            late = True
        finally:
            end(process)
        log.seek(0)
        lines = [line.rstrip() for line in log if line.strip()][-KEPT_LINES:]
    if late:
        return f"stopped after {seconds:.0f} s, the time it may take", lines
    if process.returncode:
        return f"exit code {process.returncode}: {(lines or ['nothing was printed'])[-1]}", lines
    return None, lines


def end(process):
    """End a process and, where it leads a group, what it started. One that has ended by itself has nothing left to end."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if os.name == "posix" and os.getpgid(process.pid) == process.pid:
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
    process.wait()


def left(deadline):
    """Seconds until a moment of `time.monotonic`."""
    return deadline - time.monotonic()
