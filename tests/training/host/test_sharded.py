"""All weights trained in shards (FSDP): two processes are one with the batch doubled, go on to the same bits, write one file."""

import os
import shutil

import pytest
import torch
from safetensors.torch import load_file
from same_subject.nodes.data.mixing import Mixture
from same_subject.nodes.data.opening import open_source
from same_subject.nodes.demo.host import model as demo_model
from same_subject.nodes.training.host import base as bases
from same_subject.nodes.training.host import sheets, training
from same_subject.nodes.training.host.network import Network
from same_subject.nodes.training.host.step import Sets
from same_subject.nodes.training.loop import Diverged, Loop
from same_subject.nodes.training.processes import Processes, launched
from same_subject.nodes.training.settings import FULL, Settings
from same_subject.research.drawn_sets import KINDS
from same_subject.tests.tiny import apart, launching, models

pytest.importorskip("accelerate", reason="accelerate is a training tool; `python3 dev/test.py` brings it")
pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="the processes are forked, so that they start at once")
FSDP = {"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2", "ACCELERATE_GRADIENT_ACCUMULATION_STEPS": "2"}
SETTINGS = Settings(FULL, steps=3, rows=2, side=64, rate=1e-2, every=2, sizes=(1.0, 1.0), warm_up=0, saving=True)
ROWS = 8


class Killed(Exception):
    """In place of a kill."""


def opened(path):
    return bases.base_of(*demo_model.load(path), path)


def fit(path, folder, processes, rows=ROWS):
    """Fit all weights to numbers, on ``rows`` rows a step, each process and each of its rounds on its own part of them."""
    network = Network(opened(path), SETTINGS)
    if processes.rank:
        with torch.no_grad():
            network.unet.input_blocks[0][0].weight.zero_()  # the first process's weights count
    loop = Loop(folder, "fit", {"network": network}, 1e-3, 1, 5, warm_up=0, processes=processes)
    own = rows // processes.ranks // processes.accumulate
    for round, step in enumerate(loop):
        generator = torch.Generator().manual_seed(step)
        shapes = ((ROWS, 9, 8, 8), (ROWS, 77, 32), (ROWS, 4, 8, 8))
        first = (processes.rank * processes.accumulate + round % processes.accumulate) * own
        x, states, wanted = (torch.randn(shape, generator=generator)[first : first + own] for shape in shapes)
        loss = (network(x, torch.full((own,), 500.0), states, 2) - wanted).square().mean()
        loop.learn(loss, {"loss": loss.item()})
    return loop


def train(path, folder, name, processes, watchers=()):
    source = Mixture([open_source("demo:40", more=KINDS)], 1, processes.rank, processes.ranks)
    output = folder / f"{name}.safetensors"
    training.train(
        opened(path), SETTINGS, source, output, folder=folder, progress=lambda *_: None, processes=processes, watchers=watchers
    )


def paint(network, loop):
    """As a sheet does."""
    sets = Sets(torch.ones(2, 4, 8, 8), torch.ones(2, 77, 32), torch.ones(1, 77, 32), 2)
    with loop.averaged():
        sheets.paint(network, sets, network.base.schedule, loop.processes.autocast)


def kill(network, loop):
    if loop.done == 3:
        raise Killed


