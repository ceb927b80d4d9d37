"""The best of a batch by a mix of scores, and the nearest to a text with and without diversity."""

import pytest
import torch
from same_subject.nodes.metrics import choosing
from same_subject.nodes.metrics.similarity import Scores

BATCH = [Scores(clip_t=0.30, dino=0.2), Scores(clip_t=0.32, dino=0.4), Scores(clip_t=0.31, dino=0.9)]


def places(weights, keep=3):
    return [place for place, _ in choosing.best(BATCH, weights, keep)]


def test_the_best_are_those_of_the_score_that_counts():
    assert places({"clip_t": 1, "dino": 0}) == [1, 2, 0] and places({"dino": 1}, 2) == [2, 1]


def test_scores_are_mixed_by_their_own_spread():
    """Raw, DINO's spread of 0.7 would decide alone against CLIP-T's 0.02, whatever a user types below 35."""
    assert places({"clip_t": 1, "dino": 1}) == [2, 1, 0] and places({"clip_t": 3, "dino": 1})[0] == 1
    assert places({"clip_t": 1, "clip_i": 0}) == [1, 2, 0], "what does not count may be missing"


def test_equal_scores_keep_their_order_and_count_nothing():
    same = [Scores(dino=0.5)] * 3
    assert choosing.best(same, {"dino": 1}, 2) == [(0, 0.0), (1, 0.0)]


def test_a_score_that_is_missing_or_no_score_at_all_is_refused():
    with pytest.raises(ValueError, match="MDINO has the weight 2, but picture 1 has no such score"):
        choosing.best(BATCH, {"mdino": 2}, 1)
    with pytest.raises(ValueError, match="all weights are 0"):
        choosing.best(BATCH, {"dino": 0}, 1)


def test_the_nearest_are_taken_and_diversity_passes_over_those_alike():
    """Pictures 1 and 2 are nearly the same; 3 is a little farther from the text and unlike them."""
    text = torch.tensor([0.30, 0.299, 0.28, 0.20])
    between = torch.tensor([[1, 0.99, 0.5, 0.4], [0.99, 1, 0.5, 0.4], [0.5, 0.5, 1, 0.4], [0.4, 0.4, 0.4, 1]])
    assert choosing.nearest(text, between, 3, 0.0) == [0, 1, 2]
    assert choosing.nearest(text, between, 3, 0.5) == [0, 2, 1] and choosing.nearest(text, between, 2, 1.0) == [0, 3]
    assert choosing.nearest(text, between, 9, 0.3)[0] == 0 and len(choosing.nearest(text, between, 9, 0.3)) == 4
