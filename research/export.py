"""Write the trained weights as a checkpoint in Stable Diffusion's layout, half precision, configuration in its metadata."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from ..dev.setup.unpacking import sha256_of
from ..nodes.demo import config as demo_config
from ..nodes.demo import stored
from ..nodes.host import weights
from ..nodes.joint import settings, trained
from . import finder, nets, train_denoiser, train_scenes, world

ROOT = Path(__file__).parent.parent
FILES = {
    "joint": ROOT / "demo" / "demo.safetensors",
    "single": ROOT / "research" / "single.safetensors",
    "scene": ROOT / "demo" / "scenes.safetensors",
}
"""Where the pack and the evaluations read the models."""
VAE = ROOT / "demo" / "vae.safetensors"
"""Where they read the VAE, which is the same for all."""


def checkpoint(folder: str, kind: str) -> tuple[dict, dict]:
    """Tensors and metadata of the ``single``, ``joint`` or ``scene`` model in ``folder``, from its running average."""
    denoiser = torch.load(Path(folder) / f"{kind}.pt", map_location="cpu", weights_only=True)["average"]
    vae = torch.load(Path(folder) / "vae.pt", map_location="cpu", weights_only=True)["average"]["net"]
    text = dict(denoiser["text"])
    captions = (train_scenes if kind == "scene" else train_denoiser).all_captions()
    words, table = train_denoiser.tokens_of(captions).unique(), "text_model.embeddings.token_embedding.weight"
    # Words that no caption uses were never trained: they shall say nothing rather than something random.
    text[table] = torch.zeros_like(text[table]).index_copy(0, words, text[table][words])
    parts = {
        "unet": denoiser["unet"],
        "clip": {f"transformer.{key}": value for key, value in text.items()},
        "vae": vae,
    }
    tensors = {demo_config.PREFIXES[part] + key: value for part, state in parts.items() for key, value in state.items()}
    config = {
        "unet": {**nets.UNET, "in_channels": 9 if kind == "joint" else 4},
        "clip": nets.CLIP,
        "vae": nets.VAE,
        "latent_scale": 1 / train_denoiser.scale_of(folder),
    }
    metadata = {demo_config.KEY: json.dumps(config)}
    if kind == "joint":
        metadata[trained.ORDER_KEY] = settings.CHANNEL_ORDERS[0]
    if kind == "scene":
        metadata[demo_config.TOOLS_KEY] = "toys"
        tools = {"adapter": denoiser["adapter"], "finder": finder.load(folder).state_dict()}
        tensors |= {demo_config.TOOL_PREFIXES[part] + key: value for part, state in tools.items() for key, value in state.items()}
    return {key: value.half().contiguous() for key, value in tensors.items()}, metadata


def export(folder: str, kind: str, path: Path) -> None:
    """Write ``path`` (safetensors), and the VAE."""
    save(*checkpoint(folder, kind), path, VAE, in_8_bits=kind == "single")


def save(tensors: dict, metadata: dict, path: Path, vae: Path, in_8_bits: bool) -> None:
    """Write a checkpoint in the form of `nodes/demo/stored.py`: its VAE to ``vae``, the rest to ``path``.

    in_8_bits: round the UNet's weights, for a model that only the evaluations use.
    """
    for file in (path, vae):
        file.parent.mkdir(parents=True, exist_ok=True)
    shared = {key: value for key, value in tensors.items() if key.startswith(demo_config.PREFIXES["vae"])}
    save_file(shared, vae)
    own = {key: value for key, value in tensors.items() if key not in shared}
    used = own[stored.WORDS].any(dim=1).nonzero().flatten()
    own |= {stored.WORDS: own[stored.WORDS][used], stored.WORDS + stored.ROWS: used.int()}
    if in_8_bits:
        for key, value in tensors.items():
            if key.startswith(demo_config.PREFIXES["unet"]) and value.ndim > 1:
                own[key], own[key + stored.SCALE] = rounded(value)
    said = {"vae": {"file": vae.name, "sha256": sha256_of(vae)}}
    save_file(own, path, {**metadata, demo_config.SHARED_KEY: json.dumps(said)})


def save_whole(model: Path, unet: Mapping[str, torch.Tensor], path: Path, said: Mapping[str, str]) -> None:
    """Write the checkpoint ``model``, which `save` wrote, with ``unet`` in place of its own, all networks whole in one file.

    said: metadata beside its own.
    """
    metadata = {key: value for key, value in weights.read_metadata(model).items() if key != demo_config.SHARED_KEY}
    config = json.loads(metadata[demo_config.KEY])
    config["unet"]["in_channels"] = unet[train_denoiser.FIRST].shape[1]
    tensors = stored.whole(load_file(model) | load_file(VAE), config["clip"]["vocab_size"])
    tensors |= {demo_config.PREFIXES["unet"] + name: value.detach().cpu() for name, value in unet.items()}
    metadata |= {demo_config.KEY: json.dumps(config), **said}
    save_file({name: value.half().contiguous() for name, value in tensors.items()}, path, metadata)


def rounded(weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """A weight [outputs, ...] as int8, and its scale [outputs]: each output channel's largest value becomes 127."""
    rows = weight.float().flatten(1)
    scale = rows.abs().amax(dim=1).clamp(min=1e-12) / 127
    return (rows / scale[:, None]).round().to(torch.int8).view(weight.shape), scale


