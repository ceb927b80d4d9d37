"""Prompts and captions of a set, and bringing their encodings to one length."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

import torch

from .coupling import Attend

LONGEST_BY_REPETITION = 924
"""12 chunks of 77 tokens, the common multiple of 1, 2, 3 and 4 chunks."""
MOST_TOKENS = 64 * 77
"""Most tokens of a text that is repeated only because a ControlNet reads it."""
SEPARATOR = "---"


def split_prompts(text: str) -> list[str]:
    """One prompt a line, or, where a line is exactly `---`, the blocks between such lines.

    Blank lines are skipped in the first form; a text without any prompt is one empty prompt. A `---` may also end
    the last block: what is blank after the last `---` is no prompt. A blank block before a `---` is an empty one.
    """
    lines = text.splitlines()
    if any(line.strip() == SEPARATOR for line in lines):
        blocks: list[list[str]] = [[]]
        for line in lines:
            if line.strip() == SEPARATOR:
                blocks.append([])
            else:
                blocks[-1].append(line)
        found = ["\n".join(block).strip() for block in blocks]
        return found if found[-1] else found[:-1]
    return [line.strip() for line in lines if line.strip()] or [""]


def assign(prompts: list[str], pictures: int) -> list[str]:
    """A prompt for each picture: 0 pictures means one a prompt; a single prompt serves them all."""
    if pictures in (0, len(prompts)):
        return prompts
    if len(prompts) == 1 and pictures > 0:
        return prompts * pictures
    raise ValueError(
        f"Joint Set: {len(prompts)} prompts were given for {pictures} pictures, but needs 1 or {pictures}. "
        f"Write {pictures} prompts (one a line), or set `pictures` to 0 for one picture a prompt."
    )


def split_captions(text: str, count: int) -> list[str]:
    """A caption for each of ``count`` pictures: one a line, empty ones too; a single line serves them all.

    Blank lines before and after the captions count where that makes one a picture, and are ignored otherwise.
    """
    bare = [line.strip() for line in text.strip("\n").splitlines()] or [""]
    for lines in (text + "\n", text):
        read = [line.strip() for line in lines.splitlines()]
        if len(read) == count:
            return read
    if len(bare) == 1:
        return bare * count
    if len(bare) != count:
        raise ValueError(
            f"Reference Pictures: `captions` has {len(bare)} lines for {count} pictures, but needs 1 or {count}. "
            "Write one line a picture, in the order of the pictures; a line may be empty."
        )
    return bare


ARTICLES = {"a", "an", "the", "my", "this", "that", "one", "some"}
ENDS = {"in", "on", "at", "with", "under", "near", "by", "over", "of", "and", "from", "behind", "beside", "wearing", "holding"}
"""Words that end what names a subject, with every word that ends in -ing."""
VIEWS = {"photo", "picture", "image", "painting", "drawing", "portrait", "photograph", "closeup", "close-up", "shot", "render"}


def subject_of(caption: str) -> str:
    """The noun that a caption is about: the last word of its first phrase, after `a photo of` and the like; "" if none is found.

    A rule of thumb for English captions: `a photo of a small red ball on the beach` is about a `ball`.
    """
    words = re.findall(r"[^\W_][\w'-]*|[,.;:]", caption.lower())
    for position, word in enumerate(words):
        if word == "of" and any(before in VIEWS for before in words[:position]):
            words = words[position + 1 :]
            break
    phrase: list[str] = []
    for word in words:
        if word in ARTICLES and not phrase:
            continue
        if word in ENDS or word in ",.;:" or (phrase and word.endswith("ing") and len(word) > 5):
            break
        phrase.append(word)
    return phrase[-1] if phrase else ""


def positions_of(word: list[int], text: list[int]) -> list[int]:
    """Where the tokens of a ``word`` stand in those of a ``text``, every occurrence; [] if nowhere."""
    found = [first for first in range(len(text) - len(word) + 1) if text[first : first + len(word)] == word]
    return [first + number for first in found for number in range(len(word))] if word else []


def common_length(lengths: list[int]) -> int:
    """T, the token count for a whole set: the lengths' common multiple up to 924, else the longest."""
    multiple = math.lcm(*lengths)
    return multiple if multiple <= LONGEST_BY_REPETITION else max(lengths)


def lengthen(states: torch.Tensor, length: int) -> torch.Tensor:
    """Repeat text states [1, T', D] up to [1, ``length``, D].

    Whole repetitions do not change what cross-attention returns. A last one that is cut does, so such a row also needs
    `attend_to_own`.
    """
    return states.repeat(1, -(-length // states.shape[1]), 1)[:, :length]


@dataclass(frozen=True)
class Tokens:
    """What of text states [B, T, D] is each row's own text. total: T. own: B numbers; the tokens after them are padding."""

    total: int
    own: tuple[int, ...]

    @classmethod
    def of(cls, lengths: list[int], total: int) -> Tokens | None:
        """Of texts of these lengths that `lengthen` brought to ``total``; None where that has changed none of them."""
        own = tuple(total if total % length == 0 else length for length in lengths)
        return None if all(length == total for length in own) else cls(total, own)

    def repeated(self, states: torch.Tensor, length: int) -> torch.Tensor:
        """The same texts, [B, ``length``, D], each its own tokens repeated: without padding where ``length`` is a multiple."""
        rows = states.expand(len(self.own), -1, -1)
        return torch.cat([lengthen(row[None, :own], length) for row, own in zip(rows, self.own, strict=True)])


def attend_to_own(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, total: int, groups: dict[int, torch.Tensor], attend: Attend, whole: bool
) -> torch.Tensor:
    """Cross-attention of queries [B, L, D] in which no row sees the padding of its text.

    k, v: [B, T, D], the first ``total`` of the T tokens are text, those after them are another node's and seen by all.
    groups: for each number of own tokens the rows [some of B] that have it. whole: ``attend`` gets all rows, each time with
    other keys, for kernels that tell rows by their position.
    """
    out = None
    for own, rows in groups.items():
        keys, values = (torch.cat((x[:, :own], x[:, total:]), dim=1) for x in (k, v))
        part = attend(q, keys, values)[rows] if whole else attend(q[rows], keys[rows], values[rows])
        out = part.new_empty(len(q), *part.shape[1:]) if out is None else out
        out[rows] = part
    return out
