"""Three terms next to nodes that know two: those that act before CFG, and those that act on chunks by their number."""

from collections import namedtuple

import comfy.ldm.modules.attention as host_attention
import comfy.model_patcher
import pytest
import torch
from comfy_extras.nodes_apg import APG
from comfy_extras.nodes_fresca import FreSca
from comfy_extras.nodes_nag import NAGuidance
from comfy_extras.nodes_pag import PerturbedAttentionGuidance
from comfy_extras.nodes_tcfg import TCFG
from same_subject.nodes.joint.host.attention import KEY
from same_subject.tests.tiny import models, sets
from same_subject.tests.tiny.sets import apply, case, gap, made, sample

SHARE = 1e-4
"""Largest error, as a share of the effect."""
THREE = ("text first", "image first")
TEXT, IMAGE = 3.0, 7.0


def with_operation(model, operation):
    import comfy_extras.nodes_post_processing  # first: the two modules import each other  # noqa: F401
    from comfy_extras.nodes_latent import LatentApplyOperationCFG

    return LatentApplyOperationCFG.execute(model, operation).result[0]


NEUTRAL = {
    "APG": (lambda model: APG.execute(model, 1.0, 0.0, 0.0).result[0], (TEXT + 1) / TEXT),  # the host's adds 1 to cfg
    "FreSca": (lambda model: FreSca.execute(model, 1.0, 1.0, 2).result[0], 1.0),
}
"""Nodes before CFG at settings with which they do nothing but, of two terms, multiply cfg by a factor."""
ACTING = {
    "APG": lambda model: APG.execute(model, 1.0, 2.0, 0.0).result[0],
    "APG, momentum": lambda model: APG.execute(model, 0.5, 2.0, -0.5).result[0],
    "FreSca": lambda model: FreSca.execute(model, 0.7, 1.6, 2).result[0],
    "TCFG": lambda model: TCFG.execute(model).result[0],
    "clamp": lambda model: with_operation(model, lambda latent: latent.clamp(-0.5, 0.5)),
    "NAG": lambda model: NAGuidance.execute(model, 5.0, 0.5, 1.5).result[0],
}

Terms = namedtuple("Terms", "e0 e1 e")


@pytest.fixture(scope="module")
def unet():
    return models.model("sd15")


def final(model, one, cfg, steps=1):
    """What guidance makes of the terms in the first step, before functions after CFG: generated rows, in float64."""
    seen = []
    model = model.clone()
    after = model.model_options.get("sampler_post_cfg_function", [])
    watch = lambda args: seen.append(made(args["denoised"], one).double()) or args["denoised"]  # noqa: E731
    model.model_options["sampler_post_cfg_function"] = [watch, *after]
    sample(model, one, cfg=cfg, steps=steps)
    return seen[0]


def terms(unet, one, mode, patch=lambda model, swapped: model):
    """e0, e1 and e of the first step, each from runs of two terms. patch: what is on the model; swapped: where e1 is the
    negative term of its run, but has the text."""

    def two(mode, prompts, swapped=False):
        outs = []
        model = patch(apply(unet, one.joint_set, mode), swapped)
        watch = lambda args: outs.append([made(out, one).double() for out in args["conds_out"]]) or args["conds_out"]  # noqa: E731
        model.set_model_sampler_pre_cfg_function(watch, disable_cfg1_optimization=True)
        sample(model, prompts, steps=1)
        return outs[0]

    e, e0 = two("joint", one)
    if mode == "image first":
        return Terms(e0, two("text only", one)[1], e)
    return Terms(e0, two("joint", sets.Case(one.joint_set, one.negative, one.positive), True)[1], e)


def weights(result, parts):
    """How much of each term is in ``result``, by least squares."""
    columns = torch.stack([part.flatten() for part in parts], dim=1)
    return torch.linalg.lstsq(columns, result.flatten()[:, None]).solution.flatten()


@pytest.mark.parametrize("mode", THREE)
@pytest.mark.parametrize("name", NEUTRAL)
def test_a_node_before_cfg_at_its_neutral_setting_leaves_the_weights_of_three_terms(unet, name, mode):
    one = case()
    patch, factor = NEUTRAL[name]
    first, second = (TEXT, IMAGE) if mode == "text first" else (IMAGE, TEXT)
    first, second = first * factor, second * factor
    expected = torch.tensor([1 - first, first - second, second], dtype=torch.float64)
    for model in (patch(apply(unet, one.joint_set, mode, IMAGE)), apply(patch(unet), one.joint_set, mode, IMAGE)):
        found = weights(final(model, one, TEXT), terms(unet, one, mode))
        assert ((found - expected).abs() < 1e-3 * expected.abs()).all(), found


