"""References are encoded once by each VAE, and again when anything changed that the latents depend on."""

import gc

import pytest
import torch
from same_subject.nodes.joint import references
from same_subject.nodes.joint.host import encoding, kept
from torch import nn

PICTURES = torch.rand(3, 16, 24, 3, generator=torch.Generator().manual_seed(0))


class Vae:
    """A VAE in the host's interface that keeps what it was asked to encode."""

    vae_dtype = torch.float16

    def __init__(self):
        self.first_stage_model = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1))
        self.asked = []

    def encode(self, pixels):
        self.asked.append(pixels)
        return self.first_stage_model(pixels.movedim(-1, 1))[..., ::8, ::8].to(self.vae_dtype)


@pytest.fixture
def vae():
    torch.manual_seed(0)
    return Vae()


def encode(vae, pictures=PICTURES, fit="crop", size=(16, 16)):
    """The latents, and how many pictures were encoded for them."""
    before = len(vae.asked)
    given = references.gather(list(pictures), [], [""] * len(pictures), fit, "grey")
    latents = encoding.encode_pictures(vae, given, *size)
    return latents, len(vae.asked) - before


def test_the_same_pictures_are_encoded_once(vae):
    """Every change of a prompt encoded all of them again."""
    first, asked = encode(vae)
    again, no_more = encode(vae, PICTURES.clone())
    assert (asked, no_more) == (3, 0) and torch.equal(first, again)
    assert first.dtype == torch.float32 and torch.equal(first, vae.encode(PICTURES[:, :, 4:20]).float())
    one_new, asked = encode(vae, [PICTURES[1], 1 - PICTURES[0]])
    assert asked == 1 and torch.equal(one_new[:1], first[1:2]) and not torch.equal(one_new[1], first[0])


def test_what_was_given_out_is_not_what_is_kept(vae):
    first, _ = encode(vae, PICTURES[:1])
    expected = first.clone()
    first.zero_()
    assert torch.equal(encode(vae, PICTURES[:1])[0], expected)


CHANGES = {
    "a pixel": {"pictures": PICTURES + torch.eye(16, 24)[..., None] * 1e-6},
    "the fit": {"fit": "pad"},
    "the size": {"size": (24, 16)},
}


@pytest.mark.parametrize("what", CHANGES)
def test_other_pictures_are_encoded(vae, what):
    encode(vae)
    assert encode(vae, **CHANGES[what])[1] == 3


def seamless(vae):
    """As packs for seamless tiling do it to a VAE that stays the same object."""
    vae.first_stage_model[0].padding_mode = "circular"
    vae.first_stage_model[0]._reversed_padding_repeated_twice = [1, 1, 1, 1]


def patched_method(vae):
    layer = vae.first_stage_model[0]
    layer._conv_forward = lambda x, weight, bias: nn.functional.conv2d(x.roll(1, -1), weight, bias, padding=1)


def patched_vae(vae):
    own = vae.encode
    vae.encode = lambda pixels: own(1 - pixels)


def other_precision(vae):
    vae.vae_dtype = torch.bfloat16


@pytest.mark.parametrize("change", (seamless, patched_method, patched_vae, other_precision))
def test_a_vae_that_was_changed_in_place_encodes_again(vae, change):
    first, _ = encode(vae)
    change(vae)
    changed, asked = encode(vae)
    assert asked == 3 and not torch.equal(changed, first)


def test_each_vae_has_its_own_latents_and_takes_them_with_it(vae):
    gc.collect()
    before = len(kept._kept)
    other = Vae()
    first, _ = encode(vae)
    assert encode(other)[1] == 3 and not torch.equal(encode(other)[0], first)
    assert len(kept._kept) == before + 2
    del other
    gc.collect()
    assert len(kept._kept) == before + 1


def test_what_was_not_used_for_longest_goes_when_the_bound_is_reached(vae, monkeypatch):
    latent, _ = encode(vae, PICTURES[:1])
    monkeypatch.setattr(kept, "MOST_BYTES", 2 * latent.nbytes)
    for number, asked in ((1, 1), (0, 0), (2, 1), (0, 0), (1, 1)):
        assert encode(vae, PICTURES[number : number + 1])[1] == asked
    assert sum(one.nbytes for one in kept._kept[vae].values()) == 2 * latent.nbytes
    monkeypatch.setattr(kept, "MOST_BYTES", 0)
    assert torch.equal(encode(vae, PICTURES[:1])[0], latent) and len(kept._kept[vae]) == 1


def test_a_vae_that_cannot_be_told_from_others_is_asked_each_time(vae):
    class Listed(Vae):
        __hash__ = None

    other = Listed()
    assert encode(other)[1] == 3 and encode(other)[1] == 3


def test_a_spoiled_latent_is_not_kept(vae):
    vae.first_stage_model[0].bias.data.fill_(float("nan"))
    with pytest.raises(ValueError, match="made NaN or infinity of reference 1"):
        encode(vae)
    vae.first_stage_model[0].bias.data.zero_()
    assert encode(vae)[0].isfinite().all()
