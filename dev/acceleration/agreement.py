"""The same outcome on another device, in another precision, with other memory flags of the host."""

import math

from . import cases

DEVICE_BOUND = 1e-3
"""Float32 sums in another order, through three steps of sampling."""
HALVES = ("float16", "bfloat16")
HALF_MARGIN = 3
"""How many times the host's own loss in half precision, without the pack's part, the loss with it may be."""
FLAGS_BOUND = 0.01
FLAGS = ("--gpu-only", "--novram")
SAMPLED = ("joint_set", "scene")
PATIENCE = 240
"""Seconds that one process with cases may take."""


def device():
    """All cases tiny and in float32: this machine's device against the CPU."""
    expected = outcomes(list(cases.CASES), flags=["--cpu"])
    yield from compared(outcomes(list(cases.CASES)), expected, DEVICE_BOUND)


def half():
    """Sampling with a UNet of full size in half precision, against the same weights in float32.

    What is lost depends on the weights and is amplified by guidance, so the bound comes from the same run: half of what the
    pack's part does, or what the host alone loses times `HALF_MARGIN`.
    """
    expected = outcomes(SAMPLED, full=on_gpu(), dtype="float32")
    for dtype in HALVES:
        made = outcomes(SAMPLED, full=on_gpu(), dtype=dtype)
        for name in SAMPLED:
            was, now = expected[name], made[name]
            bound = max(difference(was["changed"], was["outcome"]) / 2, HALF_MARGIN * difference(now["changed"], was["changed"]))
            yield from compared({name: now}, {name: was}, bound, f" in {dtype}")


def memory_flags():
    """Sampling of full size, the demo's whole pipeline and a detector with each flag, against none."""
    chosen = [*SAMPLED, "demo", "detector"]
    expected = outcomes(chosen, full=on_gpu())
    yield from costs(expected, " with no flag")
    for flag in FLAGS:
        made = outcomes(chosen, full=on_gpu(), flags=[flag])
        yield from compared(made, expected, FLAGS_BOUND, f" with {flag}")
        yield from costs(made, f" with {flag}")


def on_gpu():
    """Whether this is no rehearsal."""
    import comfy.model_management

    return comfy.model_management.get_torch_device().type == "cuda"


def outcomes(names, full=False, flags=(), dtype=None):
    """See `cases.solve`."""
    return cases.solved(cases=list(names), full=full, flags=list(flags), dtype=dtype, seconds=PATIENCE)


def compared(made, expected, bound, label=""):
    """A row for each case: the difference as a share, and the difference that the changed case makes."""
    for name, right in expected.items():
        if "missing" in right:
            yield {"name": name + label, "value": f"absent: {right['missing']}"}
            continue
        effect = difference(right["changed"], right["outcome"])
        share = difference(made[name]["outcome"], right["outcome"])
        yield {"name": name + label, "difference": share, "bound": bound, "effect": effect}


def costs(made, label):
    """Time and memory of each case, models loaded."""
    for name, one in made.items():
        yield {"name": f"{name}{label}, cost", "value": f"{one['seconds']:.3f} s, peak {one['peak_mib']:.0f} MiB"}


def difference(a, b):
    """Root mean square of the difference, as a share of that of the second around its mean. Infinite if not all is finite."""
    share = float((a - b).double().norm() / (b - b.mean()).double().norm())
    return share if math.isfinite(share) else math.inf
