"""Image guidance inside the host's own guiders: equations 3 and 4, and terms without references."""

import pytest
import torch
from comfy_extras.nodes_custom_sampler import BasicGuider, CFGGuider, DualCFGGuider
from comfy_extras.nodes_perpneg import PerpNegGuider
from same_subject.nodes.joint import guidance
from same_subject.tests.tiny import models, sets
from same_subject.tests.tiny.sets import apply, case, gap, guide, made, sample

ROUNDING = 2e-5
"""Of gaps: 1.6e-6 was seen."""
VISIBLE = 0.01
ORDER = "noisy, reference, mask"
TWO, THREE = ("joint", "text only"), ("text first", "image first")


@pytest.fixture(scope="module")
def unets():
    return {4: models.model("sd15", 4), 9: models.model("sd15", 9)}


def jedi(unets, channels, one, mode, **options):
    return apply(unets[channels], one.joint_set, mode, channel_order=ORDER if channels == 9 else None, **options)


class Terms:
    """A clone of a model that keeps what its terms predict, [generated rows] of the first step."""

    def __init__(self, model, one):
        self.model, self.one, self.seen = model.clone(), one, []
        self.model.set_model_sampler_pre_cfg_function(self._record, disable_cfg1_optimization=True)

    def _record(self, args):
        self.seen.append([made(out, self.one).clone() for out in args["conds_out"]])
        return args["conds_out"]


@pytest.mark.parametrize("channels", (4, 9))
@pytest.mark.parametrize("mode", THREE)
def test_at_equal_scales_three_terms_equal_joint_guidance(unets, channels, mode):
    one = case()
    joint = sample(jedi(unets, channels, one, "joint"), one, cfg=3.0)
    assert torch.equal(sample(jedi(unets, channels, one, mode, image_scale=3.0), one, cfg=3.0), joint)
    almost = sets.Calls(jedi(unets, channels, one, mode, image_scale=3.0 + 1e-6))
    assert gap(sample(almost.model, one, cfg=3.0), joint) < ROUNDING
    assert len(almost.inputs[0]) == 3 * one.layout.rows
    assert gap(sample(jedi(unets, channels, one, mode, image_scale=6.0), one, cfg=3.0), joint) > VISIBLE


@pytest.mark.parametrize("channels", (4, 9))
@pytest.mark.parametrize("mode", guidance.MODES)
def test_at_scale_1_guidance_is_the_conditional_prediction(unets, channels, mode):
    one = case()
    model = jedi(unets, channels, one, mode, image_scale=1.0)
    conditional = guide(BasicGuider.execute(jedi(unets, channels, one, "joint"), one.positive).result[0], one)
    assert gap(sample(model, one, cfg=1.0), conditional) < ROUNDING
    assert gap(sample(model, one, cfg=3.0), conditional) > VISIBLE


@pytest.mark.parametrize("channels", (4, 9))
@pytest.mark.parametrize(
    "mode, text, image",
    (
        ("text first", 2.0, 5.0),
        ("image first", 2.0, 5.0),
        ("text first", 1.0, 4.0),
        ("image first", 1.0, 4.0),
        ("text first", 0.0, 2.0),
    ),
)
def test_three_terms_are_equation_4_of_terms_computed_apart(unets, channels, mode, text, image):
    one = case()
    with_text = Terms(jedi(unets, channels, one, "joint"), one)
    sample(with_text.model, one, cfg=2.0, steps=1)
    without = Terms(jedi(unets, channels, one, "text only"), one)
    sample(without.model, one, cfg=2.0, steps=1)
    (e, e0), (_, images_alone) = with_text.seen[0], without.seen[0]
    swapped = sets.Case(one.joint_set, one.negative, one.positive)
    texts = Terms(jedi(unets, channels, one, "joint"), one)
    sample(texts.model, swapped, cfg=2.0, steps=1)
    texts_alone = texts.seen[0][1]
    e1, first, second = (texts_alone, text, image) if mode == "text first" else (images_alone, image, text)
    expected = e0 + first * (e1 - e0) + second * (e - e1)

    final = []
    model = jedi(unets, channels, one, mode, image_scale=image)
    model.set_model_sampler_post_cfg_function(lambda args: final.append(made(args["denoised"], one).clone()) or args["denoised"])
    sample(model, one, cfg=text, steps=1)
    assert gap(final[0], expected) < ROUNDING
    assert min(gap(final[0], other) for other in (e, e0 + text * (e - e0), e0 + image * (e - e0))) > VISIBLE


