"""Where training runs: in this process alone, or in several that accelerate started, on one machine or many."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import torch

from . import sharding
from .settings import Settings

APART = 1_000_003
"""Between the seeds of two processes."""
OTHERS = {
    "ACCELERATE_USE_DEEPSPEED": "DeepSpeed",
    "ACCELERATE_USE_MEGATRON_LM": "Megatron-LM",
    "ACCELERATE_USE_PARALLELISM_CONFIG": "a parallelism_config",
}
"""What accelerate's launcher says in the environment of processes that share a model in ways that training does not know."""
WHOLE = ("NO", "MULTI_CPU", "MULTI_GPU")
"""Kinds of accelerate's processes that each hold all weights."""


def device() -> torch.device:
    """The GPU where there is one. Random numbers are always drawn on the CPU, so that a seed means the same."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def mixed_precision():
    """bfloat16 where the device computes it natively; weights and losses stay float32."""
    return torch.autocast(device().type, dtype=torch.bfloat16)


def launched(accumulate: int = 1) -> Processes:
    """As accelerate's launcher says in this process's environment; without it one process, in bfloat16.

    accumulate: rounds of a step, where accelerate's own configuration names no other. Raises ValueError where that says DeepSpeed
    or the like.
    """
    for name, said in OTHERS.items():
        if sharding.yes(os.environ, name):
            raise ValueError(_unknown(said))
    if not any(name in os.environ for name in ("ACCELERATE_MIXED_PRECISION", "WORLD_SIZE")):
        return Processes(accumulate)
    try:
        from accelerate import Accelerator
    except ImportError as problem:
        raise ImportError(
            "Training: it was started in several processes, which needs the package accelerate, and that is not installed. Run "
            "`python -m pip install accelerate` with ComfyUI's Python, or start it without a launcher."
        ) from problem
    rounds = int(os.environ.get("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", accumulate))
    several = int(os.environ.get("WORLD_SIZE", "1"))
    on_cpu = True if several > 1 and device().type == "cpu" else None  # with FSDP its launcher does not say so
    accelerator = Accelerator(cpu=on_cpu, gradient_accumulation_steps=rounds, step_scheduler_with_optimizer=False)
    if accelerator.num_processes < several:
        raise ValueError(
            f"Training: {several} processes were started, but accelerate sees {accelerator.num_processes}. `accelerate config` "
            "needs to say the devices that there are."
        )
    return (Sharded if sharding.yes(os.environ, "ACCELERATE_USE_FSDP") else Accelerated)(accelerator)


def check_configuration(path: Path, method: str, optimiser: str) -> None:
    """Look at a file of `accelerate config` before it starts processes, which would each refuse it. Needs accelerate.

    method, optimiser: what is to be trained, see `Settings`. Raises ValueError where it is none, or says what is not known.
    """
    from accelerate.commands.config import config_args

    try:
        read = config_args.load_config_from_file(str(path))
    except Exception as problem:  # of the file's reader, whichever it is
        first = (str(problem).splitlines() or [type(problem).__name__])[0]
        raise ValueError(
            f"Training: {path} cannot be read as accelerate's configuration: {first}. `accelerate config --config_file {path}` "
            "writes one."
        ) from problem
    kind = getattr(read.distributed_type, "value", str(read.distributed_type))
    if kind == sharding.NAME:
        said = {name.upper(): str(value) for name, value in read.fsdp_config.items()}
        sharding.check(method, optimiser, said, str(read.mixed_precision) == "fp16")
    elif kind not in WHOLE:
        raise ValueError(_unknown(kind))


class Processes:
    """One process. accumulate: rounds of a step. on: the device, by default the GPU where there is one.

    ``rank`` of ``ranks`` is this process's number. ``scaled``: losses are scaled so that float16 can hold their gradients.
    ``shards``: in how many of them weights, gradients and the optimiser's averages are cut. ``mixed``: whether the forward pass
    is in half precision, whatever the weights are in.
    """

    rank, ranks, scaled, shards, mixed = 0, 1, False, 1, True

    def __init__(self, accumulate: int = 1, on: torch.device | None = None):
        if accumulate < 1:
            raise ValueError(f"Training: gradients were to be accumulated over {accumulate} rounds, but one is the least.")
        self.accumulate, self.device = accumulate, on or device()

    def seed(self, seed: int) -> int:
        """Another one in each process, and in the first the one that was given."""
        return seed + APART * self.rank

    def autocast(self) -> AbstractContextManager:
        """The precision of the forward pass."""
        return torch.autocast(self.device.type, dtype=torch.bfloat16)

    def check(self, settings: Settings) -> None:
        """Raises ValueError where these processes cannot train what was chosen."""

    def prepared(self, nets: Mapping[str, torch.nn.Module]) -> dict[str, torch.nn.Module]:
        """The nets on the device, alike in all processes: with the first one's weights."""
        return {name: net.to(self.device) for name, net in nets.items()}

    def stepping(self, optimiser: torch.optim.Optimizer) -> Any:
        """What steps in its place."""
        return optimiser

    def backward(self, loss: torch.Tensor) -> None:
        """Add this round's share of the gradient."""
        (loss / self.accumulate if self.accumulate > 1 else loss).backward()

    def clip(self, parameters: Sequence[torch.nn.Parameter], most: float) -> torch.Tensor:
        """Average gradients over all processes, and shorten them to ``most``. Returns how long they were."""
        return torch.nn.utils.clip_grad_norm_(parameters, most)

    def all(self, said: bool) -> bool:
        """Whether every process says so."""
        return said

    def gathered(self, said: dict) -> list[dict]:
        """What each process says, in order."""
        return [said]

    def whole(self, held: Any) -> Any:
        """Tensors in dicts and lists, each put together of what the processes hold; others than the first may get nothing."""
        return held

    def part(self, whole: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
        """Of a ``whole`` tensor what this process holds where it holds ``like``."""
        return whole

    def state(self, nets: Mapping[str, torch.nn.Module], optimiser) -> dict:
        """Networks and optimiser as they are written, whole; other processes than the first may get nothing."""
        return self.whole({"nets": {name: net.state_dict() for name, net in nets.items()}, "optimiser": optimiser.state_dict()})

    def restore(self, nets: Mapping[str, torch.nn.Module], optimiser, state: dict) -> None:
        """Networks and optimiser as `state` gave them."""
        for name, net in nets.items():
            net.load_state_dict(state["nets"][name])
        optimiser.load_state_dict(state["optimiser"])

    def wait(self) -> None:
        """Until all processes are here."""


class Accelerated(Processes):
    """The processes of an accelerate ``Accelerator``, with its precision, accumulation and devices.

    Networks stay as they are, and gradients are averaged after the last round of a step: so it does not matter how a step calls
    them, and adapters inside of a frozen model train as well as a whole one.
    """

    KINDS: tuple[str, ...] = WHOLE

    def __init__(self, accelerator):
        super().__init__(accelerator.gradient_accumulation_steps, accelerator.device)
        self.accelerator = accelerator
        self.rank, self.ranks, self.scaled = accelerator.process_index, accelerator.num_processes, accelerator.scaler is not None
        self.mixed = accelerator.mixed_precision != "no"
        kind = accelerator.distributed_type.value
        if kind not in self.KINDS:
            raise ValueError(_unknown(kind))

    def autocast(self) -> AbstractContextManager:
        return self.accelerator.autocast()

    def prepared(self, nets: Mapping[str, torch.nn.Module]) -> dict[str, torch.nn.Module]:
        nets = super().prepared(nets)
        if self.ranks > 1:
            for net in nets.values():
                for weight in net.state_dict().values():
                    torch.distributed.broadcast(weight, 0)
        return nets

    def stepping(self, optimiser: torch.optim.Optimizer) -> Any:
        return self.accelerator.prepare_optimizer(optimiser)

    def backward(self, loss: torch.Tensor) -> None:
        self.accelerator.backward(loss)

    def clip(self, parameters: Sequence[torch.nn.Parameter], most: float) -> torch.Tensor:
        if self.ranks > 1:
            self._average(parameters)
        self.accelerator.unscale_gradients()
        return torch.nn.utils.clip_grad_norm_(parameters, most)

    def _average(self, parameters: Sequence[torch.nn.Parameter]) -> None:
        """One that only some processes used in this step counts as zero in the others; one that none used has no gradient."""
        used = torch.tensor([p.grad is not None for p in parameters], dtype=torch.int32, device=self.device)
        torch.distributed.all_reduce(used, torch.distributed.ReduceOp.MAX)
        gradients = []
        for parameter, anywhere in zip(parameters, used.tolist(), strict=True):
            if anywhere:
                parameter.grad = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
                gradients.append(parameter.grad)
        under_way = [torch.distributed.all_reduce(gradient, async_op=True) for gradient in gradients]
        for work in under_way:
            work.wait()
        torch._foreach_div_(gradients, self.ranks)

    def all(self, said: bool) -> bool:
        if self.ranks == 1:
            return said
        least = torch.tensor(int(said), device=self.device)
        torch.distributed.all_reduce(least, torch.distributed.ReduceOp.MIN)
        return bool(least)

    def gathered(self, said: dict) -> list[dict]:
        if self.ranks == 1:
            return [said]
        told: list[Any] = [None] * self.ranks
        torch.distributed.all_gather_object(told, said)
        return told

    def state(self, nets: Mapping[str, torch.nn.Module], optimiser) -> dict:
        scaler = {"scaler": self.accelerator.scaler.state_dict()} if self.scaled else {}
        return {**super().state(nets, optimiser), **scaler}

    def restore(self, nets: Mapping[str, torch.nn.Module], optimiser, state: dict) -> None:
        super().restore(nets, optimiser, state)
        if self.scaled and "scaler" in state:
            self.accelerator.scaler.load_state_dict(state["scaler"])

    def wait(self) -> None:
        self.accelerator.wait_for_everyone()


class Sharded(Accelerated):
    """Processes that share one model: each holds a shard of every weight, of its gradient and of the optimiser's averages, and
    weights are whole only while their part of the network is at work (FSDP, Zhao et al., 2023, by torch's own `fully_shard`).

    Nets say by ``parts()`` what is whole at a time: modules one after another, and last the one around all of them. Gradients are
    averaged by FSDP itself, in every round. With a single process nothing is cut.
    """

    KINDS = (*WHOLE, sharding.NAME)

    def __init__(self, accelerator):
        super().__init__(accelerator)
        self.shards = self.ranks

    def check(self, settings: Settings) -> None:
        sharding.check(settings.method, settings.optimiser, os.environ, self.scaled)

    def prepared(self, nets: Mapping[str, torch.nn.Module]) -> dict[str, torch.nn.Module]:
        if self.ranks == 1:
            return super().prepared(nets)
        for net in nets.values():
            sharding.cut(net.parts(), self.device, self.ranks)
        return dict(nets)

    def clip(self, parameters: Sequence[torch.nn.Parameter], most: float) -> torch.Tensor:
        norm = torch.nn.utils.clip_grad_norm_(parameters, most)
        return norm.full_tensor() if self.ranks > 1 else norm

    def whole(self, held: Any) -> Any:
        return sharding.whole(held, kept=self.rank == 0)

    def part(self, whole: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
        return sharding.part(whole, like)

    def restore(self, nets: Mapping[str, torch.nn.Module], optimiser, state: dict) -> None:
        cut = {name: dict(weights) for name, weights in state["nets"].items()}
        for name, net in nets.items():
            for key, weight in net.state_dict().items():
                cut[name][key] = self.part(cut[name][key], weight)
        weights = [weight for group in optimiser.param_groups for weight in group["params"]]
        averages = {
            number: {key: self.part(value, weights[number]) if value.ndim else value for key, value in averages.items()}
            for number, averages in state["optimiser"]["state"].items()
        }
        super().restore(nets, optimiser, {**state, "nets": cut, "optimiser": {**state["optimiser"], "state": averages}})


def _unknown(said: str) -> str:
    return (
        f"Training: accelerate's configuration says {said}, but needs to say several CPUs or GPUs (DDP), or with `--method full` "
        "FSDP of version 2, which cuts weights, gradients and the optimiser's averages into shards. `accelerate config` writes "
        "another configuration."
    )
