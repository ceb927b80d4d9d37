"""The words of subjects in prompts: which tokens they are, and refusals before the run."""

from dataclasses import replace

import pytest
import torch
from same_subject.nodes.joint.host import words
from same_subject.nodes.joint.places import Words
from same_subject.nodes.joint.references import Reference, Subject

LENGTH = 16
BEGIN, END = 1, 2


class Clip:
    """A tokenizer of whole words, in chunks of LENGTH as the host gives them."""

    def __init__(self):
        self.known = {}

    def tokenize(self, text):
        ids = [self.known.setdefault(word, 10 + len(self.known)) for word in text.replace(",", " ,").split()]
        chunks = [ids[first : first + LENGTH - 2] for first in range(0, len(ids), LENGTH - 2)] or [[]]
        return {"l": [[(one, 1.0) for one in [BEGIN, *chunk, *[END] * (LENGTH - 1 - len(chunk))]] for chunk in chunks]}


def shown(caption, subject="", by_word=None):
    return Reference(torch.zeros(2, 2, 3), caption, "crop", 0.5, subject=subject, by_word=by_word)


BALL, STAR = Subject(), Subject()
GIVEN = (
    shown("a photo of a ball", by_word=BALL),
    shown("a photo of a stool"),
    shown("a photo of a paper star in the snow", "paper star", STAR),
    shown("a toy ball", by_word=BALL),
)


def test_each_picture_has_the_positions_of_each_subjects_word_and_of_those_after_them():
    texts = [
        "a ball and a paper star at night",
        "a paper star , far from a ball",
        " ".join(["very"] * 12 + ["ball , paper star"]),
    ]
    found = words.of_prompts(Clip(), GIVEN, texts)
    assert found == Words(
        (0, None, 1, 0),
        (((2,), (5, 6), (7, 8)), ((8,), (2, 3), ()), ((13,), (17, 18), ())),
        (LENGTH, LENGTH, 2 * LENGTH),
    )


def test_references_without_places_by_words_have_none():
    assert words.of_prompts(Clip(), tuple(replace(one, by_word=None) for one in GIVEN), ["anything"]) is None


def test_every_word_that_a_subject_has_counts():
    given = (shown("a ball", by_word=BALL), shown("a toy", by_word=BALL))
    assert words.of_prompts(Clip(), given, ["a toy , a red ball"]).positions == (((6, 2), ()),)
    assert words.of_prompts(Clip(), given, ["a toy"]).positions == (((2,), ()),)


@pytest.mark.parametrize(
    ("given", "texts", "said"),
    [
        (GIVEN, ["a ball and a paper star", "a ball"], r"reference 3 .* the prompt of picture 2, `a ball`.*hold `paper star`"),
        (GIVEN, ["a paper star", "a ball"], r"reference 1 .* the prompt of picture 1, `a paper star`.*hold `ball`.*`where`"),
        ((shown("", by_word=BALL),), ["a ball"], "reference 1 .*neither `subject` nor a caption says which word"),
        (
            (shown("a ball", by_word=BALL), shown("a red ball", by_word=STAR)),
            ["a ball and a ball"],
            "references 1 and 2 .*picture 1 both are called `ball`.*Give them two words.*`where`.*one node",
        ),
    ],
)
def test_what_words_cannot_tell_is_refused_with_the_remedy(given, texts, said):
    with pytest.raises(ValueError, match=f"^Joint Set: .*{said}"):
        words.of_prompts(Clip(), given, texts)
