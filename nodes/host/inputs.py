"""Inputs that nodes of several flows have, and what is checked of them before the queue starts."""

from __future__ import annotations

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
