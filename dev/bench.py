"""Speed and memory of joint sampling, as ratios measured side by side in one process.

    python3 dev/bench.py                          everything, about ten minutes on two CPU cores
    python3 dev/bench.py --only coupling          what starts with a name; see the table for names
    python3 dev/bench.py --output bench.json      the rows as JSON too

Models are full-size with random weights, so nothing is downloaded. What is timed is one evaluation as
a sampler asks for it: reference replacement, branches, guidance and the UNet. Variants take turns, and
a ratio is the median over the rounds of the ratio within a round.
"""

if not __package__:
    from pack import load

    load()

import argparse
import contextlib
import ctypes
import gc
import json
import statistics
import sys
import threading
import time
from pathlib import Path

from same_subject.dev import host as hosts
from same_subject.dev import pack

COUPLING_BOUND = 1.05
BRANCHES_BOUND = {"cpu": 1.05, "cuda": 1.0}
CPU_SECONDS = 90  # on a CPU, a comparison takes no new round after this
ROUNDS = {"cpu": 5, "cuda": 20}
PAPER_STEP_MS = 56.4  # JeDi, table 10: one step on an A100


def main(arguments=None):
    """Run the command; returns the exit code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    parser = argparse.ArgumentParser(prog="dev/bench.py", description=__doc__.splitlines()[0])
    parser.add_argument("--only", metavar="NAME", default="", help="only comparisons whose name starts with this")
    parser.add_argument("--output", type=Path, metavar="FILE.json", help="write the rows as JSON")
    parser.add_argument("--size", type=int, default=512, help="width and height for SD1.5 (default: %(default)s)")
    parser.add_argument("--rounds", type=int, help="rounds a comparison (default: up to 5 on a CPU, 20 on a GPU)")
    parser.add_argument("--comfyui", type=Path, help="a ComfyUI to use, only read")
    options = parser.parse_args(arguments)
    with hosts.plain_errors():
        inside = hosts.inside()
        if inside is None:
            return hosts.continue_inside(hosts.find(options.comfyui), __file__, arguments)
        pack.enter_host(inside.root)
        rows = []
        for entry in run(options.only, options.size, options.rounds, inside.version):
            rows.append(entry)
            print(f"{entry['name']}: {entry['ratio']:.3f}", flush=True)
            if options.output:
                options.output.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")
        if not rows:
            raise hosts.SetupError(f"--only {options.only}: no comparison has a name that starts so, or it needs a GPU.")
    print_table(rows)
    return 0


def run(only="", size=512, rounds=None, host_version="unknown"):
    """Yield the rows of every comparison whose name starts with `only`, each as soon as it is measured."""
    bench = Bench(size, rounds)
    planned = [(f"coupling_{n}", lambda n=n: coupling(bench, n)) for n in (2, 3, 4)]
    planned += [("three_branches", lambda: three_branches(bench)), ("references_only", lambda: references_only(bench))]
    if bench.device.type == "cuda":
        planned += [("sdxl_coupling_2", lambda: sdxl(bench))]
    for name, compare in planned:
        if name.startswith(only):
            print(f"{name} …", flush=True)
            for measured in compare():
                yield {**measured, "device": bench.device_name, "host_version": host_version}


# -- the comparisons ------------------------------------------------------------------------------


def coupling(bench, pictures, kind="sd15", size=None):
    """(a) A coupled set of N against the same batch unpatched plus the longer attention that coupling asks for.

    The extra time is that of the host's own kernel, called alone on the coupled and on the plain shapes.
    """
    name = f"coupling_{pictures}" if kind == "sd15" else f"{kind}_coupling_{pictures}"
    plain = bench.evaluation(kind, pictures, size=size, patched=False)
    coupled = bench.evaluation(kind, pictures, size=size)
    attention = [
        (layers, bench.attention(1, pictures * tokens, width, heads), bench.attention(pictures, tokens, width, heads))
        for (tokens, width, heads), layers in bench.self_attention(plain).items()
    ]
    memory = [bench.peak(plain), bench.peak(coupled)]
    seconds, ratios = [], []
    for _ in bench.rounds():
        base, ours = bench.time(plain), bench.time(coupled)
        extra = sum(layers * (bench.time(joined) - bench.time(apart)) for layers, joined, apart in attention)
        seconds.append((ours, base + extra))
        ratios.append(ours / (base + extra))
    return [row(name, ratios, COUPLING_BOUND, seconds), memory_row(name, *memory)]


def three_branches(bench):
    """(b) Three-branch guidance in one batched call against three calls of the same patched model."""
    together = bench.evaluation("sd15", 2, guidance="text first")
    apart = bench.evaluation("sd15", 2, guidance="text first", split=True)
    bound = BRANCHES_BOUND[bench.device.type]
    return compare(bench, "three_branches", together, apart, bound)


def references_only(bench):
    """(c) References that attend only to references against full coupling, one picture and three references."""
    full = bench.evaluation("sd15", 4)
    cheaper = bench.evaluation("sd15", 4, reference_attention="references only")
    return compare(bench, "references_only", cheaper, full, 1.0)


def sdxl(bench):
    """The same as (a) on SDXL at 1024 x 1024, with milliseconds a step."""
    return coupling(bench, 2, kind="sdxl", size=1024)


def compare(bench, name, ours, other, bound):
    """Two evaluations, taking turns."""
    memory = [bench.peak(other), bench.peak(ours)]
    seconds = [(bench.time(ours), bench.time(other)) for _ in bench.rounds()]
    return [row(name, [a / b for a, b in seconds], bound, seconds), memory_row(name, *memory)]


def row(name, ratios, bound, seconds):
    """One line of the table: a ratio of times."""
    ours, other = (statistics.median(column) for column in zip(*seconds))
    return {
        "name": name,
        "ratio": round(statistics.median(ratios), 4),
        "bound": bound,
        "ms": round(1000 * ours, 2),
        "against_ms": round(1000 * other, 2),
        "rounds": len(ratios),
        "lowest_ratio": round(min(ratios), 4),
        "highest_ratio": round(max(ratios), 4),
    }


def memory_row(name, against, ours):
    """One line of the table: a ratio of peak memory, above what the weights take."""
    return {
        "name": f"{name}_memory",
        "ratio": round(ours / max(against, 1), 4),
        "bound": None,
        "mib": round(ours / 2**20, 1),
        "against_mib": round(against / 2**20, 1),
    }


def print_table(rows):
    """The rows as a table."""
    print(f"\n{'name':<28}{'ratio':>8}{'bound':>8}{'ours':>14}{'against':>14}")
    for entry in rows:
        unit, ours, against = ("ms", entry["ms"], entry["against_ms"]) if "ms" in entry else (
            "MiB", entry["mib"], entry["against_mib"])  # fmt: skip
        bound = "-" if entry["bound"] is None else f"{entry['bound']:.2f}"
        print(f"{entry['name']:<28}{entry['ratio']:>8.3f}{bound:>8}{ours:>10.1f} {unit:<3}{against:>10.1f} {unit:<3}")
    print(f"\n{rows[0]['device']}, ComfyUI {rows[0]['host_version']}. For comparison, the paper's table 10: "
          f"{PAPER_STEP_MS} ms a step on an A100.")  # fmt: skip


# -- measuring ------------------------------------------------------------------------------------


class Bench:
    """Models with random weights, and the means to time them on this machine's device."""

    def __init__(self, size=512, rounds=None, build=None):
        import comfy.model_management
        import torch

        self.torch, self.size = torch, size
        self.device = comfy.model_management.get_torch_device()
        cuda = self.device.type == "cuda"
        self.device_name = torch.cuda.get_device_name() if cuda else f"CPU, {torch.get_num_threads()} threads"
        self.fixed_rounds = rounds
        self.build = build or random_model
        self.models = {}
        self.budget = CPU_SECONDS

    def model(self, kind):
        """The model of a kind, built once; an earlier one of another kind is dropped first."""
        if kind not in self.models:
            self.models.clear()
            gc.collect()
            self.models[kind] = self.build(kind, self.device)
        return self.models[kind]

    def rounds(self):
        """Yields once a round, until there were enough, or on a CPU until the time is up (but three times at least)."""
        most = self.fixed_rounds or ROUNDS.get(self.device.type, 5)
        started = time.perf_counter()
        for number in range(most):
            late = self.device.type == "cpu" and time.perf_counter() - started > self.budget
            if late and number >= 3 and self.fixed_rounds is None:
                return
            yield number

    def evaluation(self, kind, pictures, size=None, patched=True, guidance=None, split=False, **options):
        """A function that runs one evaluation of a set (one generated picture, the others references) as a sampler does.

        guidance: a mode of the node "JeDi" at a cfg other than 1; None evaluates the conditional branch
        alone. split: let every branch be a call of its own, as the host does where memory is short.
        It returns the seconds that the evaluation itself took, without the sampler's set-up.
        """
        import comfy.samplers

        torch, model = self.torch, self.model(kind)
        side = (size or self.size) // 8
        joint_set, texts = self.set_of(pictures, side), self.texts(model, pictures)
        if patched:
            model = patch(model, joint_set, guidance or "joint", options)
        sigmas = torch.tensor([5.0, 0.0])
        noise = torch.randn(pictures, 4, side, side, generator=torch.Generator().manual_seed(0))

        def run():
            taken = []
            sampler = comfy.samplers.KSAMPLER(lambda *given, **named: self.timed(taken, *given, **named))
            with splitting(model) if split else contextlib.nullcontext():
                comfy.samplers.sample(
                    model, noise, texts, texts, 7.5 if guidance else 1.0, model.load_device, sampler, sigmas,
                    model_options=model.model_options, latent_image=joint_set.latent(), disable_pbar=True, seed=0,
                )  # fmt: skip
            return taken[0]

        return run

    def timed(self, taken, model, x, sigmas, extra_args=None, **_):
        """A "sampler" that evaluates the model once and notes how long that took."""
        sigma = sigmas[0] * x.new_ones(x.shape[0])
        self.synchronize()
        started = time.perf_counter()
        model(x, sigma, **(extra_args or {}))
        self.synchronize()
        taken.append(time.perf_counter() - started)
        return x

    def attention(self, rows, tokens, width, heads):
        """A function that runs the host's attention kernel alone on random queries, keys and values."""
        from comfy.ldm.modules.attention import optimized_attention

        model = next(iter(self.models.values()))
        shape, generator = (rows, tokens, width), self.torch.Generator().manual_seed(0)
        q, k, v = (self.torch.randn(shape, generator=generator).to(self.device, model.model.get_dtype()) for _ in range(3))

        def run():
            self.synchronize()
            started = time.perf_counter()
            with self.torch.inference_mode():
                optimized_attention(q, k, v, heads)
            self.synchronize()
            return time.perf_counter() - started

        return run

    def self_attention(self, evaluation):
        """The self-attention layers of the model as {(tokens, width, heads): layers}; runs one evaluation."""
        (model,) = self.models.values()
        layers = [(name, layer) for name, layer in model.model.diffusion_model.named_modules() if name.endswith(".attn1")]
        counts = {}

        def note(layer, given):
            shape = (*given[0].shape[1:], layer.heads)
            counts[shape] = counts.get(shape, 0) + 1

        hooks = [layer.register_forward_pre_hook(note) for _, layer in layers]
        try:
            evaluation()
        finally:
            for hook in hooks:
                hook.remove()
        if sum(counts.values()) != len(layers):
            raise RuntimeError(f"{len(layers)} self-attention layers, but {sum(counts.values())} calls in one evaluation")
        return counts

    def time(self, function):
        """Seconds of one call, by the function's own clock."""
        return function()

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

    def set_of(self, pictures, side):
        """A joint set of one picture to generate and `pictures - 1` references, with random latents."""
        from same_subject.nodes.joint import layout

        where = layout.Layout(1, 1, pictures - 1)
        clean = self.torch.randn(pictures - 1, 4, side, side, generator=self.torch.Generator().manual_seed(1))
        noise = layout.draw_noise(0, 1, pictures - 1, tuple(clean.shape[1:]))
        return layout.JointSet(where, clean, noise, "bench")

    def texts(self, model, pictures):
        """A random conditioning with one row a picture."""
        width = model.model.model_config.unet_config["context_dim"]
        generator = self.torch.Generator().manual_seed(2)
        states = self.torch.randn(pictures, 77, width, generator=generator)
        return [[states, {"pooled_output": self.torch.randn(pictures, 1280, generator=generator)}]]


