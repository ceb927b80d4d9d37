"""Patches of other nodes that look for one positive and one negative chunk in a batch, such as the host's NAGuidance."""

from __future__ import annotations

from functools import partial


def wanted(transformer_options: dict) -> bool:
    """Whether a model with these options has such patches: they need batches of one conditional and one unconditional chunk.

    They find their two chunks by the position of a number in `cond_or_uncond`, so that of several chunks with one number they
    would see the first; patches that go through all chunks do not ask for a position.
    """
    every = (function for functions in transformer_options.get("patches", {}).values() for function in functions)
    return any(_finds_by_position(function) for function in every)


def _finds_by_position(function) -> bool:
    while isinstance(function, partial):
        function = function.func
    code = getattr(function if hasattr(function, "__code__") else function.__call__, "__code__", None)
    return code is not None and "cond_or_uncond" in code.co_consts and "index" in code.co_names
