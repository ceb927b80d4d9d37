"""Sets as they come from many servers, gathered into shards that are written once and whole, wherever a run is killed.

Beside the shards stands, in ``state/``: a line for each finished item (`items.jsonl`), the sets of those that are in no shard yet
(`open/<name>.sets`, so that nobody who reads the shards reads them twice), and a line for each shard with the items that it holds
(`shards.jsonl`). An item's file is there before its line; a shard is there before its line; and only then its items' files go.
Killed between any two of these, the next run does an item again under its name, or writes the same shard again under the same
one.
"""

from __future__ import annotations

import os
import re
import tarfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from ..dev.setup.errors import SetupError
from ..nodes.data import shards
from .labels import journal

KEY = re.compile(r"[\w-]+")
OPEN = ".sets"
"""Ending of an item's file, which is a shard by another name."""


class SetShards:
    """One run's hold on a folder of shards. size: sets a shard. settings: what decides about sets, as JSON keeps it.

    items: how many sets each finished item gave, by name. counts: what was counted of all of them. Raises SetupError where
    another run is at work there, or the folder was begun with other settings.
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
            for line in journal.lines(self.state / "items.jsonl", "synthesize"):
                self._count(line)
            held = {name for line in self.closed for name in line["items"]}
            for path in self.open_folder.iterdir():
                if path.stem in held or path.suffix == shards.PART:
                    path.unlink()
            self.open = [name for name, sets in self.items.items() if sets and name not in held]
            if lost := [name for name in self.open if not self._file(name).is_file()]:
                raise SetupError(
                    f"synthesize: {self._file(lost[0])} is gone, but {self.state / 'items.jsonl'} names it. Put it back, or give "
                    "another --output."
                )
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
            part.write_bytes(data)
            try:
                sets = sum(1 for _ in self._members(part, name))
            except (tarfile.TarError, OSError, EOFError) as problem:
                raise ValueError(f"the shard of {name} is damaged: {problem}") from problem
            finally:
                if not sets:
                    part.unlink()
            if sets:
                os.replace(part, self._file(name))
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

    def _file(self, name: str) -> Path:
        return self.open_folder / f"{name}{OPEN}"
