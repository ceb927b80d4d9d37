"""Counts what a sampler's step should not need: projections, values read back to the CPU, resized masks.

A mode for torch's Python functions sees all of them, on any device. Under inference mode, in which the host
samples, the operations below them need not show: `item` and `linear` never reach a mode that watches those.
"""

import os
from collections import Counter
from pathlib import Path
from sys import _getframe

import torch
from same_subject.dev import pack
from torch.overrides import TorchFunctionMode

PROJECTIONS, READ_BACKS, RESIZES = "projections", "read_backs", "resizes"
KINDS = {
    PROJECTIONS: "linear bilinear matmul __matmul__ __rmatmul__ mm bmm addmm baddbmm einsum",
    READ_BACKS: "item tolist numpy cpu __array__ __bool__ __int__ __float__ __complex__ __index__ __contains__ __format__ "
    "__repr__ is_nonzero nonzero argwhere equal allclose unique unique_consecutive masked_select",
    RESIZES: "interpolate adaptive_avg_pool2d avg_pool2d grid_sample",
}
KIND_OF = {name: kind for kind, names in KINDS.items() for name in names.split()}
NODES = f"{pack.ROOT / 'nodes'}{os.sep}"
HOST = tuple(f"{os.sep}{folder}{os.sep}" for folder in ("comfy", "comfy_extras"))
HELPERS = {"ops.py", "utils.py", "model_management.py"}
"""Files of the host that do what their caller wants: layers, resizing, moving."""


class Watch(TorchFunctionMode):
    """Counts by kind. total: of everybody. ours: what this pack asked for, rather than the host's own networks and samplers."""

    def __init__(self):
        super().__init__()
        self.total, self.ours = Counter(), Counter()

    def __torch_function__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        kind = kind_of(getattr(func, "__name__", ""), args, result)
        if kind:
            self.total[kind] += 1
            self.ours[kind] += this_pack_asks()
        return result

    def clear(self):
        """Begin again."""
        self.total.clear()
        self.ours.clear()

    def shares(self, calls):
        """{kind: (ours, total)}, each divided by a number of calls."""
        return {kind: (self.ours[kind] / calls, self.total[kind] / calls) for kind in KINDS}


def kind_of(name, args, result):
    """What a call of a function of torch counts as, or None."""
    if name in ("to", "copy_"):
        moved = result.device.type == "cpu" and any(torch.is_tensor(one) and one.device.type != "cpu" for one in args)
        return READ_BACKS if moved else None
    if name == "where":
        return READ_BACKS if len(args) == 1 else None
    if name in ("__getitem__", "__setitem__"):
        index = args[1] if isinstance(args[1], (tuple, list)) else (args[1],)
        return READ_BACKS if any(torch.is_tensor(one) and one.dtype == torch.bool for one in index) else None
    return KIND_OF.get(name)


def this_pack_asks():
    """Whether the innermost caller among this pack's nodes and the host is one of these nodes."""
    frame = _getframe(1)
    while frame is not None:
        file = frame.f_code.co_filename
        if file.startswith(NODES):
            return True
        if any(folder in file for folder in HOST) and Path(file).name not in HELPERS:
            return False
        frame = frame.f_back
    return False
