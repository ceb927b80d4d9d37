"""Fitting, blanking and gathering reference pictures."""

import pytest
import torch
from same_subject.nodes.joint import references
from same_subject.nodes.joint.references import Reference, gather, unbatch_masks, unbatch_pictures
from same_subject.tests.tiny.sets import gap

WIDE = torch.linspace(0, 1, 40)[None, :, None].expand(20, 40, 3)
"""A ramp from left to right, twice as wide as high."""


def fitted(fit, width=20, height=20):
    return Reference(WIDE, "", fit, 1.0).fitted(width, height)


def test_crop_keeps_the_aspect_and_cuts_the_edges():
    picture = fitted("crop")
    assert picture.shape == (20, 20, 3)
    assert gap(picture, WIDE[:, 10:30]) < 1e-5
    assert gap(picture, WIDE[:, 11:31]) > 0.1, "a column to the side"


def test_pad_keeps_the_aspect_and_fills_with_background():
    picture = fitted("pad")
    assert picture.shape == (20, 20, 3)
    assert (picture[:5] == 1).all() and (picture[-5:] == 1).all()
    assert picture[10, 0, 0] < 0.1 and picture[10, -1, 0] > 0.9


def test_stretch_shows_everything_at_the_new_aspect():
    picture = fitted("stretch")
    assert picture.shape == (20, 20, 3)
    assert picture[10, 0, 0] < 0.1 and picture[10, -1, 0] > 0.9


@pytest.mark.parametrize("fit", ("crop", "pad", "stretch"))
@pytest.mark.parametrize("size", ((8, 64), (333, 7), (64, 64), (1, 1)))
def test_any_picture_gets_any_size_and_stays_in_range(fit, size):
    for own in ((1, 300), (13, 7), (64, 64)):
        picture = torch.rand(*own, 3, generator=torch.Generator().manual_seed(0))
        result = Reference(picture, "", fit, 0.5).fitted(*size)
        assert result.shape == (size[1], size[0], 3)
        assert 0 <= result.min() and result.max() <= 1


def test_a_picture_of_the_right_size_is_not_touched():
    picture = torch.rand(16, 16, 3)
    for fit in ("crop", "pad", "stretch"):
        assert torch.equal(Reference(picture, "", fit, 0.5).fitted(16, 16), picture)


def test_alpha_and_masks_blank_the_background():
    mask = torch.zeros(32, 32)
    mask[8:24, 8:24] = 1
    picture = torch.rand(32, 32, 3)
    with_alpha = torch.cat((picture, mask[..., None]), -1)
    by_mask, by_alpha = gather([picture], [mask], [""], "crop", "white")[0], gather([with_alpha], [], [""], "crop", "white")[0]
    assert torch.equal(by_mask.picture, by_alpha.picture)
    assert torch.equal(by_mask.picture[8:24, 8:24], picture[8:24, 8:24]) and (by_mask.picture[:8] == 1).all()


def test_one_mask_serves_all_pictures():
    mask = torch.zeros(4, 4)
    mask[:, 2:] = 1
    for reference in gather([torch.ones(8, 8, 3)] * 3, [mask], ["a", "b", "c"], "crop", "black"):
        assert reference.picture[:, -1].min() == 1 and reference.picture[:, 0].max() == 0


def test_gathering_does_not_change_the_pictures_given():
    picture, mask = torch.rand(8, 8, 3), torch.eye(8)
    before = picture.clone()
    gather([picture], [mask], [""], "crop", "grey")
    assert torch.equal(picture, before)


PICTURE = torch.rand(2, 16, 24, 3, generator=torch.Generator().manual_seed(0))


def spoiled(batch, value):
    batch = batch.clone()
    batch[-1, 3, 5] = value
    return batch


