"""FSDP: what several processes train together, cut into shards, so that each holds a part of every weight."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from .settings import FULL

NAME = "FSDP"
"""As accelerate calls it."""


def yes(said: Mapping[str, str], name: str) -> bool:
    """Whether accelerate's launcher, or its configuration, says so."""
    return said.get(name, "").lower() in ("1", "true")


def check(method: str, optimiser: str, said: Mapping[str, str], scaled: bool) -> None:
    """Raises ValueError where shards of what was chosen cannot be trained as accelerate says, with the remedy.

    said: accelerate's choices by the names that its launcher gives them. scaled: whether losses are, for float16.
    """
    if method != FULL:
        raise ValueError(
            f"Training: accelerate's configuration says FSDP, and the method is {method}, but FSDP is for all weights (`--method "
            "full`). It saves memory by cutting what is trained, its gradients and the optimiser's averages into shards, one a "
            f"process, and of a {method} these are small. Let `accelerate config` say several CPUs or GPUs (DDP) instead; where "
            "a GPU has too little memory, `--save-memory` or fewer `--rows` help."
        )
    for found, what, remedy in (
        (
            said.get("FSDP_VERSION", "1") != "2",
            "FSDP of version 1, but needs `fsdp_version: 2`",
            "`accelerate to-fsdp2 --config_file OLD --output_file NEW` writes it",
        ),
        (scaled, "FSDP with fp16, but needs to say bf16 or no mixed precision", "`accelerate config` writes it"),
        (
            yes(said, "FSDP_OFFLOAD_PARAMS"),
            "FSDP with `fsdp_offload_params: true`, but what is trained needs to stay on the GPUs",
            "Set it to false; with more processes, or with `--save-memory`, each takes less",
        ),
        (
            yes(said, "FSDP_ACTIVATION_CHECKPOINTING"),
            "FSDP with `fsdp_activation_checkpointing: true`",
            "Set it to false, and give `--save-memory`, which does the same",
        ),
    ):
        if found:
            raise ValueError(f"Training: accelerate's configuration says {what}. {remedy}.")
    if optimiser != "adamw":
        raise ValueError(
            f"Training: accelerate's configuration says FSDP, and the optimiser is {optimiser}, which needs weights whole. "
            "Choose adamw, whose averages FSDP cuts into shards, or let `accelerate config` say several GPUs (DDP)."
        )


def cut(parts: Sequence[torch.nn.Module], device: torch.device, ranks: int) -> None:
    """Cut the weights of ``parts`` into shards, on ``device``, with the first process's numbers.

    Each part's are whole while it is at work; the last part stands around all others, and has what is in none of them.
    """
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard
    from torch.distributed.tensor import DTensor

    mesh = init_device_mesh(device.type, (ranks,))
    again = os.environ.get("FSDP_RESHARD_AFTER_FORWARD", "true").lower() != "false"
    for part in parts:
        part.to(device)  # one after another, so that no device holds all of a net
        for weight in part.state_dict().values():
            if not isinstance(weight, DTensor):
                torch.distributed.broadcast(weight, 0)
        fully_shard(part, mesh=mesh, reshard_after_forward=again)


def whole(held: Any, kept: bool) -> Any:
    """Tensors in dicts and lists, put together of their shards, on the CPU; nothing in their place where they are not ``kept``.

    All processes take part in it.
    """
    if isinstance(held, dict):
        return {key: whole(value, kept) for key, value in held.items()}
    if isinstance(held, (list, tuple)):
        return type(held)(whole(value, kept) for value in held)
    if not _in_shards(held):
        return held
    gathered = held.full_tensor()
    return gathered.cpu() if kept else None


def part(whole: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """Shards of a tensor that is ``whole``, where ``like`` is in shards. All processes take part in it."""
    if _in_shards(whole) or not _in_shards(like):
        return whole
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(whole.to(like.device), like.device_mesh, like.placements)  # type: ignore[attr-defined]


def _in_shards(held: Any) -> bool:
    return hasattr(held, "full_tensor")
