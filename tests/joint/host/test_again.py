"""Runs that begin from pictures made before, and runs that make some pictures of a finished set again."""

import pytest
import torch
from same_subject.nodes.joint.host.attention import KEY
from same_subject.tests.tiny import models, sets
from same_subject.tests.tiny.sets import again, apply, case, gap, made, sample

ORDER = "noisy, reference, mask"
ROUNDING = 1e-4
VISIBLE = 0.01


@pytest.fixture(scope="module")
def unets():
    return {channels: models.model("sd15", channels) for channels in (4, 9)}


@pytest.fixture(scope="module")
def finished(unets):
    """A set of 2 x 3 pictures by number of channels, and its pictures."""
    one = case(sets=2, generated=3, references=1)
    return {
        channels: (one, made(sample(apply(unets[channels], one.joint_set, channel_order=order(channels)), one), one))
        for channels in unets
    }


def order(channels):
    return ORDER if channels == 9 else None


def pictures(unet, one, seed=1, mode="joint", **options):
    channels = unet.model.model_config.unet_config["in_channels"]
    sampling = {name: options.pop(name) for name in ("sampler", "steps", "cfg", "latent", "denoise") if name in options}
    return made(sample(apply(unet, one.joint_set, mode, channel_order=order(channels), **options), one, seed, **sampling), one)


SAMPLERS = ("euler", "euler_ancestral", "dpmpp_2m_sde", "uni_pc", "ddim", "lcm", "heun", "euler_cfg_pp", "dpm_adaptive")


@pytest.mark.parametrize("channels", (4, 9))
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_pictures_that_are_not_made_again_stay_what_they_are_to_the_bit(unets, finished, channels, sampler):
    one, before = finished[channels]
    after = pictures(unets[channels], again(one, before, "2, 6"), seed=5, sampler=sampler, steps=3)
    untouched = [0, 2, 3, 4]
    assert torch.equal(after[untouched], before[untouched])
    assert min(gap(after[row], before[row]) for row in (1, 5)) > 0.5


def test_other_noise_and_another_prompt_change_the_picture_that_is_made_again_and_the_same_seed_does_not(unets, finished):
    one, before = finished[4]
    first, same, seed = (pictures(unets[4], again(one, before, "2"), seed=number) for number in (5, 5, 6))
    assert torch.equal(first, same) and gap(first[1], seed[1]) > 0.5
    other = case(sets=2, generated=3, references=1, prompts=["prompt 0", "another", "prompt 2"])
    prompt = pictures(unets[4], again(other, before, "2"), seed=5)
    assert gap(first[1], prompt[1]) > VISIBLE and torch.equal(first[2], prompt[2])


@pytest.mark.parametrize("channels", (4, 9))
@pytest.mark.parametrize("cfg, mode", ((1.0, "joint"), (0.0, "joint"), (2.0, "text first")))
def test_a_picture_that_is_made_again_sees_the_known_pictures_of_its_set_alone(unets, finished, channels, cfg, mode):
    """With cfg 0 only the term without references counts. Another picture in its set moved it by 0.15 to 0.7 of its spread."""
    one, before = finished[channels]
    first, second = before.clone(), before.clone()
    first[0], second[3] = before[5], before[5]
    redone = [pictures(unets[channels], again(one, start, "2"), cfg=cfg, mode=mode)[1] for start in (before, first, second)]
    assert gap(redone[0], redone[1]) > 0.05
    assert gap(redone[0], redone[2]) < ROUNDING
    apart = [pictures(unets[channels], again(one, s, "2"), cfg=cfg, mode=mode, levels=frozenset())[1] for s in (before, first)]
    assert gap(*apart) < ROUNDING


def test_the_unet_sees_known_pictures_on_one_path_of_noise_whatever_the_seed(unets, finished):
    one, before = finished[4]
    redone = again(one, before, "2")
    clean, eps = (x[[0, 1, 3, 4, 5]] for x in (0.18215 * redone.joint_set.held.latents, redone.joint_set.held.noise))
    assert redone.joint_set.held.rows == [0, 2, 3, 4, 5, 6, 7] and gap(clean, eps) > VISIBLE
    for seed in (1, 2):
        calls = sets.Calls(apply(unets[4], redone.joint_set, reference_noise=0.5))
        sample(calls.model, redone, seed, steps=3, sampler="euler_ancestral")
        for x, options in zip(calls.inputs, calls.options, strict=True):
            sigma = options["sigmas"][0]
            for chunk in x.chunk(2):
                expected = (clean + sigma * eps) / (sigma**2 + 1) ** 0.5
                assert gap(chunk[[0, 2, 4, 5, 6]], expected) < ROUNDING