def one_of(rank, folder):
    """A process: all that is looked at."""

    processes, path, said = launched(), folder / "four.safetensors", {}
    loop = fit(path, folder, processes)
    with pytest.raises(Diverged, match="the loss of step 2 is not finite"):
        for _ in range(processes.accumulate):
            x = torch.full((2, 9, 8, 8), float("nan") if rank else 1.0)  # in one of them; what `fit` wrote stays as it is
            loop.learn(loop.nets["network"](x, torch.ones(2), torch.ones(2, 77, 32), 2).mean(), {})
    weights = [weight for weight in loop.nets["network"].parameters()]
    said["held"] = sum(weight.to_local().numel() for weight in weights)
    said["all"] = sum(weight.numel() for weight in weights)
    sheets.STEPS = 1
    os.environ["FSDP_RESHARD_AFTER_FORWARD"] = "false"  # what was painted with would stay, if it were not forgotten
    train(path, folder, "whole", processes, ((1, paint),))
    with pytest.raises(Killed):
        train(path, folder, "parts", processes, ((1, kill),))
    if rank == 0:
        shutil.copy(folder / "parts.pt", folder / "stopped.pt")
    processes.wait()
    train(path, folder, "parts", processes)
    torch.save(said, folder / f"said-{rank}.pt")


def runs(folder):
    """In a process of its own, see `apart`."""

    import accelerate.optimizer  # noqa: F401  what all of them import is here at once
    import torch.distributed.fsdp  # noqa: F401

    models.save_demo(folder / "four.safetensors", 4)
    launching.together(one_of, 2, FSDP, folder)


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    folder = tmp_path_factory.mktemp("two")
    apart.call(__name__, "runs", folder)
    return folder


def state(folder, name):
    return torch.load(folder / f"{name}.pt", weights_only=True)


def numbers(state, part):
    """Of weights, of their running average, or of what AdamW averages: ``exp_avg`` of gradients, ``exp_avg_sq`` of squares."""
    if part in ("nets", "average"):
        return torch.cat([value.flatten() for value in state[part]["network"].values()])
    return torch.cat([averages[part].flatten() for averages in state["optimiser"]["state"].values()])


PARTS = ("nets", "average", "exp_avg", "exp_avg_sq")


def test_two_processes_are_one_with_the_batch_doubled_and_each_holds_half(two, tmp_path):
    """In rounds of 2 rows, and in one of 8. 4e-5 was seen, as of one process with such rounds; with rounds of 4 rows 5e-7."""
    both = state(two, "fit")
    path, alone = two / "four.safetensors", Processes(on=torch.device("cpu"))
    fit(path, tmp_path / "one", alone), fit(path, tmp_path / "half", alone, ROWS // 2)
    one, half = (state(tmp_path / name, "fit") for name in ("one", "half"))
    whole = numbers(one, "exp_avg")
    error, effect = ((numbers(other, "exp_avg") - whole).norm() / whole.norm() for other in (both, half))
    assert 0 < error < 4e-4 < 0.1 < effect, (error, effect)
    steps = [numbers(other, "nets") - numbers(one, "nets") for other in (both, half)]
    error, effect = ((step.abs() > 1e-4).float().mean() for step in steps)  # weights that went a tenth of a step elsewhere
    assert error < 5e-3 < 0.1 < effect, (error, effect)  # 5e-4 was seen, and 0.3
    for said in (state(two, f"said-{rank}") for rank in (0, 1)):
        assert 0.49 < said["held"] / said["all"] < 0.51


def test_a_run_that_was_killed_goes_on_to_the_same_bits_and_sheets_change_nothing(two):
    whole, parts = state(two, "whole"), state(two, "parts")
    assert state(two, "stopped")["done"] == 2 and whole["done"] == parts["done"] == 3
    for part in PARTS:
        assert torch.equal(numbers(whole, part), numbers(parts, part)), part
        assert not torch.equal(numbers(whole, part), numbers(state(two, "stopped"), part)), part


def test_the_file_is_whole_and_of_the_running_average(two):
    base, made = (load_file(two / f"{name}.safetensors") for name in ("four", "whole"))
    average = state(two, "whole")["average"]["network"]
    assert set(made) == set(base) and average.keys() == Network(opened(two / "four.safetensors"), SETTINGS).state_dict().keys()
    for name, value in average.items():
        assert torch.equal(made[f"model.diffusion_model.{name.removeprefix('unet.')}"], value)
    assert average["unet.input_blocks.0.0.weight"].shape[1] == 9