@pytest.mark.parametrize("channels", (4, 9))
def test_a_reference_free_term_does_not_move_when_the_reference_picture_changes(unets, channels):
    seen = {}
    for seed in (0, 1):
        one = case(latents=sets.pictures(2, seed))
        for form in ("isolated", "literal"):
            terms = Terms(jedi(unets, channels, one, "joint", null_references=form), one)
            sample(terms.model, one, steps=1)
            seen[seed, form] = terms.seen[0]
    assert gap(seen[0, "isolated"][1], seen[1, "isolated"][1]) < ROUNDING
    assert gap(seen[0, "isolated"][0], seen[1, "isolated"][0]) > VISIBLE
    # The literal form keeps the noised references in x: the reason for the departure.
    assert gap(seen[0, "literal"][1], seen[1, "literal"][1]) > VISIBLE


@pytest.mark.parametrize("channels", (4, 9))
def test_text_only_guidance_keeps_the_references_in_both_terms(unets, channels):
    seen = []
    for seed in (0, 1):
        one = case(latents=sets.pictures(2, seed))
        terms = Terms(jedi(unets, channels, one, "text only"), one)
        sample(terms.model, one, steps=1)
        seen.append(terms.seen[0])
    assert min(gap(a, b) for a, b in zip(*seen, strict=True)) > VISIBLE


@pytest.mark.parametrize("mode", ("joint", *THREE))
def test_outside_its_part_of_the_schedule_image_guidance_is_text_guidance(unets, mode):
    one = case()
    text = sample(jedi(unets, 9, one, "text only"), one, steps=4)
    assert gap(sample(jedi(unets, 9, one, mode, start=1.0), one, steps=4), text) < ROUNDING
    half = sample(jedi(unets, 9, one, mode, end=0.5), one, steps=4)
    full = sample(jedi(unets, 9, one, mode), one, steps=4)
    assert min(gap(half, text), gap(half, full), gap(full, text)) > VISIBLE


def test_coupling_keeps_to_its_part_of_the_schedule_and_its_levels(unets):
    one = case()
    full = sample(jedi(unets, 4, one, "joint"), one, steps=4)
    none = sample(jedi(unets, 4, one, "joint", levels=frozenset()), one, steps=4)
    assert torch.equal(sample(jedi(unets, 4, one, "joint", coupling_start=1.0), one, steps=4), none)
    parts = [
        sample(jedi(unets, 4, one, "joint", **options), one, steps=4)
        for options in ({"coupling_end": 0.5}, {"levels": frozenset({"full"})}, {"levels": frozenset({"half"})})
    ]
    everything = [full, none, *parts]
    assert min(gap(a, b) for i, a in enumerate(everything) for b in everything[:i]) > VISIBLE
    assert torch.equal(sample(jedi(unets, 4, one, "joint", levels=frozenset({"full", "half"})), one, steps=4), full)


@pytest.mark.parametrize("mode", guidance.MODES)
def test_cfg_guider_gives_what_ksampler_gives(unets, mode):
    one = case()
    model = jedi(unets, 9, one, mode)
    custom = guide(CFGGuider.execute(model, one.positive, one.negative, 2.0).result[0], one)
    assert gap(custom, sample(model, one, cfg=2.0)) < ROUNDING
    assert gap(custom, sample(model, one, cfg=3.0)) > VISIBLE


