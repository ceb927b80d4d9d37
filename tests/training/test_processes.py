"""Several processes train as one does with a larger batch, and go on as it does."""

import os
import shutil
from types import SimpleNamespace

import pytest
import torch
from same_subject.nodes.training import loop as training
from same_subject.nodes.training.processes import Processes, Sharded, check_configuration, launched
from same_subject.nodes.training.settings import FULL, LORA, Settings
from same_subject.tests.tiny import apart, launching

pytest.importorskip("accelerate", reason="accelerate is a training tool; `python3 dev/test.py` brings it")
pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="the processes are forked, so that they start at once")
STEPS, ROWS = 4, 8


def train(folder, processes, mine, stop_at=None):
    """Fit a line on a batch of ROWS a step, of which this process takes ``mine``; what it draws is its own."""
    torch.manual_seed(100 * processes.rank)  # other weights in each process: the first one's count
    net = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Linear(4, 1))
    loop = training.Loop(folder, "line", {"net": net}, 0.05, STEPS, 5, every=1, processes=processes)
    for round, step in enumerate(loop):
        if step == stop_at:
            break
        rows = torch.randn(ROWS, 3, generator=torch.Generator().manual_seed(step))[mine(processes)]
        rows = rows.chunk(processes.accumulate)[round % processes.accumulate]
        loss = (loop.nets["net"](rows) - rows.sum(dim=1, keepdim=True)).square().mean()
        loop.learn(loss, {"loss": loss.item(), "own": torch.rand((), generator=loop.generator).item()})
    return loop


