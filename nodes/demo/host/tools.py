"""What stands beside the demo's model of scenes: its identity adapter, and the finder of its toys.

The finder takes the places of Grounding DINO and of face analysis, so that the nodes that use them run without a download.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import comfy.model_management
import comfy.model_patcher
import comfy.utils
import torch

from ...concepts.boxes import Box
from ...concepts.phrases import SEPARATORS
from ...concepts.places import box_of
from ...host import model_files, weights
from ...identity import adapter as adapters
from ...identity.faces import Face
from ...identity.host.files import LoadedAdapter
from .. import config as demo_config
from ..toys import SHAPES, Finder, Toy, blobs

NODE = "Load Demo Tools"
REMEDY = "Reinstall the pack, or choose another `file`."
KEYPOINTS = ((0.32, 0.4), (0.68, 0.4), (0.5, 0.58), (0.36, 0.74), (0.64, 0.74))
"""Where the five points of a face would be in a toy's box, in shares of its sides: toys have no such points."""
FIRST_WORD, UNKNOWN_WORD = 1, 100
SURELY_NOT = -8.0


@dataclass(frozen=True, eq=False)
class ToyFinder:
    """What `concepts.host.grounding.Detector` and `identity.host.face_analysis.FaceAnalysis` are to the nodes, in one.

    For pictures of the demo world. It is small enough to stay on the CPU.
    """

    finder: Finder

    def toys(self, picture: torch.Tensor) -> list[Toy]:
        comfy.model_management.throw_exception_if_processing_interrupted()
        return self.finder.toys(picture[..., :3].cpu())

    def token_ids(self, caption: str) -> list[int]:
        """A token a word; all that is known are the names of the shapes."""
        known = {**SEPARATORS, **{shape: FIRST_WORD + number for number, shape in enumerate(SHAPES)}}
        return [SEPARATORS["[CLS]"], *(known.get(word, UNKNOWN_WORD) for word in caption.split()), SEPARATORS["[SEP]"]]

    def detect(self, pictures: torch.Tensor, token_ids: list[int]) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """For each picture [H, W, 3] logits [Q, T] and boxes [Q, 4], cxcywh in 0..1, one for each toy that it shows."""
        for picture in pictures:
            height, width = picture.shape[:2]
            toys = self.toys(picture)
            logits, boxes = torch.full((len(toys), len(token_ids)), SURELY_NOT), torch.zeros(len(toys), 4)
            for row, toy in enumerate(toys):
                x1, y1, x2, y2 = (toy.box_xyxy / torch.tensor([width, height] * 2)).tolist()
                boxes[row] = torch.tensor([(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1])
                for position, token in enumerate(token_ids):
                    if FIRST_WORD <= token < FIRST_WORD + len(SHAPES):
                        logits[row, position] = toy.shapes[token - FIRST_WORD].logit(eps=1e-4)
            yield logits, boxes

    def faces(self, picture: torch.Tensor) -> list[Face]:
        """The toys of a picture [H, W, 3 or 4] in 0..1, the surest first."""
        height, width = picture.shape[:2]
        faces = []
        for toy in self.toys(picture):
            corner, size = toy.box_xyxy[:2], toy.box_xyxy[2:] - toy.box_xyxy[:2]
            points = corner + size * torch.tensor(KEYPOINTS)
            faces.append(Face(toy.box_xyxy, points, toy.embedding, float(toy.shapes.max()), width, height))
        return sorted(faces, key=lambda face: -face.score)


@dataclass(frozen=True, eq=False)
class ToyMasks:
    """What `concepts.host.segmenting.Segmenter` is, for pictures of the demo world: the finder's own masks."""

    finder: Finder

    @torch.no_grad()
    def masks(self, given: torch.Tensor, boxes: tuple[tuple[Box | None, ...], ...]):
        """For each picture [H, W, 3] and its K boxes: masks [K, H, W], that of the toy which the box is around."""
        for picture, row in zip(given, boxes, strict=True):
            seen = self.finder.seen(picture[..., :3].cpu())
            parts = blobs(self.finder.segmenter(seen)[0, 0] > 0)
            size = picture.shape[:2]
            scale = torch.tensor([size[1] / seen.shape[-1], size[0] / seen.shape[-2]] * 2)
            around = [Box(*(torch.tensor(box_of(part).corners) * scale).tolist()) for part in parts]
            masks = torch.zeros(len(row), *size)
            for number, box in enumerate(row):
                if box is not None and parts:
                    best = max(range(len(parts)), key=lambda part: around[part].overlap(box))
                    masks[number] = torch.nn.functional.interpolate(parts[best][None, None].float(), size, mode="nearest")[0, 0]
            yield masks


def load(path: Path) -> tuple[LoadedAdapter, ToyFinder]:
    """The adapter and the finder of a demo file of scenes; raises with the file's name and the remedy."""
    check(path)
    try:
        state = model_files.read(path)
    except ValueError as problem:
        raise ValueError(f"{NODE}: {path.name} cannot be used: {problem}. {REMEDY}") from problem
    parts = {
        name: {key.removeprefix(prefix): value.float() for key, value in state.items() if key.startswith(prefix)}
        for name, prefix in demo_config.TOOL_PREFIXES.items()
    }
    finder = Finder()
    try:
        adapter = adapters.build(parts["adapter"], path.name)
        finder.load_state_dict(parts["finder"])
    except (ValueError, RuntimeError) as problem:
        said = str(problem).splitlines()[0].rstrip(":.")
        raise ValueError(f"{NODE}: {path.name} cannot be used: {said}. {REMEDY}") from problem
    device, offload = comfy.model_management.get_torch_device(), comfy.model_management.unet_offload_device()
    patcher = comfy.model_patcher.ModelPatcher(adapter, load_device=device, offload_device=offload)
    return LoadedAdapter(patcher, path.name), ToyFinder(finder.eval().requires_grad_(False))


def check(path: Path) -> None:
    """Raise if a file does not say that it holds the demo's tools."""
    try:
        said = weights.read_metadata(path)
    except ValueError as problem:
        raise ValueError(f"{NODE}: {path.name} cannot be used: {problem}. {REMEDY}") from problem
    if demo_config.TOOLS_KEY not in said:
        raise ValueError(
            f"{NODE}: {path.name} cannot be used: it has no metadata `{demo_config.TOOLS_KEY}`, so it holds no demo tools. "
            f"{REMEDY}"
        )
