"""What a process that `processes.py` started does: enter the host with its flags, do one order, write what came of it."""

import importlib
import json
import os
import platform
import sys
from pathlib import Path

from same_subject.dev import pack


def work(order):
    """Do an order; returns the exit code. What goes wrong ends the process with a traceback."""
    enter(order["flags"])
    WORK[order["work"]](order)
    return 0


def enter(flags):
    """Make the host importable, as if it was started with these flags."""
    root = os.environ["COMFYUI_PATH"]
    sys.path.insert(0, root)
    sys.argv[1:] = flags
    import comfy.options

    comfy.options.enable_args_parsing()
    pack.enter_host(root, cpu=True if "--cpu" in flags else None)
    import torch

    if not torch.cuda.is_available():
        torch.set_num_threads(1)  # tiny models gain nothing from more


def machine(order):
    """One row: what this machine is, once everything that stages need has been imported."""
    import comfy.model_management
    import comfy.samplers
    import torch

    import nodes  # noqa: F401

    device = comfy.model_management.get_torch_device()
    gpu = device.type == "cuda"
    row = {
        "device": torch.cuda.get_device_name() if gpu else f"CPU ({platform.machine()})",
        "rehearsal": not gpu,
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "python": platform.python_version(),
        "attention": comfy.ldm.modules.attention.optimized_attention.__name__,
        "threads": torch.get_num_threads(),
        "memory_mib": round(comfy.model_management.get_total_memory(device) / 2**20),
    }
    Path(order["output"]).write_text(json.dumps([row]), encoding="utf-8")


def stage(order):
    """The rows of a stage, written as soon as each is known."""
    module, function = order["function"].split(".")
    output, rows = Path(order["output"]), []
    for row in getattr(importlib.import_module(f"same_subject.dev.acceleration.{module}"), function)():
        rows.append(row)
        print(row, flush=True)
        partial = output.with_suffix(".partial")
        partial.write_text(json.dumps(rows), encoding="utf-8")
        os.replace(partial, output)


def cases(order):
    """See `cases.solve`."""
    from . import cases

    cases.solve(order)


WORK = {"machine": machine, "stage": stage, "cases": cases}
