"""Instances of a collage, and which of them are one subject by CLIP: what the node Group Instances does."""

from __future__ import annotations

import json
from dataclasses import dataclass

import torch

from ...host import inputs, small_pictures
from ...subject.host import cutting
from .. import grouping
from ..grouping import InstanceSet

NODE = "Group Instances"


@dataclass(frozen=True, eq=False)
class Grouped:
    """What came of a batch of collages. instances: that were found; pairs: affinities of two of one collage.

    shown: the cut-outs of each set in a row, [H, W, 3].
    """

    sets: tuple[InstanceSet, ...]
    instances: int
    pairs: tuple[float, ...]
    shown: tuple[torch.Tensor, ...]

    def said(self) -> str:
        """For a person who looks at the node."""
        if self.instances < grouping.LEAST:
            return f"No set: {self.instances} of the {grouping.LEAST} instances that one needs were found."
        pictures = sum(len(one.instances) for one in self.sets)
        return f"{len(self.sets)} sets of {pictures} instances, of {self.instances}; the best affinity is {max(self.pairs):.3f}."

    def counted(self) -> str:
        """For a program, as JSON."""
        sets = [len(one.instances) for one in self.sets]
        return json.dumps({"instances": self.instances, "sets": sets, "affinities": [round(pair, 4) for pair in self.pairs]})


def group(
    collages: torch.Tensor, masks: torch.Tensor, clip_vision, subject: str, same: float, most: int, least_size: float
) -> Grouped:
    """The sets of collages [B, H, W, 3] whose instances masks [B * K, H, W] show, K a collage, in their order.

    clip_vision: a CLIP Vision of the host, which sees each instance on white. same: affinity above which two are one subject.
    least_size: share of the collage that an instance covers at least; a black mask is none. Raises ValueError where masks do
    not fit.
    """
    masks = inputs.masks(masks, f"{NODE}: `masks`")
    given, size = (f"{each.shape[2]} x {each.shape[1]}" for each in (masks, collages))
    if len(masks) % len(collages) or given != size:
        raise ValueError(
            f"{NODE}: `masks` holds {len(masks)} masks of {given} pixels for {len(collages)} pictures of {size}, but "
            "needs as many for each, of their size. Connect those that Concept Masks makes of these pictures."
        )
    inputs.check_finite(collages, f"{NODE}: `image`")
    per_collage = len(masks) // len(collages)
    sets, pairs, count, shown = [], [], 0, []
    for number, collage in enumerate(collages.cpu()):
        own = masks[number * per_collage : (number + 1) * per_collage]
        covering = [mask for mask in own if mask.sum() >= least_size * mask.numel() and (mask > 0.5).any()]
        instances = [one for mask in covering if (one := grouping.cut(collage, mask)) is not None]
        count += len(instances)
        if len(instances) < grouping.LEAST:
            continue
        squares = [cutting.cut_out(one.picture, one.mask) for one in instances]
        likeness = grouping.affinity(torch.cat([_embedding(clip_vision, square) for square in squares]))
        pairs += [likeness[one, other].item() for one in range(len(instances)) for other in range(one)]
        for places in grouping.groups(likeness, same, most=most):
            sets.append(InstanceSet(subject, tuple(instances[place] for place in places), likeness[places][:, places]))
            shown.append(_strip([squares[place] for place in places]))
    return Grouped(tuple(sets), count, tuple(pairs), tuple(shown))


def _embedding(clip_vision, square: torch.Tensor) -> torch.Tensor:
    """[1, D] of a square picture, after norm and projection. Raises ValueError where there is none."""
    embedding = clip_vision.encode_image(square[None])["image_embeds"]
    if embedding is None or embedding.ndim != 2 or not embedding.isfinite().all():
        raise ValueError(f"{NODE}: `clip_vision` gives no embedding of a whole picture. Load that of CLIP ViT-L/14.")
    return embedding.float().cpu()


def _strip(squares: list[torch.Tensor], side: int = small_pictures.SIDE) -> torch.Tensor:
    """Squares beside each other, all of one size."""
    rows = [square.movedim(-1, 0)[None] for square in squares]
    same = [torch.nn.functional.interpolate(row, (side, side), mode="bilinear", antialias=True)[0].movedim(0, -1) for row in rows]
    return torch.cat(same, dim=1).clamp(0, 1)
