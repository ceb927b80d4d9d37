"""What is done already, on disk, so that a run that was killed goes on with the next picture and writes none twice.

Beside the shards stand, in ``state/``, a line for each picture since the last shard was closed (`open.jsonl`) and a line for
each closed shard, with a summary of all pictures that it is about (`done.jsonl`). A shard holds what `open.jsonl` says, and
nothing else decides: it is written whole, then its line, then `open.jsonl` is emptied. Killed between any two of these, the next
run writes the same shard again under the same name, or forgets lines that stand in `done.jsonl`.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from ...dev.setup.caching import try_lock
from ...dev.setup.errors import SetupError
from ...nodes.data.pictures import Damaged
from ...nodes.data.shards import write_samples
from . import shards, statistics
from .sources import Item


class Journal:
    """One run's hold on a folder of shards. size: pictures a shard. settings: what decides about labels, as JSON keeps it.

    done: keys of all pictures that need no more work. statistics: of those. Raises SetupError where another run is at work
    there, or the folder was begun with other settings.
    """

    def __init__(self, folder: Path, settings: dict, size: int):
        self.folder, self.state, self.size = folder, folder / "state", size
        self.done: set[str] = set()
        self.statistics = statistics.Statistics()
        self.open: list[dict] = []
        self.shards = self.written = 0
        self.state.mkdir(parents=True, exist_ok=True)
        self.lock = locked(folder, "label")
        try:
            check_settings(folder, settings, "label")
            for part in (*folder.glob("*" + shards.PART), *self.state.glob("*" + shards.PART)):
                part.unlink()
            for line in lines(self.state / "done.jsonl", "label"):
                self._close(line)
            closed = set(self.done)
            for record in lines(self.state / "open.jsonl", "label"):
                if record["key"] not in closed:
                    self._take(record)
            self.file = open(self.state / "open.jsonl", "ab")  # noqa: SIM115
        except BaseException:
            self.lock.close()
            raise

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_) -> None:
        self.file.close()
        self.lock.close()

    def add(self, record: dict) -> None:
        """Keep a picture's record; where a shard is full, write it."""
        self.file.write(json.dumps(record, separators=(",", ":")).encode() + b"\n")
        self.file.flush()
        self._take(record)
        self.close_full()

    def close_full(self) -> None:
        """Write a shard if there are pictures for one."""
        if sum(record["outcome"] == statistics.KEPT for record in self.open) >= self.size:
            self.close()

    def close(self) -> None:
        """Write a shard of the pictures since the last one, however few."""
        if not self.open:
            return
        records = [self._checked(record) for record in self.open]
        kept = [record for record in records if record["outcome"] == statistics.KEPT]
        if kept:
            write_samples(self.folder / shards.name(self.shards), self._samples(kept))
        line = {"shard": shards.name(self.shards) if kept else None, "pictures": [statistics.summary(one) for one in records]}
        append(self.state / "done.jsonl", line)
        self.file.truncate(0)
        self.open = []
        self._close(line)

    def _samples(self, kept: list[dict]) -> Iterator[tuple[str, dict[str, bytes]]]:
        for number, record in enumerate(kept, self.written):
            yield shards.sample(number, record, _item(record).read())

    def _checked(self, record: dict) -> dict:
        """The record, or, where its picture is no longer what was labelled, that of a damaged one."""
        if record["outcome"] == statistics.KEPT:
            try:
                same = hashlib.sha256(_item(record).read()).hexdigest() == record["sha256"]
            except Damaged:
                same = False
            if not same:
                return {"key": record["key"], "outcome": statistics.DAMAGED, "reason": "it changed after it was labelled"}
        return record

    def _take(self, record: dict) -> None:
        self.open.append(record)
        self.done.add(record["key"])

    def _close(self, line: dict) -> None:
        for counted in line["pictures"]:
            self.done.add(counted["key"])
            self.statistics.add(counted)
            self.written += counted["outcome"] == statistics.KEPT
        self.shards += line["shard"] is not None


def locked(folder: Path, speaker: str) -> IO[bytes]:
    """A run's hold on a folder with a `state/`, until it is closed. Raises SetupError where another run has it."""
    lock = open(folder / "state" / "lock", "a+b")  # noqa: SIM115
    if not try_lock(lock):
        lock.close()
        raise SetupError(f"{speaker}: another run is at work in {folder}. Wait for it to end, or give another --output.")
    return lock


def check_settings(folder: Path, settings: dict, speaker: str) -> None:
    """Keep the settings of a folder's first run in `state/`. Raises SetupError where it was begun with others."""
    path, settings = folder / "state" / "settings.json", json.loads(json.dumps(settings))
    if not path.exists():
        part = path.with_name(path.name + shards.PART)
        part.write_text(json.dumps(settings, indent=1), encoding="utf-8")
        os.replace(part, path)
        return
    before = json.loads(path.read_text(encoding="utf-8"))
    other = sorted(name for name in {**before, **settings} if before.get(name) != settings.get(name))
    if other:
        raise SetupError(
            f"{speaker}: {folder} was begun with other settings ({', '.join(other)}: {before.get(other[0])!r}, now "
            f"{settings.get(other[0])!r}). Give the same to go on, or another --output."
        )


def _item(record: dict) -> Item:
    return Item(record["key"], record["path"], record["start"], record["length"])


def append(path: Path, line: dict) -> None:
    """A line more of a file, which is on disk afterwards."""
    with open(path, "ab") as file:
        file.write(json.dumps(line, separators=(",", ":")).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())


def lines(path: Path, speaker: str) -> Iterator[dict]:
    """The whole lines of a file; what a killed run left behind the last one is cut off. Raises SetupError with a damaged line."""
    if not path.exists():
        return
    with open(path, "r+b") as file:
        for number, line in enumerate(file, 1):
            if not line.endswith(b"\n"):
                file.truncate(file.seek(0, os.SEEK_END) - len(line))
                return
            try:
                yield json.loads(line)
            except ValueError as problem:
                raise SetupError(
                    f"{speaker}: line {number} of {path} is damaged. Give another --output, and begin anew."
                ) from problem
