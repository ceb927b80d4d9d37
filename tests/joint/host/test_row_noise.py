"""Noise at a sampler's steps: a picture's own, whatever stands beside it in the batch."""

import inspect

import comfy.k_diffusion.sampling as host_sampling
import comfy.samplers
import pytest
import torch
from same_subject.nodes.joint import layout, settings
from same_subject.nodes.joint.host import row_noise
from same_subject.nodes.joint.host.sampling import JointSampling
from same_subject.tests.tiny import models, sets

SAMPLERS = (
    "euler_ancestral", "euler_ancestral_cfg_pp", "dpm_2_ancestral", "dpmpp_2s_ancestral", "dpmpp_2s_ancestral_cfg_pp",
    "dpmpp_sde", "dpmpp_sde_gpu", "dpmpp_2m_sde", "dpmpp_2m_sde_gpu", "dpmpp_2m_sde_heun", "dpmpp_2m_sde_heun_gpu",
    "dpmpp_3m_sde", "dpmpp_3m_sde_gpu", "ddpm", "lcm", "er_sde", "seeds_2", "seeds_3", "sa_solver", "sa_solver_pece",
    "exp_heun_2_x0_sde",
    "res_multistep_ancestral", "res_multistep_ancestral_cfg_pp",
)  # fmt: skip
"""The host's samplers that add noise at their steps."""
ROUNDING = 1e-4
"""Of gaps: 1.3e-5 was seen where only the batch's size differs."""
VISIBLE = 0.1
"""Noise for the whole batch changes a picture of the second set by 0.38 to 2.5 with other pictures in the first."""


@pytest.fixture(scope="module")
def unet():
    return models.model()


def pictures(unet, sampler, noise=settings.EACH_PICTURE, coupled=True, **shape):
    """Pictures to generate, [S, M, C, h, w]."""
    one = sets.case(captions=["a", "b"], **shape)
    levels = frozenset(settings.LEVELS) if coupled else frozenset()
    chosen = settings.Settings(options=settings.Options(levels=levels), step_noise=noise)
    samples = sets.sample(JointSampling(one.joint_set, chosen, None).install(unet), one, steps=3, sampler=sampler)
    assert torch.equal(samples[one.layout.reference_rows], one.joint_set.reference_latents())
    return sets.made(samples, one).unflatten(0, (one.layout.sets, -1))


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_picture_does_not_change_with_the_number_of_sets(unet, sampler):
    few, more = (pictures(unet, sampler, sets=count) for count in (1, 3))
    assert sets.gap(few[0], more[0]) < ROUNDING
    assert sets.gap(more[0], more[1]) > VISIBLE


@pytest.mark.parametrize("sampler", ("euler_ancestral", "dpmpp_2s_ancestral", "dpmpp_sde", "dpmpp_2m_sde", "dpmpp_3m_sde", "lcm"))
def test_a_picture_changes_with_the_pictures_of_its_set_only_through_coupling(unet, sampler):
    few, more = (pictures(unet, sampler, sets=2, generated=count, coupled=False) for count in (1, 3))
    assert sets.gap(few[:, 0], more[:, 0]) < ROUNDING
    few, more = (pictures(unet, sampler, sets=2, generated=count) for count in (1, 3))
    assert sets.gap(few[:, 0], more[:, 0]) > 100 * ROUNDING


@pytest.mark.parametrize("sampler", ("euler_ancestral", "dpmpp_sde"))
def test_noise_for_the_whole_batch_is_the_hosts_own_and_changes_with_it(unet, sampler):
    few, more = (pictures(unet, sampler, settings.WHOLE_BATCH, sets=2, generated=count, coupled=False) for count in (1, 3))
    assert sets.gap(few[1, 0], more[1, 0]) > VISIBLE
    one = sets.case(captions=["a", "b"])
    plain = sets.sample(sets.apply(unet, one.joint_set), one, steps=3, sampler=sampler)
    assert torch.equal(sets.made(plain, one), pictures(unet, sampler, settings.WHOLE_BATCH)[0])


@pytest.mark.parametrize("sampler", ("euler", "dpmpp_2m", "ddim", "uni_pc", "heun"))
def test_samplers_without_noise_give_what_they_gave_bit_for_bit(unet, sampler):
    assert torch.equal(*(pictures(unet, sampler, noise) for noise in settings.STEP_NOISES))


