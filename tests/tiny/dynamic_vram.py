"""The host's DynamicVRAM, as its `main.py` switches it on where comfy-aimdo finds a GPU, in this process and without one.

`switched_on(HOST)` is what a network on the CPU gets then: layers without weights until they are loaded, files that are mapped
to memory, and the host's plain ModelPatcher, which it takes for the CPU. `switched_on(STAND_IN)` takes the ModelPatcher of GPUs,
too: weights are the file's own tensors in the file's precision, and what a layer computes with is a copy that is made when the
layer is first called, as on a GPU; here that copy lies in plain memory.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch

HOST, STAND_IN = "the host's on a CPU", "a stand-in for a GPU's"


def is_available() -> bool:
    """Whether this host has DynamicVRAM, and its library loads here; once loaded it stays."""
    try:
        control = importlib.import_module("comfy_aimdo.control")
    except ImportError:
        return False
    if control.lib is None and not (control.init() and control.lib):
        return False
    for name in ("host_buffer", "model_vbar", "model_mmap"):  # they ask for the library when they are imported
        try:
            module = importlib.import_module(f"comfy_aimdo.{name}")
        except ImportError:
            continue
        if getattr(module, "lib", None) is None:
            importlib.reload(module)
    return True


@contextmanager
def switched_on(kind: str) -> Iterator[None]:
    """What is loaded inside must not be used outside, nor the other way round."""
    import comfy.memory_management
    import comfy.model_management
    import comfy.model_patcher
    import comfy.ops

    with pytest.MonkeyPatch.context() as patch:
        comfy.model_management.unload_all_models()
        patch.setattr(comfy.memory_management, "aimdo_enabled", True)
        patch.setattr(comfy.model_patcher, "CoreModelPatcher", comfy.model_patcher.ModelPatcherDynamic)
        if kind == STAND_IN:
            patch.setattr(comfy.model_patcher, "CoreModelPatcher", _patcher())
            patch.setattr(comfy.ops, "cast_bias_weight", _cast(comfy.ops.cast_bias_weight))
            # With a GPU texts are never encoded where their weights wait; else an empty network would be loaded.
            patch.setattr(comfy.model_management, "text_encoder_initial_device", lambda *given: torch.device("cpu", 0))
        yield
        comfy.model_management.unload_all_models()


class Memory:
    """In the place of `comfy_aimdo.model_vbar.ModelVBAR`: has room for everything."""

    def alloc(self, size: int) -> tuple:
        return self, 0, size

    def prioritize(self) -> None:
        pass

    def unpin(self, offset: int, size: int) -> None:
        pass

    def loaded_size(self) -> int:
        return 0

    def free_memory(self, size: int) -> int:
        return 0


def _patcher() -> type:
    import comfy.model_patcher

    class OnThisDevice(comfy.model_patcher.ModelPatcherDynamic):
        """The host gives a plain one where the device is a CPU, and frees memory of GPUs only."""

        def __new__(cls, *given, **named):
            return object.__new__(cls)

        def _vbar_get(self, create=False):
            return Memory()

        def partially_unload(self, device_to, memory_to_free=0, force_patch_weights=False):
            for part in self.model.modules():
                part.__dict__.pop("_v_weight", None), part.__dict__.pop("_v_bias", None)
            return self.restore_loaded_backups() if hasattr(self, "restore_loaded_backups") else 0  # not before 0.24

    return OnThisDevice


def _cast(plain):
    def cast(s, input=None, dtype=None, device=None, bias_dtype=None, offloadable=False, **named):
        """Copies as the host makes them of weights that wait: when they are first needed, patched, in the model's precision."""
        if not hasattr(s, "_v"):
            return plain(s, input, dtype, device, bias_dtype, offloadable, **named)
        dtype = input.dtype if dtype is None and input is not None else dtype
        for name in ("weight", "bias"):
            own, patch = getattr(s, name), getattr(s, f"{name}_lowvram_function", None)
            if own is not None and (s._v_signature is None or f"_v_{name}" not in s.__dict__):
                copy = own.to(getattr(own, "_model_dtype", own.dtype), copy=True)
                s.__dict__[f"_v_{name}"] = copy if patch is None else patch(copy.float()).to(copy.dtype)
        s._v_signature = True
        weight, bias = (getattr(s, f"_v_{name}", None) for name in ("weight", "bias"))
        weight = weight if dtype is None else weight.to(dtype)
        bias = None if s.bias is None else bias.to(bias_dtype or weight.dtype)
        return (weight, bias, (None, None, None)) if offloadable else (weight, bias)

    return cast