NO_PICTURES = {
    "NaN": (spoiled(PICTURE, float("nan")), "picture 2 holds NaN or infinity.*full precision"),
    "infinity": (spoiled(PICTURE, float("inf")), "picture 2 holds NaN or infinity"),
    "two channels": (PICTURE[..., :2], r"picture 1 has 2 channels, but needs one of 1 \(grey\), 3 \(colour\)"),
    "five channels": (PICTURE[..., [0, 1, 2, 0, 1]], "picture 1 has 5 channels"),
    "bytes": ((PICTURE * 255).byte(), "picture 1 is made of uint8 numbers, but needs fractions.*divide"),
    "integers": ((PICTURE * 255).long(), "picture 1 is made of int64 numbers"),
    "no height": (PICTURE[:, :0], "picture 1 has 24x0 pixels, but needs at least 1x1"),
    "no batch axis": (
        PICTURE[0],
        r"`images` got a batch of shape \(16, 24, 3\), but needs \(pictures, height, width, channels\)",
    ),
    "a video axis": (PICTURE[None], r"`images` got a batch of shape \(1, 2, 16, 24, 3\)"),
    "one axis": (PICTURE[0, 0, 0], r"`images` got a batch of shape \(3,\)"),
}


@pytest.mark.parametrize("what", NO_PICTURES)
def test_what_is_no_picture_is_refused_by_its_number_from_1(what):
    batch, message = NO_PICTURES[what]
    with pytest.raises(ValueError, match=f"^Reference Pictures: {message}"):
        unbatch_pictures([batch])


MASK = torch.ones(2, 16, 24)
NO_MASKS = {
    "NaN": (spoiled(MASK, float("nan")), "mask 2 holds NaN or infinity"),
    "infinity": (spoiled(MASK, float("-inf")), "mask 2 holds NaN or infinity"),
    "0 to 255": (spoiled(MASK * 0, 255), "mask 2 has values from 0 to 255, but needs 0 to 1.*Divide"),
    "bytes": ((MASK * 255).byte(), "mask 1 has values from 255 to 255"),
    "no width": (MASK[..., :0], r"`masks` got a batch of shape \(2, 16, 0\), but needs \(masks, height, width\), none of them 0"),
    "no mask": (MASK[:0], r"`masks` got a batch of shape \(0, 16, 24\)"),
    "one axis": (MASK[0, 0], r"`masks` got a batch of shape \(24,\)"),
}


@pytest.mark.parametrize("what", NO_MASKS)
def test_what_is_no_mask_is_refused_by_its_number_from_1(what):
    batch, message = NO_MASKS[what]
    with pytest.raises(ValueError, match=f"^Reference Pictures: {message}"):
        unbatch_masks([batch])


@pytest.mark.parametrize("dtype", (torch.float16, torch.bfloat16, torch.float64))
def test_pictures_of_any_precision_are_taken(dtype):
    (taken, _) = gather(unbatch_pictures([PICTURE.to(dtype)]), [], ["", ""], "stretch", "grey")
    (plain, _) = gather(unbatch_pictures([PICTURE]), [], ["", ""], "stretch", "grey")
    assert torch.allclose(taken.fitted(9, 9).float(), plain.fitted(9, 9), atol=0.01)


def test_masks_of_truth_values_and_of_0_and_1_are_taken_like_fractions():
    mask = torch.zeros(1, 16, 24)
    mask[:, 4:12, 4:12] = 1
    fractions, *others = (unbatch_masks([one])[0] for one in (mask, mask.bool(), mask.long(), mask.half(), mask[0], mask[None]))
    assert all(torch.equal(other, fractions) and other.dtype == torch.float32 for other in others)


def test_a_picture_of_which_nothing_would_be_left_is_refused():
    """Each of these passed as flat grey: the background's spread is 0 where the picture's is 0.29."""
    picture = PICTURE[0]
    clear, half = torch.zeros(16, 24, 1), torch.zeros(16, 24, 1)
    half[:, :8] = 1
    white, right = torch.ones(16, 24), torch.zeros(16, 24)
    right[:, 12:] = 1
    cases = {
        "picture 2 is transparent everywhere": ([picture, torch.cat((picture, clear), -1)], []),
        "mask 2 is black everywhere, so nothing of picture 2": ([picture, picture], [white, white * 0]),
        "mask 1 is black everywhere, so nothing of picture 1": ([picture, picture], [white * 1e-4]),
        "picture 2 is transparent wherever mask 1 is white": ([picture, torch.cat((picture, half), -1)], [right]),
    }
    for message, (pictures, masks) in cases.items():
        with pytest.raises(ValueError, match=f"^Reference Pictures: {message}"):
            gather(pictures, masks, ["", ""], "crop", "grey")
    kept = gather([torch.cat((picture, half), -1)], [1 - right], [""], "crop", "grey")[0].picture
    assert torch.equal(kept[:, :8], picture[:, :8]) and (kept[:, 12:] == 0.5).all()


