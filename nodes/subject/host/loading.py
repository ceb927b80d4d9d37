"""Loading a subject adapter: its networks, the text encoder that belongs to it, and the image encoder it was trained with."""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path

import comfy.clip_vision
import comfy.model_management
import comfy.model_patcher
import comfy.ops
import comfy.sd
import torch

from ...host import model_files, weights
from .. import about as abouts
from .. import authors
from .. import files as forms
from ..about import About
from ..adapter import Networks
from . import files, text_encoder


@dataclass(frozen=True, eq=False)
class SubjectAdapter:
    """A subject adapter that is loaded. name: of its file.

    patcher: a ModelPatcher of the `Networks`, whose layers take inputs of any dtype. clip: with the trained text encoder.
    plain_clip: the one that the user gave, for steps without subjects; None if there is none.
    """

    about: About
    patcher: comfy.model_patcher.ModelPatcher
    clip: comfy.sd.CLIP
    plain_clip: comfy.sd.CLIP | None
    image_encoder: comfy.clip_vision.ClipVisionModel
    name: str

    @property
    def networks(self) -> Networks:
        return self.patcher.model

    @torch.no_grad()
    def encode(self, picture: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Of a square picture [S, S, 3] the embedding [cls], after norm and projection, and the raw patch tokens [P, patch]."""
        if picture.ndim != 3 or picture.shape[0] != picture.shape[1]:
            raise ValueError(f"the picture has the shape {tuple(picture.shape)}, but needs to be square: (side, side, 3)")
        seen = self.image_encoder.encode_image(picture[None, ..., :3])
        return seen["image_embeds"][0].float(), seen["last_hidden_state"][0, 1:].float()


def load(path: Path, clip_vision=None, clip=None) -> SubjectAdapter:
    """A subject adapter from a file.

    clip_vision: a CLIP Vision of the host, needed where the file has no image encoder of its own. clip: the base model's CLIP,
    needed where the file holds only what differs from it. Raises with the file's name, what is needed and the remedy.
    """
    try:
        about, state = read(path)
        image_encoder = _image_encoder(about, _part(state, "vision."), clip_vision)
        own = text_encoder.load(about, _part(state, "text."), clip)
        if about.text == abouts.WHOLE:
            own.patcher.cached_patcher_init = (load_text_encoder, (str(path),))
        patcher = _networks(about, state)
    except ValueError as problem:
        if str(problem).startswith(f"{files.NODE}: "):
            raise
        raise ValueError(f"{files.NODE}: {path.name} cannot be used: {problem}") from problem
    return SubjectAdapter(about, patcher, own, clip, image_encoder, path.name)


def read(path: Path) -> tuple[About, dict[str, torch.Tensor]]:
    """What a file, or the authors' four beside a folder of theirs, says and holds, checked. Nothing in it can run."""
    try:
        if path.is_dir():
            step = int(path.name.rpartition("_")[2])
            return authors.convert({part: _read_part(file) for part, file in files.parts(path).items()}, step)
        about = abouts.parse(weights.read_metadata(path))
        return about, forms.whole(about, model_files.read(path))
    except ValueError as problem:
        raise ValueError(f"{problem}. {files.REMEDY}.") from problem


def _read_part(file: Path) -> dict[str, torch.Tensor]:
    try:
        return model_files.read(file)
    except ValueError as problem:
        raise ValueError(f"in {file.parent.name}, {problem}") from problem


def load_text_encoder(path: str, disable_dynamic: bool = False):
    """The text encoder again: the host calls this where it needs a copy with weights of its own."""
    about, state = read(Path(path))
    return text_encoder.load(about, _part(state, "text."), None, disable_dynamic).patcher


def _part(state: dict, prefix: str) -> dict[str, torch.Tensor]:
    return {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}


def _networks(about: About, state: dict) -> comfy.model_patcher.ModelPatcher:
    """Layers are kept in half precision where the device computes in it; what a run needs once stays whole."""
    half = comfy.model_management.should_use_fp16(comfy.model_management.get_torch_device())
    with torch.device("meta"):
        networks = Networks(about.sizes, comfy.ops.manual_cast)
    own = {}
    for key, value in state.items():
        if not key.startswith(("text.", "vision.")):
            own[key] = value.to(torch.float16 if half and not key.startswith(("mlp.", "proj.")) else torch.float32)
    networks.load_state_dict(own, assign=True)
    return model_files.managed(networks.eval().requires_grad_(False))


def _image_encoder(about: About, state: dict, given) -> comfy.clip_vision.ClipVisionModel:
    """The file's own, or the given one if it is of the kind that the file needs."""
    if isinstance(about.image_encoder, str):
        _check_image_encoder(about.image_encoder, given)
        return given
    if given is not None:
        raise ValueError("it has an image encoder of its own, but a `clip_vision` was given. Disconnect it.")
    with tempfile.TemporaryDirectory() as folder:  # a ComfyUI before 0.24 reads the configuration from a file only
        file = Path(folder) / "config.json"
        file.write_text(json.dumps(about.image_encoder), encoding="utf-8")
        made = comfy.clip_vision.ClipVisionModel(str(file))
    made.load_sd(state)
    return made


def _check_image_encoder(name: str, given) -> None:
    remedy = f"Load the image encoder {name} with Load CLIP Vision and connect it."
    if given is None:
        raise ValueError(f"it needs the image encoder {name}, but no `clip_vision` was given. {remedy}")
    config, needed = getattr(given, "config", {}), abouts.IMAGE_ENCODERS[name]
    kind = config.get("model_type", "clip_vision_model")
    if kind != "clip_vision_model" or any(config.get(key) != value for key, value in needed.items()):
        width, patches, dim = config.get("hidden_size"), config.get("patch_size"), config.get("projection_dim")
        raise ValueError(
            f"it needs the image encoder {name} ({needed['hidden_size']} channels, patches of {needed['patch_size']} pixels of "
            f"{needed['image_size']}, embeddings of {needed['projection_dim']}), but `clip_vision` is a {kind} ({width} "
            f"channels, patches of {patches} pixels of {config.get('image_size')}, embeddings of {dim}). {remedy}"
        )
