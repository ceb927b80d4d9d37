"""Which files and packages the nodes of a graph need, by what their inputs name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

NONE = "none"
"""The choice of an input that needs nothing."""


@dataclass(frozen=True)
class Use:
    """An input that names a file: the node's title and kind, the input's name, and what was chosen."""

    title: str
    kind: str
    input: str
    value: str


@dataclass(frozen=True)
class Need:
    """A file or a package, and who needs it.

    entry: what `models.yaml` says of it, None where it is not listed. folder: as there; None for a package.
    beside: the file that this one must stand beside, if any.
    """

    name: str
    folder: str | None
    entry: Mapping | None
    uses: tuple[Use, ...]
    beside: str | None = None


def problem(prompt: object) -> str | None:
    """Why this is no graph in API form; None if it is one."""
    if isinstance(prompt, dict) and all(map(_is_node, prompt.values())):
        return None
    return "Check Files: a graph in API form is needed, nodes by number with `class_type` and `inputs`. Export one, or send that."


def _is_node(node: object) -> bool:
    return isinstance(node, dict) and isinstance(node.get("class_type"), str) and isinstance(node.get("inputs"), dict)


def needs(prompt: Mapping, listed: Mapping) -> list[Need]:
    """What the nodes of a graph in API form need, each once, in the order of its nodes. listed: all of `models.yaml`.

    An input that is linked names nothing here, and one at `none`, or at what ships with the pack, needs nothing. Where nothing
    is chosen yet, the list's default is needed.
    """
    found: dict[tuple, Need] = {}
    for node in prompt.values():
        for need in _of_node(node, listed):
            key = need.name, need.folder, PurePosixPath(need.beside or "").parent
            known = found.get(key)
            uses = (*(known.uses if known else ()), *need.uses)
            found[key] = Need(need.name, need.folder, need.entry, tuple(dict.fromkeys(uses)), need.beside)
    return list(found.values())


def title(node: Mapping) -> str:
    """What a user calls a node."""
    meta = node.get("_meta")
    given = meta.get("title") if isinstance(meta, dict) else None
    return given if isinstance(given, str) and given else node["class_type"]


def _of_node(node: Mapping, listed: Mapping) -> Iterator[Need]:
    for name, rule in listed["inputs"].get(node["class_type"], {}).items():
        value = node["inputs"].get(name)
        if isinstance(value, (list, dict)) or value == NONE:
            continue
        chosen = rule.get("file") or (value if isinstance(value, str) and value else rule["default"])
        if chosen == rule.get("ships"):
            continue
        use = (Use(title(node), node["class_type"], name, chosen),)
        entries = [each for each in listed["models"] if each["folder"] == rule["folder"] and _belongs(each["file"], chosen)]
        yield from (Need(each["file"], rule["folder"], each, use) for each in entries)
        if not entries:
            yield Need(chosen, rule["folder"], None, use)
        for ending, other in rule.get("beside", {}).items():
            if chosen.endswith(ending):
                (entry,) = (each for each in listed["models"] if (each["file"], each["folder"]) == (other, rule["folder"]))
                yield Need(other, rule["folder"], entry, use, chosen)
        yield from (Need(package, None, listed["packages"][package], use) for package in rule.get("packages", ()))


def _belongs(file: str, chosen: str) -> bool:
    """Whether a listed file is the chosen one, or a part of the chosen folder."""
    return file == chosen or file.startswith(f"{chosen}/")


def contents(archive: Mapping, listed: Mapping) -> list[Mapping]:
    """The listed files that an archive holds; none where it is no archive."""
    return [each for each in listed["models"] if each.get("archive") == archive["file"] and each["folder"] == archive["folder"]]
