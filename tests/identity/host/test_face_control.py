"""The face ControlNet: what it is fed with, chunk by chunk, and its place next to other ControlNets."""

import pytest
import torch
from same_subject.nodes.identity.host import face_control
from same_subject.nodes.identity.host.face_control import ControlFace
from same_subject.tests.tiny import identities
from same_subject.tests.tiny.identities import conditioning, sample
from same_subject.tests.tiny.sets import gap

import nodes as host_nodes

ROUNDING = 1e-4
VISIBLE = 100 * ROUNDING


@pytest.fixture(scope="module")
def tokens():
    return torch.randn(3, 16, identities.WIDTH, generator=torch.Generator().manual_seed(5))


HINT = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(6))


@pytest.fixture
def calls(control, monkeypatch):
    """What the network is called with: (context, hint)."""
    seen = []
    forward = control.control_model.forward

    def watched(x, hint, timesteps, context, **kwargs):
        seen.append((context.clone(), hint.clone()))
        return forward(x=x, hint=hint, timesteps=timesteps, context=context, **kwargs)

    monkeypatch.setattr(control.control_model, "forward", watched)
    return seen


def apply(control, faces, positive=None, negative=None, strength=0.8, window=(0.0, 1.0)):
    given = (positive or conditioning(0), negative or conditioning(1))
    return face_control.apply(given, control, strength, *window, faces)


def test_its_context_is_the_face_tokens_of_each_term_in_one_call_a_step(unet, control, tokens, calls):
    pair = apply(control, [ControlFace(tokens[0], HINT), ControlFace(tokens[1], HINT)])
    assert pair[0][0][1]["control"] is pair[1][0][1]["control"], "one object, so one batch"
    with_face = sample(unet, *pair, rows=2)
    assert [len(context) for context, _ in calls] == [4, 4]
    for context, hint in calls:
        assert torch.equal(context, tokens[[1, 1, 0, 0]]), "the host puts the negative term first"
        assert torch.equal(hint, HINT.expand(4, -1, -1, -1))
    assert gap(with_face, sample(unet, rows=2)) > VISIBLE
    other = sample(unet, *apply(control, [ControlFace(tokens[2], HINT), ControlFace(tokens[1], HINT)]), rows=2)
    assert gap(with_face, other) > VISIBLE


def test_it_equals_the_hosts_own_key_for_a_context_where_that_is_enough(unet, control, tokens):
    ours = sample(unet, *apply(control, [ControlFace(tokens[0], HINT), ControlFace(tokens[1], HINT)]))
    own = [conditioning(number, cross_attn_controlnet=tokens[number][None]) for number in (0, 1)]
    stock = host_nodes.ControlNetApplyAdvanced().apply_controlnet(*own, control, HINT.movedim(1, -1), 0.8, 0.0, 1.0)
    assert gap(ours, sample(unet, *stock)) < ROUNDING
    text = host_nodes.ControlNetApplyAdvanced().apply_controlnet(
        conditioning(0), conditioning(1), control, HINT.movedim(1, -1), 0.8, 0.0, 1.0
    )
    assert gap(ours, sample(unet, *text)) > VISIBLE


def test_another_controlnet_in_the_chain_keeps_the_text_as_its_context(unet, control, tokens, calls):
    stock = host_nodes.ControlNetApplyAdvanced().apply_controlnet
    faces = [ControlFace(tokens[0], HINT), ControlFace(tokens[1], HINT)]
    text = [conditioning(number)[0][0] for number in (0, 1)]
    given = stock(conditioning(0), conditioning(1), control, HINT.movedim(1, -1), 0.5, 0.0, 1.0)
    before = sample(unet, *apply(control, faces, *given), steps=1)
    contexts = [context for context, _ in calls]
    assert torch.equal(contexts[0], torch.cat((text[1], text[0]))) and torch.equal(contexts[1], tokens[[1, 0]])
    calls.clear()
    after = sample(unet, *stock(*apply(control, faces), control, HINT.movedim(1, -1), 0.5, 0.0, 1.0), steps=1)
    assert sorted(context.shape[1] for context, _ in calls) == [16, 77]
    assert gap(before, after) < ROUNDING, "residuals are added, in any order"
    assert gap(before, sample(unet, *given, steps=1)) > VISIBLE


def test_two_faces_in_one_chain_each_reach_their_own(unet, control, tokens, calls):
    pair = apply(control, [ControlFace(tokens[0], HINT), ControlFace(tokens[1], HINT)])
    pair = apply(control, [ControlFace(tokens[2], HINT.flip(-1)), ControlFace(tokens[1], HINT.flip(-1))], *pair)
    sample(unet, *pair, steps=1)
    assert [torch.equal(context[1], token) for (context, _), token in zip(calls, (tokens[0], tokens[2]), strict=True)] == [
        True,
        True,
    ]
    assert [torch.equal(hint[:1], own) for (_, hint), own in zip(calls, (HINT, HINT.flip(-1)), strict=True)] == [True, True]


