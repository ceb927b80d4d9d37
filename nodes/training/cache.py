"""Tensors kept on disk by what they were made of, such as latents of pictures, from one run to the next and for all at once."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch

from ..data.whole_files import whole

MOST = 20 * 2**30
"""Bytes of a folder, where nobody says otherwise: latents of about 200,000 pictures of 512x512 pixels in single precision."""

Tensors = dict[str, torch.Tensor]


class Cache:
    """A folder of safetensors files, each written whole or not at all, so that a run that was killed goes on with what is there.

    most: bytes; what is made when they are full is not kept, so that a pass over more data still finds its first part. Nor is it
    where the folder cannot be written to: a warning says so once.
    ``made`` and ``found`` count what was asked for.
    """

    def __init__(self, folder: Path, most: int = MOST):
        self.folder, self.most, self.made, self.found = folder, most, 0, 0
        self.size = sum(path.stat().st_size for path in folder.rglob("*.safetensors")) if folder.is_dir() else 0

    def get(self, what: Iterable[object], make: Callable[[], Tensors]) -> Tensors:
        """What ``make`` gives, from disk where it was made before. what: all that it is made of: texts, numbers, tensors."""
        from safetensors.torch import load_file

        name = name_of(what)
        path = self.folder / name[:2] / f"{name}.safetensors"
        try:
            found = load_file(path)
        except FileNotFoundError:
            pass
        except Exception:  # cut short by a machine that lost its power; it is written anew
            pass
        else:
            self.found += 1
            return found
        made = make()
        self.made += 1
        self._keep(path, made)
        return made

    def _keep(self, path: Path, made: Tensors) -> None:
        from safetensors import SafetensorError
        from safetensors.torch import save_file

        size = sum(tensor.nbytes for tensor in made.values())
        if self.size + size > self.most:
            return
        try:
            with whole(path, f".{os.getpid()}") as part:
                save_file({key: tensor.detach().cpu().contiguous() for key, tensor in made.items()}, part)
        except (OSError, SafetensorError) as problem:
            self.most = 0
            logging.warning("Training: latents and texts are no longer kept: %s cannot be written to: %s", self.folder, problem)
        else:
            self.size += size


def name_of(what: Iterable[object]) -> str:
    """A name that only the same parts in the same order have, each with its kind and length, a tensor with its shape."""
    digest = hashlib.sha256()
    for part in what:
        data: Any
        if isinstance(part, torch.Tensor):
            said, data = f"{tuple(part.shape)} {part.dtype}", part.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy()
        elif isinstance(part, bytes):
            said, data = f"bytes {len(part)}", part
        else:
            data = repr(part).encode()
            said = f"{type(part).__name__} {len(data)}"
        digest.update(f"{said};".encode())
        digest.update(data)
    return digest.hexdigest()


def fingerprint(network: torch.nn.Module) -> str:
    """A name that only networks with the same weights have."""
    return name_of(part for name, weight in sorted(network.state_dict().items()) for part in (name, weight))
