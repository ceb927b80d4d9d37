"""Milliseconds of a step, the share of the matmul rate that it reaches, and its peak of memory."""

import statistics
import time

from ..benchmark import joint, measuring, scenes
from . import tiny

TINY_SIZE = 64
MATMUL = {"cuda": 8192, "cpu": 512}
"""Rows and columns of the square matrices that the device's own rate is measured with."""


def sd15():
    """Joint sets on Stable Diffusion 1.5."""
    yield from sets("sd15", 512)


def sdxl():
    """Joint sets on Stable Diffusion XL."""
    yield from sets("sdxl", 1024)


def people():
    """Scenes of 1 to 4 people with identities and faces on Stable Diffusion XL; the host alone on text before them."""
    bench = on_this_machine()
    size, rate = 1024 if is_gpu(bench) else TINY_SIZE, matmul_rate(bench, "sdxl")
    yield matmul_row(rate)
    alone = scenes.plain(bench, "sdxl", size, 1)
    yield timed(bench, f"host alone, {size} px", scenes.seconds(bench, alone), lambda: scenes.sample(alone, 1), rate)
    for number in range(1, 5):
        one = scenes.scene(bench, "sdxl", size, number)
        yield timed(bench, f"{number} people, {size} px", scenes.seconds(bench, one), lambda one=one: scenes.sample(one, 1), rate)


def sets(kind, size):
    """Rows of one evaluation of a batch, of a coupled set, and of three terms.

    The network is called once with as many rows as there are pictures, without guidance; three terms have three times as many.
    """
    bench = on_this_machine()
    size, rate = size if is_gpu(bench) else TINY_SIZE, matmul_rate(bench, kind)
    yield matmul_row(rate)
    planned = [(f"plain, {n} pictures", n, {"patched": False}) for n in (1, 2, 3, 4)]
    planned += [(f"coupled, {n} pictures", n, {}) for n in (2, 3, 4)]
    planned += [(f"three terms, {n} pictures", n, {"guidance": "text first"}) for n in (2, 4)]
    planned.append(("references only, 4 pictures", 4, {"reference_attention": "references only"}))
    for name, pictures, options in planned:
        evaluate = joint.evaluation(bench, kind, pictures, size=size, **options)
        yield timed(bench, f"{name}, {size} px", evaluate, evaluate, rate)


def timed(bench, name, seconds, step, rate):
    """A row. seconds: a function that gives those of a step; step: does one, for counting its operations."""
    with bench.torch.inference_mode():
        peak = bench.peak(seconds)
        flops = measuring.count_flops(step)
        times = [1000 * seconds() for _ in bench.rounds()]
    ms = statistics.median(times)
    reached = flops / ms * 1000
    return {
        "name": name,
        "ms": round(ms, 3),
        "lowest_ms": round(min(times), 3),
        "highest_ms": round(max(times), 3),
        "rounds": len(times),
        "gflop": round(flops / 1e9, 2),
        "tflops": reached / 1e12,
        "share": round(reached / rate, 4),
        "peak_mib": round(peak / 2**20, 1),
    }


def matmul_rate(bench, kind):
    """Floating-point operations a second of the device's own product of large random matrices, in the model's type."""
    torch, size = bench.torch, MATMUL[bench.device.type]
    dtype = bench.part("model", kind).model.get_dtype()
    a, b = (torch.randn(size, size, device=bench.device).to(dtype) for _ in range(2))
    times = []
    for _ in range(3 + 10):
        bench.synchronize()
        started = time.perf_counter()
        a @ b
        bench.synchronize()
        times.append(time.perf_counter() - started)
    return 2 * size**3 / statistics.median(times[3:])


def matmul_row(rate):
    """That rate as a fact."""
    return {"name": "matmul", "value": f"{rate / 1e12:.3g} TFLOP/s", "flops_a_second": rate}


def on_this_machine():
    """Full-size models on a GPU, tiny ones in a rehearsal."""
    bench = measuring.Bench()
    if not is_gpu(bench):
        bench.build, bench.fixed_rounds = tiny, 2
    return bench


def is_gpu(bench):
    """Whether this is no rehearsal."""
    return bench.device.type == "cuda"
