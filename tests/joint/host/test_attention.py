"""Strength, masks and noise of references in the host's sampler, on tiny models."""

from dataclasses import replace

import comfy.model_patcher
import pytest
import torch
from comfy_extras.nodes_pag import PerturbedAttentionGuidance
from comfy_extras.nodes_tomesd import TomePatchModel
from same_subject.nodes.joint import layout, settings
from same_subject.nodes.joint.host.sampling import JointSampling
from same_subject.tests.tiny import models, sets
from same_subject.tests.tiny.sets import apply, case, gap, made, sample

ROUNDING = 1e-4
"""Of gaps: 9e-6 was seen."""
VISIBLE = 0.01
"""A difference that a mistake would make, at least."""


@pytest.fixture(scope="module")
def unets():
    return {channels: models.model("sd15", channels) for channels in (4, 9)}


def painted(model, one, strength=1.0, mode="joint", **options):
    chosen = settings.Settings(mode, 3.0, options=settings.Options(**options), strength=strength)
    return made(sample(JointSampling(one.joint_set, chosen, None).install(model), one), one)


def shown(one, **more):
    return replace(one, joint_set=replace(one.joint_set, **more))


def halves(references, pictures=2):
    """A subject in the left half of each reference, acting on the upper half of the generated pictures."""
    masks = torch.zeros(references, sets.SIZE, sets.SIZE)
    masks[:, :, : sets.SIZE // 2] = 1
    where = torch.zeros(references, pictures, sets.SIZE, sets.SIZE)
    where[:, :, : sets.SIZE // 2] = 1
    return {"masks": tuple(masks), "where": where}


@pytest.mark.parametrize("mode", ("joint", "text first", "image first", "text only"))
def test_strength_zero_equals_the_set_without_references(unets, mode):
    both = case(sets=2)
    none = case(sets=2, references=0)
    alone = settings.ITSELF_ONLY
    assert gap(painted(unets[4], both, 0.0, mode, reference_attention=alone), painted(unets[4], none, 1.0, mode)) < ROUNDING
    assert gap(painted(unets[4], both, 1.0, mode, reference_attention=alone), painted(unets[4], none, 1.0, mode)) > VISIBLE


def test_strength_zero_of_one_reference_equals_the_set_without_it(unets):
    latents = sets.pictures(3)
    noise = layout.draw_noise(0, 1, 3, latents.shape[1:])
    three = case(references=3, latents=latents, noise=noise, captions=["a", "b", "c"])
    two = case(references=2, latents=latents[[0, 2]], noise=noise[:, [0, 2]], captions=["a", "c"])
    alone = {"reference_attention": settings.ITSELF_ONLY}
    expected = painted(unets[4], two, **alone)
    assert gap(painted(unets[4], shown(three, strengths=(1.0, 0.0, 1.0)), **alone), expected) < ROUNDING
    assert gap(painted(unets[4], three, **alone), expected) > VISIBLE


@pytest.mark.parametrize("number", (2, 3))
def test_strength_counts_a_reference_as_if_it_were_there_as_often(unets, number):
    latents, noise = sets.pictures(1), layout.draw_noise(0, 1, 1, (4, sets.SIZE, sets.SIZE))
    once = case(references=1, latents=latents, noise=noise, captions=["a"])
    often = case(
        references=number,
        latents=latents.repeat(number, 1, 1, 1),
        noise=noise.repeat(1, number, 1, 1, 1),
        captions=["a"] * number,
    )
    alone = {"reference_attention": settings.ITSELF_ONLY}
    expected = painted(unets[4], often, **alone)
    assert gap(painted(unets[4], once, float(number), **alone), expected) < ROUNDING
    assert gap(painted(unets[4], once, 1.0, reference_strength=float(number), **alone), expected) < ROUNDING
    assert gap(painted(unets[4], shown(once, strengths=(float(number),)), **alone), expected) < ROUNDING
    assert gap(painted(unets[4], once, **alone), expected) > VISIBLE / 2


def test_strengths_of_steps_and_levels_multiply_the_others(unets):
    one, alone = case(), {"reference_attention": settings.ITSELF_ONLY}
    plain, twice, none = (painted(unets[4], one, strength, **alone) for strength in (1.0, 2.0, 0.0))
    assert gap(painted(unets[4], one, strength_start=2.0, strength_end=2.0, **alone), twice) < ROUNDING
    assert gap(painted(unets[4], one, strength_start=0.0, strength_end=0.0, **alone), none) < ROUNDING
    assert gap(painted(unets[4], one, level_strengths=(2.0,) * 4, **alone), twice) < ROUNDING
    assert gap(painted(unets[4], one, 4.0, level_strengths=(0.5,) * 4, **alone), twice) < ROUNDING
    assert gap(twice, plain) > VISIBLE / 2 and gap(none, plain) > VISIBLE / 2
    for part in (
        {"strength_start": 0.0},
        {"strength_start": 0.0, "strength_end": 4.0},
        {"level_strengths": (0.0, 1.0, 1.0, 1.0)},
    ):
        assert min(gap(painted(unets[4], one, **part, **alone), other) for other in (plain, none)) > VISIBLE / 10


def test_a_strength_of_zero_at_some_levels_equals_no_coupling_there(unets):
    """References that see only themselves: what is not coupled is what is coupled to nothing, with one picture a set."""
    one = case(generated=1, prompts=["a"])
    alone = {"reference_attention": settings.ITSELF_ONLY}
    expected = painted(unets[4], one, levels=frozenset({"half", "quarter", "eighth"}), **alone)
    assert gap(painted(unets[4], one, level_strengths=(0.0, 1.0, 1.0, 1.0), **alone), expected) < ROUNDING
    assert gap(painted(unets[4], one, **alone), expected) > VISIBLE / 2


def test_masks_act_only_where_they_are_asked_for(unets):
    one = case(sets=2)
    masked = shown(one, masks=halves(2)["masks"])
    assert torch.equal(painted(unets[4], masked), painted(unets[4], one))
    assert gap(painted(unets[4], masked, subject_masks=settings.GIVEN), painted(unets[4], one)) > VISIBLE
    white = shown(one, masks=tuple(torch.ones(2, sets.SIZE, sets.SIZE)))
    assert gap(painted(unets[4], white, subject_masks=settings.GIVEN), painted(unets[4], one)) < ROUNDING


def test_masks_of_each_set_equal_those_sets_one_by_one(unets):
    both = case(sets=2)
    masks = torch.zeros(4, sets.SIZE, sets.SIZE)
    for row in range(4):
        masks[row, : row + 2] = 1
    options = {"subject_masks": settings.GIVEN, "color_match": 0.5}
    together = painted(unets[4], shown(both, masks=tuple(masks)), **options).unflatten(0, (2, -1))
    for number in range(2):
        alone = case(noise=both.joint_set.noise[number : number + 1])
        alone = shown(alone, masks=tuple(masks[2 * number : 2 * number + 2]))
        chosen = settings.Settings("joint", 3.0, options=settings.Options(**options))
        latent = {**alone.latent, "batch_index": both.layout.noise_index[number * 4 : number * 4 + 4]}
        model = JointSampling(alone.joint_set, chosen, None).install(unets[4])
        assert gap(made(sample(model, alone, latent=latent), alone), together[number]) < ROUNDING
    assert gap(together[0], together[1]) > VISIBLE


def test_a_reference_acts_only_where_it_is_to(unets):
    """A picture of which no part sees references is as without them; one that sees them everywhere as with them."""
    one, none = case(), case(references=0)
    alone = {"reference_attention": settings.ITSELF_ONLY}
    part = halves(2)["where"]
    assert gap(painted(unets[4], shown(one, where=torch.ones_like(part)), **alone), painted(unets[4], one, **alone)) < ROUNDING
    assert gap(painted(unets[4], shown(one, where=torch.zeros_like(part)), **alone), painted(unets[4], none)) < ROUNDING
    for plain in (painted(unets[4], one, **alone), painted(unets[4], none)):
        assert gap(painted(unets[4], shown(one, where=part), **alone), plain) > VISIBLE / 2


@pytest.mark.parametrize("channels", (4, 9))
def test_references_may_be_cleaner_than_the_pictures_with_the_timestep_that_belongs_to_it(unets, channels):
    one, order = case(), "noisy, reference, mask" if channels == 9 else None
    seen = []

    def spy(executor, x, t, *args, **kwargs):
        seen.append((x.clone(), t.clone()))
        return executor(x, t, *args, **kwargs)

    for share in (1.0, 0.5):
        model = apply(unets[channels], one.joint_set, channel_order=order, reference_noise=share)
        model.add_wrapper_with_key("apply_model", "spy", spy)
        sample(model, one)
    for (plain, sigma), (x, t) in zip(seen[:2], seen[2:], strict=True):
        rows = [chunk * 4 + row for chunk in range(2) for row in one.layout.reference_rows]
        others = [row for row in range(8) if row not in rows]
        noise, clean = one.joint_set.reference_noise(), unets[channels].model.process_latent_in(one.joint_set.reference_latents())
        sigmas = sigma[rows][:, None, None, None]
        assert torch.equal(t[rows], sigma[rows] * 0.5) and torch.equal(t[others], sigma[others])
        assert gap(plain[rows], clean.repeat(2, 1, 1, 1) + sigmas * noise.repeat(2, 1, 1, 1)) < ROUNDING
        assert gap(x[rows], clean.repeat(2, 1, 1, 1) + 0.5 * sigmas * noise.repeat(2, 1, 1, 1)) < ROUNDING
        assert gap(x[rows], plain[rows]) > VISIBLE


def test_without_style_fidelity_no_term_leaves_the_references_out(unets):
    one = case()
    alone = {"reference_attention": settings.ITSELF_ONLY}
    text_only = painted(unets[4], one, mode="text only", **alone)
    assert gap(painted(unets[4], one, style_fidelity=0.0, **alone), text_only) < ROUNDING
    joint, half = painted(unets[4], one, **alone), painted(unets[4], one, style_fidelity=0.5, **alone)
    assert min(gap(half, joint), gap(half, text_only)) > VISIBLE / 2


def test_strength_over_a_replaced_attention_is_refused(unets):
    one, model = case(), unets[4].clone()
    model.set_model_attn1_replace(lambda q, k, v, options: v, "middle", 0)
    with pytest.raises(ValueError, match="strength"):
        painted(model, one, 2.0)


def test_what_replaces_self_attention_takes_masks_or_is_refused(unets):
    """PAG's identity gives back every value it is given, its pictures' own first; it cannot be told where to look."""
    one, pag = case(), PerturbedAttentionGuidance.execute(unets[4], 3.0).result[0]
    masked = shown(one, masks=halves(2)["masks"])
    options = {"reference_attention": settings.ITSELF_ONLY, "subject_masks": settings.GIVEN}
    assert gap(painted(pag, masked, **options), painted(unets[4], masked, **options)) > VISIBLE
    assert gap(painted(pag, masked, **options), painted(pag, one, **options)) > VISIBLE
    with pytest.raises(ValueError, match="another node replaced self-attention"):
        painted(pag, shown(one, **halves(2)), **options)
    with pytest.raises(ValueError, match="another node replaced self-attention"):
        painted(pag, masked, 2.0, **options)


@pytest.mark.parametrize("channels", (4, 9))
def test_a_subject_has_the_colour_of_its_reference_at_the_end_of_the_run(unets, channels):
    latents = torch.tensor([3.0, -2.0, 1.0, 4.0])[None, :, None, None].expand(1, 4, sets.SIZE, sets.SIZE).contiguous()
    one = case(sets=2, references=1, latents=latents, captions=["a"])
    model, order = unets[channels], "noisy, reference, mask" if channels == 9 else None

    def coloured(**options):
        chosen = settings.Settings("joint", 3.0, options=settings.Options(reference_attention=settings.ITSELF_ONLY, **options))
        pictures = made(sample(JointSampling(one.joint_set, chosen, order).install(model), one), one)
        return ((pictures - latents).abs().amax(dim=1) < 1e-3).flatten(1).float().mean(dim=1)

    assert coloured().max() == 0
    shares = coloured(color_match=1.0)
    assert shares.min() > 0.05 and shares.max() < 0.95


def test_where_nothing_tells_where_the_subject_is_colours_are_refused(unets):
    one, model = case(), TomePatchModel.execute(unets[4], 0.5).result[0]
    with pytest.raises(ValueError, match="color_match"):
        painted(model, one, color_match=0.5, levels=frozenset({"full"}))
    assert gap(painted(model, one, color_match=0.5), painted(model, one)) > VISIBLE


def test_places_are_refused_where_tokens_are_merged(unets):
    one, model = case(), TomePatchModel.execute(unets[4], 0.5).result[0]
    with pytest.raises(ValueError, match="merges tokens"):
        painted(model, shown(one, **halves(2)))


def test_a_term_that_sees_references_in_part_may_be_a_call_of_its_own(unets, monkeypatch):
    one = case()
    options = {"style_fidelity": 0.5, "color_match": 0.5, "reference_attention": settings.ITSELF_ONLY}
    together = painted(unets[4], one, **options)
    monkeypatch.setattr(comfy.model_patcher.ModelPatcher, "get_free_memory", lambda self, device: 0)
    assert gap(painted(unets[4], one, **options), together) < ROUNDING
