"""ControlNets of several branches in one batch: as many entries as can run together stand behind one object.

The host joins entries only if they have the same ControlNet, or all none. Face ControlNets get their faces chunk by
chunk, so entries with one and entries without any can share a batch: each net runs on its own chunks alone, and its
residuals are zero in all others.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch

from ...host import chunk_tags
from ...identity.host import face_control

TAG = "same_subject_branch"
"""Key of the chunk tag with the `BranchChunk`."""


@dataclass(frozen=True, eq=False)
class BranchChunk:
    """Whose a chunk is: the branch, the position of its conditioning among those that the branch asked for, its ControlNet."""

    branch: int
    position: int
    control: object | None


def latents_of(chunks: Sequence[BranchChunk], x: torch.Tensor, latents: dict[int, torch.Tensor] | None) -> torch.Tensor:
    """What these chunks are predicted from: their branches' latents, or ``x`` if all branches have the same (None)."""
    if latents is None:
        return x
    own = torch.cat([latents[chunk.branch] for chunk in chunks]).to(x)
    if own.shape != x.shape:
        raise ValueError(
            "Concept Scene: the UNet was called on parts of the picture or of the batch, by area conditioning or context "
            "windows. Use masks instead of areas, or set `continue_from` to `blend`."
        )
    return own


class Controls:
    """The ControlNets of one batch of branches. ``given``: those of all its entries, None where there is none."""

    def __init__(self, given: Iterable, latents: dict[int, torch.Tensor] | None):
        self._latents = latents
        self._alike: dict = {}
        self._others: dict = {}
        faces = {control: keys for control in given if control is not None and (keys := face_control.keys(control)) is not None}
        self._face_keys = frozenset[str]().union(*faces.values())
        self._for_faces = _Control(next(iter(faces)), latents) if faces else None

    def tagged(self, entry: dict, branch: int, position: int) -> dict:
        """A copy of a conditioning entry with its `BranchChunk`, and with the ControlNet that the host is to see."""
        control = entry.get("control")
        if control is not None:
            control = self._alike.setdefault(_kind(control), control)
        entry = chunk_tags.tagged(entry, TAG, BranchChunk(branch, position, control))
        keys = face_control.keys(control)
        if self._for_faces is not None and keys is not None:
            for key in self._face_keys - keys:
                entry = chunk_tags.tagged(entry, key, None)
            entry["control"] = self._for_faces
        elif control is not None:
            entry["control"] = self._others.setdefault(control, _Control(control, self._latents))
        return entry


def _kind(control) -> tuple:
    """Equal for ControlNets that can run as one. Face ControlNets get their faces chunk by chunk, so any alike can."""
    if control is None:
        return ()
    if not isinstance(control, face_control.FaceControlNet):
        return (id(control),)
    settings = (id(control.control_model), control.number, control.strength, control.timestep_percent_range)
    return (*settings, *_kind(control.previous_controlnet))


class _Control:
    """A ControlNet for a batch of several branches: each chunk's own, on that chunk's own latents.

    ``control``: one of them, for whatever else is asked of it. device: of one of several devices at work.
    """

    def __init__(self, control, latents: dict[int, torch.Tensor] | None, device: torch.device | None = None):
        self._control, self._latents, self._device = control, latents, device

    def __getattr__(self, name: str):
        return getattr(self._control, name)

    def get_instance_for_device(self, device: torch.device) -> _Control:
        return _Control(self._control, self._latents, device)

    def get_control(self, x_noisy, t, cond, batched_number, transformer_options):
        chunks = cond[TAG]
        positions: dict = {}
        for position, chunk in enumerate(chunks):
            if chunk.control is not None:
                positions.setdefault(chunk.control, []).append(position)
        found = []
        for control, mine in positions.items():
            if self._device is not None:
                control = control.get_instance_for_device(self._device)
            some = {key: _part(value, mine, len(chunks), len(x_noisy)) for key, value in cond.items()}
            x, sigma = (_part(value, mine, len(chunks), len(x_noisy)) for value in (x_noisy, t))
            options = {**transformer_options, "cond_or_uncond": [chunk.position for chunk in some[TAG]]}
            residuals = control.get_control(latents_of(some[TAG], x, self._latents), sigma, some, len(mine), options)
            if residuals is not None:
                found.append((mine, residuals))
        if len(found) == 1 and len(found[0][0]) == len(chunks):
            return found[0][1]
        return _whole(found, len(chunks)) if found else None


def _part(value, positions: list[int], chunks: int, rows: int):
    """Of a value for ``rows`` rows, or with a tag for each of ``chunks`` chunks, that of the chunks at these positions."""
    if len(positions) == chunks:
        return value
    if isinstance(value, tuple) and len(value) == chunks:
        return tuple(value[position] for position in positions)
    if torch.is_tensor(value) and value.ndim and len(value) == rows:
        each = value.chunk(chunks)
        return torch.cat([each[position] for position in positions])
    return value


def _whole(found: list[tuple[list[int], dict]], chunks: int) -> dict:
    """Residuals of a batch of so many chunks, from those of nets that ran on some: zero where none did.

    The UNet takes residuals from the end of each list.
    """
    whole = {}
    for name in face_control.BLOCK_GROUPS:
        lists = [(positions, list(residuals.get(name, ()))[::-1]) for positions, residuals in found]
        longest = max(len(own) for _, own in lists)
        layers = [[(positions, own[layer]) for positions, own in lists if layer < len(own)] for layer in range(longest)]
        whole[name] = [_layer(parts, chunks) for parts in layers][::-1]
    return whole


def _layer(parts: list[tuple[list[int], torch.Tensor | None]], chunks: int) -> torch.Tensor | None:
    """The residual of one layer for all chunks."""
    each: list = [None] * chunks
    for positions, residual in parts:
        if residual is not None:
            for position, rows in zip(positions, residual.chunk(len(positions)), strict=True):
                each[position] = rows
    some = next((rows for rows in each if rows is not None), None)
    if some is None:
        return None
    zero = torch.zeros_like(some)
    return torch.cat([zero if rows is None else rows for rows in each])
