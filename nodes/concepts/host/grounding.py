"""Grounding DINO (Liu et al., 2023) in transformers' implementation, on the host's memory management.

Both layouts of the published weights come to one place: original checkpoints are renamed to the names of
the published folders, and transformers loads those whatever it calls them in memory. Nothing is fetched.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import comfy.model_management
import comfy.model_patcher
import comfy.utils
import torch
import torch.nn.functional as F

from ...host import model_files, published
from .. import grounding_config, grounding_keys, phrases
from . import files

NODE = files.LOADERS[files.DETECTORS]
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SHORT_SIDE, LONG_SIDE = 800, 1333
LEAST_SIDE, MOST_SIDE = 32, 4096
COMPUTED = ("relative_position_index", "position_ids")
"""Ends of names that older files hold and the network computes."""
BYTES_A_PIXEL = 2400
"""Memory of activations for each pixel of the resized picture, in float32; an estimate for the host."""


@dataclass(frozen=True, eq=False)
class Detector:
    """patcher: holds the network. tokenizer: of `tokenizers`. short_side, long_side: the size it sees pictures at."""

    patcher: comfy.model_patcher.ModelPatcher
    tokenizer: Any
    short_side: int = SHORT_SIDE
    long_side: int = LONG_SIDE

    def token_ids(self, caption: str) -> list[int]:
        return self.tokenizer.encode(caption).ids

    def detect(self, pictures: torch.Tensor, token_ids: list[int]) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """For each picture [H, W, 3], 0 to 1: logits [Q, T], -inf past the caption, and boxes [Q, 4], cxcywh in 0 to 1.

        Picture by picture, so that memory does not grow with the batch.
        """
        height, width = fitted(pictures.shape[1], pictures.shape[2], self.short_side, self.long_side)
        needed = height * width * BYTES_A_PIXEL
        comfy.model_management.load_models_gpu([self.patcher], memory_required=needed, force_full_load=True)
        progress = comfy.utils.ProgressBar(len(pictures))
        device = next(self.patcher.model.parameters()).device  # with --novram the host leaves it where it was
        ids = torch.tensor([token_ids], device=device)
        for picture in pictures:
            comfy.model_management.throw_exception_if_processing_interrupted()
            seen = prepared(picture[None].to(device, torch.float32), height, width)
            with torch.no_grad():
                logits, boxes = self.patcher.model(seen, ids)
            progress.update(1)
            yield logits[0].float().cpu(), boxes[0].float().cpu()


class DetectingNetwork(torch.nn.Module):
    """The network as the host's ModelPatcher needs it: a module whose `device` can be set."""

    def __init__(self, network: torch.nn.Module):
        super().__init__()
        self.network = network

    def forward(self, pictures: torch.Tensor, ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """pictures: [B, 3, H, W], normalised. ids: [B, T]. Returns logits [B, Q, 256] and boxes [B, Q, 4]."""
        outputs = self.network(pixel_values=pictures, input_ids=ids, attention_mask=torch.ones_like(ids), return_dict=True)
        return outputs.logits, outputs.pred_boxes


def fitted(height: int, width: int, short_side: int, long_side: int) -> tuple[int, int]:
    """The published size rule, (height, width): the short side becomes ``short_side``, but the long one at most ``long_side``."""
    short, long = min(height, width), max(height, width)
    if long / short * short_side > long_side:
        short_side = round(long_side * short / long)
    scaled = int(short_side * long / short)
    return (scaled, short_side) if height >= width else (short_side, scaled)


def prepared(pictures: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """Pictures [B, H, W, 3], 0 to 1, resized and normalised as published: [B, 3, height, width]."""
    pictures = F.interpolate(pictures.movedim(-1, 1), (height, width), mode="bilinear", antialias=True)
    mean, deviation = (torch.tensor(value, device=pictures.device).view(3, 1, 1) for value in (MEAN, DEVIATION))
    return (pictures.clamp(0, 1) - mean) / deviation


def load(path: Path) -> Detector:
    """A detector from an original `.pth` file or a published folder. Raises with the file, what is wrong, and the remedy."""
    tokenizer = load_tokenizer(files.tokenizer_file(path))
    short_side, long_side = SHORT_SIDE, LONG_SIDE
    if path.is_dir():
        config = _read_json(files.part_of(path, ("config.json",)))
        state = files.read_weights(files.part_of(path, files.WEIGHTS), NODE)
        if (path / "preprocessor_config.json").is_file():
            short_side, long_side = _read_sides(path / "preprocessor_config.json")
    else:
        try:
            state = grounding_keys.published(files.read_weights(path, NODE))
            config = grounding_keys.configuration(state)
        except (ValueError, KeyError, IndexError, ZeroDivisionError) as problem:
            if str(problem).startswith(NODE):
                raise
            raise ValueError(
                f"{NODE}: {path.name} cannot be used: {problem}. Choose `groundingdino_swint_ogc.pth`, "
                "`groundingdino_swinb_cogcoor.pth` or a published folder."
            ) from problem
    network = DetectingNetwork(build(path.name, config, state))
    return Detector(model_files.managed(network), tokenizer, short_side, long_side)


def build(name: str, config: dict, state: dict[str, torch.Tensor]) -> torch.nn.Module:
    """The network with these weights, under published names, in float32 for evaluation. Every weight must fit.

    config: from it sizes are taken, within bounds, and nothing else; a network with more weights than ``state`` is not made.
    It stays in float32 whatever the host chose for diffusion models: in half precision small networks gave NaN or other
    boxes, because places compete closely for its queries.
    """
    from transformers import GroundingDinoConfig, GroundingDinoForObjectDetection

    state = {key: value for key, value in state.items() if not key.endswith(COMPUTED)}
    try:
        wanted = GroundingDinoConfig.from_dict(grounding_config.sizes(config))
        return published.network(GroundingDinoForObjectDetection, wanted, state)
    except Exception as problem:
        said = model_files.first_line(problem)
        raise ValueError(
            f"{NODE}: {name} cannot be used: {said}. Download it again, all files of one model into one folder."
        ) from problem


def load_tokenizer(path: Path):
    """The uncased WordPiece tokenizer from `tokenizer.json` or `vocab.txt`. Raises if its separators are not the network's."""
    from tokenizers import BertWordPieceTokenizer, Tokenizer

    try:
        if path.name == "tokenizer.json":
            tokenizer = Tokenizer.from_file(str(path))
        else:
            words = path.read_text(encoding="utf-8").splitlines()
            tokenizer = BertWordPieceTokenizer({word: number for number, word in enumerate(words)}, lowercase=True)
        ids = {word: tokenizer.token_to_id(word) for word in phrases.SEPARATORS}
        read = tokenizer.encode("A .").ids
    except Exception as problem:
        raise ValueError(f"{NODE}: {path} is not a tokenizer's file: {problem}. Download it again.") from problem
    if ids != phrases.SEPARATORS or [read[0], *read[-2:]] != [101, 1012, 102]:
        raise ValueError(
            f"{NODE}: {path} has the separators at {ids}, but the detector was trained with {phrases.SEPARATORS}. Use the "
            "tokenizer's file of bert-base-uncased."
        )
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


def _read_sides(path: Path) -> tuple[int, int]:
    """The size that pictures are seen at, (short side, long side), of a `preprocessor_config.json`; as published without one."""
    size = _read_json(path).get("size") or {}
    sides = (size.get("shortest_edge", SHORT_SIDE), size.get("longest_edge", LONG_SIDE)) if isinstance(size, dict) else ()
    if not sides or not all(type(side) is int and LEAST_SIDE <= side <= MOST_SIDE for side in sides) or sides[0] > sides[1]:
        raise ValueError(
            f"{NODE}: {path} cannot be used: its `size` is {str(size)[:80]}, but needs `shortest_edge` and `longest_edge` from "
            f"{LEAST_SIDE} to {MOST_SIDE}, such as {SHORT_SIDE} and {LONG_SIDE}. Download it again."
        )
    return sides[0], sides[1]


def _read_json(path: Path) -> dict:
    try:
        return published.read_json(path)
    except ValueError as problem:
        raise ValueError(f"{NODE}: {problem}. Download it again.") from problem
