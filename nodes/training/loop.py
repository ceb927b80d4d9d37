"""The one loop of training: optimiser, schedule, running average, log and a state on disk to go on from."""

from __future__ import annotations

import copy
import json
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import torch

from ..data.whole_files import whole
from . import optimisers
from .processes import Processes, device, mixed_precision

__all__ = ["GATES", "Diverged", "Loop", "Resumable", "device", "mixed_precision"]

GATES = 10.0
SAID = 50
"""Steps between two lines of the log."""
SKIPPED = 20
"""Steps without a usable gradient, one after another, at which training in float16 ends; by single ones its scale is found."""


class Diverged(ArithmeticError):
    """A loss or a gradient is not finite; the weights are still those of the step before, the state on disk an earlier one."""


class Resumable(Protocol):
    """What a loop keeps beside its networks, such as a source of data that knows where it is; plain values and tensors."""

    def state_dict(self) -> dict: ...

    def load_state_dict(self, state: dict) -> Any: ...


class Loop:
    """Iterate over what is still to do; call ``learn`` once in each round.

    nets: name -> module, all trained together with AdamW, alike in all processes. The rate rises over ``warm_up`` steps and falls
    as a cosine to a tenth. ``average`` holds an exponential running average of every net's weights, by ``decay``; none where
    that is 0. State, random numbers and ``kept`` included, is written to ``<folder>/<name>.pt`` every ``every`` steps and at the
    end, first under another name and then renamed: a stop at any moment loses at most ``every`` steps, and a run that goes on
    ends with the same bits as one that was never stopped. That holds while all that is random comes from ``generator`` or torch's
    own, and all that is read from ``kept``. Ctrl+C waits for the end of the optimiser's step, so that `save` is right after it.

    log: called with figures every ``said`` steps, and after the last one.

    A step is one of the optimiser; with gradients accumulated, ``processes.accumulate`` rounds make one, and each round's loss
    counts alike. state, in a file of an earlier version: what it lacks begins anew.
    """

    def __init__(
        self, folder, name: str, nets: Mapping[str, torch.nn.Module], rate: float, steps: int, seed: int, every: int = 200,
        decay: float = 0.998, *, warm_up: int = 100, optimiser: str = "adamw", processes: Processes | None = None,
        kept: Mapping[str, Resumable] | None = None, log: Callable[[int, dict], object] | None = None,
        said: int = SAID,
    ):  # fmt: skip
        self.path, self.name, self.rate = Path(folder) / f"{name}.pt", name, rate
        self.steps, self.every, self.decay, self.warm_up, self.done = steps, every, decay, warm_up, 0
        self.processes, self.kept, self.log, self.said = processes or Processes(), dict(kept or {}), log or say, said
        self.generator = torch.Generator().manual_seed(self.processes.seed(seed))
        torch.manual_seed(self.processes.seed(seed))
        self.nets = self.processes.prepared(nets)
        self.optimiser = self.processes.stepping(optimisers.make(optimiser, self._groups(), rate))
        self.average = self._weights(copied=True) if decay else {}
        self._watchers: list[tuple[int, Callable[[Loop], object]]] = []
        self._round, self._skipped, self.clock = 0, 0, time.time()
        self.saved: int | None = None  # steps of the state on disk
        self.figures: dict[str, list[float]] = {}
        self.last: dict[str, float] = {}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if self.path.exists():
            self._resume()
        self._drawn = self._draws()

    def _groups(self) -> list[dict]:
        """Of all parameters that are trained. Single numbers, such as gates that begin closed, move GATES times as fast."""
        every = [p for net in self.nets.values() for p in net.parameters() if p.requires_grad]
        gates = {"params": [p for p in every if p.ndim == 0], "factor": GATES, "weight_decay": 0.0}
        return [{"params": [p for p in every if p.ndim]}, *([gates] if gates["params"] else [])]

    def __iter__(self) -> Iterator[int]:
        while self.done < self.steps:
            yield self.done
        self.save()

    def watch(self, every: int, watcher: Callable[[Loop], object]) -> None:
        """Call ``watcher`` after each ``every`` steps, as for a sample sheet; the random numbers that it draws change nothing."""
        self._watchers.append((every, watcher))

    def learn(self, loss: torch.Tensor, figures: dict) -> None:
        """One round on ``loss``, and with the last of a step's rounds a step; ``figures`` are averaged into the log.

        Raises `Diverged` where loss or gradient is not finite, in whichever process, before it can touch the weights.
        """
        if self._round == 0:
            self.optimiser.zero_grad(set_to_none=True)
            self._finite = True
        self.processes.backward(loss)
        self._finite &= bool(loss.detach().isfinite())
        self.last = dict(figures)
        for key, value in figures.items():
            self.figures.setdefault(key, []).append(value)
        self._round += 1
        if self._round == self.processes.accumulate:
            self._round = 0
            self._step()

    def _step(self) -> None:
        scale = min(1.0, (self.done + 1) / self.warm_up) if self.warm_up else 1.0
        cosine = 0.55 + 0.45 * torch.cos(torch.tensor(torch.pi * self.done / self.steps)).item()
        for group in self.optimiser.param_groups:
            group["lr"] = self.rate * scale * cosine * group.get("factor", 1.0)
        parameters = [p for group in self.optimiser.param_groups for p in group["params"]]
        norm = self.processes.clip(parameters, 1.0)
        self._check(self.processes.all(self._finite), bool(norm.isfinite()))
        with _undivided():
            self.optimiser.step()
            self.done += 1
            decay = min(self.decay, (1 + self.done) / (10 + self.done))
            if self.average:
                with torch.no_grad():
                    for name, weights in self._weights().items():
                        torch._foreach_lerp_(list(self.average[name].values()), list(weights.values()), 1 - decay)
            if self.done % self.said == 0:
                self._say()
                self.figures, self.clock = {}, time.time()
            elif self.done == self.steps:  # these figures stay, for a run that goes on with more steps
                self._say()
            self._drawn = self._draws()
        if self.done % self.every == 0:
            self.save()
        for every, watcher in self._watchers:
            if self.done % every == 0:
                with torch.random.fork_rng([self.processes.device] if self.processes.device.type == "cuda" else []):
                    watcher(self)

    def _check(self, loss: bool, gradient: bool) -> None:
        """Refuse a step that would spoil the weights. What is on disk stays, from which a lower rate goes another way."""
        self._skipped = 0 if gradient else self._skipped + 1
        if loss and (gradient or (self.processes.scaled and self._skipped < SKIPPED)):
            return
        remedy = f"a lower rate than {self.rate:g}, or bfloat16 in place of float16"
        if self.saved is None:
            remedy = f"Nothing was written yet: begin anew with {remedy}."
        elif self.saved < self.done:
            remedy = f"Start it again with {remedy}: it goes on from {self.path}, which was written after {self.saved} steps."
        else:  # the same weights, data and noise would come again
            remedy = f"The weights in {self.path} are those that led to it: remove that file, and begin anew with {remedy}."
        what = "the gradient" if loss else "the loss"
        raise Diverged(f"Training {self.name}: {what} of step {self.done + 1} is not finite. {remedy}")

    def _say(self) -> None:
        means = {key: round(sum(values) / len(values), 5) for key, values in self.figures.items()}
        line = {"run": self.name, "step": self.done, "seconds": round(time.time() - self.clock, 1), **means}
        if self.processes.rank == 0:
            self.log(self.done, line)

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """The nets hold the running average inside, and what is trained again outside; without an average nothing changes."""
        if not self.average:
            yield
            return
        trained = self._weights(copied=True)
        try:
            self._copy(self.average, self._weights())
            yield
        finally:
            self._copy(trained, self._weights())  # asked for anew: what shards were put together of is then forgotten

    def _weights(self, copied: bool = False) -> dict[str, dict[str, torch.Tensor]]:
        weights = {name: net.state_dict() for name, net in self.nets.items()}
        return {n: {k: v.detach().clone() for k, v in held.items()} for n, held in weights.items()} if copied else weights

    def _copy(self, source: Mapping[str, Mapping[str, torch.Tensor]], target: Mapping[str, Mapping[str, torch.Tensor]]) -> None:
        with torch.no_grad():
            for name, weights in target.items():
                for key, weight in weights.items():
                    weight.copy_(self.processes.part(source[name][key], weight))

    def _draws(self) -> dict:
        """Where all that is random, or read in turn, stands after a whole step, which is what a state goes on from."""
        cuda = self.processes.device.type == "cuda"
        return {
            "generator": self.generator.get_state(),
            "torch": torch.get_rng_state(),
            **({"cuda": torch.cuda.get_rng_state(self.processes.device)} if cuda else {}),
            "kept": {name: copy.deepcopy(kept.state_dict()) for name, kept in self.kept.items()},
            "figures": {key: list(values) for key, values in self.figures.items()},
        }

    def save(self) -> None:
        """Write the state after the last whole step; what was done of the next one is done again by a run that goes on."""
        draws = self.processes.gathered(self._drawn)
        state = {
            **self.processes.state(self.nets, self.optimiser),
            "average": self.processes.whole(self.average),
            "done": self.done,
            **draws[0],
            **({"ranks": draws} if len(draws) > 1 else {}),
        }
        if self.processes.rank == 0:
            self._write(state)
        self.saved = self.done
        self.processes.wait()

    def _write(self, state: dict) -> None:
        try:
            with whole(self.path) as part, part.open("wb") as file:
                torch.save(state, file)
        except (OSError, RuntimeError) as problem:  # torch says of a full disk that it is an error at run time
            raise OSError(
                f"Training {self.name}: its state after {self.done} steps cannot be written to {self.path}: "
                f"{(str(problem).splitlines() or [type(problem).__name__])[0]}. Make room there, or name another folder."
            ) from problem

    def _resume(self) -> None:
        cut = self.processes.shards > 1  # then it is large, and only a part of it is for this process
        state = torch.load(self.path, map_location="cpu", weights_only=True, mmap=cut)
        ranks = state.get("ranks", [state])
        if len(ranks) != self.processes.ranks:
            raise ValueError(
                f"Training {self.name}: {self.path} is the state of {len(ranks)} processes, but this run has "
                f"{self.processes.ranks}. Start as many as before, or train into another folder."
            )
        try:
            self.processes.restore(self.nets, self.optimiser, state)
            if self.average and state["average"]:
                self._copy(state["average"], self.average)
        except (RuntimeError, KeyError, ValueError) as problem:
            raise ValueError(
                f"Training {self.name}: {self.path} is the state of another training, of other networks or another optimiser. "
                "Choose as before, or train into another folder."
            ) from problem
        own = ranks[self.processes.rank]
        self.done = self.saved = state["done"]
        self.generator.set_state(own["generator"].cpu())
        torch.set_rng_state(own["torch"].cpu())
        if "cuda" in own and self.processes.device.type == "cuda":
            torch.cuda.set_rng_state(own["cuda"].cpu(), self.processes.device)
        for name, kept in self.kept.items():
            if name in own.get("kept", {}):
                kept.load_state_dict(own["kept"][name])
        self.figures = own.get("figures", {})


def say(step: int, line: dict) -> None:
    """A line of the log as JSON, to be read by people and programs."""
    print(json.dumps(line), flush=True)


@contextmanager
def _undivided() -> Iterator[None]:
    """Ctrl+C takes effect after what stands inside, where it has one. Signals reach the main thread alone."""
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(before):
        yield
        return
    held: list[int] = []
    signal.signal(signal.SIGINT, lambda number, frame: held.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if held:
        before(held[0], None)