def draw_references(folder: Path = ROOT / "demo", seed: int = 18, views: int = 3) -> list[str]:
    """Draw ``views`` pictures of one subject, `reference_1.png` and on; returns their captions."""
    pictures, _, captions = _references(world.SIZE, seed, views)
    for number, picture in enumerate(pictures, 1):
        _save(picture, folder / f"reference_{number}.png")
    return captions


def draw_toys(folder: Path = ROOT / "demo", seed: int = 12) -> list[str]:
    """Draw one picture of each of two toys, `toy_1.png` and `toy_2.png`; returns their captions."""
    pictures, _, captions = _toys(world.SIZE, seed)
    for number, picture in enumerate(pictures, 1):
        _save(picture, folder / f"toy_{number}.png")
    return captions


def draw_examples(folder: Path = ROOT / "js" / "examples", masked: Path = ROOT / "demo" / "masks", size: int = 512) -> None:
    """Draw the same pictures large, named by what they show, and masks of the toy: for Example Pictures."""
    for pictures, masks, captions in (_references(size), _toys(size)):
        for picture, mask, caption in zip(pictures, masks, captions, strict=True):
            name = f"{caption.removeprefix('a photo of a ')}.png"
            _save(picture, folder / name)
            _save(mask, masked / name)


def _references(size: int, seed: int = 18, views: int = 3) -> tuple[torch.Tensor, torch.Tensor, list[str]]:
    generator = torch.Generator().manual_seed(seed)
    subject = world.draw_subjects(1, generator)
    scenes = torch.randperm(len(world.SCENES), generator=generator)[:views]
    poses = world.draw_poses(views, generator)
    pictures, masks = world.draw(subject[[0] * views], poses, scenes, generator, size)
    return pictures, masks, [world.caption(int(subject.shape), int(scene)) for scene in scenes]


def _toys(size: int, seed: int = 12) -> tuple[torch.Tensor, torch.Tensor, list[str]]:
    generator = torch.Generator().manual_seed(seed)
    toys = world.draw_subjects(2, generator)
    toys = replace(toys, shape=torch.tensor([world.SHAPES.index("ball"), world.SHAPES.index("star")]))
    scenes = torch.randperm(len(world.SCENES), generator=generator)[:2]
    poses = world.draw_poses(2, generator)
    pictures, masks = world.draw(toys, poses, scenes, generator, size)
    return pictures, masks, [world.caption(int(shape), int(scene)) for shape, scene in zip(toys.shape, scenes, strict=True)]


def _save(picture: torch.Tensor, path: Path) -> None:
    """A picture [3, H, W] or mask [1, H, W] in 0..1."""
    path.parent.mkdir(parents=True, exist_ok=True)
    array = (picture.movedim(0, -1) * 255).round().byte().numpy()
    Image.fromarray(array.squeeze(-1) if array.shape[-1] == 1 else array).save(path, optimize=True)
