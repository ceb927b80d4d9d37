"""Instances at random places of empty pictures, and one style a set."""

import torch
from same_subject.nodes.synthesis import pasting
from same_subject.nodes.synthesis.grouping import Instance, InstanceSet

RED = torch.tensor([1.0, 0.0, 0.0])


def instance(height=20, width=30):
    mask = torch.ones(height, width)
    mask[:, :5] = 0
    return Instance(RED.expand(height, width, 3), mask)


def a_set(count=2):
    return InstanceSet("block", (instance(),) * count, torch.ones(count, count))


def test_the_instance_stands_where_it_is_said_and_all_else_is_to_be_painted():
    picture, mask = pasting.paste(instance(), pasting.Canvas(64, 48, 0.9, 0.9), 0.0, 0.0, 1.0)
    assert picture.shape == (48, 64, 3) and mask.shape == (48, 64)
    assert torch.equal(picture[28:, 5:30], RED.expand(20, 25, 3)) and mask[28:, 5:30].max() == 0
    mask[28:, 5:30] = 1
    assert mask.min() == 1 and (picture == pasting.EMPTY).all(dim=-1).sum() == 64 * 48 - 20 * 25


def test_it_is_made_smaller_to_a_share_of_the_shorter_side_and_never_larger():
    canvas = pasting.Canvas(64, 48, 0.25, 0.5)

    def width(size):
        columns = (pasting.paste(Instance(RED.expand(20, 30, 3), torch.ones(20, 30)), canvas, size, 0.5, 0.5)[1] < 0.5).any(0)
        return int(columns.sum())

    assert (width(0.0), width(1.0)) == (12, 24)
    big = pasting.Canvas(640, 480, 0.5, 0.5)
    assert (pasting.paste(instance(), big, 0.0, 0.5, 0.5)[1] == 0).sum() == 20 * 25


def test_colours_survive_where_it_is_made_smaller():
    picture, mask = pasting.paste(instance(200, 300), pasting.Canvas(64, 64, 0.5, 0.5), 0.0, 0.3, 0.7)
    inside = mask < 1e-3
    assert inside.sum() > 300 and (picture[inside] - RED).abs().max() < 1e-3


def test_seeds_decide_places_scenes_go_round_and_noise_differs():
    def made(seed):
        return pasting.pasted((a_set(3), a_set(2)), ("a", "b"), (), 0.5, pasting.Canvas(64, 64), seed)

    one, again, other = made(1), made(1), made(2)
    assert all(torch.equal(first.picture, second.picture) for first, second in zip(one, again, strict=True))
    assert any(not torch.equal(first.picture, second.picture) for first, second in zip(one, other, strict=True))
    assert [each.scene for each in one] == ["a", "b", "a", "b", "a"] and len({each.seed for each in one}) == 5


def test_half_of_the_sets_are_stylised_all_pictures_of_one_alike():
    styles = ("oil", "ink", "chalk")
    count, used = 0, set()
    for seed in range(400):
        made = pasting.pasted((a_set(2), a_set(3)), ("a",), styles, 0.5, pasting.Canvas(8, 8), seed)
        first, second = {each.style for each in made[:2]}, {each.style for each in made[2:]}
        assert len(first) == len(second) == 1
        count += (first != {""}) + (second != {""})
        used |= first | second
    assert used == {"", *styles} and abs(count / 800 - 0.5) < 0.06, "3.4 standard errors"
    assert {each.style for each in pasting.pasted((a_set(),), ("a",), styles, 0.0, pasting.Canvas(8, 8), 1)} == {""}
