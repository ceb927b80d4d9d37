"""What every comparison needs: models on this machine's device, rounds, and the peak of memory."""

import contextlib
import ctypes
import gc
import threading
import time

from . import models, rows

CPU_SECONDS = 90  # on a CPU, a comparison takes no new round after this
ROUNDS = {"cpu": 5, "cuda": 20}


class Bench:
    """Models with random weights on this machine's device. build: what has the builders of `models.py`."""

    def __init__(self, size=512, rounds=None, build=models):
        import comfy.model_management
        import torch

        self.torch, self.size = torch, size
        self.device = comfy.model_management.get_torch_device()
        cuda = self.device.type == "cuda"
        threads = torch.get_num_threads()
        self.clock = time.process_time if not cuda and threads == 1 else time.perf_counter
        self.device_name = (
            torch.cuda.get_device_name() if cuda else f"CPU, {threads} threads" if threads > 1 else "CPU, own seconds"
        )
        self.fixed_rounds = rounds
        self.build = build
        self.kind, self.parts = None, {}
        self.budget = CPU_SECONDS

    def part(self, what, kind):
        """The `what` (a builder's name) of a kind of model."""
        return self.keep(kind, what, lambda: getattr(self.build, what)(kind, self.device))

    def keep(self, kind, key, make):
        """What `make()` gives, made once; what was kept of another kind is dropped first."""
        if kind != self.kind:
            self.parts.clear()
            gc.collect()
            self.kind = kind
        if key not in self.parts:
            self.parts[key] = make()
        return self.parts[key]

    def rounds(self):
        """Yields once a round, until there were enough, or on a CPU until the time is up (but three times at least)."""
        most = self.fixed_rounds or ROUNDS.get(self.device.type, 5)
        started = time.perf_counter()
        for number in range(most):
            late = self.device.type == "cpu" and time.perf_counter() - started > self.budget
            if late and number >= 3 and self.fixed_rounds is None:
                return
            yield number

    def compare(self, name, ours, other, bound):
        """Rows of two functions that return seconds, taking turns."""
        memory = [self.peak(other), self.peak(ours)]
        seconds = [(ours(), other()) for _ in self.rounds()]
        return [rows.row(name, [a / b for a, b in seconds], bound, seconds), rows.memory_row(name, *memory)]

    def peak(self, function):
        """Bytes that a call takes above what is in use before it; also serves as its warm-up."""
        function() if self.device.type == "cuda" else None
        gc.collect()
        if self.device.type == "cuda":
            self.torch.cuda.reset_peak_memory_stats()
            before = self.torch.cuda.memory_allocated()
            function()
            return self.torch.cuda.max_memory_allocated() - before
        with ResidentPeak() as peak:
            function()
        return peak.bytes

    def synchronize(self):
        """Wait until the device has done what it was asked."""
        if self.device.type == "cuda":
            self.torch.cuda.synchronize()


def count_flops(function):
    """Floating-point operations of matrix products, convolutions and attention in a call."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

    def attention(query, key, value, *_, out_shape=None, **__):
        return sdpa_flop_count(query, key, value)

    on_cpu = {torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: attention}
    with FlopCounterMode(display=False, custom_mapping=on_cpu) as counter:
        function()
    return counter.get_total_flops()


def trim():
    """Give freed memory that the allocator keeps back to the system, where it can."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)


class ResidentPeak:
    """The most memory that this process held during a `with` block, above what it held before, in bytes."""

    def __enter__(self):
        import psutil

        trim()  # or freed memory that the allocator keeps would hide a part
        self.process = psutil.Process()
        self.before = self.most = self.process.memory_info().rss
        self.stopped = threading.Event()
        self.thread = threading.Thread(target=self.watch, daemon=True)
        self.thread.start()
        return self

    def watch(self):
        """Look every few milliseconds."""
        while not self.stopped.wait(0.005):
            self.most = max(self.most, self.process.memory_info().rss)

    def __exit__(self, *_):
        self.stopped.set()
        self.thread.join()

    @property
    def bytes(self):
        """The peak."""
        return self.most - self.before
