"""What a file says of its training on sets of pictures: a checkpoint in its metadata, a LoRA in its weights, too.

The host keeps metadata of the last LoRA on a model at most, so a LoRA says it where the model gets it: in rows of a factor of the
first convolution whose columns in the other factor are zero, which change nothing.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

import torch

ORDER_KEY, SIZES_KEY = "jedi.channel_order", "jedi.set_sizes"
PREDICTION_KEY, STEPS_KEY, DATA_KEY, BASE_KEY = "jedi.prediction", "jedi.steps", "jedi.data", "jedi.base_channels"
EPS, V = "eps", "v"
PREDICTIONS = (EPS, V)
"""What a model predicts: the noise, or v (Salimans and Ho, 2022)."""
BEGIN = "jedi{"
LONGEST = 400
"""Letters of `data` that a LoRA repeats in its weights."""


@dataclass(frozen=True)
class Trained:
    """channel_order: of a 9-channel UNet, None for one of 4 channels. prediction: one of PREDICTIONS, None if it is not said.

    set_sizes: pictures of the sets. steps, data: how long and on what, for people. base_channels: input channels of the model
    that a LoRA was trained on, None in a checkpoint.
    """

    channel_order: str | None = None
    prediction: str | None = None
    set_sizes: tuple[int, ...] = ()
    steps: int | None = None
    data: str = ""
    base_channels: int | None = None

    def metadata(self) -> dict[str, str]:
        """The same as metadata of a file, which `said` reads."""
        found = {
            ORDER_KEY: self.channel_order,
            PREDICTION_KEY: self.prediction,
            SIZES_KEY: ", ".join(str(size) for size in self.set_sizes),
            STEPS_KEY: self.steps,
            DATA_KEY: self.data,
            BASE_KEY: self.base_channels,
        }
        return {key: str(value) for key, value in found.items() if value not in (None, "")}


def said(metadata: dict[str, str]) -> Trained | None:
    """What metadata say; None where they are not of a model that was trained on sets. Raises ValueError for what is damaged."""
    if not {ORDER_KEY, SIZES_KEY} & set(metadata):
        return None
    prediction = metadata.get(PREDICTION_KEY)
    if prediction not in (None, *PREDICTIONS):
        raise ValueError(f"its metadata `{PREDICTION_KEY}` is `{prediction}`, but needs to be `{EPS}` or `{V}`")
    try:
        return Trained(
            metadata.get(ORDER_KEY),
            prediction,
            tuple(int(size) for size in metadata.get(SIZES_KEY, "").split(",") if size.strip()),
            int(metadata[STEPS_KEY]) if STEPS_KEY in metadata else None,
            metadata.get(DATA_KEY, ""),
            int(metadata[BASE_KEY]) if BASE_KEY in metadata else None,
        )
    except ValueError as problem:
        raise ValueError(f"its metadata of training on sets cannot be read: {problem}") from problem


def written(trained: Trained, width: int) -> torch.Tensor:
    """As rows [rows, ``width``] of a factor: the letters of `BEGIN` and of JSON, one a number, exact in half precision."""
    metadata = trained.metadata()
    if DATA_KEY in metadata:
        metadata[DATA_KEY] = metadata[DATA_KEY][:LONGEST]
    letters = (BEGIN[:-1] + json.dumps(metadata)).encode("ascii")
    rows = -(-len(letters) // width)
    return torch.tensor(list(letters.ljust(rows * width, b"\0")), dtype=torch.float32).view(rows, width)


def read(factor: torch.Tensor) -> Trained | None:
    """What `written` put among the rows of a factor [rank, ...], None if there is nothing. Raises ValueError as `said` does."""
    rows = factor.detach().flatten(1).float().cpu()
    begin = torch.tensor(list(BEGIN.encode()), dtype=torch.float32)
    if rows.shape[1] < len(begin):
        return None
    found = (rows[:, : len(begin)] == begin).all(dim=1).nonzero().flatten()
    if not len(found):
        return None
    letters = rows[int(found[0]) :].flatten()
    try:
        text = bytes(int(letter) for letter in letters[: int((letters != 0).nonzero()[-1]) + 1]).decode("ascii")
        metadata = json.loads(text[len(BEGIN) - 1 :])
        if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
            raise ValueError("they are not text by name")
    except (ValueError, OverflowError) as problem:
        raise ValueError(f"the words about its training in its weights cannot be read: {problem}") from problem
    return said(metadata)
