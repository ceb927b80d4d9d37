"""Where the log of a training goes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from .loop import say


def tensorboard(folder: Path) -> Callable[[int, dict], None]:
    """A log for `Loop` that prints, and draws every figure in TensorBoard: `tensorboard --logdir <folder>` shows it.

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
        say(step, line)

    return log
