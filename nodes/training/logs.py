"""What a training says while it runs, and where its figures go."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .loop import Loop

QUIET = 30.0
"""Seconds between two lines of `Progress`."""


def tensorboard(folder: Path) -> Callable[[int, dict], None]:
    """A log for `Loop` that draws every figure in TensorBoard: `tensorboard --logdir <folder>` shows it.

    A run that goes on draws over what it does again. Raises ImportError with the remedy where the package is missing.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as problem:
        raise ImportError(
            "Training: a TensorBoard log was asked for, which needs the package tensorboard, and that is not installed. Run "
            "`python -m pip install tensorboard` with ComfyUI's Python, or leave it out."
        ) from problem
    writers: dict[str, SummaryWriter] = {}

    def log(step: int, line: dict) -> None:
        if not writers:
            writers["run"] = SummaryWriter(str(folder), purge_step=step)
        for name, value in line.items():
            if name != "step" and isinstance(value, (int, float)):
                writers["run"].add_scalar(name, value, step)
        writers["run"].flush()

    return log


class Progress:
    """A watcher of each step that prints how far a training is: at its first and last step, and every ``quiet`` seconds.

    Figures are means over the steps since the line before. The pace leaves out the first step, which takes longer than others.
    """

    def __init__(self, say: Callable[[str], object] = print, quiet: float = QUIET, clock: Callable[[], float] = time.monotonic):
        self.say, self.quiet, self.clock = say, quiet, clock
        self.done, self._since, self._said = 0, 0, 0.0
        self._begun: tuple[int, float] | None = None
        self._figures: dict[str, list[float]] = {}

    def __call__(self, loop: Loop) -> None:
        now, self.done = self.clock(), loop.done
        for name, value in loop.last.items():
            self._figures.setdefault(name, []).append(value)
        first = self._begun is None
        if self._begun is None:
            self._begun = loop.done, now
        if first or loop.done == loop.steps or now - self._said >= self.quiet:
            if loop.processes.rank == 0:
                self.say(self._line(loop, now))
            self._figures, self._said = {}, now

    def _line(self, loop: Loop, now: float) -> str:
        assert self._begun is not None
        means = [f"{name} {sum(values) / len(values):.4f}" for name, values in self._figures.items()]
        steps, seconds = loop.done - self._begun[0], now - self._begun[1]
        pace = []
        if steps:
            each = seconds / steps
            pace.append(f"{each:.3g} s a step" + f", {lasting(each * (loop.steps - loop.done))} to go" * (loop.done < loop.steps))
        return "   ".join((f"step {loop.done} of {loop.steps}", *means, *pace))


def lasting(seconds: float) -> str:
    """A time as people say it, in its largest unit or two: `40 s`, `12 min`, `3 h 05 min`."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02} min"
