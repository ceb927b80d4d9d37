"""Segment Anything (Kirillov et al., 2023) in its authors' package, on the host's memory management."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import comfy.model_management
import comfy.model_patcher
import comfy.utils
import torch

from ...host import model_files
from ..boxes import Box
from . import files

NODE = files.LOADERS[files.SEGMENTERS]
ACTIVATIONS = 6 * 2**30
"""Bytes that the largest network needs beside its weights for one picture; an estimate for the host."""
PATCH, WINDOW = 16, 14


@dataclass(frozen=True, eq=False)
class Segmenter:
    """patcher: holds the network."""

    patcher: comfy.model_patcher.ModelPatcher

    def masks(self, pictures: torch.Tensor, boxes: tuple[tuple[Box | None, ...], ...]) -> Iterator[torch.Tensor]:
        """For each picture [H, W, 3], 0 to 1, and its K boxes: masks [K, H, W], 0 or 1; zeros where there is no box."""
        comfy.model_management.load_models_gpu([self.patcher], memory_required=ACTIVATIONS, force_full_load=True)
        progress = comfy.utils.ProgressBar(len(pictures))
        for picture, row in zip(pictures, boxes, strict=True):
            comfy.model_management.throw_exception_if_processing_interrupted()
            yield _masks(self.patcher, picture, row)
            progress.update(1)


class SamNetwork(torch.nn.Module):
    """The network as the host's ModelPatcher needs it: a module whose `device` can be set."""

    def __init__(self, sam: torch.nn.Module):
        super().__init__()
        self.sam = sam


def _masks(patcher, picture: torch.Tensor, boxes: tuple[Box | None, ...]) -> torch.Tensor:
    from segment_anything import SamPredictor

    masks = torch.zeros(len(boxes), *picture.shape[:2])
    there = {position: box.corners for position, box in enumerate(boxes) if box is not None}
    if there:
        predictor = SamPredictor(patcher.model.sam)
        predictor.set_image((picture * 255).round().clamp(0, 255).to("cpu", torch.uint8).numpy())
        corners = torch.tensor(list(there.values()), device=predictor.device)
        corners = predictor.transform.apply_boxes_torch(corners, picture.shape[:2])
        found, _, _ = predictor.predict_torch(point_coords=None, point_labels=None, boxes=corners, multimask_output=False)
        masks[list(there)] = found[:, 0].float().cpu()
    return masks


def missing_package() -> str | None:
    """What to do if the package is not installed; None if it is."""
    try:
        import segment_anything  # noqa: F401
    except ImportError:
        return (
            f"{NODE}: the Python package `segment-anything` is not installed. Install it into ComfyUI's Python with `pip install "
            "segment-anything`, or leave `segmenter` of Concept Masks empty for box-shaped masks."
        )
    return None


def load(path: Path) -> Segmenter:
    """A segmenter from an original `.pth` file. Raises with the file's name, what is wrong with it, and the remedy.

    It stays in float32: the package's prompt encoder mixes precisions and fails in any other.
    """
    missing = missing_package()
    if missing:
        raise RuntimeError(missing)
    state = files.read_weights(path, NODE)
    try:
        sam = build(state)
        sam.load_state_dict(state, strict=True)
    except (KeyError, RuntimeError, ValueError) as problem:
        said = " ".join(str(problem).split())[:200]
        raise ValueError(
            f"{NODE}: {path.name} is not a Segment Anything checkpoint of the original kind: {said}. Choose "
            "`sam_vit_b_01ec64.pth`, `sam_vit_l_0b3195.pth` or `sam_vit_h_4b8939.pth`; SAM 2, SAM-HQ and MobileSAM are other "
            "networks."
        ) from problem
    return Segmenter(model_files.managed(SamNetwork(sam.float().eval().requires_grad_(False))))


def build(state: dict[str, torch.Tensor]) -> torch.nn.Module:
    """The network that these weights belong to, with weights of its own: sizes are read from theirs, the rest is as published."""
    from segment_anything.modeling import ImageEncoderViT, MaskDecoder, PromptEncoder, Sam, TwoWayTransformer

    _, grid, _, width = state["image_encoder.pos_embed"].shape
    reach = re.compile(r"image_encoder\.blocks\.(\d+)\.attn\.rel_pos_h")
    rows = {int(found[1]): state[key].shape for key in state if (found := reach.match(key))}
    head_width = rows[0][1]
    channels = state["mask_decoder.iou_token.weight"].shape[1]
    return Sam(
        image_encoder=ImageEncoderViT(
            depth=len(rows), embed_dim=width, img_size=grid * PATCH, mlp_ratio=4, num_heads=width // head_width,
            norm_layer=partial(torch.nn.LayerNorm, eps=1e-6), patch_size=PATCH, qkv_bias=True, use_rel_pos=True,
            global_attn_indexes=[block for block, (length, _) in rows.items() if length != 2 * WINDOW - 1],
            window_size=WINDOW, out_chans=channels,
        ),
        prompt_encoder=PromptEncoder(
            embed_dim=channels, image_embedding_size=(grid, grid), input_image_size=(grid * PATCH, grid * PATCH), mask_in_chans=16
        ),
        mask_decoder=MaskDecoder(
            num_multimask_outputs=state["mask_decoder.mask_tokens.weight"].shape[0] - 1,
            transformer=TwoWayTransformer(depth=2, embedding_dim=channels, mlp_dim=2048, num_heads=8),
            transformer_dim=channels, iou_head_depth=3, iou_head_hidden_dim=256,
        ),
        pixel_mean=[123.675, 116.28, 103.53],
        pixel_std=[58.395, 57.12, 57.375],
    )  # fmt: skip
