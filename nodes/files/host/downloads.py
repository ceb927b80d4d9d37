"""Downloads and checks of hashes that users asked for: one at a time, in a thread of their own, each with its progress."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ...host import catalogue
from .. import archive, transfer
from ..transfer import Stopped, Watch
from ..wanted import Need
from . import listing, places

WAITING, DONE, STOPPED, FAILED = "waiting", "done", "stopped", "failed"
SECONDS_BETWEEN = 0.25
"""Progress is told no oftener."""


@dataclass
class Job:
    """One file to get or to check, and how far it is."""

    need: Need
    work: Callable[[Need, Watch], str]
    client: str
    state: str = WAITING
    got: int = 0
    total: int = 0
    message: str = ""
    stop: threading.Event = field(default_factory=threading.Event)

    @property
    def ended(self) -> bool:
        return self.state in (DONE, STOPPED, FAILED)

    def said(self) -> dict[str, Any]:
        """What clients hear of it."""
        return {
            "name": self.need.name, "state": self.state, "got": self.got, "total": self.total, "message": self.message,
        }  # fmt: skip


class Jobs:
    """The queue of them. tell: hears `(client, what a job says)`, from the thread that works."""

    def __init__(self, tell: Callable[[str, dict], object]) -> None:
        self.tell, self.lock = tell, threading.Lock()
        self.known: dict[str, Job] = {}
        self.queue: deque[Job] = deque()
        self.working = False

    def start(self, need: Need, work: Callable[[Need, Watch], str], client: str) -> Job:
        """Queue a file; one that waits or runs already is not queued twice."""
        with self.lock:
            known = self.known.get(need.name)
            if known and not known.ended:
                return known
            job = self.known[need.name] = Job(need, work, client)
            self.queue.append(job)
            if not self.working:
                self.working = True
                threading.Thread(target=self._work, name="same-subject-files", daemon=True).start()
            return job

    def stop(self, name: str) -> bool:
        """Ask a job to stop; what it got so far stays. False where none of this name waits or runs."""
        with self.lock:
            job = self.known.get(name)
            if job is None or job.ended:
                return False
            job.stop.set()
            return True

    def of(self, name: str) -> dict[str, Any] | None:
        """What a job says; one that has ended says so once."""
        with self.lock:
            job = self.known.get(name)
            if job and job.ended:
                del self.known[name]
            return job.said() if job else None

    def _work(self) -> None:
        while True:
            with self.lock:
                if not self.queue:
                    self.working = False
                    return
                job = self.queue.popleft()
            self._do(job)

    def _do(self, job: Job) -> None:
        last = 0.0

        def heard(state: str, got: int, total: int) -> None:
            nonlocal last
            changed = state != job.state
            job.state, job.got, job.total = state, got, total
            if changed or time.monotonic() - last >= SECONDS_BETWEEN:
                last = time.monotonic()
                self.tell(job.client, job.said())

        try:
            if job.stop.is_set():
                raise Stopped
            job.message = job.work(job.need, Watch(heard, job.stop.is_set))
            job.state = DONE
        except Stopped:
            job.message, job.state = "Stopped. What has come stays, and the next download goes on from there.", STOPPED
        except Exception as problem:  # whatever it is, the user who waits hears of it, and the next file has its turn
            job.message, job.state = str(problem) or type(problem).__name__, FAILED
        self.tell(job.client, job.said())


def download(need: Need, watch: Watch, local: bool = False) -> str:
    """Get a needed file into its folder, or all that its archive holds. local: for tests, see `transfer.fetch`.

    Returns what to say of it. Raises ValueError with the remedy, or Stopped.
    """
    held, folder = listing.members(need), places.destination(need)
    target = folder.joinpath(*need.name.split("/"))
    room = sum(member.size for member in held)
    transfer.fetch(listing.source(need), target, catalogue.whole()["hosts"], watch, room, local)
    if not held:
        return f"{target} is there, with the published hash."
    try:
        archive.take(target, held, folder, watch)
    except OSError as failure:
        raise ValueError(f"{need.name}: {transfer.disk_problem(failure, target)}") from failure
    finally:
        target.unlink(missing_ok=True)
    return f"{', '.join(member.name for member in held)} are in {folder}, with the published hashes."


def verify(need: Need, watch: Watch) -> str:
    """Compare the hash of a file that is there, or of all that its archive holds, with the published one.

    Returns what to say of it. Raises ValueError where it is another, or Stopped.
    """
    path, held = listing.where(need), listing.members(need)
    if path is None:
        raise ValueError(f"{need.name} is not there any more. Press Check again.")
    wanted = {path / member.name: member.sha256 for member in held} or {path: listing.source(need).sha256}
    for each, published in wanted.items():
        found = transfer.digest(each, watch)
        if found != published:
            raise ValueError(
                f"{each} is not the published file: its sha256 is {found}, published is {published}. Move it away and download "
                "it, or keep it if you trust it."
            )
    return f"{path}: sha256 as published."
