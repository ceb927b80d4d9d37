"""Hostile files in a server's folders, and a graph for each that reads it."""

from __future__ import annotations

import io
import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from same_subject.dev import pack, server
from same_subject.tests.server.graphs import changed, link, node

from . import files, homes
from .prompts import Attempt

SHARE = {
    "adapter": 0.5,
    "subject adapter": 0.3,
    "subject": 0.5,
    "demo model": 0.5,
    "demo tools": 0.15,
    "ControlNet": 0.1,
    "segmenter": 0.2,
    "detector": 0.1,
    "folder": 0.5,
}
"""How many of the files of a kind are tried, where kinds are read in the same way or are slow to make."""


@dataclass(frozen=True, eq=False)
class Planted:
    """A file to write below a server's folder, and what reads it; none where it stands beside one that is tried.

    content: bytes, or a file that has them.
    """

    place: str
    content: bytes | Path
    attempt: Attempt | None = None

    def write(self, base: Path) -> Path:
        path = base / self.place
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(self.content, Path):
            server.link_file(self.content, path)
        else:
            path.write_bytes(self.content)
        return path


def torch_save(content, path: Path) -> None:
    path.write_bytes(files.saved(content))


def remove(base: Path) -> None:
    """Folders that planted files stood in, now empty."""
    for path in sorted((base / "models" / "grounding-dino").glob("hostile_folder_*")):
        path.rmdir()


def loaded(kind: str, **inputs) -> dict:
    """A graph that loads something and says that it did."""
    return {"load": node(kind, **inputs), "shown": node("PreviewAny", source=link("load"))}


def some(share: float, draw: random.Random, many: Iterator[tuple[str, bytes]]) -> list[tuple[str, bytes]]:
    made = list(many)
    return made if share >= 1 else draw.sample(made, round(share * len(made)))


def demo_files(tiny: bytes, draw: random.Random) -> Iterator[Planted]:
    """Demo models, each painted with, and demo tools."""
    small = smaller(tiny)
    made = some(SHARE["demo model"], draw, files.safetensors(small, draw)) + some(
        SHARE["demo model"], draw, files.demo_configs(small)
    )
    for number, (what, content) in enumerate(made):
        name = f"hostile_{number}.safetensors"
        graph = changed(homes.joint(), "model", file=name)
        yield Planted(f"models/jedi_demo/{name}", content, Attempt("JediDemoLoader", what, graph))
    good = tools_alone(pack.ROOT / "demo" / homes.SCENE)
    for number, (what, content) in enumerate(some(SHARE["demo tools"], draw, files.safetensors(good, draw))):
        name = f"hostile_tools_{number}.safetensors"
        graph = changed(homes.upstream(homes.scene(), "preview_save"), "tools", file=name)
        yield Planted(f"models/jedi_demo/{name}", content, Attempt("DemoToolsLoader", what, graph))


def smaller(demo: bytes) -> bytes:
    """A demo file in half precision and with few words."""
    from safetensors.torch import load, save
    from same_subject.nodes.demo import stored

    length = int.from_bytes(demo[:8], "little")
    state = {name: value.half() for name, value in load(demo).items()}
    state[stored.WORDS + stored.ROWS] = files.torch.arange(500)
    state[stored.WORDS] = state[stored.WORDS][:500].clone()
    return save(state, json.loads(demo[8 : 8 + length])["__metadata__"])


def tools_alone(path: Path) -> bytes:
    """A demo file's tools without the model beside them."""
    from safetensors import safe_open
    from safetensors.torch import save
    from same_subject.nodes.demo import config

    with safe_open(str(path), "pt") as file:
        names = [name for name in file.keys() if name.startswith(tuple(config.TOOL_PREFIXES.values()))]  # noqa: SIM118
        return save({name: file.get_tensor(name) for name in names}, file.metadata())


def subjects(draw: random.Random) -> Iterator[Planted]:
    """Saved subjects, each with a set made of it."""
    from same_subject.nodes.joint.host import subject_files
    from same_subject.tests.tiny import subjects as tiny

    good = subject_files.content(tiny.references(), "good")
    made = [*some(SHARE["subject"], draw, files.safetensors(good, draw)), *files.subjects(good)]
    for number, (what, content) in enumerate(made):
        name = f"hostile_{number}.safetensors"
        graph = {**homes.joint(), "subject": node("JediLoadSubject", file=name, strength=1.0)}
        graph = changed(graph, "set", references=link("subject"))
        yield Planted(f"models/subjects/{name}", content, Attempt("JediLoadSubject", what, graph))