def halves(processes):
    """The rows of a process."""
    return slice(processes.rank * ROWS // processes.ranks, (processes.rank + 1) * ROWS // processes.ranks)


def one_of(rank, folder, stop_at):
    """A process; `launching` starts it as accelerate does."""
    processes = launched()
    loop = train(folder, processes, halves, stop_at)
    os.makedirs(folder, exist_ok=True)
    with processes.autocast():
        precision = str((torch.ones(1, 1) @ torch.ones(1, 1)).dtype)
    torch.save({"figures": loop.figures, "done": loop.done, "precision": precision}, folder / f"said-{rank}.pt")


def together(folder, stop_at=None, settings=None):
    """Train in two processes."""
    launching.together(one_of, 2, settings or {}, folder, stop_at)


def runs(folder):
    """All that the tests look at, each of two processes; in a process of its own, see `apart`."""
    import accelerate.optimizer  # noqa: F401  what all of them import is here at once

    together(folder / "whole")
    together(folder / "parts", stop_at=2)
    shutil.copy(folder / "parts" / "line.pt", folder / "parts" / "stopped.pt")
    together(folder / "parts")
    together(folder / "rounds", settings={"ACCELERATE_MIXED_PRECISION": "bf16", "ACCELERATE_GRADIENT_ACCUMULATION_STEPS": "2"})


def state(folder, name="line"):
    return torch.load(folder / f"{name}.pt", weights_only=True)


def numbers(state):
    return torch.cat([w.flatten() for part in ("nets", "average") for w in state[part]["net"].values()])


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    """Trained in this process."""
    folder = tmp_path_factory.mktemp("one")
    return train(folder, Processes(on=torch.device("cpu")), halves), state(folder)


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    folder = tmp_path_factory.mktemp("two")
    apart.call(__name__, "runs", folder)
    return folder


def test_two_processes_are_one_with_the_batch_doubled(one, two, tmp_path):
    one, alone = one
    both = state(two / "whole")
    half = train(tmp_path, Processes(on=torch.device("cpu")), lambda processes: slice(0, ROWS // 2))
    whole, less = numbers(alone), numbers(state(tmp_path))
    error, effect = ((other - whole).abs().max() / whole.abs().max() for other in (numbers(both), less))
    assert 0 < error < 1e-6 < 1e-3 < effect, (error, effect)
    assert both["done"] == one.done == half.done == STEPS
    said = [state(two / "whole", f"said-{rank}") for rank in (0, 1)]
    assert said[0]["figures"]["own"] == one.figures["own"] != said[1]["figures"]["own"]


def test_two_processes_go_on_to_the_same_bits(two):
    whole, parts = state(two / "whole"), state(two / "parts")
    assert state(two / "parts", "stopped")["done"] == 2 and parts["done"] == STEPS
    assert torch.equal(numbers(parts), numbers(whole))
    for before, after in zip(whole["ranks"], parts["ranks"], strict=True):
        assert torch.equal(before["generator"], after["generator"]) and before["figures"] == after["figures"]
    assert not torch.equal(parts["ranks"][0]["generator"], parts["ranks"][1]["generator"])


def test_a_state_of_two_processes_is_refused_by_one(two):
    with pytest.raises(ValueError, match="state of 2 processes, but this run has 1. Start as many"):
        train(two / "whole", Processes(on=torch.device("cpu")), halves)


def test_rounds_and_precision_are_accelerates(one, two):
    """Two processes of two rounds each are one with the whole batch."""
    rounds, whole = state(two / "rounds"), numbers(one[1])
    assert rounds["done"] == STEPS and (numbers(rounds) - whole).abs().max() / whole.abs().max() < 1e-6
    said = [state(two / name, "said-1") for name in ("whole", "rounds")]
    assert [one["precision"] for one in said] == ["torch.float32", "torch.bfloat16"]
    assert len(said[1]["figures"]["loss"]) == 2 * len(said[0]["figures"]["loss"])


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("ACCELERATE_USE_DEEPSPEED", "DeepSpeed"),
        ("ACCELERATE_USE_MEGATRON_LM", "Megatron-LM"),
        ("ACCELERATE_USE_PARALLELISM_CONFIG", "a parallelism_config"),
    ],
)
def test_other_ways_to_share_a_model_are_refused(name, said, monkeypatch):
    monkeypatch.setenv(name, "true")
    with pytest.raises(ValueError, match=f"says {said}, but needs to say several CPUs or GPUs .*method full` FSDP of version 2"):
        launched()


@pytest.mark.parametrize(
    ("said", "chosen", "refused"),
    [
        (
            {"FSDP_VERSION": "1"},
            {"method": "LoHa"},
            "FSDP, and the method is LoHa, but .* for all weights .`--method full.*small",
        ),
        ({"FSDP_VERSION": "1"}, {}, "FSDP of version 1, but needs `fsdp_version: 2`. `accelerate to-fsdp2 "),
        ({}, {"optimiser": "adamw8bit"}, "FSDP, and the optimiser is adamw8bit, which needs weights whole"),
        ({"scaled": "true"}, {}, "FSDP with fp16, but needs to say bf16"),
        ({"FSDP_OFFLOAD_PARAMS": "true"}, {}, "`fsdp_offload_params: true`, but what is trained needs to stay on the GPUs"),
        ({"FSDP_ACTIVATION_CHECKPOINTING": "true"}, {}, "Set it to false, and give `--save-memory`"),
    ],
)
def test_what_shards_cannot_be_of_is_refused_with_the_remedy(said, chosen, refused, monkeypatch):
    for name, value in {"FSDP_VERSION": "2", **said}.items():
        monkeypatch.setenv(name, value)
    processes = Sharded(
        SimpleNamespace(
            gradient_accumulation_steps=1, device=torch.device("cpu"), process_index=0, num_processes=2, mixed_precision="no",
            scaler=said.get("scaled"), distributed_type=SimpleNamespace(value="FSDP"),
        )
    )  # fmt: skip
    assert not processes.mixed and Processes().mixed
    with pytest.raises(ValueError, match=f"^Training: accelerate's configuration says .*{refused}"):
        processes.check(Settings(**{"method": FULL, **chosen}))


@pytest.mark.parametrize(
    ("text", "said"),
    (
        (
            "distributed_type: FSDP\nfsdp_config: {fsdp_version: 2}",
            "says FSDP, and the method is LoRA, but FSDP is for all weights",
        ),
        ("distributed_type: DEEPSPEED", "says DEEPSPEED, but needs to say several CPUs or GPUs"),
        ("nonsense: 1", "cannot be read as accelerate's configuration: .*accelerate config"),
        ("[", "cannot be read as accelerate's configuration"),
    ),
)
def test_a_configuration_is_refused_before_it_starts_processes(text, said, tmp_path):
    path = tmp_path / "config.yaml"
    whole = "compute_environment: LOCAL_MACHINE\nmixed_precision: 'no'\nnum_processes: 2\nuse_cpu: true\ndebug: false\n"
    path.write_text(whole + text)
    with pytest.raises(ValueError, match=said):
        check_configuration(path, LORA, "adamw")
    path.write_text(whole + "distributed_type: MULTI_CPU")
    check_configuration(path, LORA, "adamw8bit")
    path.write_text(whole + "distributed_type: FSDP\nfsdp_config: {fsdp_version: 2, fsdp_offload_params: false}")
    check_configuration(path, FULL, "adamw")
    path.write_text(whole + "distributed_type: FSDP\nfsdp_config: {fsdp_offload_params: true, fsdp_version: 2}")
    with pytest.raises(ValueError, match="says FSDP with `fsdp_offload_params: true`"):
        check_configuration(path, FULL, "adamw")
