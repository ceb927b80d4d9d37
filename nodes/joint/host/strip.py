"""A live strip: while a set is sampled, a small picture of all its rows goes to the client that queued it, and to no other."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from io import BytesIO
from typing import Any

import latent_preview
import torch
from PIL import Image, ImageOps

from ..layout import Layout

EVENT = "same-subject.strip"
PAUSE = 0.25
"""Seconds between two strips, at least."""
SHARE = 10
"""A strip that took a second is followed by so many without one: it costs a tenth of a run's time at most."""
SIDES = (24, 96)
"""Side of the square that a row has in a strip, in pixels: of very many rows, and of few."""
MOST_PIXELS = 2**19
ACROSS = 6
"""Most rows beside each other."""
GAP = 2

Callback = Callable[[int, torch.Tensor, torch.Tensor, int], Any]


@contextmanager
def beside(callback: Callback | None, node: str | None, model, layout: Layout) -> Iterator[Callback | None]:
    """A run's ``callback`` with a strip for ``node`` after it, if a client watches and the user's previews are not off.

    model: the ModelPatcher that is sampled. Nothing is computed, and the callback stays what it was, where nobody watches. When
    the run ends, in whatever way, the client is told to take the strip away.
    """
    send = None if callback is None else sender(node)
    previewer = latent_preview.get_previewer(model.load_device, model.model.latent_format) if send else None
    if callback is None or send is None or previewer is None:
        yield callback
        return
    strip = _Strip(callback, send, previewer, layout)
    try:
        yield strip
    finally:
        if strip.shown:
            strip.send(picture=None)


def sender(node: str | None) -> Callable[..., None] | None:
    """A function that sends what it is given by name to the client that queued ``node``; None where nobody watches."""
    server = None if node is None else _server()
    if server is None or server.client_id is None:
        return None
    client, prompt = server.client_id, server.last_prompt_id
    return lambda **said: server.send_sync(EVENT, {"node": node, "prompt_id": prompt, **said}, client)


def _server():
    from server import PromptServer

    return getattr(PromptServer, "instance", None)


class _Strip:
    """The callback of one run: what it was before, then a strip where one is due."""

    def __init__(self, before: Callback, send: Callable[..., None], previewer, layout: Layout):
        self.before, self.previewer, self.layout = before, previewer, layout
        self.send = partial(send, sets=layout.sets, pictures=layout.pictures, references=layout.references)
        self.due, self.shown = 0.0, False

    def __call__(self, step: int, denoised: torch.Tensor, x: torch.Tensor, steps: int) -> None:
        self.before(step, denoised, x, steps)
        begun = time.monotonic()
        if begun < self.due or denoised.shape[0] != self.layout.rows:
            return
        shown = picture(self.previewer, denoised, self.layout)
        self.send(picture=jpeg(shown), size=shown.size, step=step + 1, steps=steps)
        self.shown = True
        ended = time.monotonic()
        self.due = ended + max(PAUSE, SHARE * (ended - begun))


def picture(previewer, denoised: torch.Tensor, layout: Layout) -> Image.Image:
    """All rows of latents [B, C, h, w], as the host's ``previewer`` shows one: a set under another, ACROSS beside each other."""
    rows = [previewer.decode_latent_to_preview_image("JPEG", denoised[row : row + 1])[1] for row in range(layout.rows)]
    least, most = SIDES
    side = max(least, min(most, int((MOST_PIXELS / layout.rows) ** 0.5)))
    cells = [ImageOps.contain(row, (side, side)) for row in rows]
    width, height = max(cell.width for cell in cells) + GAP, max(cell.height for cell in cells) + GAP
    across = min(ACROSS, layout.size)
    down = -(-layout.size // across)
    strip = Image.new("RGB", (across * width - GAP, layout.sets * down * height - GAP))
    for row, cell in enumerate(cells):
        number, place = divmod(row, layout.size)
        strip.paste(cell, (place % across * width, (number * down + place // across) * height))
    return strip


def jpeg(strip: Image.Image) -> str:
    """As the frontend can show it without fetching."""
    held = BytesIO()
    strip.save(held, "JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(held.getvalue()).decode()
