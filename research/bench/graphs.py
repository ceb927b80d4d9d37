"""The graph that makes one picture of the protocol, in API format: the pack's own nodes and stock ones."""

from __future__ import annotations

from dataclasses import dataclass

from ...dev.client import Graph
from .plan import Case

JEDI, SUBJECT_DIFFUSION = "jedi", "subject-diffusion"
METHODS = (JEDI, SUBJECT_DIFFUSION)
PICTURE = "picture"
"""The node whose output is the picture."""
SIDES = ((0.04, 0.25, 0.44, 0.7), (0.52, 0.25, 0.44, 0.7))
"""Boxes of two subjects: x, y, width and height in shares. A single one may be anywhere in the middle."""
MIDDLE = ((0.15, 0.15, 0.7, 0.7),)


@dataclass(frozen=True)
class Settings:
    """How pictures are made. checkpoint: as the servers know it; a file of the demo where demo. adapter, clip_vision: of
    Subject-Diffusion. cfg: scale of the text; image: of the references."""

    method: str
    checkpoint: str
    demo: bool
    size: int
    steps: int
    cfg: float
    image: float
    sampler: str
    scheduler: str
    guidance: str = "joint"
    recipe: str = "paper"
    lora: str = ""
    adapter: str = ""
    clip_vision: str = ""


def of(case: Case, settings: Settings, uploaded: dict[str, str]) -> Graph:
    """The graph of a case. uploaded: what the servers know the subjects' pictures by, by their paths here."""
    graph: Graph = {}

    def add(kind: str, **inputs) -> str:
        name = f"{kind} {len(graph)}"
        graph[name] = {"class_type": kind, "inputs": inputs}
        return name

    if settings.demo:
        model = add("JediDemoLoader", file=settings.checkpoint)
    else:
        model = add("CheckpointLoaderSimple", ckpt_name=settings.checkpoint)
    net, clip, vae = [model, 0], [model, 1], [model, 2]
    if settings.lora:
        adapted = add("LoraLoader", model=net, clip=clip, lora_name=settings.lora, strength_model=1.0, strength_clip=1.0)
        net, clip = [adapted, 0], [adapted, 1]
    shown = [
        [[add("LoadImage", image=uploaded[str(one.pictures[place])]), 0] for place in inputs]
        for one, inputs in zip(case.subjects, case.inputs, strict=True)
    ]
    build = _jedi if settings.method == JEDI else _subject_diffusion
    net, positive, negative, latent, chosen = build(case, settings, add, net, clip, vae, shown)
    sampled = add(
        "KSampler", model=net, positive=positive, negative=negative, latent_image=latent, seed=case.seed, steps=settings.steps,
        cfg=settings.cfg, sampler_name=settings.sampler, scheduler=settings.scheduler, denoise=1.0,
    )  # fmt: skip
    latents = (
        [add("JediPick", samples=[sampled, 0], joint_set=chosen, which="generated", indices=""), 0] if chosen else [sampled, 0]
    )
    graph[PICTURE] = {"class_type": "PreviewImage", "inputs": {"images": [add("VAEDecode", samples=latents, vae=vae), 0]}}
    return graph


def _jedi(case: Case, settings: Settings, add, net, clip, vae, shown):
    references: dict = {}
    for number, (one, inputs, pictures) in enumerate(zip(case.subjects, case.inputs, shown, strict=True)):
        more = {"where": _half(number, settings.size, add)} if len(case.subjects) > 1 else {}
        node = add(
            "JediReferences", captions="\n".join(one.captions[place] for place in inputs), fit="crop", background="grey",
            **{f"images.image{place}": picture for place, picture in enumerate(pictures)}, **references, **more,
        )  # fmt: skip
        references = {"previous": [node, 0]}
    made = add(
        "JediJointSet", clip=clip, vae=vae, references=references["previous"], prompts=case.prompt, negative="", pictures=0,
        sets=1, width=settings.size, height=settings.size, reference_seed=0,
    )  # fmt: skip
    applied = add(
        "JediApply", model=net, joint_set=[made, 3], guidance=settings.guidance, image_scale=settings.image, start_percent=0.0,
        end_percent=1.0, recipe=settings.recipe,
    )  # fmt: skip
    return [applied, 0], [made, 0], [made, 1], [made, 2], [made, 3]


def _half(number: int, size: int, add):
    """A mask that is white on the left half for the first of two subjects, on the right for the second."""
    black, white = (add("SolidMask", value=value, width=width, height=size) for value, width in ((0.0, size), (1.0, size // 2)))
    placed = add("MaskComposite", destination=[black, 0], source=[white, 0], x=number * (size // 2), y=0, operation="add")
    return [placed, 0]


def _subject_diffusion(case: Case, settings: Settings, add, net, clip, vae, shown):
    more = {"clip_vision": [add("CLIPVisionLoader", clip_name=settings.clip_vision), 0]} if settings.clip_vision else {}
    adapter = [add("SubjectAdapterLoader", file=settings.adapter, clip=clip, **more), 0]
    chain: dict = {}
    for one, pictures, box in zip(case.subjects, shown, SIDES if len(shown) > 1 else MIDDLE, strict=True):
        x, y, width, height = box
        node = add(
            "SubjectPicture", adapter=adapter, image=pictures[0], class_name=one.word, place="box", x=x, y=y, width=width,
            height=height, place_seed=0, **chain,
        )  # fmt: skip
        chain = {"previous": [node, 0]}
    text = add("SubjectPrompt", adapter=adapter, text=case.prompt, negative="", subjects=chain["previous"])
    applied = add("SubjectApply", model=net, subjects=chain["previous"], image_cfg=settings.image, interpolation=0.0)
    latent = add("EmptyLatentImage", width=settings.size, height=settings.size, batch_size=1)
    return [applied, 0], [text, 0], [text, 1], [latent, 0], None
