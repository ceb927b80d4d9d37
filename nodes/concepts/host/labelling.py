"""Pictures with the boxes that were found drawn on them."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from ..places import Boxes

COLOURS = ("#e6194b", "#3cb44b", "#4363d8", "#f58231", "#911eb4", "#42d4f4", "#f032e6", "#bfef45")


def labelled(boxes: Boxes, least: int = 0) -> torch.Tensor:
    """The pictures [B, H, W, 3] with a frame and a label (number from 1, phrase, score) on every chosen box.

    Boxes that were found and not chosen have a thin frame in the phrase's colour. Pictures whose longer side has fewer than
    ``least`` pixels are first enlarged so many times that it has them.
    """
    times = max(1, -(-least // max(boxes.pictures.shape[1:3])))
    return torch.stack([_draw(boxes, number, times) for number in range(len(boxes.pictures))])


def _draw(boxes: Boxes, number: int, times: int) -> torch.Tensor:
    picture = boxes.pictures[number].repeat_interleave(times, 0).repeat_interleave(times, 1)
    canvas = Image.fromarray((picture * 255).round().clamp(0, 255).to("cpu", torch.uint8).numpy())
    draw = ImageDraw.Draw(canvas)
    size = max(10, min(canvas.size) // 32)
    font, line = ImageFont.load_default(size), max(2, size // 6)
    for concept, others in enumerate(boxes.found[number]):
        for box in others:
            draw.rectangle(_inside(box, canvas, times), outline=COLOURS[concept % len(COLOURS)], width=1)
    for concept, chosen in enumerate(boxes.chosen[number]):
        if chosen is None:
            continue
        colour, label = COLOURS[concept % len(COLOURS)], f"{concept + 1} {boxes.phrases[concept]} {chosen.score:.2f}"
        corners = _inside(chosen, canvas, times)
        draw.rectangle(corners, outline=colour, width=line)
        at = (corners[0] + line, corners[1] + line)
        draw.rectangle(draw.textbbox(at, label, font=font), fill=colour)
        draw.text(at, label, fill="white", font=font)
    return torch.from_numpy(np.asarray(canvas).astype(np.float32) / 255).to(picture.device)


def _inside(box, canvas, times: int) -> tuple[float, float, float, float]:
    """A frame's corners on a picture enlarged so many times, with the right and bottom line on it."""
    left, top, right, bottom = (times * corner for corner in box.corners)
    return left, top, max(left, min(right, canvas.width) - 1), max(top, min(bottom, canvas.height) - 1)
