"""All pictures of a run side by side, as one page that a browser opens from disk."""

from __future__ import annotations

import html
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import quote

from ...nodes.data.whole_files import whole
from ...nodes.metrics.similarity import NAMES, TITLES
from .plan import Case

STYLE = """
body { font: 14px sans-serif; margin: 24px; background: #fff; color: #222 } h2 { margin: 32px 0 8px }
pre { background: #f4f4f4; padding: 12px; overflow: auto } table { border-collapse: collapse }
td, th { padding: 4px; vertical-align: top; text-align: left; font-weight: normal; max-width: 260px }
img { width: 160px; display: block; image-rendering: auto } figure { margin: 0; display: inline-block } small { color: #555 }
"""
TITLE_OF = {**TITLES, "identity": "identity"}


def write(path: Path, title: str, report: str, cases: Sequence[Case], made: Path, scores: Mapping[str, Mapping]) -> None:
    """One section a choice of inputs: the inputs, then a row a prompt with its pictures. made: the folder of the pictures."""
    sections: dict[str, list[Case]] = {}
    for case in cases:
        sections.setdefault(case.name.rsplit("/", 1)[0], []).append(case)
    parts = [_section(name, group, path.parent, made, scores) for name, group in sections.items()]
    text = (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{html.escape(title)}</title><style>{STYLE}</style>'
        f"<h1>{html.escape(title)}</h1><pre>{html.escape(report)}</pre>{''.join(parts)}</html>\n"
    )
    with whole(path) as part:
        part.write_text(text, encoding="utf-8")


def _section(name: str, group: Sequence[Case], here: Path, made: Path, scores: Mapping[str, Mapping]) -> str:
    first = group[0]
    given = [one.pictures[place] for one, inputs in zip(first.subjects, first.inputs, strict=True) for place in inputs]
    rows: dict[str, list[Case]] = {}
    for case in group:
        rows.setdefault(case.prompt, []).append(case)
    lines = "".join(
        f"<tr><th>{html.escape(prompt)}</th>"
        + "".join(f"<td>{_figure(case, here, made, scores)}</td>" for case in each)
        + "</tr>"
        for prompt, each in rows.items()
    )
    inputs = "".join(f"<figure>{_image(path, here, 'input')}</figure> " for path in given)
    return f"<h2>{html.escape(name)}</h2><p>{inputs}</p><table>{lines}</table>"


def _figure(case: Case, here: Path, made: Path, scores: Mapping[str, Mapping]) -> str:
    path = made / f"{case.name}.png"
    if not path.is_file():
        return "<small>not made</small>"
    said = scores.get(case.name, {})
    words = " ".join(f"{TITLE_OF[n]} {said[n]:.3f}" for n in ("identity", *NAMES) if said.get(n) is not None)
    return f"<figure>{_image(path, here, case.prompt)}<small>{html.escape(words)}</small></figure>"


def _image(path: Path, here: Path, text: str) -> str:
    address = quote(os.path.relpath(path.resolve(), here.resolve()).replace(os.sep, "/"))
    return f'<img loading="lazy" src="{html.escape(address)}" alt="{html.escape(text)}">'
