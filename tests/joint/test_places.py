"""Places of subjects by attention to their words: made-up attention, and attention written out for one token in float64."""

import math

import pytest
import torch
from same_subject.nodes.joint import places
from same_subject.nodes.joint.places import Words

WORDS = Words((0, None, 1, 0), (((2,), (5, 6), (8, 9)), ((1, 7), (3,), ())), (10, 8))
"""Two pictures, two subjects; the second picture has no word after them."""
HEADS, D, L = 2, 8, 6
ROUNDING = 1e-6
"""Relative, in float32; 2e-7 is seen, and one token more or less moves 0.05 or more."""
SIZE = (8, 12)


def drawn(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def blobs():
    """Two subjects in the left and the right of a picture of SIZE, and a background between."""
    left, right = torch.zeros(2, *SIZE)
    left[2:6, 1:4] = 1
    right[1:5, 7:11] = 1
    return left, right


def heat(left, right, background=0.05):
    """Attention [K + 1, h, w] to two words, of which the first is looked at four times as much everywhere, and to those after."""
    return torch.stack((4 * (left + background), right + background, 2 * (1 - left - right) + 0.1))


@pytest.mark.parametrize("more", (0, 8))
def test_attention_to_words_is_that_of_the_texts_own_tokens(more):
    """more: tokens after those of the longer text, repetitions or another node's, that do not count."""
    q, keys = drawn(4, L, D), drawn(4, 10 + more, D, seed=1)
    found = WORDS.attended(q, keys, HEADS)
    assert found.shape == (4, 3, L)
    for row in range(4):
        own = WORDS.lengths[row % 2]
        for token in range(L):
            weights = torch.zeros(own, dtype=torch.float64)
            for head in range(HEADS):
                part = slice(head * D // HEADS, (head + 1) * D // HEADS)
                logits = [float(q[row, token, part].double() @ keys[row, at, part].double()) for at in range(own)]
                weights += (torch.tensor(logits, dtype=torch.float64) / math.sqrt(D / HEADS)).softmax(0) / HEADS
            expected = [float(weights[list(positions)].sum()) for positions in WORDS.positions[row % 2]]
            assert found[row, :, token].tolist() == pytest.approx(expected, rel=ROUNDING, abs=1e-7)


def test_each_token_belongs_to_one_subject_at_most_and_the_background_to_none():
    left, right = blobs()
    found = places.divided(heat(left, right)[None])[0]
    assert torch.equal(found, torch.stack((left, right)))
    assert (heat(left, right)[:2].argmax(0)[(left + right) == 0] == 0).all()  # the word that is louder everywhere


def test_without_words_after_them_subjects_are_told_apart_too():
    left, right = blobs()
    alone = heat(left, right)
    alone[2] = 0
    assert torch.equal(places.divided(alone[None])[0], torch.stack((left, right)))


def test_one_subject_alone_is_told_from_the_background():
    left, right = blobs()
    for after in (heat(left, right)[2:], torch.zeros(1, *SIZE)):
        found = places.divided(torch.cat((left[None] + 0.05, after))[None])[0]
        assert torch.equal(found, left[None])


def test_layers_below_the_latents_own_size_with_enough_tokens_say_it():
    full, half, quarter = ((32, 48), (16, 24), (8, 12))
    maps = [torch.full((1, 3, *size), value) for size, value in ((full, 9.0), (half, 1.0), (quarter, 3.0), ((4, 6), 9.0))]
    assert torch.equal(places.clearest(maps, full), torch.full((1, 3, *full), 2.0))
    assert torch.equal(places.clearest([maps[0], maps[3]], full), torch.full((1, 3, *full), 9.0))
    assert torch.equal(places.clearest([maps[1], maps[3]], (24, 36)), torch.full((1, 3, 24, 36), 1.0))


def test_at_first_no_reference_acts_and_then_each_in_the_place_of_its_word():
    left, right = blobs()
    given = torch.ones(4, 2, *SIZE)
    given[1] = right
    run = places.Places(WORDS, given, 2)
    first = run.where(SIZE).unflatten(0, (2, 4))
    assert torch.equal(first[:, 1], given[None, 1].expand(2, -1, -1, -1)) and not first[:, [0, 2, 3]].any()
    run.add(torch.stack((heat(left, right), heat(right, left), heat(left.flip(0), right), heat(left, right))))
    where = run.where(SIZE).unflatten(0, (2, 4))
    expected = [[(left, right), (right, left)], [(left.flip(0), right), (left, right)]]
    for number in range(2):
        for picture in range(2):
            for reference, subject in ((0, 0), (2, 1), (3, 0)):
                assert torch.equal(where[number, reference, picture], expected[number][picture][subject])
    assert torch.equal(where[:, 1], given[None, 1].expand(2, -1, -1, -1))
    assert given[0].all()


def test_places_by_words_lie_inside_what_is_given():
    left, right = blobs()
    upper = torch.zeros(4, 2, *SIZE)
    upper[:, :, :4] = 1
    run = places.Places(WORDS, upper, 1)
    run.add(heat(left, right)[None].expand(2, -1, -1, -1))
    assert torch.equal(run.where(SIZE)[0, 0], left * upper[0, 0])


def test_a_step_that_errs_does_not_move_a_subject():
    """The mean of the steps decides, so that one of four that shows the subjects exchanged changes nothing."""
    left, right = blobs()
    run = places.Places(WORDS, None, 1)
    for step in range(4):
        one = heat(right, left) if step == 2 else heat(left, right)
        run.add(one[None].expand(2, -1, -1, -1))
    assert torch.equal(run.where(SIZE)[0, 0], left) and torch.equal(run.where(SIZE)[2, 0], right)


def test_a_step_that_says_nothing_of_a_picture_leaves_it_as_it_was():
    left, right = blobs()
    run = places.Places(WORDS, None, 1)
    first, second = heat(left, right), heat(right, left)
    run.add(torch.stack((first, second)))
    run.add(torch.stack((first, second * torch.nan)))
    assert torch.equal(run.where(SIZE)[0], torch.stack((left, right)))


def test_words_of_some_pictures_are_those_pictures():
    assert WORDS.of_pictures([1]) == Words(WORDS.subjects, WORDS.positions[1:], (8,))
