"""Context Windows cut joint sets: every window holds all references of its pictures."""

from dataclasses import replace

import comfy.context_windows
import pytest
import torch
from comfy_extras.nodes_context_windows import ContextWindowsManualNode
from same_subject.nodes.joint import layout, settings
from same_subject.nodes.joint.host import windows
from same_subject.nodes.joint.host.sampling import JointSampling
from same_subject.tests.tiny import models, sets
from same_subject.tests.tiny.sets import Calls, again, apply, case, gap, made, sample

ROUNDING = 1e-4
"""Of gaps: 1.3e-5 was seen where only the batch's size differs."""
VISIBLE = 0.01
"""What pictures differ by, at least, that see other pictures or other references."""
ORDER = "noisy, reference, mask"


@pytest.fixture(scope="module")
def unets():
    return {("sd15", 4): models.model(), ("sd15", 9): models.model("sd15", 9), ("sdxl", 4): models.model("sdxl")}


@pytest.fixture(scope="module")
def unet(unets):
    return unets["sd15", 4]


def windowed(model, length, overlap=0, schedule="batched", dim=0, freenoise=False, **more):
    given = (length, overlap, schedule, 1, False, "pyramid", dim, freenoise)
    return ContextWindowsManualNode.execute(model, *given, **more).result[0]


@pytest.mark.parametrize(("kind", "channels"), [("sd15", 4), ("sd15", 9), ("sdxl", 4)])
@pytest.mark.parametrize("mode", ("joint", "text first"))
@pytest.mark.parametrize("length", (4, 9))
def test_windows_of_whole_sets_change_nothing(unets, kind, channels, mode, length):
    one = case(kind, sets=3)
    model = Calls(apply(unets[kind, channels], one.joint_set, mode, channel_order=ORDER if channels == 9 else None))
    whole = sample(model.model, one)
    assert {len(x) for x in model.inputs} == {12 * (2 if mode == "joint" else 3)}
    model.inputs.clear()
    assert gap(sample(windowed(model.model, length), one), whole) < ROUNDING
    assert max(len(x) for x in model.inputs) == length // 4 * 4 * (2 if mode == "joint" else 3)
    assert gap(whole[0], whole[4]) > VISIBLE


@pytest.mark.parametrize("order", ("before", "after"))
@pytest.mark.parametrize(("kind", "channels"), [("sd15", 4), ("sd15", 9), ("sdxl", 4)])
def test_a_window_of_a_set_is_a_set_of_its_pictures_and_all_references(unets, order, kind, channels):
    """Two windows of two pictures: each as a set of two is painted by itself."""
    more = {"channel_order": ORDER} if channels == 9 else {}
    large = case(kind, sets=2, generated=4)
    unet = unets[kind, channels]
    model = (
        apply(windowed(unet, 4), large.joint_set, **more)
        if order == "before"
        else windowed(apply(unet, large.joint_set, **more), 4)
    )
    pictures = made(sample(model, large), large).unflatten(0, (2, 4))
    for number in range(2):
        for first in (0, 2):
            noise = large.joint_set.noise[number : number + 1]
            small = case(kind, prompts=[f"prompt {first}", f"prompt {first + 1}"], noise=noise)
            latent = {**small.latent, "batch_index": [64 * number + place for place in (first, first + 1, 0, 0)]}
            alone = made(sample(apply(unet, small.joint_set, **more), small, latent=latent), small)
            assert gap(pictures[number, first : first + 2], alone) < ROUNDING
    whole = made(sample(apply(unet, large.joint_set, **more), large), large).unflatten(0, (2, 4))
    assert gap(whole, pictures) > VISIBLE


def test_windows_do_not_change_pictures_that_do_not_see_each_other(unet):
    one = case(generated=5)
    whole = sample(apply(unet, one.joint_set, levels=frozenset()), one)
    for length, overlap, schedule in (
        (4, 1, "standard_static"),
        (5, 2, "standard_uniform"),
        (4, 1, "looped_uniform"),
        (3, 9, "batched"),
    ):
        model = windowed(apply(unet, one.joint_set, levels=frozenset()), length, overlap, schedule)
        assert gap(sample(model, one, steps=2), whole) < ROUNDING
    coupled = sample(apply(unet, one.joint_set), one)
    assert gap(sample(windowed(apply(unet, one.joint_set), 4, 1, "standard_static"), one), coupled) > VISIBLE


