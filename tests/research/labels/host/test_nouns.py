"""Nouns of captions, from a spaCy pipeline that is loaded as a user's is."""

import pytest
import spacy
from same_subject.dev.setup.errors import SetupError
from same_subject.research.labels import nouns, toy_words
from same_subject.research.labels.nouns import Noun


@pytest.fixture(scope="module")
def tagger(tmp_path_factory):
    more = ("teddy", "bear", "dog", "t", "shirt", "sunglasses", "man")
    return nouns.load(str(toy_words.save(tmp_path_factory.mktemp("tagger"), more)))


@pytest.mark.parametrize(
    ("caption", "wanted"),
    [
        ("a photo of a ball and a star at night", [Noun("photo"), Noun("ball"), Noun("star"), Noun("night")]),
        ("Two Balls in the snow", [Noun("ball", True), Noun("snow")]),
        ("a ball and the balls", [Noun("ball", True)]),
        ("a teddy bear with a dog", [Noun("teddy bear"), Noun("dog")]),
        ("a teddy, bear", [Noun("teddy"), Noun("bear")]),
        ("the man in a t-shirt", [Noun("man"), Noun("t-shirt")]),
        ("a man - dog", [Noun("man"), Noun("dog")]),
        ("sunglasses on the beach", [Noun("sunglasses"), Noun("beach")]),
        ("of the", []),
    ],
)
def test_nouns_are_in_the_singular_distinct_and_joined_where_they_stand_together(tagger, caption, wanted):
    assert nouns.nouns(tagger(caption)) == wanted


def test_a_noun_that_would_part_the_detectors_caption_is_left_out(tagger):
    tokens = list(tagger("a dog . man"))
    assert nouns.nouns(tokens) == [Noun("dog"), Noun("man")]
    ruler = spacy.blank("en")
    ruler.add_pipe("attribute_ruler").add([[{"IS_SPACE": False}]], {"POS": "NOUN"})
    assert nouns.nouns(ruler("U.S. dog 3 ?")) == [Noun("dog")]


def test_a_pipeline_that_is_not_there_is_refused_with_how_to_get_it():
    with pytest.raises(SetupError, match="`no_such_pipeline` cannot be loaded.*spacy download en_core_web_sm"):
        nouns.load("no_such_pipeline")


def test_a_pipeline_without_a_tagger_is_refused(tmp_path):
    spacy.blank("en").to_disk(tmp_path)
    with pytest.raises(SetupError, match="finds no noun in .* no part-of-speech tagger"):
        nouns.load(str(tmp_path))