@pytest.mark.parametrize("mode", THREE)
@pytest.mark.parametrize("name", ("APG", "FreSca"))
def test_a_node_before_cfg_weakens_all_terms_alike(unet, name, mode):
    """Each picture's guidance is shortened (APG) or filtered (FreSca) as a whole: text and references keep their proportion."""
    one = case()
    plain = final(apply(unet, one.joint_set, mode, IMAGE), one, TEXT)
    parts = terms(unet, one, mode)
    result = final(ACTING[name](apply(unet, one.joint_set, mode, IMAGE)), one, TEXT)
    for row in range(2):
        weighed = weights(plain[row] - parts.e0[row], [part[row] for part in parts])
        found = weights(result[row] - parts.e0[row], [part[row] for part in parts])
        if name == "APG":
            proportion = found / weighed
            assert (proportion > 0).all() and proportion.max() / proportion.min() < 1.001
        assert (found.sign() == weighed.sign()).all()


@pytest.mark.parametrize("mode", THREE)
@pytest.mark.parametrize("name", ACTING)
def test_at_almost_equal_scales_a_node_does_what_it_does_to_joint_guidance(unet, name, mode):
    one = case()
    joint = ACTING[name](apply(unet, one.joint_set, "joint"))
    almost = ACTING[name](apply(unet, one.joint_set, mode, TEXT + 1e-5))
    expected = final(joint, one, TEXT)
    effect = gap(expected, final(apply(unet, one.joint_set, "joint"), one, TEXT))
    assert effect > 0.03 and gap(final(almost, one, TEXT), expected) < SHARE * effect
    assert gap(sample(almost, one, cfg=TEXT, steps=3), sample(joint, one, cfg=TEXT, steps=3)) < 1e-3


@pytest.mark.parametrize("mode", THREE)
def test_functions_after_cfg_see_the_true_conditional_beside_a_node_before_cfg(unet, mode):
    """PAG compares it with a perturbed one. FreSca at its neutral setting, so that both orders mean the same."""
    one = case()

    def pag(model):
        return PerturbedAttentionGuidance.execute(model, 3.0).result[0]

    expected = sample(pag(apply(unet, one.joint_set, mode, IMAGE)), one, cfg=TEXT)
    effect = gap(expected, sample(apply(unet, one.joint_set, mode, IMAGE), one, cfg=TEXT))
    neutral = NEUTRAL["FreSca"][0]
    assert effect > 0.1
    assert gap(sample(neutral(pag(apply(unet, one.joint_set, mode, IMAGE))), one, cfg=TEXT), expected) < SHARE * effect


@pytest.mark.parametrize("mode", THREE)
def test_functions_after_cfg_see_what_a_node_before_cfg_made_of_the_conditional(unet, mode):
    """As in joint guidance, which equation 4 is at equal scales."""
    one = case()

    def seen(model):
        found = []
        model.set_model_sampler_post_cfg_function(lambda args: found.append(made(args["cond_denoised"], one)) or args["denoised"])
        sample(model, one, cfg=TEXT, steps=1)
        return found[0]

    expected = seen(ACTING["clamp"](apply(unet, one.joint_set)))
    effect = gap(expected, seen(apply(unet, one.joint_set)))
    almost = ACTING["clamp"](apply(unet, one.joint_set, mode, TEXT + 1e-5))
    assert effect > 0.03 and gap(seen(almost), expected) < SHARE * effect


@pytest.mark.parametrize("mode", THREE)
def test_cfg_0_is_refused_with_a_node_before_cfg_only(unet, mode):
    one = case()
    assert sample(apply(unet, one.joint_set, mode), one, cfg=0.0).isfinite().all()
    with pytest.raises(ValueError, match="cfg is 0 and `guidance` is `.* first`.*Raise cfg, or remove that node"):
        sample(ACTING["APG"](apply(unet, one.joint_set, mode)), one, cfg=0.0)


