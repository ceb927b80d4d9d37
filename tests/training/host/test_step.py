"""One step on the host's UNets: the demo's own training is the oracle, and every method begins at the base."""

from dataclasses import replace

import pytest
import torch
from same_subject.nodes.demo.host import model as demo_model
from same_subject.nodes.joint import objective
from same_subject.nodes.training import coupled
from same_subject.nodes.training.host import base as bases
from same_subject.nodes.training.host.network import Network
from same_subject.nodes.training.host.step import Sets, step
from same_subject.nodes.training.settings import FULL, LAYERS, METHODS, Settings
from same_subject.research import export, train_denoiser
from same_subject.tests.tiny import models
from same_subject.tests.tiny.sets import gap

ROUNDING = 1e-6
"""Of losses: 1e-7 was seen. Another timestep gives 1e-2 and more."""


def tiny(kind="sd15", channels=4, tmp_path=None):
    """A base of random weights."""
    path = (tmp_path or export.ROOT) / "tiny.safetensors"
    return bases.base_of(models.model(kind, channels), models.Text(kind), None, path)


def drawn(kind="sd15", pictures=2, count=2, size=8, seed=0):
    """Random latents and texts, and of SDXL what it is told of sizes."""
    generator = torch.Generator().manual_seed(seed)
    width, rows = models.UNETS[kind]["context_dim"], pictures * count
    latents, states = torch.randn(rows, 4, size, size, generator=generator), torch.randn(rows, 77, width, generator=generator)
    y = torch.randn(2, rows, 2816, generator=generator) if kind == "sdxl" else (None, None)
    return Sets(latents, states, torch.zeros(1, 77, width), pictures, *y)


@pytest.mark.parametrize("pictures", (1, 2, 4))
def test_the_loss_is_the_demos_own_to_rounding(pictures):
    """`research/train_denoiser.loss` calls the UNet by itself, with its own patches and schedule."""
    patcher, clip, vae = demo_model.load(export.FILES["single"])
    base = bases.base_of(patcher, clip, vae, export.FILES["single"])
    network = Network(base, Settings(method="full"))
    generator = torch.Generator().manual_seed(3)
    states = torch.randn(5, 77, 64, generator=generator)
    latents, captions = torch.randn(8, 4, 16, 16, generator=generator), torch.tensor([0, 1, 2, 3, 0, 1, 2, 3])
    schedule = objective.sd_alphas_cumprod().float()
    expected, rows, missing = train_denoiser.loss(
        base.unet, states, latents, captions, pictures, schedule, torch.Generator().manual_seed(5)
    )
    given = Sets(latents, states[captions], states[4:], pictures)
    found = step(network, given, base.schedule, torch.Generator().manual_seed(5), train_denoiser.training.mixed_precision)
    assert torch.equal(found.missing, missing) and abs(found.loss / expected - 1) < ROUNDING
    assert gap(found.rows, rows) < 10 * ROUNDING
    other = step(network, replace(given, pictures=8), base.schedule, torch.Generator().manual_seed(5))
    assert abs(other.loss / expected - 1) > 1e-3


