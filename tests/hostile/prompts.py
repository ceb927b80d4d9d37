"""Prompts in API form that no user interface would send: one thing wrong in a graph that is good."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator
from dataclasses import dataclass

from . import homes, values


@dataclass(frozen=True, eq=False)
class Attempt:
    """A prompt, and what is wrong with it, for messages. kind: the node class that is meant."""

    kind: str
    what: str
    graph: dict
    must_fail: bool = False


def shown(value) -> str:
    """A value for messages, short and in ASCII."""
    text = ascii(value)
    return text if len(text) < 80 else f"{text[:60]}... ({len(text)} characters)"


def drawn(described: dict, ours: list[str], outside: list[dict], seed: int, number: int) -> list[Attempt]:
    """``number`` of all attempts, of each input of each node about as many; none of `must_fail` is left out.

    outside: what `values.OUTSIDE` is filled in with, one for each good file that stands outside of the model folders.
    """
    draw = random.Random(seed)
    by_input: dict[tuple[str, str], list[Attempt]] = {}
    for key, attempt in every(described, ours, outside):
        by_input.setdefault((attempt.kind, key), []).append(attempt)
    chosen = [one for many in by_input.values() for one in many if one.must_fail]
    rest = [[one for one in many if not one.must_fail] for many in by_input.values()]
    for many in rest:
        draw.shuffle(many)
    draw.shuffle(rest)
    while len(chosen) < number and any(rest):
        chosen += [many.pop() for many in rest if many]
    chosen = chosen[: max(number, sum(one.must_fail for one in chosen))]
    return sorted(chosen, key=lambda one: ours.index(one.kind))  # so that the server keeps what it has loaded


def every(described: dict, ours: list[str], outside: list[dict]) -> Iterator[tuple[str, Attempt]]:
    """Every attempt there is, with the input or kind of damage that it is about."""
    for kind, (graph, name) in homes.all_homes(described, ours).items():
        taken = homes.inputs_of(described[kind])
        for key, (type_of, options) in taken.items():
            for value in values.for_input(type_of, options, key):
                yield key, attempt(kind, key, graph, name, filled(value, graph, name))
            if type_of == "COMBO" and all(one in values.WIDGETS for one, _ in taken.values()):  # it loads what has that name
                for where in outside:
                    for form in values.OUTSIDE:
                        yield key, attempt(kind, key, graph, name, form.format(**where), must_fail=True)
        yield from damaged(kind, graph, name, list(taken))


def attempt(kind: str, key: str, graph: dict, name: str, value, must_fail: bool = False) -> Attempt:
    return Attempt(kind, f"{key} = {shown(value)}", homes.changed(graph, name, **{key: value}), must_fail)


def filled(value, graph: dict, name: str):
    """A link's placeholders, replaced by names of nodes of the graph."""
    if not isinstance(value, list) or not value or not isinstance(value[0], str):
        return value
    others = [other for other in graph if other != name]
    places = {"{self}": name, "{any}": others[0], "{other}": others[-1]}
    return [places.get(value[0], value[0]), *value[1:]]


def damaged(kind: str, graph: dict, name: str, keys: list[str]) -> Iterator[tuple[str, Attempt]]:
    """Prompts that are wrong in their structure."""
    for key in keys:
        if key in graph[name]["inputs"]:
            yield "a missing input", Attempt(kind, f"no {key}", homes.without(graph, name, key))
        group, dot, first = key.partition(".")
        if dot:
            some = graph[name]["inputs"].get(key)
            for form in values.NAMES:
                odd = form.format(group=group, name=first[:-1])
                yield "a group", Attempt(kind, f"{shown(odd)} beside {key}", homes.changed(graph, name, **{odd: some}))
                alone = homes.without(graph, name, *[key] if some else [])
                yield "a group", Attempt(kind, f"{shown(odd)} instead of {key}", homes.changed(alone, name, **{odd: some}))
    for key in ("__class__", "self", "cls", "\ud800", "", "a" * 5000, "kwargs"):
        yield "an input too many", Attempt(kind, f"an input {shown(key)}", homes.changed(graph, name, **{key: 1}))
    for inputs in (None, [], "x", 5):
        broken = copy.deepcopy(graph)
        broken[name]["inputs"] = inputs
        yield "inputs", Attempt(kind, f"inputs are {inputs!r}", broken)
    for class_type in (None, 5, "", kind + "\0", kind.lower(), [kind], {}):
        broken = copy.deepcopy(graph)
        broken[name]["class_type"] = class_type
        yield "class", Attempt(kind, f"class_type is {shown(class_type)}", broken)