def patch(model, joint_set, guidance, options):
    """The model with JeDi on it, as the node "JeDi" does it."""
    from same_subject.nodes.host import unet
    from same_subject.nodes.host.sampling import JointSampling
    from same_subject.nodes.joint import settings

    chosen = settings.Settings(mode=guidance, options=settings.Options(**options))
    return JointSampling(joint_set, chosen, unet.channel_order(model, settings.AUTO)).install(model)


@contextlib.contextmanager
def splitting(model):
    """Make the host believe that two branches never fit into memory at once."""
    network = model.model
    network.memory_required = lambda *_, **__: float("inf")
    try:
        yield
    finally:
        del network.memory_required


def random_model(kind, device):
    """A full-size SD1.5 or SDXL UNet with random weights, in the host's own wrapping."""
    import comfy.model_detection
    import comfy.model_management
    import comfy.model_patcher
    import comfy.supported_models
    import torch

    recipe_class = {"sd15": comfy.supported_models.SD15, "sdxl": comfy.supported_models.SDXL}[kind]
    recipe = recipe_class(dict(UNETS[kind]))
    recipe.set_inference_dtype(torch.float16 if device.type == "cuda" else torch.float32, None)
    network = recipe.get_model({}, "", device=torch.device("cpu"))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, weight in network.diffusion_model.named_parameters():
            if weight.ndim > 1:
                bound = (3 / weight[0].numel()) ** 0.5
                weight.copy_(torch.empty(weight.shape).uniform_(-bound, bound, generator=generator))
            else:
                weight.fill_(1.0 if name.endswith("weight") else 0.0)
    offload = comfy.model_management.unet_offload_device()
    return comfy.model_patcher.ModelPatcher(network, load_device=device, offload_device=offload)


