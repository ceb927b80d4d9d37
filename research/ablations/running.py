"""What the command does: train arms one after the other, then measure the rows whose arms are there."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

from .. import export, measure
from . import curve, joined, tables, training
from .arms import ARMS, JOINED, SHIPPED, TABLES
from .measuring import Measurer
from .painting import Painter
from .training import Start


class Runs:
    """A folder of arms that are trained for ``steps``, and their figures by ``sampling_steps`` of the sampler."""

    def __init__(self, folder: Path, steps: int, sampling_steps: int, kept: int = 1024):
        self.folder, self.steps, self.sampling_steps, self.kept = folder, steps, sampling_steps, kept

    @cached_property
    def start(self) -> Start:
        return Start.load()

    @cached_property
    def measurer(self) -> Measurer:
        return Measurer(self.folder / "figures", self.sampling_steps, self.opened, self.path_of)

    def train(self, arms: list[str]) -> None:
        """Train those that are not finished."""
        for name in arms:
            if name == JOINED:
                print(f"{joined.train(self.folder, self.steps)} is there.", flush=True)
                continue
            if self.done(name) < self.steps:
                print(f"Training {name!r}: {self.done(name)} of {self.steps} steps are done.", flush=True)
            if not self.path_of(name).is_file():
                training.train(self.folder, name, self.steps, self.start, self.kept)

    def done(self, name: str) -> int:
        return training.steps_done(self.folder, name, self.steps)

    def measure(self, number: int, subjects: int | None = None) -> dict:
        """Measure, print and return a table; a row whose arm is not trained is marked."""
        table = TABLES[number]
        found: dict[str, list[dict]] = {}
        missing: dict[str, str] = {}
        for row in table.rows:
            if self.path_of(row.arm).is_file():
                found[row.name] = self.measurer.rows(row, subjects or table.subjects, table.views)
            else:
                missing[row.name] = f"{row.arm!r} has {self.done(row.arm)} of {self.steps} steps"
        differences = tables.of_modes(found) if number in (6, 11) else tables.compared(table, found)
        print("\n".join(tables.lines(number, table, found, differences, missing)) + "\n", flush=True)
        result = {"title": table.title, "rows": {name: tables.means(one) for name, one in found.items()}}
        if number == 11:
            result["picture"] = str(self.folder / "figure_11.png")
            curve.draw(curve.points(found), self.folder / "figure_11.png")
        return {**result, "differences": differences, "not_run": missing}

    def path_of(self, arm: str) -> Path:
        return export.FILES["joint"] if arm == SHIPPED else training.file_of(self.folder, arm, self.steps)

    def opened(self, arm: str) -> measure.Sampler:
        path = self.path_of(arm)
        if arm == SHIPPED:
            return measure.Sampler(path, self.sampling_steps)
        return Painter(ARMS[arm], path, self.sampling_steps, self.start)
