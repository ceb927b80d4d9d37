"""Latents from which the pictures of a set start: which of a batch they are, and what does not fit."""

import pytest
import torch
from same_subject.nodes.joint import starting
from same_subject.nodes.joint.layout import Layout

LAYOUT = Layout(sets=2, pictures=2, references=1)


def latent(rows: int, size=(2, 3), channels: int = 4, **more) -> dict:
    """Row n holds n."""
    return {"samples": torch.arange(float(rows)).view(-1, 1, 1, 1).expand(-1, channels, *size).clone(), **more}


def numbers(start: starting.Start) -> list[float]:
    return start.latents[:, 0, 0, 0].tolist()


@pytest.mark.parametrize("rows, expected", ((1, [0, 0, 0, 0]), (2, [0, 1, 0, 1]), (4, [0, 1, 2, 3]), (6, [0, 1, 3, 4])))
def test_one_latent_one_a_picture_of_a_set_one_a_picture_and_a_whole_batch_will_do(rows, expected):
    assert numbers(starting.read(latent(rows)).of(LAYOUT)) == expected


def test_a_whole_batch_of_another_set_gives_its_pictures_and_not_its_references():
    """By number alone, a picture and its reference were two pictures."""
    other = latent(2, **{starting.LAYOUT: Layout(1, 1, 1)})
    assert numbers(starting.read(other).of(Layout(1, 2, 1))) == [0, 0]
    assert numbers(starting.read(latent(2)).of(Layout(1, 2, 1))) == [0, 1]
    taken_out = latent(4, **{starting.LAYOUT: LAYOUT})
    assert numbers(starting.read(taken_out).of(LAYOUT)) == [0, 1, 2, 3]


@pytest.mark.parametrize("rows", (3, 5, 12))
def test_other_numbers_are_refused(rows):
    with pytest.raises(ValueError, match=rf"^Joint Set: `start` has {rows} latents, but the set needs 1, 2, 4 or 6 rows .2 sets"):
        starting.read(latent(rows)).of(LAYOUT)


def test_masks_go_with_their_pictures():
    masks = torch.arange(6.0).view(6, 1, 1).expand(-1, 16, 24) / 6
    whole = starting.read(latent(6, noise_mask=masks, **{starting.LAYOUT: LAYOUT})).of(LAYOUT)
    assert (whole.mask[:, 0, 0, 0] * 6).round().tolist() == [0, 1, 3, 4] and whole.mask.shape == (4, 1, 16, 24)
    assert starting.read(latent(4, noise_mask=masks[1:2])).of(LAYOUT).mask.shape == (4, 1, 16, 24)
    with pytest.raises(ValueError, match="^Joint Set: `start` has 4 latents and 3 masks, but the set needs"):
        starting.read(latent(4, noise_mask=masks[:3])).of(LAYOUT)


def test_the_size_follows_the_latents_and_another_one_is_refused():
    start = starting.read(latent(1))
    assert start.size(0, 0, 8) == start.size(24, 16, 8) == start.size(0, 16, 8) == start.size(30, 23, 8) == (24, 16)
    with pytest.raises(ValueError, match="^Joint Set: .* are 64x0, .* of 24x16 pixels. Set both to 0, which follows `start`"):
        start.size(64, 0, 8)


@pytest.mark.parametrize("samples", (torch.zeros(1, 4, 2), torch.zeros(1, 4, 1, 2, 2), torch.zeros(0, 4, 2, 2), None, [[0.0]]))
def test_what_is_no_batch_of_pictures_is_refused(samples):
    with pytest.raises(ValueError, match="^Joint Set: the latents at `start` are .*, but need to be .pictures, channels"):
        starting.read({"samples": samples})


@pytest.mark.parametrize("part, said", (("samples", "latents"), ("noise_mask", "noise mask of the latents")))
def test_numbers_that_are_none_are_refused(part, said):
    given = latent(2, noise_mask=torch.ones(2, 1, 16, 24))
    given[part][0, 0, 0, 0] = float("nan")
    with pytest.raises(ValueError, match=f"^Joint Set: there is NaN or infinity in the {said} at `start`"):
        starting.read(given)