@pytest.mark.parametrize("overlap", (0, 1))
def test_strengths_masks_and_places_go_with_their_pictures(unet, overlap):
    """With overlap the pictures of a window see others, so they differ from the set that a window without it is."""
    one = case(sets=2, generated=4)
    where = torch.ones(2, 4, sets.SIZE, sets.SIZE)
    where[0, 2:] = 0  # the first reference acts on the first two pictures only
    masks = tuple(torch.zeros(sets.SIZE, sets.SIZE).index_fill(0, torch.arange(rows), 1) for rows in (3, 6))
    joint_set = replace(one.joint_set, where=where, masks=masks, strengths=(1.0, 2.0))
    chosen = settings.Settings(options=settings.Options(subject_masks="given", reference_attention="itself only"))
    model = JointSampling(joint_set, chosen, None).install(unet)
    shown = made(sample(windowed(model, 4, overlap, "standard_static"), one), one).unflatten(0, (2, 4))
    small = case(prompts=["prompt 2", "prompt 3"], noise=one.joint_set.noise[1:])
    alone = replace(small.joint_set, where=where[:, 2:], masks=masks, strengths=(1.0, 2.0))
    latent = {**small.latent, "batch_index": [66, 67, 64, 64]}
    expected = made(sample(JointSampling(alone, chosen, None).install(unet), small, latent=latent), small)
    close = gap(shown[1, 2:], expected)
    assert close < ROUNDING if overlap == 0 else close > ROUNDING
    other = replace(small.joint_set, where=where[:, :2], masks=masks, strengths=(1.0, 2.0))
    assert gap(made(sample(JointSampling(other, chosen, None).install(unet), small, latent=latent), small), expected) > VISIBLE


@pytest.mark.parametrize("redo", ("", "1, 6"))
def test_a_start_and_pictures_that_stay_go_with_their_sets(unet, redo):
    one = case(sets=3)
    before = made(sample(apply(unet, one.joint_set), one), one)
    begun = again(one, before, redo)
    model = apply(unet, begun.joint_set)
    whole, cut = (sample(each, begun, seed=5) for each in (model, windowed(model, 4)))
    assert gap(cut, whole) < ROUNDING and gap(made(cut, begun), before) > VISIBLE
    assert bool(redo) == torch.equal(made(cut, begun)[1:5], before[1:5])


def test_padded_texts_go_with_their_pictures(unet):
    prompts = ["short", "word " * 80, "word " * 160, "a"]
    large = case(generated=4, prompts=prompts)
    shown = made(sample(windowed(apply(unet, large.joint_set), 4), large), large)
    for first in (0, 2):
        small = case(prompts=prompts[first : first + 2])
        latent = {**small.latent, "batch_index": [first, first + 1, 0, 0]}
        assert gap(shown[first : first + 2], made(sample(apply(unet, small.joint_set), small, latent=latent), small)) < ROUNDING


def test_a_window_as_long_as_the_batch_changes_nothing(unet):
    one = case()
    assert torch.equal(sample(windowed(apply(unet, one.joint_set), 4), one), sample(apply(unet, one.joint_set), one))


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"length": 2}, "at once, but every window holds all 2 references .* Set `context_length` to 3 or more; with 4 a set"),
        ({"length": 4, "freenoise": True}, "Switch `freenoise` off"),
        ({"length": 4, "latent_retain_index_list": "0"}, "leave `cond_retain_index_list` and `latent_retain_index_list` empty"),
        ({"length": 4, "dim": 2}, "cut pictures, along dimension 2, .* Set their `dim` to 0"),
    ],
)
def test_windows_that_do_not_fit_a_set_are_refused(unet, given, sentence):
    one = case(sets=2)
    with pytest.raises(ValueError, match=f"^JeDi: Context Windows .*{sentence}"):
        sample(windowed(apply(unet, one.joint_set), **given), one)


def test_windows_of_another_make_are_refused(unet):
    class Others(comfy.context_windows.ContextHandlerABC):
        should_use_context = get_resized_cond = execute = None

    one = case(sets=2)
    model = apply(unet, one.joint_set)
    model.model_options["context_handler"] = Others()
    with pytest.raises(ValueError, match=r"JeDi: Others is on the model .* Context Windows \(Manual\) only"):
        sample(model, one)


def test_tiles_are_refused_and_areas_are_not(unet):
    one = case(latents=sets.pictures(2, size=16))

    def tiles(apply_model, given):
        rows = given["input"]
        out = torch.zeros_like(rows)
        for half in (slice(0, 8), slice(8, 16)):
            out[..., half] = apply_model(rows[..., half], given["timestep"], **given["c"])
        return out

    model = apply(unet, one.joint_set)
    model.set_model_unet_function_wrapper(tiles)
    with pytest.raises(ValueError, match=r"JeDi: the UNet got latents of 8x16, but the joint set has 16x16.*tiles.*`dim` 0"):
        sample(model, one)


def test_the_rows_of_a_call_are_known_only_where_a_window_holds_some_of_them():
    where = layout.Layout(2, 2, 1)
    window = comfy.context_windows.IndexListContextWindow([0, 1, 2], total_frames=6)
    tags = torch.tensor([(row, 0, 0) for row in (0, 1, 2)] * 2)
    assert windows.rows_of_call({"context_window": window}, tags, where) == [0, 1, 2]
    assert windows.rows_of_call({}, tags, where) is None
    assert windows.rows_of_call({"context_window": window}, tags[1:], where) is None
    assert windows.rows_of_call({"context_window": window}, tags.flip(0), where) is None


def test_colours_of_subjects_are_matched_in_their_own_pictures(unet):
    one = case(sets=3)
    model = apply(unet, one.joint_set, color_match=0.8)
    whole = sample(model, one)
    assert gap(sample(windowed(model, 4), one), whole) < ROUNDING
    assert gap(sample(apply(unet, one.joint_set), one), whole) > VISIBLE
