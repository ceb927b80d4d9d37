"""Building the host's MODEL, CLIP and VAE from a demo model's file."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Set
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import comfy.model_management
import comfy.model_patcher
import comfy.sd
import comfy.sd1_clip
import comfy.supported_models
import comfy.supported_models_base
import comfy.utils
import safetensors.torch
import torch

from ...host import model_files, weights
from .. import config as demo_config
from .. import stored
from . import folders
from .colours import DemoLatents

REMEDY = "Reinstall the pack, or choose another `file`."


def load(path: Path) -> tuple:
    """(ModelPatcher, CLIP, VAE) from a file; raises with the file's name and the remedy."""
    config, parts = _read(path)
    made = []
    for part, build in (("unet", partial(_model, shown_by=parts["vae"])), ("clip", _clip), ("vae", _vae)):
        try:
            made.append(build(path, config, parts[part]))
        except Exception as problem:
            if str(problem).startswith("Load Demo Model: "):
                raise
            said = model_files.first_line(problem)
            raise ValueError(
                f"Load Demo Model: {path.name} cannot be used: no {part} can be made of its metadata: {said}. {REMEDY}"
            ) from problem
    return tuple(made)


def load_model(path: str, disable_dynamic: bool = False):
    """The model again: the host calls this where it needs a copy with weights of its own."""
    config, parts = _read(Path(path))
    return _model(Path(path), config, parts["unet"], disable_dynamic, parts["vae"])


def load_clip(path: str, disable_dynamic: bool = False):
    config, parts = _read(Path(path))
    return _clip(Path(path), config, parts["clip"], disable_dynamic).patcher


def load_vae(path: str, disable_dynamic: bool = False):
    config, parts = _read(Path(path))
    return _vae(Path(path), config, parts["vae"]).patcher


def describe(path: Path) -> demo_config.Config:
    """What the file says, without loading it; raises with the file's name and the remedy."""
    with _refusing(path):
        config = demo_config.parse(weights.read_metadata(path))
        _shared_paths(path, config)
        return config


def files(path: Path) -> list[Path]:
    """The model's own file, then those that it shares with others."""
    config = describe(path)
    return [path, *_shared_paths(path, config).values()]


def _shared_paths(path: Path, config: demo_config.Config) -> dict[str, Path]:
    """Where each shared network's file is: beside the model's own, or in the pack's `demo/`."""
    found = {}
    for part, shared in config.shared.items():
        paths = [folder / shared.file for folder in (path.parent, folders.PACK / "demo")]
        file = next((one for one in paths if one.is_file()), None)
        if file is None:
            raise ValueError(f"its {part} is in {shared.file}, which is neither beside it nor in {paths[-1].parent}")
        found[part] = file
    return found


@contextmanager
def _refusing(path: Path) -> Iterator[None]:
    try:
        yield
    except ValueError as problem:
        raise ValueError(f"Load Demo Model: {path.name} cannot be used: {problem}. {REMEDY}") from problem


def _read(path: Path) -> tuple[demo_config.Config, dict[str, dict[str, torch.Tensor]]]:
    config = describe(path)
    with _refusing(path):
        state = model_files.read(path)
        for part, shared_path in _shared_paths(path, config).items():
            state |= _read_shared(shared_path, part, config.shared[part].sha256)
        state = stored.whole(state, config.clip["vocab_size"])
    return config, {
        name: {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
        for name, prefix in demo_config.PREFIXES.items()
    }


def _read_shared(path: Path, part: str, sha256: str) -> dict[str, torch.Tensor]:
    """The weights of ``part`` in a file; raises ValueError if it is not the file that was meant."""
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != sha256:
        raise ValueError(f"its {part} is in {path.name}, but {path} is another file of that name, or is damaged")
    prefix = demo_config.PREFIXES[part]
    return {key: value for key, value in safetensors.torch.load(content).items() if key.startswith(prefix)}


def _model(path: Path, config: demo_config.Config, state: dict, disable_dynamic: bool = False, shown_by: dict | None = None):
    class DemoModel(comfy.supported_models.SD15):
        unet_extra_config: dict = {}
        supported_inference_dtypes = [torch.float32]

        @staticmethod
        def latent_format():
            return DemoLatents(config.latent_scale, config.latent_factor, partial(_vae, path, config, shown_by or {}))

    device = comfy.model_management.get_torch_device()
    recipe = DemoModel(config.unet)
    recipe.set_inference_dtype(torch.float32, None)
    model = recipe.get_model({}, "", device=comfy.model_management.unet_offload_device())
    kind = comfy.model_patcher.ModelPatcher if disable_dynamic else comfy.model_patcher.CoreModelPatcher
    patcher = kind(model, load_device=device, offload_device=comfy.model_management.unet_offload_device())
    _check_keys(path, "unet", model.diffusion_model, state)
    model.load_model_weights(state, "", assign=patcher.is_dynamic())
    patcher.cached_patcher_init = (load_model, (str(path),))
    return patcher


def _clip(path: Path, config: demo_config.Config, state: dict, disable_dynamic: bool = False):
    target = comfy.supported_models_base.ClipTarget(comfy.sd1_clip.SD1Tokenizer, comfy.sd1_clip.SD1ClipModel)
    clip = comfy.sd.CLIP(target, model_options={"clip_l_model_config": config.clip}, disable_dynamic=disable_dynamic)
    state = {f"clip_l.{key}": value for key, value in state.items()}
    optional = {"clip_l.logit_scale", "clip_l.transformer.text_projection.weight"}
    _check_keys(path, "clip", clip.cond_stage_model, state, optional)
    clip.load_sd(state, full_model=True)
    clip.patcher.cached_patcher_init = (load_clip, (str(path),))
    return clip


def _vae(path: Path, config: demo_config.Config, state: dict):
    vae = comfy.sd.VAE(sd=dict(state), config={"params": config.vae})
    _check_keys(path, "vae", vae.first_stage_model, state)
    vae.downscale_ratio = vae.upscale_ratio = config.latent_factor
    vae.patcher.cached_patcher_init = (load_vae, (str(path),))
    return vae


def _check_keys(path: Path, part: str, network: torch.nn.Module, state: dict, optional: Set[str] = frozenset()) -> None:
    """Refuse weights that are not exactly the network's: the host would only log them."""
    own = model_files.shapes_of(network)
    given = {key: tuple(value.shape) for key, value in state.items()}
    wrong = [key for key in {**own, **given} if own.get(key) != given.get(key) and key not in optional]
    if wrong:
        raise ValueError(
            f"Load Demo Model: {path.name} cannot be used: {len(wrong)} weights of its {part} do not fit its metadata, for "
            f"example `{wrong[0]}` ({given.get(wrong[0], 'missing')}, needed {own.get(wrong[0], 'none')}). {REMEDY}"
        )