@pytest.mark.parametrize(
    ("kind", "method", "layers"),
    [
        *(("sd15", method, layers) for method in METHODS for layers in (LAYERS if method != FULL else LAYERS[:1])),
        ("sd2", "LoRA", "attention"),
        ("sdxl", "LoRA", "all"),
        ("sdxl", "full", "attention"),
    ],
)
def test_every_method_begins_at_the_base_and_learns(kind, method, layers):
    base, given = tiny(kind), drawn(kind)
    x = torch.randn(4, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    time = torch.full((4,), 500.0)
    with torch.no_grad():
        options = coupled.options(2)
        before = base.unet(x, time, given.states, y=given.y, transformer_options=options)
        network = Network(base, Settings(method=method, rank=4, layers=layers))
        shown = torch.cat((x, given.latents, torch.ones(4, 1, 8, 8)), dim=1)
        assert gap(network(shown, time, given.states, 2, given.y), before) < 1e-5
    optimiser = torch.optim.AdamW([weight for weight in network.parameters() if weight.requires_grad], 1e-2)
    losses = []
    for _ in range(6):
        outcome = step(network, given, base.schedule, torch.Generator().manual_seed(2))
        losses.append(float(outcome.loss.detach()))
        optimiser.zero_grad()
        outcome.loss.backward()
        optimiser.step()
    assert losses[-1] < losses[0]
    assert all(weight.grad is not None for weight in network.parameters() if weight.requires_grad)


def test_factors_leave_the_base_frozen_and_the_state_is_what_is_trained():
    network = Network(tiny(), Settings(rank=4, layers="attention"))
    weights = {name for name, weight in network.named_parameters() if weight.requires_grad}
    assert weights == {
        "first",
        *(f"factors.{n}.lora_{way}.weight" for n in range(len(network.adapted)) for way in ("up", "down")),
    }
    assert set(network.state_dict()) == weights | {f"factors.{number}.alpha" for number in range(len(network.adapted))}
    assert all(any(part in name for part in ("attn1.to_", "attn2.to_", "ff.net.")) for name in network.adapted)
    assert len(network.adapted) == 10 * 7
    network.restore()


def test_activations_that_are_computed_again_give_the_same_gradient():
    found = []
    for saving in (False, True):
        network = Network(tiny(), Settings(rank=4, saving=saving))
        with torch.no_grad():
            network.factors[0].lora_down.weight.fill_(0.1)
        step(network, drawn(pictures=3), network.base.schedule, torch.Generator().manual_seed(2)).loss.backward()
        found.append(torch.cat([weight.grad.flatten() for weight in network.parameters() if weight.requires_grad]))
    assert found[0].abs().max() > 0 and gap(*found) < 1e-5


def test_a_model_of_v_learns_v():
    base = tiny("sd2")
    assert base.prediction == "v" and tiny("sd15").prediction == "eps"
    network, given = Network(base, Settings()), drawn("sd2")
    outcome = step(network, given, base.schedule, torch.Generator().manual_seed(2))
    batch = objective.draw_batch(given.latents, 2, base.schedule, torch.Generator().manual_seed(2))
    states = torch.where((batch.captioned > 0)[:, None, None], given.states, given.null_states)
    with torch.no_grad():
        predicted = network(batch.model_input(True), batch.timestep.float(), states, 2)
    a = base.schedule[batch.timestep].double()[:, None, None, None]
    v = a.sqrt() * batch.noise - (1 - a).sqrt() * batch.latents
    assert abs(float(outcome.loss) / float((predicted - v).square().mean()) - 1) < 1e-5
    assert abs(float(outcome.loss) / float((predicted - batch.noise).square().mean()) - 1) > 1e-2


def test_a_head_start_sees_references_at_once_and_looks_at_high_noise():
    base, given = tiny("sd15"), drawn("sd15")
    own = base.unet.input_blocks[0][0].weight.detach().clone()
    network = Network(base, Settings(head_start=True))
    assert torch.equal(network.first[:, 4:8], 0.5 * own) and not network.first[:, 8].any()
    outcome = step(network, given, base.schedule, torch.Generator().manual_seed(2))
    batch = objective.draw_batch(given.latents, 2, base.schedule, torch.Generator().manual_seed(2), high_noise=True)
    times = objective.high_timesteps(4000, 1000, torch.Generator().manual_seed(0)).float()
    assert 650 < times.mean() < 683 and times.min() >= 0 and times.max() <= 999
    assert float(outcome.loss) / float((outcome.rows / batch.alphas_cumprod.clamp(min=0.05)).mean()) == pytest.approx(1, rel=1e-5)
    assert objective.high_noise_weights(torch.tensor([1.0, 0.5, 0.01]), "v").tolist() == pytest.approx([1, 1, 0.2])


def test_min_snr_weighs_noise_and_v_as_the_paper_has_it():
    a = torch.tensor([0.99, 0.5, 0.01])
    batch = objective.Batch(torch.zeros(3, 4, 1, 1), torch.zeros(3, 4, 1, 1), a, torch.zeros(3), torch.zeros(3), torch.ones(3))
    snr = a / (1 - a)
    assert torch.allclose(objective.weights(batch, 5), torch.tensor([5 / 99, 1, 1]))
    assert torch.allclose(objective.weights(batch, 5, "v"), torch.minimum(snr, torch.tensor(5.0)) / (snr + 1))
