"""Keys and values of references that a model made before: kept by what they were made of, as long as the model lives.

References that do not look at pictures to generate are at a noise level what they were in the last run, whatever is painted.
A page holds what one conditioning's references show in one call: of the tokens that are shown, in every layer, in the precision
that the model runs in. On the device it stays no longer than its run. It is used again only where everything that the UNet
would get for these rows is equal, to the bit, so that a page is never of another subject, caption, noise level or size; the
model's weights and what acts in it are part of its name.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary

import comfy.ldm.modules.attention
import comfy.model_management
import torch

from ..sharing import Shown
from . import kept

PROBES = 8
"""Numbers of each weight that tell a network from one that was changed in place."""
KeysValues = tuple[torch.Tensor, torch.Tensor]

_kept: WeakKeyDictionary[Any, dict[tuple, list[Page]]] = WeakKeyDictionary()


@dataclass(eq=False)
class Page:
    """What references [S * R rows] show in one call. given: all that the UNet gets for these rows.

    layers: of each layer keys and values as `coupling.attend_shown` takes them. run: the last that used it.
    """

    given: list
    layers: dict[tuple, list[KeysValues]] = field(default_factory=dict)
    run: Run | None = None

    @property
    def bytes(self) -> int:
        """What its keys and values take."""
        return sum(x.nbytes for parts in self.layers.values() for pair in parts for x in pair)

    def write(self, layer: tuple, shown: Shown, k: torch.Tensor, v: torch.Tensor, references: int) -> None:
        """Note keys and values [S * R, L, D] of a layer."""
        unions, _ = shown.kept
        pairs = zip(unions, shown.parts(k, references), shown.parts(v, references), strict=True)
        self.layers[layer] = [(_chosen(keys, union), _chosen(values, union)) for union, keys, values in pairs]

    @property
    def device(self) -> torch.device:
        """Where its keys and values are."""
        return next((x.device for parts in self.layers.values() for pair in parts for x in pair), torch.device("cpu"))

    def read(self, layer: tuple, like: torch.Tensor) -> list[KeysValues]:
        """Keys and values of a layer, on the device and in the precision of ``like``."""
        return [(k.to(like, non_blocking=True), v.to(like, non_blocking=True)) for k, v in self.layers[layer]]


@dataclass(eq=False)
class Run:
    """A run that may use pages. most_bytes: of a model's pages, all together.

    Pages know their last run, and outlive it, so a run holds no model.
    """

    most_bytes: int
    _names: dict[int, bytes] = field(default_factory=dict)

    def find(self, model, name: tuple, given: list) -> Page | None:
        """The page of the BaseModel ``model`` that was made of ``given`` under a name, if it is kept."""
        for page in _kept.get(model, {}).get(self._named(model, name), ()):
            if _same(page.given, given):
                page.run = self
                return page
        return None

    def keep(self, model, name: tuple, page: Page, needed: float) -> None:
        """Keep a page within the budget. Pages that this run did not use make room, the oldest first; others do not.

        needed: bytes that the device must have for the call that the page is for.
        """
        pages = _kept.setdefault(model, {})
        if _make_room(pages, self.most_bytes - page.bytes, self):
            page.run = self
            _settle(page, needed)
            pages.setdefault(self._named(model, name), []).append(page)

    def _named(self, model, name: tuple) -> tuple:
        if id(model) not in self._names:
            self._names[id(model)] = _state(model)
        return (self._names[id(model)], *name)


def begin(model, most_bytes: int) -> Run | None:
    """A run on the BaseModel ``model``; None without a budget, and then no page of the model is kept either."""
    if not most_bytes:
        _kept.pop(model, None)
        return None
    run = Run(most_bytes)
    _make_room(_kept.get(model, {}), most_bytes, run)
    return run


def end(model) -> None:
    """After a run, whatever became of it: no page of the BaseModel is left on a device, where the host could not take it away.

    One that cannot be moved is not kept.
    """
    pages = _kept.get(model, {})
    for name, found in list(pages.items()):
        try:
            for page in found:
                _take_away(page)
        except RuntimeError:
            del pages[name]


def size(model) -> int:
    """Bytes that pages of a BaseModel take."""
    return sum(_bytes(_kept.get(model, {})))


def on_device(model, device: torch.device) -> int:
    """Bytes that they take on a device."""
    return sum(page.bytes for found in _kept.get(model, {}).values() for page in found if page.device.type == device.type)


def is_possible(model) -> bool:
    """Whether the weights of a BaseModel are those of its ModelPatcher: hooks of conditioning change them within a run."""
    return model.current_patcher.current_hooks is None


def _make_room(pages: dict[tuple, list[Page]], most: int, run: Run) -> bool:
    """Drop pages that a run did not use, the oldest first, until the others take at most so many bytes; whether they do."""
    used = sum(_bytes(pages))
    for name in list(pages):
        if used <= most:
            break
        used -= sum(page.bytes for page in pages[name] if page.run is not run)
        pages[name] = [page for page in pages[name] if page.run is run]
        if not pages[name]:
            del pages[name]
    return used <= most


def _bytes(pages: dict[tuple, list[Page]]) -> list[int]:
    return [page.bytes for found in pages.values() for page in found]


def _chosen(x: torch.Tensor, union: torch.Tensor | None) -> torch.Tensor:
    """The chosen tokens on their own, not as a part of all."""
    return x.clone() if union is None else x[:, union]


def _settle(page: Page, needed: float) -> None:
    """Take away a page that the device has no room for beside what is needed."""
    if page.device.type == "cpu":
        return
    needed = max(needed, comfy.model_management.minimum_inference_memory())
    if comfy.model_management.get_free_memory(page.device) - needed <= page.bytes:
        _take_away(page)


def _take_away(page: Page) -> None:
    """Move a page from its device to memory that the device reads fast."""
    if page.device.type == "cpu":
        return
    page.layers = {layer: [(_away(k), _away(v)) for k, v in parts] for layer, parts in page.layers.items()}
    page.given = _each(_away, page.given)


def _away(x: torch.Tensor) -> torch.Tensor:
    return x.cpu().pin_memory() if x.device.type == "cuda" else x.cpu()


def _same(a: Any, b: Any) -> bool:
    """Whether two lists hold equal values; tensors must be equal to the bit, wherever they are."""
    if isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)):
        return len(a) == len(b) and all(_same(x, y) for x, y in zip(a, b, strict=True))
    if torch.is_tensor(a) and torch.is_tensor(b):
        return a.dtype == b.dtype and torch.equal(a.to(b.device), b)
    return type(a) is type(b) and a == b


def _state(model) -> bytes:
    """What the network of a BaseModel is at this moment: its patches, what was set on its layers, and samples of its weights."""
    network, patcher = model.diffusion_model, model.current_patcher
    kernel = comfy.ldm.modules.attention.optimized_attention
    kernels = kernel.__module__, kernel.__qualname__, repr(kernel)
    said = (patcher.patches_uuid, str(model.get_dtype_inference()), str(patcher.load_device), *kernels)
    digest = hashlib.sha256(repr((said, *(kept.own(part) for part in network.modules()))).encode())
    for weight in network.parameters():
        if type(weight.data) is torch.Tensor and weight.numel():
            some = weight.detach().flatten()[:: max(1, weight.numel() // PROBES)][:PROBES]
            digest.update(some.float().cpu().numpy().tobytes())
    return digest.digest()


def copied(values: Any) -> Any:
    """Tensors of a nested list on their own, not as parts of larger ones."""
    return _each(torch.clone, values)


def _each(change: Callable[[torch.Tensor], torch.Tensor], values: Any) -> Any:
    if isinstance(values, Sequence) and not isinstance(values, str):
        return [_each(change, one) for one in values]
    return change(values) if torch.is_tensor(values) else values
