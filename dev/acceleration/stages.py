"""The list of stages, in the order in which they run; standard library only."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Stage:
    """function: `module.function` of this package, which yields rows. seconds: the most it may take."""

    name: str
    function: str
    seconds: int
    says: str


STAGES = (
    Stage("device", "agreement.device", 180, "sets, scenes, identities and detectors: tiny, the GPU against the CPU"),
    Stage("speed_sd15", "speed.sd15", 240, "Stable Diffusion 1.5 at 512: plain, coupled 2 to 4, three terms"),
    Stage("speed_sdxl", "speed.sdxl", 360, "the same for Stable Diffusion XL at 1024"),
    Stage("speed_scenes", "speed.people", 420, "scenes of 1 to 4 people on Stable Diffusion XL at 1024"),
    Stage("half", "agreement.half", 300, "float16 and bfloat16 against float32"),
    Stage("memory_flags", "agreement.memory_flags", 300, "--gpu-only and --novram against neither"),
    Stage("onnxruntime", "runtimes.onnx", 90, "which onnxruntime is installed, and whether its GPU finds the same faces"),
    Stage("compile", "compiling.compiled", 450, "torch.compile by the host's node: the same latents, and the time of a step"),
)
BY_NAME = {stage.name: stage for stage in STAGES}
