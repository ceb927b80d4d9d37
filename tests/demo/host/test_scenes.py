"""What the demo of scenes does, not just that it runs: two toys, each with its own looks in its own place."""

import pytest
import torch
from same_subject.research import judge as judges
from same_subject.research import measure_scenes, scenes

pytestmark = pytest.mark.slow
SCENES = 8
STEPS = 8


@pytest.fixture(scope="module")
def figures():
    """Mean figures of some settings over the first held-out scenes."""
    judge, painter = judges.load(), measure_scenes.Painter(STEPS)
    found = {name: [] for name in ("blend", "own", "without masks", "no identities")}
    with torch.inference_mode():
        for number in range(SCENES):
            pair = measure_scenes.held_out(number)
            seed, base, concepts = painter.base(pair, 100 * number)
            identities, score = painter.identities(pair), measure_scenes.Scorer(judge, pair, base, concepts)
            for name, scores in found.items():
                scores.append(score(painter.paint(pair, scenes.SETTINGS[name], seed, concepts, identities, base)))
    return {name: {key: sum(one[key] for one in scores) / SCENES for key in scores[0]} for name, scores in found.items()}


@pytest.mark.parametrize("mode, least", (("blend", 0.3), ("own", 0.5)))
def test_each_subject_is_found_in_its_own_mask_and_not_in_the_others(figures, mode, least):
    """The bars are lower than those of the README's 200 scenes, because these are few and have fewer steps."""
    assert figures[mode]["own_mask_top1"] >= least
    assert figures[mode]["other_mask_top1"] <= 0.13
    assert figures[mode]["own_mask_top1"] > figures["no identities"]["own_mask_top1"] + 0.2


def test_both_modes_keep_identities_apart_better_than_one_model_without_masks(figures):
    for mode in ("blend", "own"):
        assert figures[mode]["own_mask_top1"] > figures["without masks"]["own_mask_top1"]
