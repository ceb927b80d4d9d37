"""Optimisers by name."""

from __future__ import annotations

import torch

NAMES = ("adamw", "adamw8bit")


def make(name: str, groups: list[dict], rate: float) -> torch.optim.Optimizer:
    """AdamW on ``groups`` of parameters, with its averages in 32 bits, or in 8 where bitsandbytes is installed."""
    settings = {"lr": rate, "betas": (0.9, 0.98), "weight_decay": 0.01}
    if name == "adamw":
        return torch.optim.AdamW(groups, **settings, fused=True)
    if name != "adamw8bit":
        raise ValueError(f"Training: the optimiser is {name!r}, but must be one of {', '.join(NAMES)}.")
    try:
        import bitsandbytes
    except ImportError as problem:
        raise ImportError(
            "Training: the optimiser is adamw8bit, which needs the package bitsandbytes, and that is not installed (or does not "
            "know this machine). Run `python -m pip install bitsandbytes` with ComfyUI's Python, or choose adamw."
        ) from problem
    return bitsandbytes.optim.AdamW8bit(groups, **settings)