def test_every_sampler_of_the_host_that_draws_noise_is_known():
    """By its source: those that make a noise sampler of their own kind, or hand one on to such."""
    taking = {
        name for name in comfy.samplers.KSAMPLER_NAMES
        if (found := getattr(host_sampling, f"sample_{name}", None)) and "noise_sampler" in inspect.signature(found).parameters
    }  # fmt: skip
    without_noise_unless_asked = {"res_multistep", "res_multistep_cfg_pp", "dpm_fast", "dpm_adaptive"}
    assert taking - without_noise_unless_asked == set(SAMPLERS)

    def draws_a_path(function):
        names = inspect.unwrap(function).__code__.co_names
        further = [getattr(host_sampling, name) for name in names if name.startswith("sample_")]
        return "BrownianTreeNoiseSampler" in names or any(map(draws_a_path, further))

    paths = {f"sample_{name}" for name in taking if draws_a_path(getattr(host_sampling, f"sample_{name}"))}
    assert paths == {name + end for name in row_noise.BROWNIAN for end in ("", "_gpu")}


@pytest.mark.parametrize("name", ("sample_euler_ancestral", "sample_dpmpp_sde", "sample_dpmpp_sde_gpu"))
class TestNoise:
    where = layout.Layout(2, 2, 1)
    sigmas = torch.tensor([10.0, 7.0, 3.0, 1.0, 0.0])

    def draw(self, name, where, seed=5):
        x = torch.zeros(where.rows, 4, 32, 32)
        noise = row_noise.noise_of(name, x, self.sigmas, seed, where)
        return torch.stack([noise(a, b) for a, b in zip(self.sigmas[:-2], self.sigmas[1:-1], strict=True)])

    def test_is_standard_normal_and_independent_of_other_rows_and_steps(self, name):
        """Of 4096 values each: means scatter by 0.016, correlations too, deviations by 0.011."""
        noise = self.draw(name, self.where)[:, self.where.generated_rows].flatten(0, 1).flatten(1)
        assert noise.mean(1).abs().max() < 0.08 and (noise.std(1) - 1).abs().max() < 0.06
        assert (torch.corrcoef(noise) - torch.eye(len(noise))).abs().max() < 0.08

    def test_of_a_row_is_the_same_to_the_bit_in_every_batch_and_another_for_every_seed(self, name):
        noise, larger = self.draw(name, self.where), self.draw(name, layout.Layout(3, 5, 2))
        for row, same in ((0, 0), (1, 1), (3, 7), (4, 8)):
            assert torch.equal(noise[:, row], larger[:, same])
        assert (noise - self.draw(name, self.where, 6)).std() > 1

    def test_leaves_the_global_generator_alone(self, name):
        before = torch.get_rng_state()
        self.draw(name, self.where)
        assert torch.equal(torch.get_rng_state(), before)


def test_a_path_adds_up_over_intervals_that_overlap():
    """What dpmpp_sde relies on: from 10 to 3 is from 10 to 7 and from 7 to 3."""
    noise = row_noise.noise_of("sample_dpmpp_sde", torch.zeros(3, 4, 8, 8), TestNoise.sigmas, 1, layout.Layout(1, 2, 1))
    ten, seven, three = TestNoise.sigmas[:3]
    parts = noise(ten, seven) * 3**0.5 + noise(seven, three) * 4**0.5
    assert (noise(ten, three) * 7**0.5 - parts).abs().max() < 1e-5


def test_a_sampler_with_noise_of_its_own_or_without_a_way_in_stays_as_it_is():
    where = layout.Layout(1, 1, 1)
    own = comfy.samplers.ksampler("euler_ancestral", {"noise_sampler": lambda *_: 0})
    for sampler in (own, comfy.samplers.ksampler("euler"), comfy.samplers.ksampler("dpm_fast"), object()):
        assert row_noise.for_rows(sampler, where) is sampler
    for name in ("euler_ancestral", "dpm_adaptive"):
        given = comfy.samplers.ksampler(name, {"eta": 0.5})
        changed = row_noise.for_rows(given, where)
        assert changed is not given and changed.extra_options == {"eta": 0.5}
        assert changed.sampler_function.__name__ == given.sampler_function.__name__


def test_dpm_adaptive_with_noise_does_not_change_with_the_number_of_sets_but_for_its_steps(unet, monkeypatch):
    """It chooses its steps by the whole batch; what noise it gets is a row's own."""
    given = {}

    def recorded(model, noise, *_, noise_sampler=None, **__):
        given[len(noise)] = noise_sampler(torch.tensor(1.0), torch.tensor(0.5))
        return noise

    monkeypatch.setattr(comfy.samplers.k_diffusion_sampling, "sample_dpm_adaptive", recorded)
    for count in (1, 3):
        where = layout.Layout(count, 1, 1)
        sampler = row_noise.for_rows(comfy.samplers.ksampler("dpm_adaptive"), where)
        options = {"extra_args": {"seed": 3}, "callback": None, "disable": True}
        sampler.sampler_function(None, torch.zeros(where.rows, 4, 8, 8), TestNoise.sigmas, **options)
    assert torch.equal(given[2][0], given[6][0]) and not torch.equal(given[6][0], given[6][2])
