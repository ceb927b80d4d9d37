"""Where the words for subjects stand in texts, as a CLIP reads them."""

from __future__ import annotations

from collections.abc import Sequence

from .. import prompts
from ..places import Words
from ..references import Reference


def flat(tokens: dict) -> list[int]:
    """Token ids as they stand in the encoder's states, chunk after chunk; textual inversions count as no token."""
    chunks = next(iter(tokens.values()))
    return [token[0] if isinstance(token[0], int) else -1 for chunk in chunks for token in chunk]


def ids(clip, word: str) -> list[int]:
    """Token ids of a word, without what begins, ends and fills a text."""
    without = filling(clip)
    return [token for token in flat(clip.tokenize(word)) if token not in without]


def filling(clip) -> set[int]:
    """Token ids that begin, end and fill every text."""
    return set(flat(clip.tokenize("")))


def after(last: int, tokens: Sequence[int], without: set[int]) -> list[int]:
    """Where the words behind position ``last`` stand. without: ids of tokens that are no words."""
    return [at for at, token in enumerate(tokens) if at > last and token not in without]


def of_prompts(clip, references: Sequence[Reference], texts: Sequence[str]) -> Words | None:
    """The words of the references whose place is found by them, in the texts of a set's pictures; None if there are none.

    References that were gathered together show one subject. Raises ValueError where a text does not hold its word, and where
    several subjects have one.
    """
    kinds = list(dict.fromkeys(one.by_word for one in references if one.by_word is not None))
    if not kinds:
        return None
    subjects = tuple(None if one.by_word is None else kinds.index(one.by_word) for one in references)
    words = [_words(references, subjects, number) for number in range(len(kinds))]
    without, read, positions = filling(clip), [flat(clip.tokenize(text)) for text in texts], []
    for picture, (text, tokens) in enumerate(zip(texts, read, strict=True), 1):
        found = [tuple(at for word in every for at in prompts.positions_of(ids(clip, word), tokens)) for every in words]
        for number, (every, places) in enumerate(zip(words, found, strict=True)):
            if not places:
                raise ValueError(_missing(every, picture, text, subjects.index(number) + 1))
            for other in range(number):
                if set(found[other]) & set(places):
                    raise ValueError(_shared(every, picture, subjects.index(other) + 1, subjects.index(number) + 1))
        last = max(at for places in found for at in places)
        positions.append((*found, tuple(after(last, tokens, without))))
    return Words(subjects, tuple(positions), tuple(map(len, read)))


def _words(references: Sequence[Reference], subjects: Sequence[int | None], number: int) -> list[str]:
    """Every word that the references of a subject have for it."""
    own = [one for one, subject in zip(references, subjects, strict=True) if subject == number]
    return list(dict.fromkeys(word for one in own if (word := one.subject or prompts.subject_of(one.caption))))


def _missing(words: list[str], picture: int, text: str, reference: int) -> str:
    if not words:
        return (
            f"Joint Set: `place` of reference {reference} is `by its word`, but neither `subject` nor a caption says which word. "
            "Write a word of the prompts into `subject` of Reference Pictures, or set its `place` to `as given`."
        )
    return (
        f"Joint Set: `place` of reference {reference} is `by its word`, but the prompt of picture {picture}, `{text}`, does not "
        f"hold `{'` or `'.join(words)}`. Write it into that prompt, write a word of the prompt into `subject` of Reference "
        "Pictures, or set its `place` to `as given` and connect `where`."
    )


def _shared(words: list[str], picture: int, first: int, second: int) -> str:
    return (
        f"Joint Set: references {first} and {second} come from two Reference Pictures, and `place` of both is `by its word`, but "
        f"in the prompt of picture {picture} both are called `{'` or `'.join(words)}`, which cannot tell two subjects apart. "
        "Give them two words of the prompt in `subject`, connect `where`, or, if they show one subject, gather them in one node."
    )
