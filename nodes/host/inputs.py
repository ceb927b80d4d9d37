"""Inputs that nodes of several flows have, and what is checked of them."""

from __future__ import annotations

import math

import torch
from comfy_api.latest import io


def share(name: str, default: float, tooltip: str, **more) -> io.Float.Input:
    """A number from 0 to 1, such as a share of the schedule (0 = pure noise) or of a picture's width."""
    return io.Float.Input(name, default=default, min=0.0, max=1.0, step=0.01, tooltip=tooltip, **more)


def window_or_problem(node: str, start_name: str, start: float | None, end_name: str, end: float | None) -> bool | str:
    """True, or why the queue must not start. None is a value that another node will give."""
    for name, value in ((start_name, start), (end_name, end)):
        if value is not None and not 0 <= value <= 1:
            return f"{node}: `{name}` is {value}, but needs to be a share of the schedule in 0 to 1."
    if start is not None and end is not None and start > end:
        return f"{node}: `{start_name}` is {start}, after `{end_name}` {end}. Exchange them."
    return True


def identity_strength(optional: bool = False) -> io.Float.Input:
    """The strength of an identity on a model, under its saved name `weight`."""
    return io.Float.Input(
        "weight",
        default=0.8,
        min=-1.0,
        max=5.0,
        step=0.01,
        optional=optional,
        tooltip="How much the face's attention counts next to the text's. The authors use 0.8.",
    )


def masks(given: torch.Tensor, name: str) -> torch.Tensor:
    """A MASK as [P, H, W] on the CPU. name: begins errors, such as `Apply Identity: `mask``. Raises for what is no mask."""
    if given.ndim < 2 or not given.numel():
        raise ValueError(
            f"{name} has the shape {tuple(given.shape)}, but needs (masks, height, width), none of them 0. See why the node "
            "before it gave no mask, or disconnect it."
        )
    check_finite(given, name)
    return given.reshape(-1, *given.shape[-2:]).cpu()


def check_finite(values: torch.Tensor, name: str) -> None:
    """Raise where there is a NaN or infinity: one would spoil whole pictures. name: begins the error."""
    if not values.isfinite().all():
        raise ValueError(
            f"{name} holds NaN or infinity, but needs numbers from 0 to 1. See why the node that made it failed, or connect "
            "another."
        )


def check_number(value: float, name: str) -> None:
    """Raise for NaN and infinity, which no widget gives but a linked node can. name: begins the error."""
    if not math.isfinite(value):
        raise ValueError(f"{name} is {value}, but needs a number. Type one, or see what the linked node calculates.")
