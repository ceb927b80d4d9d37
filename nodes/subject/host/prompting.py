"""Prompts with subjects as conditioning: each subject's embedding stands at its placeholder before the text is encoded."""

from __future__ import annotations

import torch

from ...host import chunk_tags
from ...joint.host import words
from ..chain import Subjects
from ..wording import worded

SUBJECTS = "same_subject_subjects_of"
"""Key of a conditioning entry: the `Subjects` that its text was made for, or None."""
WORDS = "same_subject_subjects_words"
"""Key of a conditioning entry: for each subject where the last token of its class and its placeholder stand, from 0."""
PLAIN = "same_subject_subjects_plain"
"""Key of a conditioning entry: (states, what stands beside them) of the plain text by the original text encoder."""


def prompts(adapter, subjects: Subjects | None, text: str, negative: str) -> tuple[list, list]:
    """Positive and negative CONDITIONING by an adapter's text encoder. adapter: a `loading.SubjectAdapter`.

    Raises ValueError where the words for subjects cannot stand in the text.
    """
    if subjects is not None and subjects.adapter is not adapter:
        raise ValueError(
            "Subject Prompt: `subjects` were encoded for another adapter than `adapter`. Connect one Load Subject Adapter to all."
        )
    return _encoded(adapter, subjects, text), _encoded(adapter, None, negative)


def _encoded(adapter, subjects: Subjects | None, text: str) -> list:
    about, each = adapter.about, () if subjects is None else subjects.each
    said = worded(text, [one.name for one in each], about.placeholder)
    tokens = adapter.clip.tokenize(said.text)
    positions = _positions(adapter, tokens, len(each))
    if each and about.cls:
        tokens = _fused(adapter, tokens, [one.cls for one in each])
    beside = {SUBJECTS: subjects, WORDS: positions}
    if adapter.plain_clip is not None:
        (states, others), *_ = adapter.plain_clip.encode_from_tokens_scheduled(adapter.plain_clip.tokenize(text))
        beside[PLAIN] = states, others
    return [[states, {**others, **beside}] for states, others in adapter.clip.encode_from_tokens_scheduled(tokens)]


def _positions(adapter, tokens: dict, count: int) -> tuple[tuple[int, int], ...]:
    """Where each subject's class ends and its placeholder stands: `... the {class} is {placeholder}`."""
    read, without = words.flat(tokens), words.filling(adapter.clip)
    own = [at for at, token in enumerate(read) if token not in without]
    found = [number for number, at in enumerate(own) if read[at] == adapter.about.placeholder_token]
    if len(found) != count:
        raise ValueError(
            f"Subject Prompt: the text encoder reads {len(found)} placeholders `{adapter.about.placeholder}`, but there are "
            f"{count} subjects. Remove that word, and brackets around whole texts, from the text and the class names."
        )
    return tuple((own[number - 2], own[number]) for number in found)


def _fused(adapter, tokens: dict, every: list[torch.Tensor]) -> dict:
    """Tokens of each text encoder, with the words of subjects instead of placeholders. every: [D] each, in their order."""
    made = {}
    for name, chunks in tokens.items():
        if name not in adapter.about.sizes.words:
            raise ValueError(
                f"Subject Prompt: the adapter has no words for the text encoder `{name}`, but the text needs them. Load an "
                "adapter for the checkpoint that the text encoder is from."
            )
        new = iter([adapter.networks.mlp[name](one.cpu().float()) for one in every])
        made[name] = [
            [(next(new), *token[1:]) if _is_placeholder(adapter, token) else token for token in chunk] for chunk in chunks
        ]
    return made


def _is_placeholder(adapter, token: tuple) -> bool:
    return isinstance(token[0], int) and token[0] == adapter.about.placeholder_token


def check(conds: dict[str, list[dict]], subjects: Subjects, interpolation: float) -> None:
    """Raise unless a guider's conditioning has the texts of these subjects, and those that an interpolation needs."""
    for name, entries in conds.items():
        null = name in chunk_tags.NULL_TERMS
        for entry in entries:
            others = entry.get(SUBJECTS)
            if (others is not None or not null) and (others is None or not _are_same(others, subjects)):
                given = "no subjects" if others is None else "other subjects"
                raise ValueError(
                    f"Apply Subjects: the {name} conditioning has {given} in its text, but needs those of `subjects`. Connect "
                    "`positive` of Subject Prompt, and the same `subjects` to it and to Apply Subjects."
                )
            if interpolation > 0 and PLAIN not in entry and not null:
                raise ValueError(
                    f"Apply Subjects: `interpolation` is {interpolation:g}, but the {name} conditioning has no plain text. "
                    "Connect `clip` of the checkpoint to Load Subject Adapter, or set `interpolation` to 0."
                )


def _are_same(one: Subjects, other: Subjects) -> bool:
    pairs = list(zip(one.each, other.each, strict=False))
    same = len(one.each) == len(other.each) == len(pairs)
    return same and all(a.name == b.name and torch.equal(a.cls, b.cls) for a, b in pairs)


def original(entry: dict) -> dict:
    """A copy of a conditioning entry with the plain text by the original text encoder, if it has one."""
    if PLAIN not in entry:
        return entry
    states, others = entry[PLAIN]
    return {**entry, **others, "cross_attn": states}
