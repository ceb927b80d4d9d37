"""What was measured, as the papers' tables have it, beside what they published."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean, stdev

from ...nodes.metrics.similarity import NAMES, TITLES
from . import protocol
from .plan import Case

WIDTH = 36
REAL = "your real pictures, with each other"


def by_subject(cases: Iterable[Case], scores: Mapping[str, Mapping]) -> dict[str, dict[str, float]]:
    """The mean of each score over the pictures of a subject or pair that have it: over prompts, pictures and choices of input."""
    found: dict[str, dict[str, list[float]]] = {}
    for case in cases:
        group = found.setdefault("-".join(one.name for one in case.subjects), {})
        for name, value in scores.get(case.name, {}).items():
            if isinstance(value, float):
                group.setdefault(name, []).append(value)
    return {group: {name: fmean(values) for name, values in each.items()} for group, each in found.items()}


def means(groups: Mapping[str, Mapping[str, float]], names: Sequence[str]) -> dict[str, tuple[float, float] | None]:
    """For each score its mean over subjects, all of the same weight, and that mean's standard error; None without any."""
    found = {}
    for name in names:
        values = [each[name] for each in groups.values() if name in each]
        error = stdev(values) / len(values) ** 0.5 if len(values) > 1 else 0.0
        found[name] = (fmean(values), error) if values else None
    return found


def table(
    title: str, published: Sequence[protocol.Published], method: str, groups: Mapping[str, Mapping[str, float]],
    real: Mapping[str, Mapping[str, float]],
) -> str:  # fmt: skip
    """The published rows and ours, with standard errors over subjects. real: what pictures of ``groups`` would have as copies."""
    ours = means(groups, NAMES)
    lines = [title, f"{'':{WIDTH}}" + "".join(f"{TITLES[name]:>9}" for name in NAMES)]
    lines += [f"{row.method:{WIDTH}}" + "".join(map(_cell, row.figures)) for row in published]
    lines.append(f"{method[:WIDTH]:{WIDTH}}" + "".join(_cell(one[0] if one else None) for one in ours.values()))
    lines.append(
        f"{f'  +- over {len(groups)} subjects':{WIDTH}}" + "".join(_cell(one[1] if one else None) for one in ours.values())
    )
    if any(real.values()):
        copied = means(real, NAMES).values()
        lines.append(f"{REAL:{WIDTH}}" + "".join(_cell(one[0] if one else None) for one in copied))
    return "\n".join(lines)


def faces(
    method: str, groups: Mapping[str, Mapping[str, float]], real: Mapping[str, Mapping[str, float]], without: int, pictures: int
) -> str:
    """Subject-Diffusion's table 4 and ours. without: how many of ``pictures`` show no face."""
    ours = means(groups, ("identity", "clip_t"))
    lines = ["Subject-Diffusion, table 4 (published: FaceNet; ours: another recogniser, so that identities do not compare)"]
    lines.append(f"{'':{WIDTH}}{'identity':>10}{'prompt':>9}")
    lines += [f"{name:{WIDTH}}{identity:10.3f}{prompt:9.3f}" for name, identity, prompt in protocol.FACES]
    cells = [_cell(one[0] if one else None) for one in ours.values()]
    lines.append(f"{method[:WIDTH]:{WIDTH}} {cells[0]}{cells[1]}")
    if copied := means(real, ("identity",))["identity"]:
        lines.append(f"{REAL:{WIDTH}} {_cell(copied[0])}{_cell(None)}")
    lines.append(f"{without} of {pictures} pictures show no face and count 0.")
    return "\n".join(lines)


def left_out(cases: Sequence[Case], scores: Mapping[str, Mapping]) -> str:
    """How many pictures masked scores leave out, in a sentence; "" for none."""
    measured = [scores[case.name] for case in cases if case.name in scores]
    without = sum(one.get("mdino") is None and one.get("mclip_i") is None for one in measured)
    if not without or without == len(measured):
        return ""
    return f"{without} of {len(measured)} pictures, in which the subject was not found, are left out of MCLIP-I and MDINO."


def _cell(value: float | None) -> str:
    return f"{'-':>9}" if value is None else f"{value:9.4f}"
