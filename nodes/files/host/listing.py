"""Every file and package that a graph needs, in rows: what the node and the frontend show."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import folder_paths

import nodes as host_nodes

from ...host import catalogue, model_files
from .. import wanted
from ..archive import Member
from ..report import FOUND, MISSING, OTHER_SIZE
from ..transfer import Source
from ..wanted import Need
from . import places

A_FILE = re.compile(r"[^\0]+\.[A-Za-z][A-Za-z0-9]{1,11}")
"""A choice that looks like a file's name."""


def rows(prompt: Mapping) -> list[dict[str, Any]]:
    """What a graph in API form needs, in the order of its nodes, as plain values.

    name, kind (`file`, `package`, `picture` or `node`), nodes (titles), state, listed (whether models.yaml has it), bytes,
    licence, folder and path (where it goes, where it is), contents (names in an archive), download and verify (whether that is
    offered), remedy.
    """
    listed = catalogue.whole()
    found = wanted.needs(prompt, listed)
    known = {(use.kind, use.input) for need in found for use in need.uses}
    return [*map(_row, found), *_others(prompt, known)]


def source(need: Need) -> Source:
    """Where a listed file is published."""
    assert need.entry
    return Source(need.name, need.entry["url"], need.entry["sha256"], need.entry["bytes"])


def members(need: Need) -> list[Member]:
    """What a needed archive holds; none where it is no archive."""
    held = wanted.contents(need.entry, catalogue.whole()) if need.entry and need.folder else []
    return [Member(each["file"], each["sha256"], each["bytes"]) for each in held]


def where(need: Need) -> Path | None:
    """The file that a need is met by, or the folder with all that its archive holds; None if it is not met."""
    assert need.folder
    held = members(need)
    return places.find_all(need.folder, [member.name for member in held]) if held else places.find(need)


def _row(need: Need) -> dict[str, Any]:
    if need.folder is None:
        return _package_row(need)
    if need.entry is None:
        return _unlisted_row(need)
    entry, path, held = need.entry, where(need), [member.name for member in members(need)]
    target = places.destination(need)
    offered = bool(entry["sha256"]) and not entry.get("archive")
    state, remedy = MISSING, f"Get it from {entry['url']} and put it into {target} as `{need.name}`."
    if held:
        remedy = f"Get it from {entry['url']} and unpack {', '.join(held)} into {target}."
    if path:
        state, remedy = FOUND, ""
        size = path.stat().st_size
        if path.is_file() and path.name == need.name.split("/")[-1] and entry["bytes"] not in (None, size):
            state, remedy = OTHER_SIZE, f"It has {size} bytes, the published file {entry['bytes']}: it is another, or not whole."
    elif not entry["sha256"]:
        remedy += " Its hash is not known, so that no download is offered."
    return _plain(need) | {
        "state": state, "listed": True, "bytes": entry["bytes"], "licence": entry["licence"], "folder": str(target),
        "path": str(path or ""), "contents": held, "download": offered and not path, "verify": bool(path and entry["sha256"]),
        "remedy": remedy,
    }  # fmt: skip


def _package_row(need: Need) -> dict[str, Any]:
    assert need.entry
    version = places.version(need.name, need.entry)
    remedy = "" if version else f"Run `{need.entry['install']}` with the Python of ComfyUI, and start ComfyUI again."
    return _plain(need) | {
        "kind": "package", "state": FOUND if version else MISSING, "listed": True, "licence": need.entry["licence"],
        "path": version or "", "remedy": remedy,
    }  # fmt: skip


def _unlisted_row(need: Need) -> dict[str, Any]:
    there = all(need.name in _options(use.kind, use.input)[0] for use in need.uses)
    remedy = "" if there else f"models.yaml does not know where it is published. Put it into {places.destination(need)}."
    return _plain(need) | {"state": FOUND if there else MISSING, "remedy": remedy}


def _others(prompt: Mapping, known: set[tuple[str, str]]) -> Iterable[dict[str, Any]]:
    """What else keeps the graph from running: files that other inputs name and do not offer, nodes that are not installed."""
    said: dict[tuple[bool, str], dict[str, Any]] = {}
    for node in prompt.values():
        for row in _lacking(node, known):
            row = said.setdefault((row["kind"] == "node", row["name"]), row)
            row["nodes"] = list(dict.fromkeys((*row["nodes"], wanted.title(node))))
    return said.values()


def _lacking(node: Mapping, known: set[tuple[str, str]]) -> Iterator[dict[str, Any]]:
    kind = node["class_type"]
    if _class(kind) is None:
        yield _bare(kind, "node", "No pack that is installed has this node.")
    for name, value in node["inputs"].items():
        if (kind, name) in known or not isinstance(value, str) or not A_FILE.fullmatch(value):
            continue
        options, uploaded = _options(kind, name)
        if options is None or value in options or (uploaded and _uploaded(value)):
            continue
        remedy = f"`{name}` names it, but models.yaml does not list it. Choose another, or ask where the graph comes from."
        if uploaded:
            remedy = f"`{name}` names it, but ComfyUI's input folder does not hold it. Choose a picture of yours."
        yield _bare(value, "picture" if uploaded else "file", remedy)


def _options(kind: str, name: str) -> tuple[Any, bool]:
    """What a combo of a node offers, and whether one uploads files to it; (None, False) where it is no combo of a known node."""
    known = _class(kind)
    groups = known.INPUT_TYPES() if known else {}
    spec = next((groups[group][name] for group in ("required", "optional") if name in groups.get(group, {})), None)
    if not spec:
        return None, False
    more = spec[1] if len(spec) > 1 and isinstance(spec[1], dict) else {}
    options = spec[0] if isinstance(spec[0], list) else more.get("options") if spec[0] == "COMBO" else None
    return options, bool(more.get("image_upload"))


def _class(kind: str) -> Any:
    """The node class of a kind, None if there is none."""
    return host_nodes.NODE_CLASS_MAPPINGS.get(kind)  # type: ignore[attr-defined]


def _uploaded(name: str) -> bool:
    return model_files.is_inside(name) and folder_paths.exists_annotated_filepath(name)


def _plain(need: Need) -> dict[str, Any]:
    return _bare(need.name, "file", "") | {"nodes": list(dict.fromkeys(use.title for use in need.uses))}


def _bare(name: str, kind: str, remedy: str) -> dict[str, Any]:
    return {
        "name": name, "kind": kind, "nodes": [], "state": MISSING, "listed": False, "bytes": None, "licence": "", "folder": "",
        "path": "", "contents": [], "download": False, "verify": False, "remedy": remedy,
    }  # fmt: skip