def adapters(draw: random.Random) -> Iterator[Planted]:
    """InstantID's adapter as a pickle and as safetensors, and files for its ControlNet."""
    import torch
    from safetensors.torch import save
    from same_subject.tests.tiny import identities

    state = identities.adapter_state(width=32, channels=[32] * 3)
    flat = {f"{part}.{key}": value for part in state for key, value in state[part].items()}
    yield Planted("models/instantid/hostile_good.bin", files.saved(state))
    made = [(".bin", *one) for one in some(SHARE["adapter"], draw, files.pickles(state, draw))]
    made += [(".safetensors", *one) for one in some(SHARE["adapter"], draw, files.safetensors(save(flat), draw))]
    for number, (ending, what, content) in enumerate(made):
        name = f"hostile_{number}{ending}"
        graph = loaded("IdentityLoader", adapter=name, control_net="none")
        yield Planted(f"models/instantid/{name}", content, Attempt("IdentityLoader", f"adapter: {what}", graph))
    control = {"controlnet_cond_embedding.conv_in.weight": torch.ones(16, 3, 3, 3), "conv_in.weight": torch.ones(32, 4, 3, 3)}
    made = [(".bin", *one) for one in some(SHARE["ControlNet"], draw, files.pickles(control, draw))]
    made += [(".safetensors", *one) for one in some(SHARE["ControlNet"], draw, files.safetensors(save(control), draw))]
    for number, (ending, what, content) in enumerate(made):
        name = f"hostile_controlnet_{number}{ending}"
        graph = loaded("IdentityLoader", adapter="hostile_good.bin", control_net=f"instantid/{name}")
        yield Planted(f"models/instantid/{name}", content, Attempt("IdentityLoader", f"ControlNet: {what}", graph))


def subject_adapters(folder: Path, draw: random.Random) -> Iterator[Planted]:
    """Subject adapters in this pack's form. folder: for a good one."""
    from same_subject.tests.tiny import subject_adapter_files

    good = subject_adapter_files.save(folder / "good.safetensors").read_bytes()
    for number, (what, content) in enumerate(some(SHARE["subject adapter"], draw, files.safetensors(good, draw))):
        name = f"hostile_{number}.safetensors"
        graph = loaded("SubjectAdapterLoader", file=name)
        yield Planted(f"models/subject_adapters/{name}", content, Attempt("SubjectAdapterLoader", what, graph))


def segmenters(draw: random.Random) -> Iterator[Planted]:
    """Segment Anything."""
    from same_subject.tests.tiny import planted

    state = dict(planted.segment_anything().state_dict())
    for number, (what, content) in enumerate(some(SHARE["segmenter"], draw, files.pickles(state, draw))):
        name = f"hostile_{number}.pth"
        attempt = Attempt("ConceptSegmenterLoader", what, loaded("ConceptSegmenterLoader", file=name))
        yield Planted(f"models/sams/{name}", content, attempt)


def detectors(folder: Path, draw: random.Random) -> Iterator[Planted]:
    """Grounding DINO: one file, and folders of which one file is hostile and the others are good. folder: a good one."""
    good = {name: (folder / name).read_bytes() for name in ("config.json", "vocab.txt", "model.safetensors")}
    state = {"model.backbone.0.patch_embed.proj.weight": files.torch.ones(16, 3, 4, 4)}
    yield Planted("models/grounding-dino/vocab.txt", folder / "vocab.txt")
    for number, (what, content) in enumerate(some(SHARE["detector"], draw, files.pickles(state, draw))):
        name = f"hostile_{number}.pth"
        attempt = Attempt("ConceptDetectorLoader", what, loaded("ConceptDetectorLoader", file=name))
        yield Planted(f"models/grounding-dino/{name}", content, attempt)
    parts = [("config.json", *one) for one in files.configs(json.loads(good["config.json"]))]
    parts += [("preprocessor_config.json", *one) for one in files.sides()]
    parts += [("vocab.txt", *one) for one in files.vocabularies(good["vocab.txt"], draw)]
    parts += [("tokenizer.json", *one) for one in files.tokenizers()]
    parts += [("model.safetensors", *one) for one in draw.sample(list(files.safetensors(good["model.safetensors"], draw)), 10)]
    for number, (damaged, what, content) in enumerate(draw.sample(parts, round(SHARE["folder"] * len(parts)))):
        name = f"hostile_folder_{number}"
        graph = loaded("ConceptDetectorLoader", file=name)
        for part in good:
            if part != damaged:
                yield Planted(f"models/grounding-dino/{name}/{part}", folder / part)
        attempt = Attempt("ConceptDetectorLoader", f"{damaged}: {what}", graph)
        yield Planted(f"models/grounding-dino/{name}/{damaged}", content, attempt)


def faces(good: Path, draw: random.Random) -> Iterator[Planted]:
    """The face pack with one hostile file each: its detector or its recogniser. good: a folder with all files."""
    for name in ("scrfd_10g_bnkps.onnx", "glintr100.onnx"):
        for what, content in files.onnx_files((good / name).read_bytes(), draw):
            graph = loaded("IdentityFaceAnalysis", files="any", device="cpu") | {
                "photo": node("LoadImage", image=homes.PICTURE),
                "person": node(
                    "IdentityFromPictures", face_analysis=link("load"), face="largest", number=0, x=0.5, y=0.5,
                    **{"images.image0": link("photo")},
                ),
                "shown": node("PreviewAny", source=link("person")),
            }  # fmt: skip
            place = f"models/insightface/models/antelopev2/{name}"
            yield Planted(place, content, Attempt("IdentityFaceAnalysis", f"{name}: {what}", graph))


def pictures(draw: random.Random) -> Iterator[Planted]:
    """Pictures as references, with their transparency as a mask, painted with."""
    from PIL import Image

    good = Image.open(io.BytesIO((pack.ROOT / "demo" / "toy_1.png").read_bytes())).convert("RGB")
    for number, (what, content) in enumerate(files.pictures(good, draw)):
        name = f"hostile_{number}.png"
        graph = changed(homes.joint(), "photo", image=name)
        yield Planted(f"input/{name}", content, Attempt("JediReferences", f"a picture: {what}", graph))
