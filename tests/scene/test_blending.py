"""Algorithm 1 and equation 8 against the listing, without a host."""

import pytest
import torch
from same_subject.nodes.scene import blending as algorithm
from same_subject.tests.tiny.sets import gap

ROUNDING = 5e-6
"""As a share of the spread, or of the one that weights sum to: 3.6e-7 was seen."""
VISIBLE = 100 * ROUNDING
SIGMAS = torch.tensor([8.0, 4.0, 2.0, 1.0, 0.0])


def blend_weights(concepts, rows=1, size=4, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(concepts + 1, rows, 1, size, size, generator=generator).softmax(0)


def noise(rows=1, seed=1):
    return 8 * torch.randn(rows, 4, 4, 4, generator=torch.Generator().manual_seed(seed))


def denoise(branch, latent, sigma):
    """A stand-in for the network of a branch: another nonlinear function for each."""
    return torch.tanh(latent / (1 + sigma) + branch) + 0.1 * branch * latent.flip(-1)


def predict(latents, sigma):
    return [denoise(branch, latent, sigma) for branch, latent in enumerate(latents)]


def listing(x, sigmas, blend_weights, s):
    """Algorithm 1, stage 2, word for word, with dictionaries for its indexed letters."""
    t, k = len(sigmas) - 1, len(blend_weights) - 1
    sigma = {j: sigmas[t - j] for j in range(t + 1)}
    z, z_background, z_concept = {t: x}, {t: x}, {(i, t): x for i in range(1, k + 1)}

    def step(branch, latent, j):
        return latent + (sigma[j] - sigma[j + 1]) * (latent - denoise(branch, latent, sigma[j + 1])) / sigma[j + 1]

    for j in reversed(range(t)):
        for i in range(1, k + 1):
            if j < s:
                z_background[j] = step(0, z_background[j + 1], j)
            else:
                z_background[j] = step(0, z[j + 1], j)
            z_concept[i, j] = step(i, z_concept[i, j + 1], j)
        z[j] = blend_weights[0] * z_background[j] + sum(blend_weights[i] * z_concept[i, j] for i in range(1, k + 1))
    return z[0]


@pytest.mark.parametrize("concepts", (1, 2, 8))
@pytest.mark.parametrize("last_steps", (0, 2, 4))
def test_stage_2_is_the_listing(concepts, last_steps):
    share = blend_weights(concepts, rows=2)
    expected = listing(noise(2), SIGMAS, share, last_steps)
    assert gap(algorithm.multi_concept(predict, noise(2), SIGMAS, share, last_steps), expected) < ROUNDING
    other = listing(noise(2), SIGMAS, share, (last_steps + 2) % 5)
    assert gap(other, expected) > VISIBLE


def test_more_last_steps_than_steps_are_all_steps():
    share = blend_weights(2)
    assert torch.equal(*(algorithm.multi_concept(predict, noise(), SIGMAS, share, s) for s in (4, 1000)))


def test_each_step_is_reported_with_the_blend_it_started_from():
    reports = []
    share = blend_weights(2)
    algorithm.multi_concept(predict, noise(), SIGMAS, share, 2, lambda *report: reports.append(report))
    assert [number for number, *_ in reports] == [0, 1, 2, 3]
    assert gap(reports[0][1], noise()) < ROUNDING
    first = algorithm.blend(predict([noise()] * 3, SIGMAS[0]), share)
    assert gap(reports[0][2], first) < ROUNDING
    assert gap(reports[1][1], noise()) > VISIBLE and gap(reports[1][2], first) > VISIBLE, "steps are told apart"


def test_a_blend_takes_each_latent_pixel_from_its_owner():
    share = torch.zeros(3, 1, 1, 4, 4)
    share[0, ..., :2, :], share[1, ..., 2:, :2], share[2, ..., 2:, 2:] = 1, 1, 1
    blended = algorithm.blend([torch.full((2, 4, 4, 4), float(value)) for value in (5, 6, 7)], share)
    assert (blended[..., :2, :] == 5).all() and (blended[..., 2:, :2] == 6).all() and (blended[..., 2:, 2:] == 7).all()


def test_blend_weights_of_masks_of_any_sizes_sum_to_one_and_the_first_listed_wins():
    left, most = torch.zeros(1, 32, 32), torch.zeros(2, 8, 16)
    left[..., :16], most[:, :, 4:] = 1, 1
    share = algorithm.blend_weights_of([left, most], 2, 4, 4, 0.0)
    assert share.shape == (3, 2, 1, 4, 4) and (share.sum(0) - 1).abs().max() < ROUNDING
    assert torch.equal(share[1, 0, 0, 0], torch.tensor([1.0, 1, 0, 0])) and torch.equal(share[2, 0, 0, 0], 1 - share[1, 0, 0, 0])
    soft = algorithm.blend_weights_of([left, most], 2, 4, 4, 1.0)
    assert (soft.sum(0) - 1).abs().max() < ROUNDING and (soft - share).abs().max() > 0.1


def test_masks_that_overlap_wholly_and_masks_of_other_batches_are_refused():
    small, large = torch.zeros(1, 8, 8), torch.ones(1, 8, 8)
    small[..., 2:4, 2:4] = 1
    with pytest.raises(ValueError, match="mask of concept 2 lies almost wholly inside.*Move its Concept Branch to the front"):
        algorithm.blend_weights_of([large, small], 1, 4, 4, 0.0)
    assert algorithm.blend_weights_of([small, large], 1, 4, 4, 0.0)[0].sum() < ROUNDING  # a latent pixel that nobody takes adds 1
    small[..., 1:4, 1:4] = 1  # ends inside latent pixels
    with pytest.raises(ValueError, match="almost wholly inside"):
        algorithm.blend_weights_of([small, small.clone()], 1, 4, 4, 0.0)
    with pytest.raises(ValueError, match="mask of concept 1 has 3 pictures, but the latent batch has 2"):
        algorithm.blend_weights_of([small.repeat(3, 1, 1)], 2, 4, 4, 0.0)
