"""How much memory a step of training takes: counted on tensors that hold no numbers, or on those that do."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

BLOCK = 512
"""Bytes in which a GPU's memory is given out."""
BESIDE = 1.1
"""What a step takes of a GPU over what its tensors hold: gaps between them, and what kernels need for themselves."""
RUNTIME = 600 * 2**20
"""Bytes that a GPU's own libraries take."""


class Counter(TorchDispatchMode):
    """Counts what tensors on ``device`` (by its type) hold while it is entered, and most of it at one time.

    ``held`` and ``most`` are bytes, beside what was there before and is used inside. Works on real tensors and on fake ones.
    """

    def __init__(self, device: str):
        super().__init__()
        self.device, self.held, self.most = device, 0, 0
        self._known: set[int] = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        for given in tree_iter((args, kwargs)):
            if torch.is_tensor(given) and given.device.type == self.device:
                self._known_already(given)
        out = func(*args, **(kwargs or {}))
        for made in tree_iter(out):
            if torch.is_tensor(made):
                self._meet(made)
        self.most = max(self.most, self.held)
        return out

    def _known_already(self, tensor: torch.Tensor) -> None:
        storage = tensor.untyped_storage()
        if storage._cdata not in self._known:
            self._known.add(storage._cdata)
            weakref.finalize(storage, self._known.discard, storage._cdata)

    def _meet(self, tensor: torch.Tensor) -> None:
        if tensor.device.type != self.device:
            return
        storage = tensor.untyped_storage()
        if storage._cdata in self._known:
            return
        size = -(-storage.nbytes() // BLOCK) * BLOCK
        self._known.add(storage._cdata)
        self.held += size
        weakref.finalize(storage, self._forget, storage._cdata, size)

    def _forget(self, name: int, size: int) -> None:
        self._known.discard(name)
        self.held -= size


@dataclass(frozen=True)
class Estimate:
    """Bytes of a GPU that training takes. weights: of the model. trained: of what is trained, its gradients, the optimiser's
    averages and the running average. activations: most that a step holds beside them.
    """

    weights: int
    trained: int
    activations: int

    @property
    def whole(self) -> int:
        """With what kernels and libraries need."""
        return int(BESIDE * (self.weights + self.trained + self.activations)) + RUNTIME

    def shared(self, ranks: int, whole: int) -> Estimate:
        """Of one of so many processes that share the weights and all that is trained, and of these have ``whole`` bytes whole."""
        weights, trained = (-(-size // ranks) for size in (self.weights, self.trained))
        return Estimate(weights, trained, self.activations + (whole if ranks > 1 else 0))

    def text(self) -> str:
        parts = (("model", self.weights), ("trained", self.trained), ("activations", self.activations), ("in all", self.whole))
        return ", ".join(f"{name} {size / 2**30:.2f} GiB" for name, size in parts)


def of_trained(parameters: list[torch.nn.Parameter], average: bool, eight_bit: bool) -> int:
    """Bytes of what is trained, its gradients, AdamW's two averages, in 8 bits if so, and the running average."""
    numbers = sum(parameter.numel() for parameter in parameters)
    each = (2 if eight_bit else 8) + (4 if average else 0)
    return 2 * sum(p.numel() * p.element_size() for p in parameters) + numbers * each


def counted(step: Callable[[], torch.Tensor], parameters: list[torch.nn.Parameter], device: str) -> int:
    """Most bytes that ``step`` (forward, gives the loss) and its gradient hold at one time, beside what was there before.

    Gradients of ``parameters`` are not among them: each counts as there before.
    """
    for parameter in parameters:
        parameter.grad = torch.zeros_like(parameter)
    with Counter(device) as counter:
        step().backward()
    for parameter in parameters:
        parameter.grad = None
    return counter.most
