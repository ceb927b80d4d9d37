"""The concept nodes on the live server, with a detector of random weights: graphs, refusals, and the server goes on."""

import pytest
from same_subject.dev import client
from same_subject.tests.server.graphs import changed, link, node, pictures
from same_subject.tests.tiny import grounding


@pytest.fixture(scope="module")
def graph(live):
    """Picture -> Find Concepts -> box-shaped Concept Masks -> save; every phrase may be missing."""
    grounding.save_folder(live.base / "models" / "grounding-dino" / "tiny")
    return {
        "detector": node("ConceptDetectorLoader", file="tiny"),
        "picture": node("LoadImage", image="red.png"),
        "find": node(
            "ConceptFind", detector=link("detector"), image=link("picture"), phrases="a red ball\na dog", order="best score",
            index=0, box_threshold=1.0, text_threshold=0.25, if_missing="empty concept",
        ),
        "masks": node("ConceptMasks", boxes=link("find"), grow=0, overlaps="nearest box", feather=1.0),
        "as_picture": node("MaskToImage", mask=link("masks", 1)),
        "save": node("SaveImage", images=link("as_picture"), filename_prefix="test"),
    }  # fmt: skip


@pytest.fixture(autouse=True)
def goes_on(live, graph):
    """After every refusal a good graph still runs."""
    yield
    assert len(pictures(live, graph)) == 2


def test_empty_concepts_give_one_black_mask_each(live, graph):
    assert [picture.getextrema() for picture in pictures(live, graph)] == [((0, 0),) * 3] * 2


def test_a_phrase_that_is_not_found_is_named_with_its_score_and_the_threshold(live, graph):
    with pytest.raises(client.NodeFailed) as caught:
        live.client.run(changed(graph, "find", if_missing="error"))
    message = str(caught.value)
    assert "ConceptFind" in message and "`a red ball` in picture 1" in message and "`box_threshold` is 1.000" in message


def test_wrong_inputs_are_refused_before_the_queue_starts(live, graph):
    for name, inputs, message in (
        ("find", {"phrases": ""}, "`phrases` is empty"),
        ("detector", {"file": "grounding-dino-tiny"}, "Get it from https://huggingface.co/IDEA-Research/grounding-dino-tiny/"),
        ("detector", {"file": "gone.pth"}, "`file` is `gone.pth`, which is in none of"),
    ):
        with pytest.raises(client.Refused) as caught:
            live.client.run(changed(graph, name, **inputs))
        assert message in str(caught.value)
        ((node, said),) = caught.value.node_errors.items()
        assert node == name and len(said["errors"]) == 1, "each problem is said once"
