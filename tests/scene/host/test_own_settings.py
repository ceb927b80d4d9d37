"""What a concept of a scene has of its own: a scale of guidance, and a share of the schedule in which it paints."""

from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from same_subject.tests.tiny import identities, models, scenes, sets
from same_subject.tests.tiny.scenes import branches, install, sample
from same_subject.tests.tiny.sets import gap

ROUNDING, VISIBLE = 1e-4, 1e-3


@pytest.fixture(scope="module")
def unet():
    return models.model("sd15")


def listed(unet, chain, continue_from, begins=(0, 0), steps=scenes.STEPS):
    """The scene by plain runs of every branch at every step; begins: the step from 0 at which each concept begins to paint.

    With own, S is 0: the background goes on from the blend.
    """
    share, levels = scenes.blend_weights(chain), scenes.sigmas(unet, steps)
    x = scenes.start(unet, steps)
    own = [x] * 3
    for step, (now, after) in enumerate(pairwise(levels)):
        own = [own[0], *(z if step >= begin else own[0] for z, begin in zip(own[1:], begins, strict=True))]
        used = [x] * 3 if continue_from == "blend" else own
        background = scenes.denoise(unet, scenes.text("the scene"), scenes.text("not the scene"), used[0], now)
        found = [background]
        for one, z, begin in zip(chain, used[1:], begins, strict=True):
            cfg = scenes.CFG if one.cfg is None else one.cfg
            found.append(scenes.denoise(unet, one.positive, one.negative, z, now, cfg) if step >= begin else background)
        own = [z + (z - x0) / now * (after - now) for z, x0 in zip(used, found, strict=True)]
        x = sum(w * z for w, z in zip(share, own, strict=True))
        own[0] = x
    return scenes.finish(unet, x)


@pytest.mark.parametrize("continue_from", ("blend", "own"))
def test_a_concept_has_its_own_cfg(unet, continue_from):
    plain = branches(2)
    chain = (replace(plain[0], cfg=6.0), plain[1])
    calls = sets.Calls(install(unet, chain, continue_from))
    result = sample(calls.model)
    assert gap(result, listed(unet, chain, continue_from)) < ROUNDING
    assert gap(result, sample(install(unet, plain, continue_from))) > VISIBLE
    assert [len(x) for x in calls.inputs] == [6] * scenes.STEPS, "in the batch of all others"
    without = (replace(plain[0], cfg=1.0), plain[1])
    assert gap(sample(install(unet, without, continue_from)), listed(unet, without, continue_from)) < ROUNDING, "no null text"


@pytest.mark.parametrize("continue_from", ("blend", "own"))
def test_a_concept_paints_in_the_last_share_of_the_schedule_and_the_background_before(unet, continue_from):
    plain, steps = branches(2), 4
    levels = scenes.sigmas(unet, steps)
    percent = unet.get_model_object("model_sampling").percent_to_sigma
    begin = next(step for step, sigma in enumerate(levels) if sigma <= percent(0.4))
    assert 0 < begin < steps
    chain = (replace(plain[0], denoise=0.6), plain[1])
    calls = sets.Calls(install(unet, chain, continue_from))
    result = sample(calls.model, steps=steps)
    assert gap(result, listed(unet, chain, continue_from, (begin, 0), steps)) < ROUNDING
    assert gap(result, sample(install(unet, plain, continue_from), steps=steps)) > VISIBLE
    assert [len(x) for x in calls.inputs] == [4] * begin + [6] * (steps - begin), "it costs nothing before"
    never = tuple(replace(one, denoise=0.0) for one in plain)
    assert gap(sample(install(unet, never, continue_from)), sample(unet)) < ROUNDING, "the background alone"


def test_a_late_concept_goes_with_samplers_that_need_the_null_prediction(unet):
    chain = (replace(branches(2)[0], denoise=0.5), branches(2)[1])
    late, whole = (sample(install(unet, one), sampler="euler_cfg_pp") for one in (chain, branches(2)))
    assert late.isfinite().all() and gap(late, whole) > VISIBLE


def in_area(branch):
    """A branch whose prompt is about the upper half of the picture."""
    return replace(
        branch, positive=[[states, {**values, "area": (4, 8, 0, 0), "strength": 1.0}] for states, values in branch.positive]
    )


def test_auto_is_blend_where_the_unet_is_called_on_parts_of_the_picture_or_the_batch(unet):
    plain = branches(2)
    chain = (in_area(plain[0]), plain[1])
    with pytest.raises(ValueError, match="set `continue_from` to `blend`"):
        sample(install(unet, chain, "own", scenes.STEPS))
    assert torch.equal(sample(install(unet, chain, "auto")), sample(install(unet, chain, "blend")))
    windowed = identities.in_context_windows(unet)
    rows = branches(2, rows=3)
    with pytest.raises(ValueError, match="set `continue_from` to `blend`"):
        sample(install(windowed, rows, "own", scenes.STEPS), rows=3)
    auto, blend = (sample(install(windowed, rows, mode), rows=3) for mode in ("auto", "blend"))
    assert torch.equal(auto, blend)