SD, XL, DEMO = 512 * 512, 1024 * 1024, 64 * 64


def test_what_a_model_was_made_for_is_known_by_the_width_of_its_texts():
    assert [references.made_for(width) for width in (64, 768, 1024, 1280, 2048, 4096)] == [DEMO, SD, SD, XL, XL, XL]


@pytest.mark.parametrize(
    "own, most, expected",
    [
        ((4032, 3024), SD, (592, 440)),  # 12 megapixels
        ((4032, 3024), XL, (1184, 888)),
        ((3024, 4032), DEMO, (56, 72)),
        ((512, 512), SD, (512, 512)),
        ((515, 509), SD, (512, 504)),  # a few rows less than the area: as they are, rounded down
        ((90, 70), SD, (88, 64)),
        ((1024, 256), SD, (1024, 256)),
        ((8000, 8000), SD, (512, 512)),
        ((100_000, 5), SD, (32768, 8)),
    ],
)
def test_a_set_without_a_size_gets_the_first_references_aspect_on_the_models_area(own, most, expected):
    width, height = references.set_size(0, 0, own, most, 8)
    assert (width, height) == expected and width * height <= 1.02 * most
    if min(expected) > 100:
        assert abs(width / height / (own[0] / own[1]) - 1) < 0.02, "its aspect, to half a latent"


def test_a_size_that_is_given_stays_and_the_other_side_follows_the_aspect():
    assert references.set_size(3000, 2000, (64, 64), SD, 8) == (3000, 2000), "as large as is asked for"
    assert references.set_size(515, 0, (90, 70), SD, 8) == (512, 64), "a small reference's side, as it is"
    assert references.set_size(512, 0, (4000, 3000), SD, 8) == (512, 384)
    assert references.set_size(0, 512, (4000, 3000), SD, 8) == (680, 512)
    assert references.set_size(2048, 0, (4000, 3000), SD, 8) == (2048, 1536)
    assert references.set_size(512, 0, (300, 12000), SD, 8) == (512, 1024), "at most twice as long"
    assert references.set_size(64, 0, (300, 12000), SD, 8) == (64, 2560), "or what fills the model's area"
    assert references.set_size(0, 4, (4000, 3000), SD, 8)[1] == 0, "too small for a latent: refused by who asks"


@pytest.mark.parametrize("size", ((1, 100_000), (100_000, 1), (2, 5000)))
def test_a_line_of_pixels_takes_no_more_memory_than_a_picture(monkeypatch, size):
    made, resize = [], references._resize
    monkeypatch.setattr(references, "_resize", lambda *given: made.append(resize(*given)) or made[-1])
    line = torch.linspace(0, 1, max(size)).reshape(*size, -1)[..., :1].expand(*size, 3) if 1 in size else torch.rand(*size, 3)
    fitted = Reference(line, "", "crop", 0.5).fitted(64, 64)
    assert fitted.shape == (64, 64, 3) and made[0].numel() <= 20 * fitted.numel(), "100,000x1 took 4.9 GB"
    if 1 in size:
        assert (fitted - 0.5).abs().max() < 1e-3, "its middle is shown"


def test_a_picture_of_common_shape_is_cropped_to_the_bit_as_it_was():
    for height, width in ((37, 500), (500, 37), (48, 64), (64, 48), (33, 33)):
        picture = torch.rand(height, width, 3)
        scale = max(64 / width, 64 / height)
        whole = references._resize(picture, max(round(width * scale), 64), max(round(height * scale), 64))
        assert torch.equal(Reference(picture, "", "crop", 0.5).fitted(64, 64), references._crop(whole, 64, 64))
