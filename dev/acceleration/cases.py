"""Named cases with one outcome each, to be compared between devices, host flags and precisions.

A case takes a `measuring.Bench` and a size in pixels, and gives two functions without arguments: one gives the outcome, a
tensor on the CPU; the other gives what came out if the pack's part in it were missing, so that a difference can be judged.
"""

import tempfile
import time
from pathlib import Path

from ..benchmark import joint as benchmark
from ..benchmark import measuring, models, scenes
from . import tiny

STEPS = 3
CAPTION = "a red ball . dog ."


def solve(order):
    """Write {name: {outcome, changed, seconds, peak_mib}} or {name: {missing: a sentence}} to the order's file.

    The order names `cases`, whether they are `full` in size, and a `dtype` for UNets or None for the builder's own.
    """
    import torch

    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False  # or float32 would not be float32
    build = models if order["full"] else tiny
    bench = measuring.Bench(build=InPrecision(build, order["dtype"]))
    solved = {}
    for name in order["cases"]:
        outcome, changed = CASES[name](bench, order["full"])
        if outcome is None:
            solved[name] = {"missing": changed}
            continue
        peak = bench.peak(outcome)  # the first call also loads the models
        started = time.perf_counter()
        made = outcome()
        seconds = time.perf_counter() - started
        solved[name] = {"outcome": made, "changed": changed(), "seconds": seconds, "peak_mib": peak / 2**20}
        print(name, f"{seconds:.2f} s", flush=True)
    torch.save(solved, order["output"])


class InPrecision:
    """Builders whose UNet has weights of a type, named as in torch; None leaves it as it is."""

    def __init__(self, build, dtype):
        self.control, self.adapter = build.control, build.adapter
        self.build, self.dtype = build, dtype

    def model(self, kind, device):
        """The UNet, as a ModelPatcher."""
        import torch

        made = self.build.model(kind, device)
        if self.dtype:
            network = made.model.diffusion_model
            network.dtype = getattr(torch, self.dtype)
            network.to(network.dtype)
        return made


def joint_set(bench, full):
    """A set of one picture and two references with three-term guidance; changed: without coupled attention."""
    size = 512 if full else 64
    model, where = bench.part("model", "sd15"), benchmark.set_of(bench.torch, 3, size // 8)
    texts = benchmark.texts(bench.torch, model, 3)
    noise = bench.torch.randn(3, 4, size // 8, size // 8, generator=bench.torch.Generator().manual_seed(0))
    made = [
        scenes.Case(benchmark.patch(model, where, "text first", options), texts, texts, noise, latent=where.latent())
        for options in ({}, {"levels": frozenset()})
    ]
    return [lambda case=case: scenes.sample(case, STEPS).float().cpu() for case in made]


def scene(bench, full):
    """A scene of two people with faces; changed: the host alone on the scene's text."""
    kind, size = "sdxl_small" if full else "tiny", 256 if full else 64
    made = scenes.scene(bench, kind, size, 2), scenes.plain(bench, kind, size, 1)
    return [lambda case=case: scenes.sample(case, STEPS).float().cpu() for case in made]


def detector(bench, full):
    """Logits and boxes of a tiny Grounding DINO; changed: of another picture."""
    from same_subject.nodes.concepts.host import grounding as host
    from same_subject.tests.tiny import grounding

    torch = bench.torch
    with tempfile.TemporaryDirectory() as folder:
        loaded = host.load(grounding.save_folder(Path(folder) / "grounding-dino-tiny"))

    def found(seed):
        picture = torch.rand(1, 60, 90, 3, generator=torch.Generator().manual_seed(seed))
        ids = loaded.token_ids(CAPTION)
        logits, boxes = next(loaded.detect(picture, ids))
        return torch.cat((logits[:, : len(ids)].sigmoid(), boxes), dim=1)

    return lambda: found(1), lambda: found(2)


def segmenter(bench, full):
    """Masks of a tiny Segment Anything of a picture's two boxes; changed: of another picture."""
    from same_subject.nodes.concepts.host import segmenting

    missing = segmenting.missing_package()
    if missing:
        return None, missing
    from same_subject.nodes.concepts.boxes import Box
    from same_subject.tests.tiny import planted_grounding, planted_segmenting

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "tiny.pth"
        bench.torch.save(planted_segmenting.segment_anything().state_dict(), file)
        loaded = segmenting.load(file)
    boxes = ((Box(0.0, 0.0, 80.0, 80.0, 1.0), Box(80.0, 0.0, 160.0, 80.0, 1.0)),)

    def found(blue):
        picture = planted_grounding.scene((1, 1, 6, 6), blue)
        return next(loaded.masks(picture, boxes))

    return lambda: found((12, 2, 18, 9)), lambda: found((14, 1, 19, 5))


def demo(bench, full):
    """A picture of the demo's trained model, with its text encoder and its VAE; changed: with another reference."""
    from PIL import Image
    from same_subject.dev import pack
    from same_subject.nodes.demo.host import model as demo_model
    from same_subject.nodes.joint import layout, settings
    from same_subject.nodes.joint.host import channels, encoding, tagging
    from same_subject.nodes.joint.host.sampling import JointSampling

    torch = bench.torch
    model, clip, vae = bench.keep("demo", "demo", lambda: demo_model.load(pack.ROOT / "demo" / "demo.safetensors"))

    def made(number):
        file = pack.ROOT / "demo" / f"reference_{number}.png"
        pixels = torch.frombuffer(bytearray(Image.open(file).convert("RGB").resize((64, 64)).tobytes()), dtype=torch.uint8)
        with torch.inference_mode():
            clean = vae.encode(pixels.view(1, 64, 64, 3) / 255).float().cpu()
            where = layout.Layout(1, 1, 1)
            one = layout.JointSet(where, clean, layout.draw_noise(0, 1, 1, tuple(clean.shape[1:])), "demo")
            positive, negative = encoding.encode_texts(clip, ["a toy", "a toy"], "", {tagging.SET_KEY: one.key})
            order = channels.channel_order(model, settings.AUTO)
            patched = JointSampling(one, settings.Settings(), order).install(model)
            noise = torch.randn(2, *clean.shape[1:], generator=torch.Generator().manual_seed(0))
            latents = scenes.sample(scenes.Case(patched, positive, negative, noise, latent=one.latent()), STEPS)
            return vae.decode(latents[:1]).float().cpu()

    return lambda: made(1), lambda: made(2)


CASES = {"joint_set": joint_set, "scene": scene, "detector": detector, "segmenter": segmenter, "demo": demo}


def solved(seconds, **order):
    """The outcomes of an order that another process solves; raises RuntimeError with what that process said."""
    import torch

    from . import processes

    with tempfile.TemporaryDirectory(prefix="same-subject-") as folder:
        output = str(Path(folder) / "outcomes.pt")
        error, log = processes.run({"work": "cases", "output": output, **order}, seconds)
        if error:
            raise RuntimeError("\n".join([*log, error]))
        return torch.load(output)