SHARED = {
    "image_size": 32,
    "in_channels": 4,
    "out_channels": 4,
    "model_channels": 320,
    "use_spatial_transformer": True,
    "use_checkpoint": False,
    "legacy": False,
}
UNETS = {
    "sd15": {
        **SHARED,
        "num_res_blocks": [2, 2, 2, 2],
        "channel_mult": [1, 2, 4, 4],
        "transformer_depth": [1, 1, 1, 1, 1, 1, 0, 0],
        "transformer_depth_middle": 1,
        "transformer_depth_output": [1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0],
        "use_linear_in_transformer": False,
        "context_dim": 768,
        "num_heads": 8,
        "adm_in_channels": None,
    },
    "sdxl": {
        **SHARED,
        "num_res_blocks": [2, 2, 2],
        "channel_mult": [1, 2, 4],
        "transformer_depth": [0, 0, 2, 2, 10, 10],
        "transformer_depth_middle": 10,
        "transformer_depth_output": [0, 0, 0, 2, 2, 2, 10, 10, 10],
        "use_linear_in_transformer": True,
        "context_dim": 2048,
        "num_head_channels": 64,
        "num_classes": "sequential",
        "adm_in_channels": 2816,
    },
}


class ResidentPeak:
    """The most memory that this process held during a `with` block, above what it held before, in bytes."""

    def __enter__(self):
        import psutil

        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL("libc.so.6").malloc_trim(0)  # or freed memory that the allocator keeps would hide a part
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


if __name__ == "__main__":
    raise SystemExit(main())
