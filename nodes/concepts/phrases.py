"""Phrases of concepts, and the one caption that Grounding DINO reads for all of them."""

from __future__ import annotations

SEPARATORS = {"[CLS]": 101, "[SEP]": 102, ".": 1012, "?": 1029}
"""Tokens that part a caption into phrases which do not see each other; their ids are fixed in the network."""
MOST_TOKENS = 256
"""The network reads no more of a caption."""
MOST_CONCEPTS = 64


def split(text: str) -> list[str]:
    """One phrase a line, normalised: lower case, single spaces, no final full stop.

    Raises ValueError if there is none, there are too many, or one holds a sign that would part it.
    """
    lines = [" ".join(line.split()).rstrip(" .").lower() for line in text.splitlines()]
    phrases = [line for line in lines if line]
    if not phrases:
        raise ValueError(
            "Find Concepts: `phrases` is empty, but needs one phrase a line. Write what to find, such as `a woman in red`."
        )
    if len(phrases) > MOST_CONCEPTS:
        raise ValueError(
            f"Find Concepts: `phrases` has {len(phrases)} lines, but at most {MOST_CONCEPTS} concepts fit a scene. Write fewer."
        )
    for phrase in phrases:
        if "." in phrase or "?" in phrase:
            raise ValueError(
                f"Find Concepts: the phrase `{phrase}` holds a full stop or a question mark, which the detector takes for the "
                "end of a phrase. Write it without, and each concept on a line of its own."
            )
    return phrases


def caption(phrases: list[str]) -> str:
    """The distinct phrases as Grounding DINO was trained to read them: lower case, each ended by a full stop."""
    return " . ".join(dict.fromkeys(phrases)) + " ."


def spans(token_ids: list[int], phrases: list[str]) -> dict[str, range]:
    """Where the tokens of each distinct phrase stand in the caption's tokens.

    Raises ValueError if the caption is too long for the network, or its tokens do not make these phrases.
    """
    distinct = list(dict.fromkeys(phrases))
    if len(token_ids) > MOST_TOKENS:
        raise ValueError(
            f"Find Concepts: the phrases make {len(token_ids)} tokens, but the detector reads {MOST_TOKENS}. Use fewer or "
            "shorter phrases, or several Find Concepts nodes in a chain."
        )
    found, start = [], None
    for position, token in enumerate([*token_ids, SEPARATORS["[SEP]"]]):
        if token not in SEPARATORS.values():
            start = position if start is None else start
        elif start is not None:
            found.append(range(start, position))
            start = None
    if len(found) != len(distinct):
        raise ValueError(
            f"Find Concepts: {len(distinct)} phrases ({', '.join(distinct)}) became {len(found)} in the tokenizer. Check that "
            "the tokenizer files beside the detector are those of bert-base-uncased, and use plain words."
        )
    return dict(zip(distinct, found, strict=True))