def test_dual_cfg_guider_builds_equation_4_by_hand(unets):
    """cond1 = prompts, cond2 = references with null text, negative = nothing: image first."""
    one = case()
    guider = DualCFGGuider.execute(
        jedi(unets, 9, one, "joint"), one.positive, one.negative, one.negative, 2.0, 5.0, "regular"
    ).result[0]
    ours = sample(jedi(unets, 9, one, "image first", image_scale=5.0), one, cfg=2.0)
    assert gap(guide(guider, one), ours) < ROUNDING
    assert gap(sample(jedi(unets, 9, one, "text first", image_scale=5.0), one, cfg=2.0), ours) > VISIBLE


@pytest.mark.parametrize("mode", THREE)
def test_guiders_that_combine_terms_themselves_are_refused_for_three_terms(unets, mode):
    one = case()
    model = jedi(unets, 4, one, mode)
    for guider in (
        DualCFGGuider.execute(model, one.positive, one.negative, one.negative, 2.0, 3.0, "regular"),
        PerpNegGuider.execute(model, one.positive, one.negative, one.negative, 2.0, 1.0),
    ):
        with pytest.raises(ValueError, match="combines its terms itself. Use KSampler"):
            guide(guider.result[0], one)


def test_image_first_without_a_negative_is_refused_and_text_first_is_not(unets):
    one = case()
    with pytest.raises(ValueError, match="needs a null text"):
        guide(BasicGuider.execute(jedi(unets, 4, one, "image first"), one.positive).result[0], one)
    text_first = guide(BasicGuider.execute(jedi(unets, 4, one, "text first"), one.positive).result[0], one)
    assert gap(text_first, sample(jedi(unets, 4, one, "text first"), one, cfg=1.0)) < ROUNDING


def test_perp_neg_guider_works_in_joint_mode(unets):
    one = case()
    model = jedi(unets, 4, one, "joint")
    guider = PerpNegGuider.execute(model, one.positive, one.negative, one.negative, 2.0, 0.0).result[0]
    assert gap(guide(guider, one), sample(model, one, cfg=2.0)) < ROUNDING


@pytest.mark.parametrize("mode", THREE)
def test_a_node_that_changes_plain_guidance_changes_three_terms_too(unets, mode):
    from comfy_extras.nodes_model_advanced import RescaleCFG

    one = case()
    expected = sample(jedi(unets, 4, one, mode), one, cfg=2.0)
    results = {}
    for multiplier in (0.0, 0.7):
        (rescaled,) = RescaleCFG().patch(unets[4], multiplier)
        results[multiplier] = sample(apply(rescaled, one.joint_set, mode), one, cfg=2.0)
    assert gap(results[0.0], expected) < ROUNDING
    assert gap(results[0.7], expected) > VISIBLE


@pytest.mark.parametrize("mode", guidance.MODES)
def test_ksampler_advanced_in_two_parts_equals_ksampler(unets, mode):
    one = case()
    model = jedi(unets, 9, one, mode)
    whole = sample(model, one, steps=4)
    first = sample(model, one, steps=4, start_step=0, last_step=2, force_full_denoise=False)
    assert torch.equal(first[one.layout.reference_rows], one.joint_set.reference_latents())
    second = sample(model, one, steps=4, start_step=2, disable_noise=True, latent={**one.latent, "samples": first})
    assert gap(second, whole) < ROUNDING
    assert gap(made(first, one), made(whole, one)) > VISIBLE


def test_the_references_are_the_same_without_added_noise(unets):
    """KSampler Advanced without noise on a fresh latent: generated rows start from nothing, references do not."""
    one = case()
    calls = sets.Calls(jedi(unets, 4, one, "joint"))
    sample(calls.model, one, steps=2, disable_noise=True)
    rows = one.layout.reference_rows
    noised = sets.Calls(jedi(unets, 4, one, "joint"))
    sample(noised.model, one, steps=2)
    for a, b in zip(calls.inputs, noised.inputs, strict=True):
        assert torch.equal(a[rows], b[rows])
    assert gap(calls.inputs[0][:2], noised.inputs[0][:2]) > VISIBLE
