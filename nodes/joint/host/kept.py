"""Latents of references that a VAE made before: kept by what they hold, as long as the VAE lives, within bounds.

The host runs Joint Set again when only a prompt changed; its references need no second encoding then.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable
from weakref import WeakKeyDictionary

import torch

MOST_BYTES = 64 * 2**20
"""Of latents kept for one VAE: a thousand of 512x512 pixels. What was not used for longest goes first."""
OF_LOADING = frozenset(("seed_key", "weight_lowvram_function", "bias_lowvram_function"))
"""What the host sets on layers when it first loads them with DynamicVRAM. Patches among it have a number of their own."""

_kept: WeakKeyDictionary[object, OrderedDict[tuple, torch.Tensor]] = WeakKeyDictionary()


def latent_of(vae, picture: torch.Tensor, encode: Callable[[], torch.Tensor]) -> torch.Tensor:
    """The latent [1, C, h, w] of ``picture`` [H, W, 3] in single precision on the CPU: the one kept, or ``encode()``.

    A VAE that another node changed in place since then is another VAE. The result must not be written to.
    """
    try:
        kept = _kept.setdefault(vae, OrderedDict())
    except TypeError:  # another pack's VAE that has no hash or takes no weak reference
        return encode().float().cpu()
    data = picture.detach().cpu().contiguous()
    key = (hashlib.sha256(data.numpy()).digest(), str(data.dtype), tuple(data.shape), _way(vae))
    if key not in kept:
        kept[key] = encode().float().cpu()
    kept.move_to_end(key)
    while sum(latent.nbytes for latent in kept.values()) > MOST_BYTES and len(kept) > 1:
        kept.popitem(last=False)
    return kept[key]


def _way(vae) -> tuple:
    """What nodes change of a VAE in place: its precision, patches, and methods or paddings of its layers (seamless tiling)."""
    network = getattr(vae, "first_stage_model", None)
    layers = network.modules() if isinstance(network, torch.nn.Module) else ()
    patches = getattr(getattr(vae, "patcher", None), "patches_uuid", None)
    return (str(getattr(vae, "vae_dtype", "")), patches, *(own(part) for part in (vae, *layers)))


def own(part: object) -> tuple[tuple[str, str], ...]:
    """Texts and functions that were set on an object itself, by name, but by the host's loading."""
    return tuple(
        (name, value if isinstance(value, str) else getattr(value, "__qualname__", ""))
        for name, value in sorted(vars(part).items())
        if (isinstance(value, str) or callable(value)) and name not in OF_LOADING
    )
