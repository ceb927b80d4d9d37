"""Subjects' tokens: the code of a box, and what stands for subjects that are not there."""

import math

import torch
from same_subject.nodes.subject import tokens
from same_subject.tests.tiny.sets import gap

ROUNDING = 1e-6


def test_the_code_of_a_box_is_sines_and_cosines_of_eight_frequencies():
    box = [0.1, 0.25, 0.6, 1.0]
    expected = []
    for k in range(8):
        frequency = 100 ** (k / 8)
        expected += [math.sin(frequency * share) for share in box] + [math.cos(frequency * share) for share in box]
    assert gap(tokens.box_code(torch.tensor([box]))[0], torch.tensor(expected)) < 10 * ROUNDING
    assert tokens.box_code(torch.rand(2, 3, 4)).shape == (2, 3, 64)


def grounding():
    torch.manual_seed(2)
    built = tokens.Grounding(20, 12, patches=4).requires_grad_(False)
    built.null_image_feature.normal_(), built.null_position_feature.normal_()
    return built


def test_tokens_know_their_own_box_and_no_other():
    built, patches, boxes = grounding(), torch.randn(2, 4, 20), torch.tensor([[0.0, 0.0, 0.5, 1.0], [0.5, 0.0, 1.0, 1.0]])
    found = built(patches, boxes)
    assert found.shape == (8, 12)
    assert gap(built(patches[1:], boxes[1:]), found[4:]) < ROUNDING
    assert gap(built(patches, boxes.flip(0)), found) > 0.01
    expected = built.linears_image(torch.cat([patches[0], tokens.box_code(boxes[0]).expand(4, -1)], -1))
    assert gap(found[:4], expected) < ROUNDING


def test_without_boxes_positions_are_null_and_absent_subjects_are_null_altogether():
    built = grounding()
    nobody = built.absent(2, torch.zeros(1))
    assert nobody.shape == (8, 12) and torch.equal(nobody[:4], nobody[4:])
    assert gap(built(built.null_image_feature[0], None), nobody[:4]) < ROUNDING
