"""JeDi's training objective."""

import torch
from same_subject.nodes.joint import objective
from same_subject.tests.tiny.sets import gap

ROUNDING = 2e-5
"""As a share of the spread: 1.2e-6 was seen. A timestep beside the right one gives 4e-3 of inputs and 1.5e-2 of losses."""


def test_a_given_reference_is_shown_with_mask_0_and_a_missing_one_is_zero_with_mask_1():
    latents = torch.randn(2, 4, 3, 3, generator=torch.Generator().manual_seed(0))
    shown = objective.reference_input(latents, torch.tensor([0.0, 1.0]))
    assert torch.equal(shown[0, :4], latents[0]) and (shown[0, 4] == 0).all()
    assert (shown[1, :4] == 0).all() and (shown[1, 4] == 1).all()


def test_noise_and_picture_keep_unit_variance_at_every_step():
    generator = torch.Generator().manual_seed(1)
    latents, noise = (torch.randn(10, 4, 64, 64, generator=generator) for _ in range(2))
    a = objective.sd_alphas_cumprod()[::100].float()
    assert torch.allclose(objective.add_noise(latents, noise, a).var(dim=(1, 2, 3)), torch.ones(10), atol=0.05)


def test_the_schedule_is_stable_diffusions():
    a = objective.sd_alphas_cumprod()
    sigmas = ((1 - a) / a).sqrt()
    assert abs(sigmas[0].item() - 0.0292) < 1e-4 and abs(sigmas[-1].item() - 14.6146) < 1e-3


def test_a_set_shares_its_timestep_and_its_dropped_caption_and_half_of_the_references_are_given():
    timestep, missing, captioned = objective.draw(2000, 3, 1000, torch.Generator().manual_seed(2))
    for shared in (timestep, captioned):
        assert (shared.view(-1, 3) == shared.view(-1, 3)[:, :1]).all()
    assert abs(missing.mean().item() - 0.5) < 0.03
    assert abs(1 - captioned.mean().item() - 0.1) < 0.03
    assert timestep.min() < 50 and timestep.max() > 950


def test_the_loss_is_equation_2_and_without_references_equation_1():
    generator = torch.Generator().manual_seed(3)
    latents, schedule = torch.randn(6, 4, 5, 5, generator=generator), objective.sd_alphas_cumprod().float()
    batch = objective.draw_batch(latents, 3, schedule, generator)
    x0, epsilon, missing, a = (value.double() for value in (batch.latents, batch.noise, batch.missing, schedule[batch.timestep]))
    assert 0 < missing.sum() < 6 and (batch.timestep.view(2, 3) == batch.timestep[::3, None]).all()
    for references in (True, False):
        seen = []

        def denoise(x, timestep, seen=seen):
            seen.append((x, timestep))
            return x[:, :4] * 0.5

        found = objective.loss(denoise, batch, references)
        ((x, timestep),) = seen
        expected = []
        for row in range(6):
            noisy = a[row].sqrt() * x0[row] + (1 - a[row]).sqrt() * epsilon[row]
            given = torch.cat((x0[row] * (1 - missing[row]), missing[row].expand(1, 5, 5)))
            whole = torch.cat((noisy, given)) if references else noisy
            assert gap(x[row].double(), whole) < ROUNDING
            expected.append(((noisy / 2 - epsilon[row]) ** 2).mean())
        assert torch.equal(timestep, batch.timestep)
        assert gap(found.double(), torch.stack(expected)) < ROUNDING


def test_a_batch_is_drawn_in_the_order_that_seeds_were_used_with():
    latents, schedule = torch.zeros(4, 4, 2, 2), objective.sd_alphas_cumprod().float()
    batch = objective.draw_batch(latents, 2, schedule, torch.Generator().manual_seed(4))
    generator = torch.Generator().manual_seed(4)
    timestep, missing, captioned = objective.draw(2, 2, len(schedule), generator)
    assert torch.equal(batch.noise, torch.randn(latents.shape, generator=generator))
    for one, other in ((batch.timestep, timestep), (batch.missing, missing), (batch.captioned, captioned)):
        assert torch.equal(one, other)
