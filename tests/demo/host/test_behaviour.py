"""What the demo models do, not just that they run: they keep a subject, follow a caption, and notice the references."""

import pytest
import torch
from same_subject.research import judge as judges
from same_subject.research import measure
from same_subject.research.evaluate import SETTINGS

pytestmark = pytest.mark.slow
SUBJECTS = 12
STEPS = 8


@pytest.fixture(scope="module")
def figures():
    """Mean figures of a few settings over the first held-out subjects."""
    judge = judges.load()
    subjects = [measure.held_out(number) for number in range(SUBJECTS)]
    scorers = [measure.Scorer(judge, subject) for subject in subjects]
    sampler = measure.Sampler("joint", STEPS)

    def of(name):
        with torch.inference_mode():
            pictures = sampler.pictures(subjects, SETTINGS[name], seed=1)
            scores = [scorer(picture[None]) for scorer, picture in zip(scorers, pictures, strict=True)]
        return {key: sum(score[key] for score in scores) / SUBJECTS for key in scores[0]}

    return {name: of(name) for name in ("joint", "no-reference", "joint-uncoupled")}


def test_held_out_subjects_are_distinct_and_their_references_do_not_show_the_scene_asked_for():
    first, second = measure.held_out(0), measure.held_out(len(measure.world.SHAPES))
    assert (first.views[:1] - second.views[:1]).abs().mean() > 0.02
    assert first.prompt not in first.captions
    assert torch.equal(measure.held_out(3).candidates, measure.held_out(3).candidates)


def test_the_judges_know_drawn_subjects_apart():
    quality = judges.quality(judges.load(), subjects=20)
    assert quality["retrieval_top1"] > 0.85 and quality["iou"] > 0.9 and quality["scene_accuracy"] > 0.95


def test_with_a_reference_the_subject_is_found_among_a_hundred_others_and_without_it_is_not(figures):
    assert figures["joint"]["top1"] >= 0.25
    assert figures["no-reference"]["top1"] <= 0.1
    assert figures["joint"]["masked_similarity"] > figures["no-reference"]["masked_similarity"] + 0.2


def test_without_coupling_the_reference_is_not_seen(figures):
    assert figures["joint-uncoupled"]["top1"] <= 0.1


def test_the_scene_follows_the_caption(figures):
    assert figures["joint"]["scene_accuracy"] >= 0.8
