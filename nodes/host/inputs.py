"""Inputs that nodes of several flows have, and what is checked of them."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from comfy_api.latest import io

WIDGETS = tuple(kind.io_type for kind in (io.Int, io.Float, io.String, io.Boolean, io.Combo))


def share(name: str, default: float, tooltip: str, step: float = 0.01, **more) -> io.Float.Input:
    """A number from 0 to 1, such as a share of the schedule (0 = pure noise) or of a picture's width."""
    return io.Float.Input(name, default=default, min=0.0, max=1.0, step=step, tooltip=tooltip, **more)


def window_or_problem(node: str, start_name: str, start: float | None, end_name: str, end: float | None) -> bool | str:
    """True, or why the queue must not start. None is a value that another node will give."""
    for name, value in ((start_name, start), (end_name, end)):
        if problem := share_problem(node, name, value, "schedule"):
            return problem
    if start is not None and end is not None and start > end:
        return f"{node}: `{start_name}` is {start}, after `{end_name}` {end}. Exchange them."
    return True


def share_problem(node: str, name: str, value: Any, whole: str) -> str | None:
    """Why ``value`` is no share of the ``whole``; None if it is, or if another node will give it."""
    if value is None or (isinstance(value, (int, float)) and 0 <= value <= 1):
        return None
    return f"{node}: `{name}` is {_shown(value)}, but needs to be a share of the {whole} in 0 to 1. Type such a number."


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


def acting_mask(given: torch.Tensor, name: str) -> torch.Tensor:
    """As `masks`, of where an identity acts; one that is black everywhere is refused: it would switch the identity off unseen."""
    mask = masks(given, name)
    if not mask.any():
        raise ValueError(f"{name} is black everywhere, so the identity would act nowhere. White marks where it acts.")
    return mask


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


def checked(execute: Callable) -> Callable:
    """A node's `execute` that first refuses, by name, what no widget and no socket gives, but a prompt of a program can.

    That is: plain values in a socket, NaN and infinity, text with half characters, and inputs that the node does not have.
    Stands below `@classmethod`.
    """

    @functools.wraps(execute)
    def checking(cls, *positional, **given):
        schema = cls.SCHEMA or cls.GET_SCHEMA()
        known = {each.id: each for each in schema.inputs}
        left_out = {name for name, value in given.items() if value is None and name in known and known[name].optional}
        given = {name: value for name, value in given.items() if name not in left_out}
        for name, value in given.items():
            kind = known[name].get_io_type() if name in known else None
            for part, problem in _problems(kind, name, value):
                raise ValueError(f"{schema.display_name}: `{_shown(part)}` {problem}")
        return execute(cls, *positional, **given)

    return checking


class Once(str):
    """What `validate_inputs` says of several inputs at once: the host writes it beside each, but here the first time only.

    Made of the text and of what stands beside the other inputs.
    """

    def __new__(cls, text: str, elsewhere: str):
        return super().__new__(cls, text)

    def __init__(self, text: str, elsewhere: str):
        self._shown, self._elsewhere = iter((text,)), elsewhere

    def __str__(self) -> str:
        return next(self._shown, self._elsewhere)


def check_choice(node: str, name: str, value: Any, choices: Any) -> bool | str:
    """True, or why the queue must not start: ``value`` is none of the few ``choices``. None is what another node will give."""
    if value is None or value in list(choices):
        return True
    *first, last = (f"`{choice}`" for choice in choices)
    needed = f"{', '.join(first)} or {last}"
    return f"{node}: `{name}` is `{_shown(value)}`, but needs to be {needed}. Choose one of them."


def text_problem(node: str, name: str, value: Any) -> str | None:
    """Why ``value`` is no text; None if it is, or if another node will give it."""
    if value is None or isinstance(value, str):
        return None
    return f"{node}: `{name}` is {_shown(value)}, but needs to be text. Type it."


def name_problem(node: str, name: str, value: Any) -> str | None:
    """Why ``value`` cannot be a file's name; None if it can, or if another node will give it."""
    if value is None or (isinstance(value, str) and "\0" not in value and len(value) < 1000 and _is_text(value)):
        return None
    return f"{node}: `{name}` is `{_shown(value)}`, but needs to be the name of a file. Choose one of the list."


def _problems(kind: str | None, name: str, value: Any) -> Iterator[tuple[str, str]]:
    """(input, what is wrong with it) for a value of an input of a type. None: there is no such input; empty: one of a group."""
    if kind is None:
        yield name, "is no input of this node. Leave it out."
    elif kind == io.Autogrow.io_type:
        if not isinstance(value, dict):
            yield name, "is a group of inputs, but has a value of its own. Connect its inputs."
            return
        for part, each in value.items():
            if each is not None:
                yield from _problems("", f"{name}.{part}", each)
    elif kind == io.BoundingBox.io_type:  # plain by nature; what takes boxes looks at each
        return
    elif kind not in WIDGETS:
        if _is_plain(value):
            yield name, f"is {_shown(repr(value))}, but needs what another node gives. Connect one."
    elif value is None:
        yield name, "is empty, but needs a value. Give one, or see what the linked node gives."
    elif isinstance(value, float) and not math.isfinite(value):
        yield name, f"is {value}, but needs a number. Type one, or see what the linked node calculates."
    elif isinstance(value, str) and not _is_text(value):
        yield name, "holds half a character, which no text encoder can read. Type it again."


def _is_plain(value: Any) -> bool:
    """Whether a value is what JSON can hold; what nodes hand on never is."""
    if isinstance(value, dict):
        return all(map(_is_plain, value.values()))
    if isinstance(value, list):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, (str, int, float))


def _is_text(value: str) -> bool:
    """Whether it holds whole characters only: half ones (lone surrogates) cannot be written anywhere."""
    return not any("\ud800" <= letter <= "\udfff" for letter in value)


def _shown(value: Any) -> str:
    """A value for messages, short, and such that it can be written."""
    return str(value)[:200].encode("utf-8", "backslashreplace").decode()
