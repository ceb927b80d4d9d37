"""Scores of pictures on the nodes themselves, after a run in a browser."""

import json
import re

import pytest
from same_subject.tests.server.graphs import link, node
from same_subject.tests.server.test_rows import run

SHOWN = "app.graph.nodes.find(one => one.type == '{}').widgets.find(one => one.name == 'same-subject-scores').element.textContent"


@pytest.fixture
def graph():
    """A picture and another one: the first is the reference, too."""
    return {
        "1": node("ScoreModelsLoader", clip="clip-vit-base-patch32", dino="dino-vits16"),
        "2": node("LoadImage", image="red.png"),
        "3": node("ImageInvert", image=link("2")),
        "4": node("ImageBatch", image1=link("3"), image2=link("2")),
        "5": node(
            "NearestReferences", models=link("1"), folder="none", prompt="a ball", count=1, diversity=0.0, image=link("2"),
            caption="", fit="crop", background="grey",
        ),
        "6": node(
            "ScoreSubject", models=link("1"), image=link("4"), references=link("5"), prompt="a ball", background="white"
        ),
        "7": node(
            "ScoreBestOf", image=link("4"), scores=link("6", 5), keep=1, clip_t=0.0, clip_i=0.0, mclip_i=0.0, dino=1.0, mdino=0.0
        ),
        "8": node("PreviewImage", images=link("7")),
    }  # fmt: skip


def test_scores_are_shown_on_their_nodes(page, graph):
    page.evaluate(f"app.loadApiJson({json.dumps(graph)}, 'scores')")
    page.wait_for("app.graph.nodes.length == 8", 30)
    run(page)
    scores = page.evaluate(SHOWN.format("ScoreSubject"))
    mean, first, second = scores.splitlines()
    assert (
        mean.startswith("mean: CLIP-T") and first.startswith("1: CLIP-T") and re.search(r"CLIP-I 1\.0000  DINO 1\.0000$", second)
    )
    assert re.match(r"2 \(\+1\.00\): CLIP-T .* DINO 1\.0000$", page.evaluate(SHOWN.format("ScoreBestOf")))
    assert page.evaluate(SHOWN.format("NearestReferences")).startswith("1 of 1 pictures, with CLIP-T:\npicture 1:")
