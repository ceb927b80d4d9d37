"""Colours moved to those of the references, against distributions that are known."""

import pytest
import torch
from same_subject.nodes.joint import matching
from same_subject.nodes.joint.sharing import Sharing

C, SIDE = 4, 16
ROUNDING = 2e-6
"""Relative, in float32; 2e-7 is seen, where the distributions differ by 1 or more."""


def tokens(count, seed, mean=0.0):
    return mean + torch.randn(C, count, generator=torch.Generator().manual_seed(seed))


def unlike(a, b):
    """How far two distributions are apart along the axes, at the same quantiles: the mean distance, as a share of b's spread."""
    at = torch.linspace(0.02, 0.98, 49)
    return float((a.quantile(at, dim=1) - b.quantile(at, dim=1)).abs().mean() / b.std())


@pytest.mark.parametrize(("count", "others"), [(200, 200), (150, 400), (400, 90)])
def test_tokens_take_the_distribution_of_the_others(count, others):
    mine, onto = (
        tokens(count, 1),
        torch.cat((tokens(others // 2, 2, mean=3.0), tokens(others - others // 2, 3, mean=-1.0)), dim=1),
    )
    moved = matching.transport(mine, onto)
    assert unlike(mine, onto) > 0.5 and unlike(moved, onto) < 0.1
    assert (torch.cov(moved) - torch.cov(onto)).norm() / torch.cov(onto).norm() < 0.1


def test_tokens_that_have_the_distribution_already_stay():
    mine = tokens(200, 1)
    shuffled = mine[:, torch.randperm(200, generator=torch.Generator().manual_seed(4))]
    assert (matching.transport(mine, shuffled) - mine).abs().max() < 20 * ROUNDING * mine.abs().max()


def test_one_token_goes_to_the_one_it_is_given():
    onto = tokens(1, 2, mean=5.0)
    assert torch.allclose(matching.transport(tokens(1, 1), onto), onto, atol=1e-5)


@pytest.fixture
def scene():
    """Two sets of one picture; their left half attends to the references, the left half of each reference is its subject."""
    pictures = torch.randn(2, C, SIDE, SIDE, generator=torch.Generator().manual_seed(5))
    references = 2 + torch.randn(2, C, SIDE, SIDE, generator=torch.Generator().manual_seed(6))
    left = torch.zeros(SIDE, SIDE)
    left[:, : SIDE // 2] = 1
    references[1] += 4 * left  # the second set's own
    return pictures, left.expand(2, -1, -1).contiguous(), references, left


def test_only_the_subject_changes_and_takes_the_colours_of_its_own_sets_references(scene):
    pictures, mass, references, left = scene
    references = torch.where(left > 0, references, torch.full_like(references, 1e4))  # outside the mask: never seen
    out = matching.match_colors(pictures, mass, references, Sharing(1, masks=left[None]), (1.0,))
    inside = left > 0
    assert torch.equal(out[:, :, ~inside], pictures[:, :, ~inside])
    for number in range(2):
        assert unlike(out[number][:, inside], references[number][:, inside]) < 0.15
    assert (out[1][:, inside].mean() - out[0][:, inside].mean()) > 3


def test_the_amount_says_how_far(scene):
    pictures, mass, references, left = scene
    whole, half = (matching.match_colors(pictures, mass, references, Sharing(1, masks=left[None]), (by,)) for by in (1.0, 0.5))
    assert torch.allclose(half - pictures, (whole - pictures) / 2, atol=1e-5) and (whole - pictures).abs().max() > 1


def test_two_subjects_keep_their_colours_apart(scene):
    pictures, _, _, left = scene
    references = torch.stack((torch.full((C, SIDE, SIDE), 5.0), torch.full((C, SIDE, SIDE), -5.0)))
    where = torch.stack((left, 1 - left))[:, None]
    mass = torch.zeros(1, SIDE, SIDE)
    mass[:, 4:12, 2:14] = 1
    out = matching.match_colors(pictures[:1], mass, references, Sharing(2, where=where), (1.0, 1.0))[0]
    assert torch.allclose(out[:, 4:12, 2:8], torch.tensor(5.0)) and torch.allclose(out[:, 4:12, 8:14], torch.tensor(-5.0))
    assert torch.equal(out[:, :4], pictures[0][:, :4])


def test_a_reference_left_out_gives_no_colours(scene):
    pictures, mass, references, left = scene
    both = torch.cat((references[:1], references[:1] + 100))
    out = matching.match_colors(pictures[:1], mass[:1], both, Sharing(2), (1.0, 0.0))
    alone = matching.match_colors(pictures[:1], mass[:1], both[:1], Sharing(1), (1.0,))
    assert torch.equal(out, alone) and not torch.equal(out, pictures[:1])
