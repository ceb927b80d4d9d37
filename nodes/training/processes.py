"""Where training runs: in this process alone, or in several that accelerate started, on one machine or many."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import torch

APART = 1_000_003
"""Between the seeds of two processes."""
SHARDED = {"ACCELERATE_USE_FSDP": "FSDP", "ACCELERATE_USE_DEEPSPEED": "DeepSpeed", "ACCELERATE_USE_MEGATRON_LM": "Megatron-LM"}
"""What accelerate's launcher says in the environment of processes that shall share one model's weights."""
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

    accumulate: rounds of a step, where accelerate's own configuration names no other. Raises ValueError where that says FSDP or
    DeepSpeed.
    """
    for name, said in SHARDED.items():
        if os.environ.get(name, "").lower() in ("1", "true"):
            raise ValueError(_not_sharded(said))
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
    return Accelerated(Accelerator(gradient_accumulation_steps=rounds, step_scheduler_with_optimizer=False))


def check_configuration(path: Path) -> None:
    """Look at a file of `accelerate config` before it starts processes, which would each refuse it. Needs accelerate.

    Raises ValueError where it is none, or says FSDP or DeepSpeed.
    """
    from accelerate.commands.config import config_args

    try:
        kind = config_args.load_config_from_file(str(path)).distributed_type
    except Exception as problem:  # of the file's reader, whichever it is
        first = (str(problem).splitlines() or [type(problem).__name__])[0]
        raise ValueError(
            f"Training: {path} cannot be read as accelerate's configuration: {first}. `accelerate config --config_file {path}` "
            "writes one."
        ) from problem
    if (said := getattr(kind, "value", str(kind))) not in WHOLE:
        raise ValueError(_not_sharded(said))


class Processes:
    """One process. accumulate: rounds of a step. on: the device, by default the GPU where there is one.

    ``rank`` of ``ranks`` is this process's number. ``scaled``: losses are scaled so that float16 can hold their gradients.
    """

    rank, ranks, scaled = 0, 1, False

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

    def state(self, nets: Mapping[str, torch.nn.Module], optimiser) -> dict:
        """Networks and optimiser as they are written, whole; other processes than the first may get nothing."""
        return {"nets": {name: net.state_dict() for name, net in nets.items()}, "optimiser": optimiser.state_dict()}

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

    def __init__(self, accelerator):
        super().__init__(accelerator.gradient_accumulation_steps, accelerator.device)
        self.accelerator = accelerator
        self.rank, self.ranks, self.scaled = accelerator.process_index, accelerator.num_processes, accelerator.scaler is not None
        kind = accelerator.distributed_type.value
        if kind not in WHOLE:
            raise ValueError(_not_sharded(kind))

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
        return self.accelerator.prepare(optimiser)

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


def _not_sharded(said: str) -> str:
    return (
        f"Training: accelerate's configuration says {said}, but needs to say several CPUs or GPUs (DDP). FSDP and DeepSpeed cut "
        "a model's weights into shards, one a process; ComfyUI's layers, and the factors beside them, need theirs whole. "
        "`accelerate config` writes another configuration; where a GPU has too little memory, `--save-memory`, a LoRA in place "
        "of all weights, or `--optimiser adamw8bit` take less."
    )
