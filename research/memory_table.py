"""What a step of training takes of a GPU's memory, for usual choices: counted on models without numbers, not measured."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from ..nodes.training import memory as counting
from ..nodes.training.host import memory
from ..nodes.training.settings import FULL, LORA, Settings

SAME = {
    "image_size": 32,
    "in_channels": 4,
    "out_channels": 4,
    "model_channels": 320,
    "use_spatial_transformer": True,
    "use_checkpoint": False,
    "legacy": False,
}
SD15 = {
    **SAME,
    "num_res_blocks": [2, 2, 2, 2],
    "channel_mult": [1, 2, 4, 4],
    "transformer_depth": [1, 1, 1, 1, 1, 1, 0, 0],
    "transformer_depth_output": [1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0],
    "transformer_depth_middle": 1,
    "use_linear_in_transformer": False,
    "context_dim": 768,
    "num_heads": 8,
}
SDXL = {
    **SAME,
    "num_res_blocks": [2, 2, 2],
    "channel_mult": [1, 2, 4],
    "transformer_depth": [0, 0, 2, 2, 10, 10],
    "transformer_depth_output": [0, 0, 0, 2, 2, 2, 10, 10, 10],
    "transformer_depth_middle": 10,
    "use_linear_in_transformer": True,
    "context_dim": 2048,
    "num_head_channels": 64,
    "num_classes": "sequential",
    "adm_in_channels": 2816,
}
LAYOUTS = {"SD 1.5": (SD15, 512, 12), "SDXL": (SDXL, 1024, 24)}
"""What the host finds in a checkpoint; side of its pictures; the GPU, in GiB, that a LoRA shall be trained on."""


def rows() -> Iterator[tuple[str, counting.Estimate, int]]:
    """Of one set of 2 pictures: what is trained, what it takes, and the GiB that it shall stay within (0: none are named)."""
    for layout, (config, side, most) in LAYOUTS.items():
        for method in (LORA, FULL):
            for saving in (False, True):
                settings = Settings(method, rows=2, sizes=(0.0, 1.0), side=side, saving=saving)
                dtype = torch.float32 if method == FULL else torch.bfloat16
                found = memory.estimate(config, settings, dtype)
                rank = f" of rank {settings.rank}" if method == LORA else ""
                name = f"{layout}, {method}{rank}, sets of 2 at {side}" + ", --save-memory" * saving
                yield name, found, most if method == LORA else 0


def show() -> None:
    """Print the table."""
    print("Counted on models without numbers, with a tenth for what kernels need and 0.6 GiB for a GPU's own libraries:")
    for name, found, most in rows():
        within = "" if not most else f"; {'within' if found.whole <= most * 2**30 else 'MORE THAN'} {most} GiB"
        print(f"{name}: {found.text()}{within}", flush=True)
