"""InstantID's face ControlNet: its context is face tokens only, never text, and each chunk of a batch has its own face.

The host's own key for another context (`cross_attn_controlnet`) would reach every ControlNet of a chain;
here a face reaches its ControlNet alone, so others can stand before or behind it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import comfy.controlnet
import comfy.utils
import torch
import torch.nn.functional as F

from ...concepts import masks
from ...host import chunk_tags, context_windows

KEY = "same_subject_face_{}"
"""Key of the chunk tag with the `ControlFace` of the face ControlNet with this number in its chain."""
BLOCK_GROUPS = ("input", "middle", "output")


@dataclass(frozen=True, eq=False)
class ControlFace:
    """What a face ControlNet gets for one entry of the conditioning.

    tokens: [F, width]. hint: keypoint pictures [P, 3, H, W] in 0..1, one for all rows or one a row (in turn).
    mask: [P, H, W], 1 = the net acts here, or None for everywhere.
    """

    tokens: torch.Tensor
    hint: torch.Tensor
    mask: torch.Tensor | None = None


class FaceTag(chunk_tags.ChunkTag):
    """The chunk tag with a `ControlFace`. The host tells it where its chunk is a crop of the picture."""

    def process_cond(self, batch_size: int, area=None, **kwargs) -> FaceTag:
        if area is not None and self.cond.mask is not None:
            raise ValueError(
                "Identity ControlNet: `mask` is about the whole picture, but area conditioning shows the UNet a crop of it. Use "
                "Conditioning (Set Mask) with `default` instead, or disconnect `mask`."
            )
        return self


class FaceControlNet(comfy.controlnet.ControlNet):
    """The host's ControlNet, fed with the faces of the chunks. ``number``: its position among face ControlNets of a chain.

    Entries that share one object run in one batch, each with its own face.
    """

    number = 0
    previous_controlnet: Any

    @classmethod
    def of(cls, loaded: comfy.controlnet.ControlNet) -> FaceControlNet:
        """A copy of a loaded ControlNet, on the same weights."""
        control = cls(
            None,
            global_average_pooling=loaded.global_average_pooling,
            load_device=loaded.load_device,
            manual_cast_dtype=loaded.manual_cast_dtype,
        )
        control.control_model, control.control_model_wrapped = loaded.control_model, loaded.control_model_wrapped
        loaded.copy_to(control)
        control.number = getattr(loaded, "number", 0)
        control.cache = {}
        return control

    def copy(self) -> FaceControlNet:
        return FaceControlNet.of(self)

    def cleanup(self) -> None:
        self.cache.clear()
        super().cleanup()

    def get_control(self, x_noisy, t, cond, batched_number, transformer_options):
        before, previous = self.previous_controlnet, None
        if before is not None:
            previous = before.get_control(x_noisy, t, cond, batched_number, transformer_options)
        faces = cond.get(KEY.format(self.number))
        if faces is None:
            raise ValueError(
                "Identity ControlNet: a conditioning has the face ControlNet, but no face. Connect both `positive` and "
                "`negative` of Identity ControlNet, and no node that takes conditioning apart."
            )
        rows = context_windows.rows_of_call(transformer_options, len(x_noisy) // len(faces), "Identity ControlNet")
        for face in faces:
            if face.mask is not None:
                masks.check_shape(face.mask, x_noisy.shape[-2], x_noisy.shape[-1], "Identity ControlNet: `mask`")
        context, self.cond_hint = self._batch(faces, x_noisy, rows)
        self.previous_controlnet = None  # what stands before has run, and mixes its own context in nowhere
        try:
            cond = {**cond, "crossattn_controlnet": context}
            own = super().get_control(x_noisy, t, cond, batched_number, transformer_options)
        finally:
            self.previous_controlnet = before
        if own is None:
            return previous
        if any(face.mask is not None for face in faces):
            own = {group: [self._masked(faces, residual, rows) for residual in own.get(group, ())] for group in BLOCK_GROUPS}
        return own if previous is None else _sum(own, previous)

    def _batch(self, faces: Sequence[ControlFace], x: torch.Tensor, rows: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor]:
        """Tokens [B, F, width] and hints [B, 3, H, W] for latents ``x``, made once a run. rows: their numbers in each chunk."""
        width, height = x.shape[3] * self.compression_ratio, x.shape[2] * self.compression_ratio
        dtype = self.manual_cast_dtype or self.control_model.dtype

        def make() -> tuple[torch.Tensor, torch.Tensor]:
            hints = [comfy.utils.common_upscale(face.hint, width, height, self.upscale_algorithm, "center") for face in faces]
            batch = torch.cat([_turned(hint, rows) for hint in hints]).to(x.device, dtype)
            tokens = torch.stack([face.tokens for face in faces]).to(x.device, dtype)
            return tokens.repeat_interleave(len(rows), dim=0), batch

        return self._keep((*faces, rows, width, height, x.device), make)

    def _masked(self, faces: Sequence[ControlFace], residual: torch.Tensor | None, rows: Sequence[int]) -> torch.Tensor | None:
        if residual is None:
            return None
        size = residual.shape[-2:]

        def make() -> torch.Tensor:
            own = [torch.ones(1, 1, 1, 1) if face.mask is None else face.mask[:, None].float() for face in faces]
            own = [F.interpolate(mask, size, mode="area") if mask.numel() > 1 else mask.expand(-1, -1, *size) for mask in own]
            return torch.cat([_turned(mask, rows) for mask in own]).to(residual)

        return residual * self._keep((*faces, rows, *size, residual.device, residual.dtype), make)

    def _keep(self, key: tuple, make: Callable):
        if key not in self.cache:
            self.cache[key] = make()
        return self.cache[key]


def apply(
    conditionings: Sequence[list], loaded, strength: float, start: float, end: float, faces: Sequence[ControlFace]
) -> list[list]:
    """Copies of CONDITIONING lists with a face ControlNet on every entry; ``faces``: that of each list.

    Lists that had the same ControlNet, or none, share one object, so that the host runs them in one batch.
    """
    shared: dict = {}
    result = []
    for conditioning, face in zip(conditionings, faces, strict=True):
        entries = []
        for states, values in conditioning:
            previous = values.get("control")
            if previous not in shared:
                control = FaceControlNet.of(loaded).set_cond_hint(face.hint, strength, (start, end))
                control.number = chain_length(previous)
                shared[previous] = control.set_previous_controlnet(previous)
            control = shared[previous]
            tags = {**values.get("model_conds", {}), KEY.format(control.number): FaceTag(face)}
            entries.append([states, {**values, "model_conds": tags, "control": control, "control_apply_to_uncond": False}])
        result.append(entries)
    return result


def faces_of(values: dict) -> list[ControlFace]:
    """The faces of the face ControlNets on a conditioning entry."""
    return [tag.cond for key, tag in values.get("model_conds", {}).items() if key.startswith(KEY.format(""))]


def chain_length(control) -> int:
    """How many face ControlNets a chain has."""
    count = 0
    while control is not None:
        count += isinstance(control, FaceControlNet)
        control = control.previous_controlnet
    return count


def keys(control) -> frozenset[str] | None:
    """Keys of the tags that a chain of face ControlNets reads, none for no ControlNet. None for a chain with others in it."""
    found = []
    while isinstance(control, FaceControlNet):
        found.append(KEY.format(control.number))
        control = control.previous_controlnet
    return frozenset(found) if control is None else None


def check(loaded, width: int) -> None:
    """Refuse what is not a ControlNet whose context is as wide as face tokens."""
    remedy = "Load InstantID's own ControlNet (`ControlNetModel/diffusion_pytorch_model.safetensors`)."
    if not isinstance(loaded, comfy.controlnet.ControlNet) or not hasattr(loaded.control_model, "input_hint_block"):
        raise ValueError(
            f"Identity ControlNet: `control_net` is a {type(loaded).__name__}, but needs a ControlNet for a UNet. {remedy}"
        )
    given = {part.to_k.in_features for name, part in loaded.control_model.named_modules() if name.endswith("attn2")}
    if given != {width}:
        raise ValueError(
            f"Identity ControlNet: `control_net` takes a context of width {sorted(given)}, but face tokens have {width}. {remedy}"
        )


def _sum(own: dict, previous: dict) -> dict:
    """Residuals of two ControlNets, added one by one."""
    total = {}
    for group in BLOCK_GROUPS:
        ours, theirs = list(own.get(group, ())), list(previous.get(group, ()))
        length = max(len(ours), len(theirs))
        ours, theirs = (part + [None] * (length - len(part)) for part in (ours, theirs))
        total[group] = [a if b is None else b if a is None else a + b for a, b in zip(ours, theirs, strict=True)]
    return total


def _turned(batch: torch.Tensor, rows: Sequence[int]) -> torch.Tensor:
    """These rows of a batch, again from its first where it has fewer."""
    return batch[torch.tensor(rows) % len(batch)]