@pytest.mark.parametrize("mode", THREE)
def test_normalized_attention_guidance_acts_on_every_term_with_the_text_and_no_other(unet, mode):
    """As it does where all three terms are in one batch and each that has the text is put beside e0."""
    one = case()
    (nag,) = ACTING["NAG"](unet).model_options["transformer_options"]["patches"]["attn1_output_patch"]

    def one_by_one(out, options):
        parts = dict(zip(options[KEY].terms, out.chunk(3), strict=True))
        for term in (0, 2) if mode == "text first" else (0,):
            both = nag(torch.cat((parts[1], parts[term])), {**options, "cond_or_uncond": [1, 0]})
            parts[term] = both.chunk(2)[1]
        return torch.cat([parts[term] for term in options[KEY].terms])

    expected = apply(unet, one.joint_set, mode, IMAGE)
    expected.set_model_attn1_output_patch(one_by_one)
    expected = sample(expected, one, cfg=TEXT)
    effect = gap(expected, sample(apply(unet, one.joint_set, mode, IMAGE), one, cfg=TEXT))
    assert effect > 0.03
    for model in (ACTING["NAG"](apply(unet, one.joint_set, mode, IMAGE)), apply(ACTING["NAG"](unet), one.joint_set, mode, IMAGE)):
        assert gap(sample(model, one, cfg=TEXT), expected) < SHARE * effect


def adapter(numbers, conditional=1.0, unconditional=-1.0):
    """What IPAdapter-plus does: one of two values for each chunk, by its number."""

    def patch(q, k, v, options):
        numbers.append(list(options["cond_or_uncond"]))
        out = host_attention.optimized_attention(q, k, v, options["n_heads"])
        chosen = torch.tensor([(conditional, unconditional)[number] for number in options["cond_or_uncond"]])
        return out + chosen.repeat_interleave(len(q) // len(chosen))[:, None, None]

    return patch


@pytest.mark.parametrize("memory", ("plenty", "little"))
@pytest.mark.parametrize("mode", THREE)
def test_an_adapter_that_knows_two_terms_gets_e1_as_what_its_text_is(unet, monkeypatch, mode, memory):
    one, numbers = case(), []
    if memory == "little":
        monkeypatch.setattr(comfy.model_patcher.ModelPatcher, "get_free_memory", lambda self, device: 0)

    def adapted(model, swapped=False):
        model = model.clone()
        values = (-1.0, 1.0) if swapped else (1.0, -1.0)
        model.set_model_attn2_replace(adapter(numbers, *values), "middle", 0)
        return model

    parts = terms(unet, one, mode, adapted)
    numbers.clear()
    result = final(adapted(apply(unet, one.joint_set, mode, IMAGE)), one, TEXT)
    assert len(numbers) == (3 if memory == "little" else 1)
    assert sorted(number for call in numbers for number in call) == ([0, 0, 1] if mode == "text first" else [0, 1, 1])
    first, second = (TEXT, IMAGE) if mode == "text first" else (IMAGE, TEXT)
    expected = parts.e0 + first * (parts.e1 - parts.e0) + second * (parts.e - parts.e1)
    effect = gap(expected, final(apply(unet, one.joint_set, mode, IMAGE), one, TEXT))
    assert effect > 0.05 and gap(result, expected) < SHARE * effect
    before = apply(adapted(unet), one.joint_set, mode, IMAGE)
    assert gap(final(before, one, TEXT), expected) < SHARE * effect


@pytest.mark.parametrize("mode", THREE)
def test_a_wrapper_of_the_models_calls_sees_two_numbers_too(unet, mode):
    one, numbers = case(), []

    def wrapper(apply_model, args):
        numbers.append(args["cond_or_uncond"])
        return apply_model(args["input"], args["timestep"], **args["c"])

    calls = sets.Calls(apply(unet, one.joint_set, mode, IMAGE))
    calls.model.set_model_unet_function_wrapper(wrapper)
    result = sample(calls.model, one, cfg=TEXT)
    terms_of_calls = [(list(options[KEY].terms), options["cond_or_uncond"]) for options in calls.options]
    e1 = 0 if mode == "text first" else 1
    assert numbers == [[e1, 1, 0]] * 2 and terms_of_calls == [([2, 1, 0], [e1, 1, 0])] * 2
    assert torch.equal(result, sample(apply(unet, one.joint_set, mode, IMAGE), one, cfg=TEXT))
