"""Several processes train as one does with a larger batch, and go on as it does."""

import multiprocessing
import os
import socket

import pytest
import torch
from same_subject.nodes.training import loop as training
from same_subject.nodes.training.processes import Processes, launched

pytest.importorskip("accelerate", reason="accelerate is a training tool; `python3 dev/test.py` brings it")
pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="the processes are forked, so that they start at once")
STEPS, ROWS = 4, 8


def train(folder, processes, mine, stop_at=None):
    """Fit a line on a batch of ROWS a step, of which this process takes ``mine``; what it draws is its own."""
    torch.manual_seed(100 * processes.rank)  # other weights in each process: the first one's count
    net = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Linear(4, 1))
    loop = training.Loop(folder, "line", {"net": net}, 0.05, STEPS, 5, every=1, processes=processes)
    for step in loop:
        if step == stop_at:
            break
        rows = torch.randn(ROWS, 3, generator=torch.Generator().manual_seed(step))[mine(processes)]
        loss = (loop.nets["net"](rows) - rows.sum(dim=1, keepdim=True)).square().mean()
        loop.learn(loss, {"loss": loss.item(), "own": torch.rand((), generator=loop.generator).item()})
    return loop


def halves(processes):
    """The rows of a process."""
    return slice(processes.rank * ROWS // processes.ranks, (processes.rank + 1) * ROWS // processes.ranks)


def one_of(rank, ranks, port, folder, stop_at, settings):
    """A process as accelerate's launcher starts it."""
    os.environ.update(
        RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(ranks), LOCAL_WORLD_SIZE=str(ranks), MASTER_ADDR="127.0.0.1",
        MASTER_PORT=str(port), ACCELERATE_USE_CPU="true", ACCELERATE_MIXED_PRECISION="no", **settings,
    )  # fmt: skip
    loop = train(folder, launched(), halves, stop_at)
    os.makedirs(folder, exist_ok=True)
    torch.save({"figures": loop.figures, "done": loop.done}, folder / f"said-{rank}.pt")


def together(folder, ranks=2, stop_at=None, settings=None):
    """Train in ``ranks`` processes; returns the state on disk."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = multiprocessing.get_context("fork")
    started = [context.Process(target=one_of, args=(rank, ranks, port, folder, stop_at, settings or {})) for rank in range(ranks)]
    for process in started:
        process.start()
    for process in started:
        process.join(90)
        if process.exitcode is None:
            process.kill()
    assert [process.exitcode for process in started] == [0] * ranks
    return torch.load(folder / "line.pt", weights_only=True)


def numbers(state):
    return torch.cat([w.flatten() for part in ("nets", "average") for w in state[part]["net"].values()])


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    """Trained in this process; what it imports for that, both of the two have at once."""
    import accelerate.optimizer  # noqa: F401

    folder = tmp_path_factory.mktemp("one")
    return train(folder, Processes(on=torch.device("cpu")), halves), torch.load(folder / "line.pt", weights_only=True)


@pytest.fixture(scope="module")
def two(one, tmp_path_factory):
    folder = tmp_path_factory.mktemp("two")
    return folder, together(folder)


def test_two_processes_are_one_with_the_batch_doubled(one, two, tmp_path):
    (one, alone), (folder, state) = one, two
    half = train(tmp_path, Processes(on=torch.device("cpu")), lambda processes: slice(0, ROWS // 2))
    whole, apart = numbers(alone), numbers(torch.load(tmp_path / "line.pt", weights_only=True))
    error, effect = ((other - whole).abs().max() / whole.abs().max() for other in (numbers(state), apart))
    assert 0 < error < 1e-6 < 1e-3 < effect, (error, effect)
    assert state["done"] == one.done == half.done == STEPS
    said = [torch.load(folder / f"said-{rank}.pt", weights_only=True) for rank in (0, 1)]
    assert said[0]["figures"]["own"] == one.figures["own"] != said[1]["figures"]["own"]


def test_two_processes_go_on_to_the_same_bits(two, tmp_path):
    folder, whole = two
    assert together(tmp_path, stop_at=2)["done"] == 2
    state = together(tmp_path)
    assert torch.equal(numbers(state), numbers(whole))
    for before, after in zip(whole["ranks"], state["ranks"], strict=True):
        assert torch.equal(before["generator"], after["generator"]) and before["figures"] == after["figures"]
    assert not torch.equal(state["ranks"][0]["generator"], state["ranks"][1]["generator"])


def test_a_state_of_two_processes_is_refused_by_one(two):
    with pytest.raises(ValueError, match="state of 2 processes, but this run has 1. Start as many"):
        train(two[0], Processes(on=torch.device("cpu")), halves)
