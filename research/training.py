"""Training of some networks: optimiser, schedule, running average, log and a state on disk to go on from."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import torch

GATES = 10.0


def device() -> torch.device:
    """The GPU where there is one. Random numbers are always drawn on the CPU, so that a seed means the same."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def mixed_precision():
    """bfloat16 where the device computes it natively; weights and losses stay float32."""
    return torch.autocast(device().type, dtype=torch.bfloat16)


class Loop:
    """Iterate over the steps that are still to do; call ``learn`` once in each.

    nets: name -> module, all trained together with AdamW. The rate rises over 100 steps and falls as a
    cosine to a tenth. ``average`` holds an exponential running average of every net's weights. State,
    random generator included, is written to ``<folder>/<name>.pt`` every ``every`` steps and at the end,
    first under another name and then renamed, so that a stop at any moment loses at most ``every`` steps.
    """

    def __init__(self, folder, name, nets, rate, steps, seed, every=200, decay=0.998):
        self.path, self.name, self.nets, self.rate = Path(folder) / f"{name}.pt", name, nets, rate
        self.steps, self.every, self.decay, self.done = steps, every, decay, 0
        self.generator = torch.Generator().manual_seed(seed)
        torch.manual_seed(seed)
        for net in nets.values():
            net.to(device())
        groups = self._groups()
        self.optimiser = torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.98), weight_decay=0.01, fused=True)
        self.average = {n: {k: v.detach().clone() for k, v in net.state_dict().items()} for n, net in nets.items()}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if self.path.exists():
            state = torch.load(self.path, map_location=device(), weights_only=True)
            for n, net in nets.items():
                net.load_state_dict(state["nets"][n])
            self.average, self.done = state["average"], state["done"]
            self.optimiser.load_state_dict(state["optimiser"])
            self.generator.set_state(state["generator"].cpu())
            torch.set_rng_state(state["torch"].cpu())
        self.figures, self.clock = {}, time.time()

    def _groups(self) -> list[dict]:
        """Of all parameters that are trained. Single numbers, such as gates that begin closed, move GATES times as fast."""
        every = [p for net in self.nets.values() for p in net.parameters() if p.requires_grad]
        gates = {"params": [p for p in every if p.ndim == 0], "factor": GATES, "weight_decay": 0.0}
        return [{"params": [p for p in every if p.ndim]}, *([gates] if gates["params"] else [])]

    def __iter__(self):
        while self.done < self.steps:
            yield self.done
        self.save()

    def learn(self, loss: torch.Tensor, figures: dict) -> None:
        """One optimiser step on ``loss``; ``figures`` are averaged into the log."""
        scale = min(1.0, (self.done + 1) / 100)
        cosine = 0.55 + 0.45 * torch.cos(torch.tensor(torch.pi * self.done / self.steps)).item()
        for group in self.optimiser.param_groups:
            group["lr"] = self.rate * scale * cosine * group.get("factor", 1.0)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_([p for g in self.optimiser.param_groups for p in g["params"]], 1.0)
        self.optimiser.step()
        self.done += 1
        decay = min(self.decay, (1 + self.done) / (10 + self.done))
        with torch.no_grad():
            for n, net in self.nets.items():
                torch._foreach_lerp_(list(self.average[n].values()), list(net.state_dict().values()), 1 - decay)
        for key, value in figures.items():
            self.figures.setdefault(key, []).append(value)
        if self.done % 50 == 0:
            means = {key: round(sum(values) / len(values), 5) for key, values in self.figures.items()}
            line = {"run": self.name, "step": self.done, "seconds": round(time.time() - self.clock, 1), **means}
            print(json.dumps(line), flush=True)
            self.figures, self.clock = {}, time.time()
        if self.done % self.every == 0:
            self.save()

    def save(self) -> None:
        state = {
            "nets": {n: net.state_dict() for n, net in self.nets.items()},
            "average": self.average,
            "optimiser": self.optimiser.state_dict(),
            "done": self.done,
            "generator": self.generator.get_state(),
            "torch": torch.get_rng_state(),
        }
        part = self.path.with_suffix(".part")
        torch.save(state, part)
        os.replace(part, self.path)