def test_a_9_channel_model_is_given_references_and_no_known_picture(unets, finished):
    one, before = finished[9]
    redone = again(one, before, "2")
    calls = sets.Calls(apply(unets[9], redone.joint_set, channel_order=ORDER))
    sample(calls.model, redone, steps=1)
    chunk = dict(zip(calls.options[0][KEY].terms, calls.inputs[0].split(8), strict=True))[0]
    assert chunk[:, 8].amax(dim=(1, 2)).tolist() == [1, 1, 1, 0, 1, 1, 1, 0]
    assert not chunk[redone.layout.generated_rows, 4:8].any() and chunk[[3, 7], 4:8].any()


def test_a_run_from_pure_noise_owes_nothing_to_its_start(unets, finished):
    """Bit for bit. The trace of the latents that the host leaves in the noise moved these pictures by 2.2 of their spread."""
    one, before = finished[4]
    whole = {**one.latent, "samples": again(one, before).joint_set.latent()}
    assert torch.equal(pictures(unets[4], again(one, before)), before)
    trace = pictures(unets[4], one, latent=whole)
    assert gap(trace, before) > VISIBLE
    for other in (before, -before):
        start = before.clone()
        start[1] = other[1]
        redone = pictures(unets[4], again(one, start, "2"), seed=5)
        assert torch.equal(redone[1], pictures(unets[4], again(one, before, "2"), seed=5)[1])


def test_with_less_noise_pictures_come_from_their_start(unets, finished):
    one, before = finished[4]
    plain = pictures(unets[4], one, latent={**one.latent, "samples": again(one, before).joint_set.latent()}, denoise=0.3, seed=5)
    begun = pictures(unets[4], again(one, before), denoise=0.3, seed=5)
    assert torch.equal(begun, plain)
    other = pictures(unets[4], again(one, before.flip(0)), denoise=0.3, seed=5)
    assert gap(begun, before) < 0.5 < gap(begun, other)  # 0.13 and 4.8 were seen
    redone = pictures(unets[4], again(one, before, "2"), denoise=0.3, seed=5)
    assert torch.equal(redone[[0, 2, 3, 4, 5]], before[[0, 2, 3, 4, 5]]) and gap(redone[1], begun[1]) < 0.5


def test_latents_that_hold_their_own_noise_are_not_taken_for_a_start(unets, finished):
    """KSampler Advanced without noise: what it gets is x_T."""
    one, before = finished[4]
    noisy = again(one, 80 * before)
    without = sample(apply(unets[4], noisy.joint_set), noisy, disable_noise=True)
    assert gap(made(without, noisy), made(sample(apply(unets[4], one.joint_set), one, disable_noise=True), one)) > VISIBLE


def test_a_known_picture_that_was_moved_is_refused(unets, finished):
    one, before = finished[4]
    redone = again(one, before, "2")
    latent = redone.latent
    latent["samples"][[0, 2]] = latent["samples"][[2, 0]]
    with pytest.raises(ValueError, match="^JeDi: 2 of the 5 rows of finished pictures of the latent batch do not"):
        sample(apply(unets[4], redone.joint_set), redone, latent=latent)


def test_a_mask_that_comes_with_the_start_paints_a_part_of_a_picture_anew(unets, finished):
    one, before = finished[4]
    mask = torch.ones(8, 1, sets.SIZE, sets.SIZE)
    mask[0, :, :, :4] = 0
    begun = again(one, before)
    after = pictures(unets[4], begun, seed=5, latent={**begun.latent, "noise_mask": mask})
    assert gap(after[0, :, :, :4], before[0, :, :, :4]) < ROUNDING
    assert gap(after[0, :, :, 4:], before[0, :, :, 4:]) > 0.5 and gap(after[1], before[1]) > 0.5
