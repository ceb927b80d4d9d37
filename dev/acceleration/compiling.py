"""torch.compile by the host's own node `TorchCompileModel`: the same latents, and what a step takes."""

from ..benchmark import joint, scenes
from . import agreement, speed

BOUNDS = {"cpu": 1e-3, "cuda": 0.03}
"""Fused float16 rounds elsewhere."""
STEPS = 4
SETTINGS = {
    "coupled": {},
    "coupled until the middle": {"coupling_end": 0.5},
    "references only": {"reference_attention": "references only"},
}
"""Options of sets: a compiled network must follow those that change during a run, and between runs."""


class Compiled:
    """Builders whose UNet goes through the host's node."""

    def __init__(self, build):
        self.build = build

    def model(self, kind, device):
        """The UNet, compiled when it is first called."""
        from comfy_extras.nodes_torch_compile import TorchCompileModel

        return TorchCompileModel.execute(self.build.model(kind, device), "inductor").result[0]


def compiled():
    """Rows of agreement with the eager network, then times of both."""
    eager, fast = speed.on_this_machine(), speed.on_this_machine()
    fast.build = Compiled(fast.build)
    size = 512 if speed.is_gpu(eager) else speed.TINY_SIZE
    bound, apart = BOUNDS[eager.device.type], latents(eager, size, levels=frozenset())
    for name, options in SETTINGS.items():
        expected, made = (latents(bench, size, **options) for bench in (eager, fast))
        effect = agreement.difference(apart, expected)
        yield {"name": name, "difference": agreement.difference(made, expected), "bound": bound, "effect": effect}
    rate = speed.matmul_rate(eager, "sd15")
    step = joint.evaluation(eager, "sd15", 2, size=size)
    yield speed.timed(eager, "eager, coupled, 2 pictures", step, step, rate)
    yield speed.timed(fast, "compiled, coupled, 2 pictures", joint.evaluation(fast, "sd15", 2, size=size), step, rate)


def latents(bench, size, **options):
    """What a sampler makes of a set of two pictures."""
    torch, model = bench.torch, bench.part("model", "sd15")
    one = joint.set_of(torch, 2, size // 8)
    noise = torch.randn(2, 4, size // 8, size // 8, generator=torch.Generator().manual_seed(0))
    text = joint.texts(torch, model, 2)
    case = scenes.Case(joint.patch(model, one, "joint", options), text, text, noise, latent=one.latent())
    return scenes.sample(case, STEPS)[:1].float().cpu()