def test_entries_that_share_it_run_in_one_call_each_with_its_own_face(unet, control, tokens, calls):
    """What a scene of several concepts needs: one call for all branches."""
    faces = [ControlFace(tokens[0], HINT), ControlFace(tokens[1], HINT.flip(-1)), ControlFace(tokens[2], HINT.flip(-2))]
    lists = face_control.apply([conditioning(number) for number in range(3)], control, 0.8, 0.0, 1.0, faces)
    together = sample(unet, [*lists[0], *lists[1]], lists[2], steps=1)
    assert len(calls) == 1 and len(calls[0][0]) == 3
    apart = sum(sample(unet, one, lists[2], steps=1) for one in lists[:2]) / 2
    assert gap(together, apart) < ROUNDING
    assert gap(together, sample(unet, [*lists[0], *lists[0]], lists[2], steps=1)) > VISIBLE


def test_a_mask_limits_where_it_acts(unet, control, tokens):
    left = torch.zeros(1, 64, 64)
    left[:, :, :32] = 1

    def run(*masks):
        pair = None
        for mask in masks:
            faces = [ControlFace(tokens[number], HINT, mask) for number in (0, 1)]
            pair = apply(control, faces, *(pair or (None, None)))
        return sample(unet, *pair, steps=1)

    whole = run(None)
    assert gap(run(torch.ones(1, 64, 64)), whole) < ROUNDING
    assert gap(run(left, 1 - left), whole) < ROUNDING, "halves add up"
    assert gap(run(left), whole) > VISIBLE and gap(run(left), run(1 - left)) > VISIBLE


def test_a_mask_of_another_shape_than_the_picture_is_refused(unet, control, tokens):
    half = torch.zeros(1, 32, 64)
    half[:, :, :32] = 1
    pair = apply(control, [ControlFace(each, HINT, half) for each in tokens[:2]])
    with pytest.raises(ValueError, match="Identity ControlNet: `mask` has 64x32 pixels, but the latents have another shape, 8x8"):
        sample(unet, *pair)


def test_a_mask_and_an_area_are_refused_together(unet, control, tokens):
    """An area in the shape of the picture has a mask squeezed into it that no shape gives away."""
    left = torch.zeros(1, 64, 64)
    left[..., :32] = 1
    area = {"area": (4, 4, 4, 4), "set_area_to_bounds": False}

    def run(mask, **values):
        return sample(unet, *apply(control, [ControlFace(each, HINT, mask) for each in tokens[:2]], conditioning(0, **values)))

    assert run(left).isfinite().all() and run(None, **area).isfinite().all()
    with pytest.raises(
        ValueError, match="Identity ControlNet: `mask` is about the whole picture, but area conditioning .*`default`"
    ):
        run(left, **area)


@pytest.mark.parametrize("settings", ({}, {"causal_window_fix": False}))
def test_under_context_windows_each_row_keeps_its_own_keypoints_and_mask(unet, control, tokens, settings):
    """Rows of a batch do not see each other, so cutting the batch may change nothing."""
    each = tokens[:2]
    hints = torch.rand(4, 3, 64, 64, generator=torch.Generator().manual_seed(7))
    masks = torch.stack([(torch.arange(64) // 16 == number).float().expand(64, -1) for number in range(4)])

    def run(hint, mask, model=unet):
        pair = apply(control, [ControlFace(one, hint, mask) for one in each], strength=3.0)
        return sample(model, *pair, rows=4, steps=1)

    windowed = identities.in_context_windows(unet, **settings)
    for hint, mask, other in ((hints, None, (hints.roll(2, 0), None)), (HINT, masks, (HINT, masks.roll(2, 0)))):
        expected = run(hint, mask)
        assert gap(run(hint, mask, windowed), expected) < ROUNDING
        assert gap(run(*other), expected) > VISIBLE, "which of them a row has shows"


def test_context_windows_across_the_picture_are_refused(unet, control, tokens):
    pair = apply(control, [ControlFace(tokens[0], HINT), ControlFace(tokens[1], HINT)])
    with pytest.raises(ValueError, match="Identity ControlNet: Context Windows cut the picture, along dimension 2"):
        sample(identities.in_context_windows(unet, context_length=7, dim=2), *pair)


def test_strength_zero_and_a_window_behind_the_schedule_leave_the_picture_as_it_was(unet, control, tokens):
    faces = [ControlFace(tokens[0], HINT), ControlFace(tokens[1], HINT)]
    plain = sample(unet)
    assert gap(sample(unet, *apply(control, faces, strength=0.0)), plain) < ROUNDING
    late = sample(unet, *apply(control, faces, window=(0.9, 1.0)), steps=1)
    assert gap(late, sample(unet, steps=1)) < ROUNDING
    assert gap(sample(unet, *apply(control, faces)), plain) > VISIBLE


def test_the_conditioning_and_the_loaded_net_stay_as_they_were(control, tokens):
    positive = conditioning(0)
    apply(control, [ControlFace(tokens[0], HINT), ControlFace(tokens[1], HINT)], positive)
    assert set(positive[0][1]) == {"pooled_output"}
    assert control.cond_hint_original is None and control.previous_controlnet is None


def test_what_cannot_take_face_tokens_is_refused(control):
    face_control.check(control, identities.WIDTH)
    with pytest.raises(ValueError, match=r"takes a context of width \[64\], but face tokens have 2048"):
        face_control.check(control, 2048)
    with pytest.raises(ValueError, match="is a object, but needs a ControlNet for a UNet. Load InstantID's own"):
        face_control.check(object(), identities.WIDTH)
