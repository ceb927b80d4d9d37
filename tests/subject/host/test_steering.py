"""The gradient of attention control, and what it does to a model's weights."""

import pytest
import torch
from same_subject.nodes.subject.host import steering

BOX = (0.0, 0.0, 0.5, 1.0)


def test_moves_are_in_the_scale_of_the_diffusion_process_and_each_row_has_its_own():
    x, sigma = torch.randn(2, 4, 6, 6, generator=torch.Generator().manual_seed(0)), torch.tensor([0.5, 3.0])
    weights = torch.linspace(-1, 1, 4 * 6 * 6).reshape(1, 4, 6, 6)

    def predict(latents, level, watch):
        watch.losses.append((weights * latents).sum() * (1 + level.sum()))
        watch.losses.append(torch.zeros(()))
        raise steering.Enough

    found, losses, layers = steering.moves(x, sigma, lambda: steering.Watch((BOX,), None), predict)
    expected = torch.cat([weights * (1 + s) / 2 * (s**2 + 1) for s in sigma])
    assert torch.allclose(found, expected, rtol=1e-5) and layers == 2
    assert losses == pytest.approx(
        [float((weights * row).sum() * (1 + s) / 2) for row, s in zip(x, sigma, strict=True)], rel=1e-4
    )


def test_a_call_that_nothing_is_seen_of_is_refused():
    with pytest.raises(ValueError, match="found no layer to watch"):
        steering.moves(torch.zeros(1, 4, 6, 6), torch.ones(1), lambda: steering.Watch((BOX,), None), lambda *given: None)


def test_weights_made_for_inference_pass_gradients_inside_and_are_themselves_after_it():
    with torch.inference_mode():
        layer = torch.nn.Linear(3, 2)
        own = layer.weight
        with steering.differentiable([layer]):
            x = torch.ones(1, 3, requires_grad=True)
            (gradient,) = torch.autograd.grad(layer(x).sum(), x)
            assert layer.weight.data_ptr() == own.data_ptr()
        assert layer.weight is own and torch.equal(gradient[0], own.sum(dim=0))
    with pytest.raises(RuntimeError), torch.inference_mode(False):
        layer(torch.ones(1, 3, requires_grad=True))


def test_attention_in_its_own_box_is_a_lower_loss():
    """Two words for one subject in the left half: attended to there, everywhere, and on the right."""
    found = []
    for here in (slice(0, 4), slice(0, 8), slice(4, 8)):
        q = torch.zeros(1, 8, 8, 2)
        q[:, :, here] = torch.tensor([8.0, 0.0])
        k = torch.tensor([[[0.0, 0.0], [1.0, 0.0], [1.0, 0.0], [0.0, 0.0]]])
        watch = steering.Watch((BOX,), None)
        watch.see(q.flatten(1, 2), k, 1, ((1, 2),), (8, 8), (16, 16))
        found.append(float(watch.losses[0]))
    assert found[0] < -0.2 and abs(found[1]) < 1e-6 and found[2] > 0.2
