"""Two subjects in one set on the live server, each where its word is found."""

import pytest
from same_subject.tests.server import graphs
from same_subject.tests.server.graphs import link, node
from same_subject.tests.server.test_errors import failure

PROMPTS = "a red ball and a green star at night\na green star over a red ball"
BY_WORD = "by its word"


def two_subjects(place=BY_WORD, words=("ball", "star"), prompts=PROMPTS):
    """The basic graph with a red picture, and a green one from a second Reference Pictures behind it."""
    graph = graphs.basic(("red.png",), prompts, steps=3)
    graph["references"]["inputs"] |= {"subject": words[0], "place": place}
    graph["picture1"] = node("LoadImage", image="green.png")
    graph["star"] = node(
        "JediReferences", captions="", fit="crop", background="grey", subject=words[1], place=place,
        previous=link("references"), **{"images.image0": link("picture1")},
    )  # fmt: skip
    return graphs.changed(graph, "set", references=link("star"))


def test_each_subject_acts_where_its_word_is_found(live):
    as_given, everywhere = (graphs.pictures(live, graph) for graph in (two_subjects("as given"), untold()))
    found = graphs.pictures(live, two_subjects())
    assert [one.tobytes() for one in as_given] == [one.tobytes() for one in everywhere]
    assert all(one.tobytes() != other.tobytes() for one, other in zip(found, as_given, strict=True))


def untold():
    """A graph of before, which says nothing of places."""
    return graphs.without(graphs.without(two_subjects(), "references", "place"), "star", "place")


@pytest.mark.parametrize(
    ("words", "prompts", "said"),
    [
        (("ball", "ball"), PROMPTS, "references 1 and 2"),
        (("ball", "star"), "a ball and a star\na ball", "the prompt of picture 2, `a ball`, does not hold `star`"),
        (("", "star"), PROMPTS, "neither `subject` nor a caption"),
    ],
)
def test_words_that_do_not_tell_are_refused_before_the_run(live, words, prompts, said):
    message = failure(live, two_subjects(words=words, prompts=prompts))
    assert "Joint Set" in message and said in message and ("`where`" in message or "`as given`" in message)
