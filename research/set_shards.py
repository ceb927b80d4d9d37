"""Sets as they come from many servers, gathered into shards that are written once and whole, wherever a run is killed.

Beside the shards stands, in ``state/``: a line for each finished item (`items.jsonl`), the sets of those that are in no shard yet
(`open/<name>.sets`, so that nobody who reads the shards reads them twice), and a line for each shard with the items that it holds
(`shards.jsonl`). An item's file is on disk before its line, a shard before its line, and only then its items' files go. Killed
between any two of these, the next run does an item again under its name, or writes the same shard again under the same one. A
line whose item's file cannot be read is taken out, so that the item is done again.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import tarfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from ..nodes.data import shards
from .labels import journal

KEY = re.compile(r"[\w-]+")
OPEN = ".sets"
"""Ending of an item's file, which is a shard by another name."""


class SetShards:
    """One run's hold on a folder of shards. size: sets a shard. settings: what decides about sets, as JSON keeps it.

    items: how many sets each finished item gave, by name. counts: what was counted of all of them. lost: how many items were done
    before whose files are gone or damaged. Raises SetupError where another run is at work there, or the folder was begun with
    other settings.
    """

    def __init__(self, folder: Path, settings: dict, size: int):
        self.folder, self.state, self.size = folder, folder / "state", size
        self.open_folder = self.state / "open"
        self.open_folder.mkdir(parents=True, exist_ok=True)
        self.lock = journal.locked(folder, "synthesize")
        try:
            journal.check_settings(folder, settings, "synthesize")
            self.closed = list(journal.lines(self.state / "shards.jsonl", "synthesize"))
            self.items: dict[str, int] = {}
            self.counts: Counter[str] = Counter()
            held = {name for line in self.closed for name in line["items"]}
            lost: set[str] = set()
            for line in journal.lines(self.state / "items.jsonl", "synthesize"):
                if line["name"] in held or self._is_whole(line):
                    self._count(line)
                else:
                    lost.add(line["name"])
            self.lost = len(lost)
            if lost:
                self._forget(lost)
            self.open = [name for name, sets in self.items.items() if sets and name not in held]
            still = {self._file(name) for name in self.open}
            for path in self.open_folder.iterdir():
                if path not in still:
                    path.unlink()
        except BaseException:
            self.lock.close()
            raise

    def __enter__(self) -> SetShards:
        return self

    def __exit__(self, *_) -> None:
        self.lock.close()

    def add(self, name: str, data: bytes | None, about: dict[str, float]) -> None:
        """Keep an item: its shard as a server gave it, or None where it made no set. about: what is counted beside its sets.

        Raises ValueError where the shard is damaged or holds what is not of this item; then nothing is kept.
        """
        sets = 0
        if data is not None:
            part = self._file(name).with_suffix(shards.PART)
            with open(part, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            try:
                sets = sum(1 for _ in self._members(part, name))
            except (tarfile.TarError, OSError, EOFError) as problem:
                raise ValueError(f"the shard of {name} is damaged: {problem}") from problem
            finally:
                if not sets:
                    part.unlink()
            if sets:
                os.replace(part, self._file(name))
                _sync_names(self.open_folder)
        line = {"name": name, "sets": sets, "about": about}
        journal.append(self.state / "items.jsonl", line)
        self._count(line)
        if sets:
            self.open.append(name)
            if sum(self.items[one] for one in self.open) >= self.size:
                self.close()

    def close(self) -> None:
        """Write a shard of the sets that are in none yet, however few."""
        if not self.open:
            return
        name = f"sets-{len(self.closed):06d}{shards.SUFFIX}"
        shards.write_samples(self.folder / name, self._samples())
        _sync_names(self.folder)
        self.closed.append({"shard": name, "items": self.open})
        journal.append(self.state / "shards.jsonl", self.closed[-1])
        for one in self.open:
            self._file(one).unlink()
        self.open = []

    def _count(self, line: dict) -> None:
        self.items[line["name"]] = line["sets"]
        self.counts.update({**line["about"], "items": 1, "sets": line["sets"]})

    def _samples(self) -> Iterator[tuple[str, dict[str, bytes]]]:
        for name in self.open:
            yield from self._members(self._file(name), name)

    def _members(self, path: Path, name: str) -> Iterator[tuple[str, dict[str, bytes]]]:
        """The sets of an item's file. Raises ValueError for one that has a name of another item."""
        with open(path, "rb") as file:
            for key, found in shards.samples(path):
                if not KEY.fullmatch(key) or not key.startswith(f"{name}-"):
                    raise ValueError(f"the shard of {name} holds a set {key[:100]!r}, which is not of it")
                fields = {}
                for field, (start, length) in found.items():
                    file.seek(start)
                    fields[field] = file.read(length)
                yield key, fields

    def _is_whole(self, line: dict) -> bool:
        """Whether an item's file holds the sets that its line says."""
        try:
            return not line["sets"] or sum(1 for _ in shards.samples(self._file(line["name"]))) == line["sets"]
        except (tarfile.TarError, OSError, EOFError):
            return False

    def _forget(self, names: set[str]) -> None:
        """Take items' lines out."""
        path = self.state / "items.jsonl"
        part = path.with_name(path.name + shards.PART)
        with open(part, "wb") as file:
            for line in journal.lines(path, "synthesize"):
                if line["name"] not in names:
                    file.write(json.dumps(line, separators=(",", ":")).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)

    def _file(self, name: str) -> Path:
        return self.open_folder / f"{name}{OPEN}"


def _sync_names(folder: Path) -> None:
    """Have the names of a folder's files on disk, where the system can (Windows and some network disks cannot)."""
    with contextlib.suppress(OSError, AttributeError):
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
