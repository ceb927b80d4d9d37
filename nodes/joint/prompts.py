"""Prompts and captions of a set, and bringing their encodings to one length."""

from __future__ import annotations

import math

import torch

LONGEST_BY_REPETITION = 924
"""12 chunks of 77 tokens, the common multiple of 1, 2, 3 and 4 chunks."""
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


def common_length(lengths: list[int]) -> int:
    """T, the token count for a whole set: the lengths' common multiple up to 924, else the longest."""
    multiple = math.lcm(*lengths)
    return multiple if multiple <= LONGEST_BY_REPETITION else max(lengths)


def lengthen(states: torch.Tensor, length: int, empty: torch.Tensor) -> torch.Tensor:
    """Bring text states [1, T', D] to [1, ``length``, D].

    Repetition where it fits: repeated keys do not change what cross-attention returns. Otherwise the
    encoding of the empty prompt ``empty`` [1, T0, D] is appended, chunk by chunk.
    """
    short = length - states.shape[1]
    if not short:
        return states
    if length % states.shape[1] == 0 and length <= LONGEST_BY_REPETITION:
        return states.repeat(1, length // states.shape[1], 1)
    padding = empty.repeat(1, math.ceil(short / empty.shape[1]), 1)[:, :short]
    return torch.cat((states, padding.to(states)), dim=1)
