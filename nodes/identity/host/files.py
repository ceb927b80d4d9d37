"""Loading InstantID's two files, and projecting an identity with the host's memory management."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import comfy.controlnet
import comfy.model_management
import comfy.model_patcher
import folder_paths
import torch

from ...host import inputs, model_files
from .. import adapter as adapters
from ..faces import Identity
from ..placement import Projection

FOLDER = "instantid"
SOURCE = "https://huggingface.co/InstantX/InstantID"
NO_CONTROL = "none"


@dataclass(frozen=True, eq=False)
class LoadedAdapter:
    """An `Adapter` that the host moves between devices, and the name of its file."""

    patcher: comfy.model_patcher.ModelPatcher
    name: str

    @property
    def adapter(self) -> adapters.Adapter:
        return self.patcher.model

    @property
    def width(self) -> int:
        """Width of the face tokens."""
        return self.adapter.image_proj.proj_out.out_features


def register() -> None:
    """Tell the host about `models/instantid`."""
    model_files.register(FOLDER, {".bin", ".safetensors"})


def adapter_names() -> list[str]:
    """Files of the folder that are not the ControlNet beside them."""
    return [name for name in folder_paths.get_filename_list(FOLDER) if "controlnet" not in name.lower()]


def control_names() -> list[str]:
    """ControlNet files, in the host's folder for them or beside the adapter."""
    beside = [name for name in folder_paths.get_filename_list(FOLDER) if "controlnet" in name.lower()]
    return [*(f"{FOLDER}/{name}" for name in beside), *folder_paths.get_filename_list("controlnet"), NO_CONTROL]


def adapter_path(name: str) -> Path:
    _check_name("adapter", name)
    return _path("adapter", FOLDER, name)


def control_path(name: str) -> Path:
    _check_name("control_net", name)
    beside = name.removeprefix(f"{FOLDER}/")
    if beside != name and folder_paths.get_full_path(FOLDER, beside):
        return _path("control_net", FOLDER, beside)
    return _path("control_net", "controlnet", name)


def _check_name(what: str, name: str) -> None:
    if problem := inputs.name_problem("Load InstantID", what, name):
        raise ValueError(problem)


def _path(what: str, folder: str, name: str) -> Path:
    path = folder_paths.get_full_path(folder, name)
    if path is None:
        raise ValueError(
            f"Load InstantID: `{what}` is `{name}`, which is in none of {folder_paths.get_folder_paths(folder)}. Choose "
            f"another file, or get it from {SOURCE} and put it there."
        )
    return Path(path)


def load_adapter(path: Path) -> LoadedAdapter:
    """The adapter of a `.bin` or `.safetensors` file. Nothing in the file can run code; raises with the file's name."""
    try:
        adapter = adapters.build(model_files.read(path), path.name)
    except ValueError as problem:
        raise ValueError(f"Load InstantID: {problem}. Get `ip-adapter.bin` from {SOURCE}.") from problem
    return LoadedAdapter(model_files.managed(adapter), path.name)


def load_control(path: Path) -> comfy.controlnet.ControlNet:
    """InstantID's face ControlNet in the published (diffusers) layout, by the host's own loader. Every tensor must fit."""
    try:
        return _control(model_files.read(path), path.name)
    except ValueError as problem:
        remedy = f"Get `ControlNetModel/diffusion_pytorch_model.safetensors` from {SOURCE}."
        raise ValueError(f"Load InstantID: {problem}. {remedy}") from problem


def _control(state: dict, name: str) -> comfy.controlnet.ControlNet:
    given = len(state)
    if "controlnet_cond_embedding.conv_in.weight" not in state:
        raise ValueError(
            f"{name} is not a ControlNet in the published layout: it lacks `controlnet_cond_embedding.conv_in.weight`"
        )
    if not all(map(torch.is_tensor, state.values())):
        raise ValueError(f"{name} is not a ControlNet in the published layout: it holds more than weights")
    try:
        control = comfy.controlnet.load_controlnet_state_dict(state)  # takes what it knows out of `state`
    except (TypeError, KeyError, RuntimeError, AttributeError, IndexError, ValueError) as problem:
        raise ValueError(
            f"{name} is not a ControlNet of a kind that ComfyUI knows: {model_files.first_line(problem)}"
        ) from problem
    needed = model_files.shapes_of(control.control_model)
    if state or given != len(needed):
        raise ValueError(
            f"{name} has {given} tensors, of which {len(state)} are not known, but a ControlNet of its kind has {len(needed)}"
        )
    for key, value in control.control_model.state_dict().items():
        if tuple(value.shape) != needed[key]:
            raise ValueError(
                f"{name} is not a ControlNet of a kind that ComfyUI knows: its weight `{key}` has shape {tuple(value.shape)}, "
                f"needs {needed[key]}"
            )
    return control


def project(loaded: LoadedAdapter, identity: Identity) -> Projection:
    """Tokens, keys and values of an identity and of no identity, in full precision: all that sampling needs."""
    comfy.model_management.load_models_gpu([loaded.patcher], force_full_load=True)
    adapter, to = loaded.adapter, comfy.model_management.intermediate_device()
    tokens, null = adapter.tokens(identity.embedding.to(loaded.patcher.load_device)), adapter.null_tokens(identity.nobody())
    present, absent = (_moved(adapter.keys_values(each), to) for each in (tokens, null))
    return Projection(tokens.to(to), null.to(to), present, absent)


def face_tokens(loaded: LoadedAdapter, identity: Identity) -> tuple[torch.Tensor, torch.Tensor]:
    """Tokens [F, width] of an identity and of no identity, for the ControlNet."""
    comfy.model_management.load_models_gpu([loaded.patcher], force_full_load=True)
    to = comfy.model_management.intermediate_device()
    return loaded.adapter.tokens(identity.embedding).to(to), loaded.adapter.null_tokens(identity.nobody()).to(to)


def _moved(kv: adapters.KeysValues, device: torch.device) -> adapters.KeysValues:
    return adapters.KeysValues(tuple(k.to(device) for k in kv.keys), tuple(v.to(device) for v in kv.values))
