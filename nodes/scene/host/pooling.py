"""Predictions of several branches in one step: those that share a model in one batch.

`Pool.step` starts each branch's step, one inside the other, up to the moment when it asks for its predictions; so
every hook of other nodes acts on its branch as in a plain run. The innermost then answers all that share a model
with one `calc_cond_batch`, which the host cuts into as many calls of the UNet as memory needs. Only patches that
look for one positive and one negative chunk in a batch get each branch's batch by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import comfy.samplers
import torch

from ...host import pairs
from .controls import TAG, Controls, latents_of


@dataclass(eq=False)
class Pool:
    """One step of a run: what the branches ask for, and the answers. Branch 0 is the background.

    background: its ModelPatcher. concepts: guiders with their ModelPatcher, `step_options`, `predict` and `narrow`.
    """

    background: object
    concepts: Sequence
    started: set[int] = field(default_factory=set)
    asked: dict[int, dict] = field(default_factory=dict)
    answers: dict[int, list] = field(default_factory=dict)

    def step(self, executor, latents: Sequence[torch.Tensor], sigma: torch.Tensor, options: dict, seed) -> list[torch.Tensor]:
        """K + 1 denoised predictions, each [B, C, h, w]."""
        results: list = [None] * len(latents)
        for_concepts = {key: options[key] for key in ("disable_cfg1_optimization",) if key in options}

        def enter(number: int) -> None:
            if number == len(latents):
                self._answer()
                return
            if number == 0:
                results[0] = executor(latents[0], sigma, {**options, **self._asking(0, options, enter)}, seed)
            else:
                concept = self.concepts[number - 1]
                asking = self._asking(number, concept.step_options, enter)
                results[number] = concept.predict(latents[number], sigma, {**for_concepts, **asking}, seed)
            if number not in self.started:  # another node's hook had an answer of its own
                enter(number + 1)

        enter(0)
        return results

    def parts(self, position: int) -> list[torch.Tensor]:
        """Each branch's conditional (0) or unconditional (1) prediction, before guidance."""
        if len(self.answers) < 1 + len(self.concepts):
            raise ValueError(
                "Concept Scene: a CFG++ sampler needs each branch's unconditional prediction, but another node on a model skips "
                "predictions. Remove that node, or use a sampler without CFG++."
            )
        own = (self.answers[number][position] for number in sorted(self.answers))
        narrow = [lambda rows: rows, *(concept.narrow for concept in self.concepts)]
        return [one(rows) for one, rows in zip(narrow, own, strict=True)]

    def _asking(self, number: int, options: dict, enter: Callable[[int], None]) -> dict:
        """Options under which a branch's step asks this pool for its predictions, after the next branch has asked."""
        previous = options.get("sampler_calc_cond_batch_function")
        patcher = self._patcher(number)

        def calc_cond_batch(args: dict) -> list:
            first = number not in self.started
            self.started.add(number)
            if first and not previous:
                self.asked[number] = args
            if first:
                enter(number + 1)
            # Clones of a model share the network, which knows only one of them.
            args["model"].current_patcher = patcher
            if previous:
                self.answers[number] = previous(args)
            elif not first:  # some functions after CFG predict again
                given = args["conds"], args["input"], args["sigma"], args["model_options"]
                return comfy.samplers.calc_cond_batch(args["model"], *given)
            return self.answers[number]

        return {"sampler_calc_cond_batch_function": calc_cond_batch}

    def _patcher(self, number: int):
        return self.concepts[number - 1].model_patcher if number else self.background

    def _answer(self) -> None:
        """Predictions of all branches, those of one model in one batch."""
        groups: dict = {}
        for number in self.asked:
            patcher = self._patcher(number)
            alone = pairs.wanted(patcher.model_options["transformer_options"])
            groups.setdefault((patcher, number if alone else None), []).append(number)
        for (patcher, _), numbers in groups.items():
            self.asked[numbers[0]]["model"].current_patcher = patcher
            self.answers |= predict_together({number: self.asked[number] for number in numbers})


def predict_together(asked: dict[int, dict]) -> dict[int, list]:
    """For each branch of one model the predictions of its conditionings, from one `calc_cond_batch`.

    asked: arguments of the host's `sampler_calc_cond_batch_function`; latents "input" may differ between branches.
    """
    first = next(iter(asked.values()))
    if len(asked) == 1:
        (number,) = asked
        alone = first["conds"], first["input"], first["sigma"], first["model_options"]
        return {number: comfy.samplers.calc_cond_batch(first["model"], *alone)}
    own = {number: args["input"] for number, args in asked.items()}
    latents = None if all(x is first["input"] for x in own.values()) else own
    given = [(number, position, cond) for number, args in asked.items() for position, cond in enumerate(args["conds"])]
    controls = Controls((entry.get("control") for _, _, cond in given for entry in cond or ()), latents)
    conds = [cond and [controls.tagged(entry, number, position) for entry in cond] for number, position, cond in given]
    options = {**first["model_options"], "model_function_wrapper": _for_chunks(first["model_options"], latents)}
    out = comfy.samplers.calc_cond_batch(first["model"], conds, first["input"], first["sigma"], options)
    answers, start = {}, 0
    for number, args in asked.items():
        answers[number] = out[start : start + len(args["conds"])]
        start += len(args["conds"])
    return answers


def _for_chunks(model_options: dict, latents: dict[int, torch.Tensor] | None) -> Callable:
    """A `model_function_wrapper`: each chunk gets its branch's latents, and reads as one of that branch's conditionings.

    latents: by branch, or None if all have the same.
    """
    previous = model_options.get("model_function_wrapper")

    def call(apply_model, args: dict):
        c = dict(args["c"])
        chunks = c.pop(TAG)
        x, cond_or_uncond = latents_of(chunks, args["input"], latents), [chunk.position for chunk in chunks]
        c["transformer_options"] = {**c["transformer_options"], "cond_or_uncond": cond_or_uncond}
        if previous is not None:
            return previous(apply_model, {**args, "input": x, "c": c, "cond_or_uncond": cond_or_uncond})
        return apply_model(x, args["timestep"], **c)

    return call
