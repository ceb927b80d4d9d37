"""A server that is watched from inside: what it did that reading pictures and weights never should, and its memory."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from same_subject.dev import pack

LOG = "watched.log"
"""In the server's folder."""
SYSTEM = (
    "/usr",
    "/lib",
    "/lib64",
    "/proc",
    "/sys",
    "/dev",
    "/etc/ld.so.cache",
    "/etc/localtime",
    "/etc/mime.types",
    "/etc/os-release",
    "/etc/fonts",
)


def variables(host, python_path: str) -> dict[str, str]:
    """Environment variables with which a server of ``host`` is watched. It works in its own folder, which is `.` here."""
    own = [".", str(pack.ROOT), str(host.root), sys.prefix, sys.base_prefix, str(Path(host.python).parent.parent), *SYSTEM]
    readable = [*own, *filter(None, python_path.split(os.pathsep)), *filter(None, [sys.pycache_prefix])]
    return {
        "PYTHONPATH": os.pathsep.join(filter(None, [str(Path(__file__).parent / "watch"), python_path])),
        "SAME_SUBJECT_WATCH": LOG,
        "SAME_SUBJECT_FOLDERS": os.pathsep.join(readable),
        "SAME_SUBJECT_WRITABLE": os.pathsep.join((".", "/dev/null")),
        "TMPDIR": ".",
    }


class Watched:
    """What a running server does while a test of hostile inputs runs."""

    def __init__(self, live) -> None:
        self.live, self.log = live, live.base / LOG
        self.seen = len(self.lines())
        self.memory = self.status("VmRSS")
        with contextlib.suppress(OSError):
            Path(f"/proc/{live.process.pid}/clear_refs").write_text("5")  # the peak begins anew

    def lines(self) -> list[str]:
        return self.log.read_text(encoding="utf-8").splitlines()

    def acts(self) -> list[str]:
        """What it has done since, a line each; see `watch/sitecustomize.py`."""
        return self.lines()[self.seen :]

    def grown(self) -> float:
        """GiB by which its memory has been larger since than it was then; 0 where the system does not say."""
        return max(0, self.status("VmHWM") - self.memory) / 2**20

    def status(self, name: str) -> int:
        """KiB, as Linux counts them."""
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{self.live.process.pid}/status").read_text().splitlines():
                if line.startswith(name + ":"):
                    return int(line.split()[1])
        return 0


@contextlib.contextmanager
def limited(live, more: int) -> Iterator[None]:
    """Keep a server from taking more than ``more`` bytes beyond what it has, so that a test that fails spares the machine."""
    try:
        import resource

        before = resource.prlimit(live.process.pid, resource.RLIMIT_AS)
    except (ImportError, AttributeError, OSError):
        yield
        return
    has = Watched(live).status("VmSize") * 1024
    resource.prlimit(live.process.pid, resource.RLIMIT_AS, (has + more, before[1]))
    try:
        yield
    finally:
        resource.prlimit(live.process.pid, resource.RLIMIT_AS, before)
