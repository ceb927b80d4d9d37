"""Masks that a model finds itself: on the trained 4-channel model of drawn toys, against the masks they were drawn with."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from comfy.patcher_extension import WrappersMP
from comfy_extras.nodes_model_advanced import ModelSamplingContinuousEDM, ModelSamplingContinuousV
from comfy_extras.nodes_sag import SelfAttentionGuidance
from comfy_extras.nodes_tomesd import TomePatchModel
from same_subject.dev import pack
from same_subject.nodes.demo.host import model as demo_model
from same_subject.nodes.host import unet
from same_subject.nodes.joint import layout, settings
from same_subject.nodes.joint.host import sets, subject_masks
from same_subject.research import held_out, world

SEED = 40_000_000
TOYS = 12
AGREEMENT = 0.6
"""Mean intersection over union; 0.79 was seen, and 0.33 is what a mask of a random third of the picture gives."""
AGREEMENT_OFF = 0.5
"""The same where the network is given timesteps that it was not trained with; 0.6 was seen."""


@pytest.fixture(scope="module")
def single():
    return demo_model.load(Path(pack.ROOT / "research" / "single.safetensors"))


@pytest.fixture(scope="module")
def toys():
    return [held_out.draw(SEED, number, [0], world.caption) for number in range(TOYS)]


def set_of(single, toys, captions, subjects=None):
    """A joint set with one picture of each toy."""
    _, clip, vae = single
    with torch.inference_mode():
        clean = vae.encode(torch.cat([toy.views for toy in toys]).movedim(1, -1)).float().cpu()
    where = layout.Layout(1, 1, len(toys))
    named = layout.Named(tuple(captions), tuple(subjects or [""] * len(toys)), clip)
    return layout.JointSet(where, clean, layout.draw_noise(0, 1, len(toys), tuple(clean.shape[1:])), "", named=named)


def drawn(toys, size):
    return F.adaptive_avg_pool2d(torch.cat([toy.view_masks for toy in toys]).float(), size)[:, 0] > 0.3


def agreement(found, expected):
    found, expected = (torch.stack(list(masks)).flatten(1) > 0.5 for masks in (found, expected))
    return ((found & expected).sum(1) / (found | expected).sum(1)).mean()


def test_the_subject_is_found_by_the_captions_noun(single, toys):
    one = set_of(single, toys, [toy.captions[0] for toy in toys])
    found = subject_masks.find(single[0], one, None)
    expected = drawn(toys, one.references.shape[-2:])
    assert agreement(found, expected) > AGREEMENT
    assert agreement(found, expected.roll(1, 0)) < agreement(found, expected) - 0.1
    assert all(set(mask.unique().tolist()) == {0.0, 1.0} for mask in found)


def test_a_mask_that_was_given_is_kept(single, toys):
    one = set_of(single, toys[:2], [toy.captions[0] for toy in toys[:2]])
    mask = torch.rand(one.references.shape[-2:])
    found = subject_masks.find(single[0], replace(one, masks=(None, mask)), None)
    assert torch.equal(found[1], mask) and not torch.equal(found[0], mask)


def test_a_word_that_is_given_is_the_one_that_is_looked_for(single, toys):
    captions = [toy.captions[0] for toy in toys]
    subject, scene = ([caption.split()[at] for caption in captions] for at in (4, -1))
    expected = drawn(toys, (16, 16))
    found = [subject_masks.find(single[0], set_of(single, toys, captions, words), None) for words in (subject, scene)]
    assert agreement(found[0], expected) > AGREEMENT > agreement(found[1], expected) + 0.1


@pytest.mark.parametrize(
    ("caption", "subject", "said"),
    (
        ("", "", "does not hold a word for its subject"),
        ("in the snow", "", "does not hold a word"),
        ("a photo of a ball", "heart", "`heart` is not in it"),
    ),
)
def test_a_caption_without_its_subject_is_refused_with_the_remedy(single, toys, caption, subject, said):
    one = set_of(single, toys[:1], [caption], [subject])
    with pytest.raises(ValueError, match="^JeDi: `subject_masks` is `auto`.* of reference 1.*Write a word") as error:
        subject_masks.find(single[0], one, None)
    assert said in str(error.value)


def test_a_recipe_follows_what_the_models_file_says(single):
    joint = demo_model.load(Path(pack.ROOT / "demo" / "demo.safetensors"))[0]
    one, four = (layout.JointSet(layout.Layout(1, 2, n), torch.zeros(n, 4, 8, 8), torch.zeros(1, n, 4, 8, 8), "") for n in (1, 4))
    assert sets.options_of(settings.AUTO, joint, one) == settings.Options()
    assert sets.options_of(settings.STRONG, joint, one) == settings.TRAINING_FREE
    assert sets.options_of(settings.PAPER, single[0], one) == settings.Options()
    assert sets.options_of(settings.AUTO, single[0], one) == settings.TRAINING_FREE
    halves = torch.zeros(4, 2, 8, 8)
    halves[:2, :, :4], halves[2:, :, 4:] = 1, 1
    assert (
        sets.options_of(settings.AUTO, single[0], replace(four, where=halves)).reference_strength
        == settings.TRAINING_FREE.reference_strength / 2
    )
    shared = sets.options_of(settings.AUTO, single[0], four)
    assert shared.reference_strength == settings.TRAINING_FREE.reference_strength / 4
    assert replace(shared, reference_strength=settings.TRAINING_FREE.reference_strength) == settings.TRAINING_FREE


def test_other_nodes_do_not_act_while_masks_are_looked_for(single, toys):
    """Token Merging leaves fewer tokens, and an adapter in the place of cross-attention would look at its own pictures."""
    one = set_of(single, toys[:2], [toys[0].captions[0], toys[1].captions[0]])
    expected, merged = subject_masks.find(single[0], one, None), TomePatchModel.execute(single[0], 0.5).result[0]
    for block in unet.attention_blocks(merged, "test"):
        merged.set_model_attn2_replace(lambda q, k, v, options: torch.zeros_like(q), *block, 0)
    found = subject_masks.find(merged, one, None)
    assert (
        all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
        and merged.model_options["transformer_options"]["patches"]
    )


@pytest.mark.parametrize("kind", ("SAG", "another"))
def test_nor_does_their_guidance(single, toys, kind):
    """SAG needs scores of a layer that it replaced; others calculate terms of their own."""

    def own_terms(args):
        return [torch.zeros_like(args["input"])] * len(args["conds"])

    one = set_of(single, toys[:2], [toys[0].captions[0], toys[1].captions[0]])
    if kind == "another":
        guided = single[0].clone()
        guided.model_options["sampler_calc_cond_batch_function"] = own_terms
        guided.set_model_sampler_cfg_function(lambda args: args["uncond"] + args["cond_scale"], disable_cfg1_optimization=True)
        guided.set_model_sampler_pre_cfg_function(lambda args: [each * torch.nan for each in args["conds_out"]])
    else:
        guided = SelfAttentionGuidance.execute(single[0], 0.5, 2.0).result[0]
    options = dict(guided.model_options)
    found, expected = (subject_masks.find(model, one, None) for model in (guided, single[0]))
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
    assert guided.model_options == options


def levels_of(model, one):
    """The masks that are found, and the noise levels at which the model is called for them, [calls]."""
    seen, model = [], model.clone()

    def watched(executor, x, t, *args, **kwargs):
        seen.append(t)
        return executor(x, t, *args, **kwargs)

    model.add_wrapper_with_key(WrappersMP.APPLY_MODEL, "test", watched)
    found = subject_masks.find(model, one, None)
    return found, torch.cat(seen)


@pytest.mark.parametrize(
    ("node", "given", "spread"),
    (
        (ModelSamplingContinuousEDM, ("eps", 120.0, 0.002), 1.0),
        (ModelSamplingContinuousEDM, ("edm", 80.0, 0.002), 0.5),
        (ModelSamplingContinuousEDM, ("cosmos_rflow", 80.0, 0.002), 1.0),
        (ModelSamplingContinuousV, ("v_prediction", 500.0, 0.03), 1.0),
    ),
)
def test_a_model_without_counted_timesteps_looks_at_as_little_noise(single, toys, node, given, spread):
    """Playground v2.5 (EDM, data of half the spread) and CosXL are such; this network does not know the timesteps it gets."""
    one = set_of(single, toys, [toy.captions[0] for toy in toys])
    _, counted = levels_of(single[0], one)
    assert torch.equal(counted, single[0].get_model_object("model_sampling").sigma(torch.tensor([100.0])).expand(TOYS))
    found, level = levels_of(node().patch(single[0], *given)[0], one)
    assert torch.allclose(level, counted * spread)
    assert agreement(found, drawn(toys, one.references.shape[-2:])) > AGREEMENT_OFF


def test_the_level_is_one_that_the_model_has(single, toys):
    one = set_of(single, toys[:1], [toys[0].captions[0]])
    for most, least, expected in ((500.0, 0.7, 0.7), (0.2, 0.03, 0.2)):
        model = ModelSamplingContinuousV().patch(single[0], "v_prediction", most, least)[0]
        assert levels_of(model, one)[1].tolist() == pytest.approx([expected])


def test_attention_that_is_not_finite_is_said(single, toys):
    one = set_of(single, toys[:1], [toys[0].captions[0]])
    with pytest.raises(ValueError, match="^JeDi: `subject_masks` is `auto`.* reference 1 is not finite.*--force-fp32"):
        subject_masks.find(single[0], replace(one, references=one.references * torch.inf), None)
