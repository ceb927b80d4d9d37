"""A subject as plain numbers and text, exactly: what a file of one holds."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch

from .references import FITS, Reference, Subject

FORMAT = 1
MOST_REFERENCES = 256
MOST_PLACES = 64
MOST_LETTERS = 10_000
MOST_SAID = 8 * 2**20
"""Letters of the text that says what the numbers are."""
MOST_STRENGTH = 1000.0
PARTS = {"picture": 3, "mask": 2, "where": 3}
"""Tensors of a reference, and how many axes each has."""
BY_WORD = "by_word"
"""Of a reference whose place is found by its word: which subject of the file it shows. Left out for others."""
TYPES = {torch.uint8, torch.float16, torch.float32, torch.float64}


def packed(references: Sequence[Reference]) -> tuple[dict[str, torch.Tensor], str]:
    """Tensors by name, as small as they can be without loss, and a text that says the rest. See `unpacked`."""
    tensors, said = {}, []
    by_word = list(dict.fromkeys(one.by_word for one in references if one.by_word is not None))
    for number, one in enumerate(references):
        for part in PARTS:
            given = getattr(one, part)
            if given is not None:
                tensors[_name(number, part)] = _smallest(given.detach().cpu())
        said.append(
            {
                "caption": one.caption,
                "fit": one.fit,
                "background": one.background,
                "subject": one.subject,
                "strength": one.strength,
                **({} if one.by_word is None else {BY_WORD: by_word.index(one.by_word)}),
            }
        )
    return tensors, json.dumps({"format": FORMAT, "references": said})


def unpacked(said: str, names: Iterable[str], read: Callable[[str], torch.Tensor]) -> tuple[Reference, ...]:
    """The references that `packed` was given, bit for bit. names: of the tensors that there are; read: gives one of them.

    Raises ValueError with what is wrong, without a full stop, for everything that `packed` cannot have made.
    """
    try:
        told = json.loads(said if len(said) <= MOST_SAID else "")
        format_, entries = told["format"], told["references"]
    except (ValueError, LookupError, TypeError, RecursionError) as problem:
        raise ValueError("what it says of its references cannot be read") from problem
    if format_ != FORMAT:
        raise ValueError(f"it has the format {str(format_)[:20]}, but this version of the nodes reads {FORMAT}")
    if not isinstance(entries, list) or not 1 <= len(entries) <= MOST_REFERENCES:
        raise ValueError(f"it needs a list of 1 to {MOST_REFERENCES} references")
    names = set(names)
    by_word: defaultdict[int, Subject] = defaultdict(Subject)
    return tuple(_reference(number, entry, names, read, by_word) for number, entry in enumerate(entries))


def _reference(
    number: int, entry: Any, names: set[str], read: Callable[[str], torch.Tensor], by_word: dict[int, Subject]
) -> Reference:
    fields = entry if isinstance(entry, dict) else {}
    problem = next((name for name, good in CHECKS.items() if name not in fields or not good(fields[name])), None)
    if problem:
        raise ValueError(f"the {problem} of reference {number + 1} is missing, or is none")
    whose = fields.get(BY_WORD)
    if whose is not None and not (type(whose) is int and 0 <= whose < MOST_REFERENCES):
        raise ValueError(f"the {BY_WORD} of reference {number + 1} is none")
    given = {part: _restored(read(_name(number, part))) if _name(number, part) in names else None for part in PARTS}
    for part, values in given.items():
        if values is not None and not _is_good(part, values):
            raise ValueError(f"the {part} of reference {number + 1} has the wrong shape {tuple(values.shape)}, or wrong numbers")
    picture, mask, where = given.values()
    if picture is None or picture.shape[-1] != 3:
        raise ValueError(f"the picture of reference {number + 1} is missing, or is not in colour")
    if mask is not None and mask.shape != picture.shape[:2]:
        raise ValueError(f"the mask of reference {number + 1} has another size than its picture")
    if where is not None and len(where) > MOST_PLACES:
        raise ValueError(f"reference {number + 1} has {len(where)} masks in `where`, of at most {MOST_PLACES}")
    numbers = {name: float(fields[name]) for name in ("background", "strength")}
    texts = {name: fields[name] for name in ("caption", "fit", "subject")}
    parts = {"mask": mask, "where": where, "by_word": None if whose is None else by_word[whose]}
    said: dict[str, Any] = {**texts, **numbers, **parts}
    return Reference(picture, **said)


def _is_good(part: str, values: torch.Tensor) -> bool:
    """Whether numbers can be a part of a reference, as Reference Pictures takes them: masks may overshoot a little."""
    if values.ndim != PARTS[part] or not values.numel() or not values.isfinite().all():
        return False
    return part == "picture" or bool((values >= -0.5).all() and (values <= 1.5).all())


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= MOST_LETTERS and not any("\ud800" <= one <= "\udfff" for one in value)


def _is_number(value: Any, most: float) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= most


CHECKS: dict[str, Callable[[Any], bool]] = {
    "caption": _is_text,
    "fit": lambda value: value in FITS,
    "background": lambda value: _is_number(value, 1),
    "subject": _is_text,
    "strength": lambda value: _is_number(value, MOST_STRENGTH),
}


def is_kept(reference: Reference) -> bool:
    """Whether `unpacked` would take what a reference says."""
    return all(good(getattr(reference, name)) for name, good in CHECKS.items())


def _name(number: int, part: str) -> str:
    return f"{number}.{part}"


def _smallest(values: torch.Tensor) -> torch.Tensor:
    """The same numbers in bytes (as 255ths) or half precision, if these hold them exactly; else as they are."""
    if values.dtype == torch.float32:
        for small in ((values * 255).round().clamp(0, 255).to(torch.uint8), values.half()):
            if torch.equal(_restored(small), values):
                return small.contiguous()
    return values.contiguous()


def _restored(stored: torch.Tensor) -> torch.Tensor:
    if stored.dtype not in TYPES:
        raise ValueError(f"it has {str(stored.dtype).removeprefix('torch.')} numbers where 255ths or fractions belong")
    if stored.dtype == torch.uint8:
        return stored.float() / 255
    return stored.float() if stored.dtype == torch.float16 else stored.clone()
