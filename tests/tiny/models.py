"""Tiny host models with random weights in the layouts of real ones: seeded, on the CPU, a few ms a call.

Every builder needs the host.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from same_subject.research import nets

UNETS = {
    "sd15": {"context_dim": 32, "num_heads": 4, "num_head_channels": -1, "use_linear_in_transformer": False},
    "sd2": {"context_dim": 48, "num_heads": -1, "num_head_channels": 16, "use_linear_in_transformer": True},
    "sdxl": {"context_dim": 64, "num_heads": -1, "num_head_channels": 16, "use_linear_in_transformer": True},
}
DEPTHS = {"sd15": ([1, 1], [1, 1, 1, 1], 1), "sd2": ([1, 1], [1, 1, 1, 1], 1), "sdxl": ([0, 2], [0, 0, 2, 2], 2)}
CLIP = {**nets.CLIP, "hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 2, "num_hidden_layers": 1}
VAE = {**nets.VAE, "ddconfig": {**nets.VAE["ddconfig"], "ch_mult": [1, 1, 1, 1]}}
LATENT_SCALE = 0.3


def unet_config(kind: str = "sd15", in_channels: int = 4) -> dict:
    depth, depth_output, depth_middle = DEPTHS[kind]
    config = {
        "image_size": 8,
        "in_channels": in_channels,
        "out_channels": 4,
        "model_channels": 32,
        "num_res_blocks": [1, 1],
        "channel_mult": [1, 2],
        "transformer_depth": depth,
        "transformer_depth_output": depth_output,
        "transformer_depth_middle": depth_middle,
        "use_spatial_transformer": True,
        "legacy": False,
        **UNETS[kind],
    }
    if kind == "sdxl":
        config |= {"adm_in_channels": 2816, "num_classes": "sequential"}
    return config


def randomise(network: torch.nn.Module, seed: int) -> torch.nn.Module:
    """Seeded weights that keep the size of activations: the host's layers start as uninitialised memory.

    Self-attention is made strong, so that what pictures see of each other shows in the result.
    """
    gains = {"attn1.to_q": 2, "attn1.to_k": 2, "attn1.to_out": 16}
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in network.named_parameters():
            noise = torch.randn(weight.shape, generator=generator)
            if weight.ndim > 1:
                gain = next((gain for part, gain in gains.items() if part in name), 1)
                weight.copy_(noise * gain * weight[0].numel() ** -0.5)
            else:
                weight.copy_(0.1 * noise + (1 if "norm" in name and name.endswith("weight") else 0))
    return network


def model(kind: str = "sd15", in_channels: int = 4, seed: int = 0):
    """A ModelPatcher of a UNet in the layout of ``kind``, with 4 or 9 input channels."""
    import comfy.model_patcher
    import comfy.supported_models

    base = {"sd15": "SD15", "sd2": "SD20", "sdxl": "SDXL"}[kind]

    class Tiny(getattr(comfy.supported_models, base)):
        unet_extra_config = {}

        def model_type(self, state_dict, prefix=""):
            import comfy.model_base

            return comfy.model_base.ModelType.V_PREDICTION if kind == "sd2" else comfy.model_base.ModelType.EPS

    recipe = Tiny(unet_config(kind, in_channels))
    recipe.set_inference_dtype(torch.float32, None)
    network = recipe.get_model({}, "", device="cpu")
    randomise(network.diffusion_model, seed)
    device = torch.device("cpu")
    return comfy.model_patcher.ModelPatcher(network, load_device=device, offload_device=device)


def save_demo(path: Path, in_channels: int = 9, seed: int = 0, **metadata: str) -> Path:
    """A demo model's file with random weights, in the layout that `Load Demo Model` takes."""
    import comfy.ops
    from comfy.clip_model import CLIPTextModel
    from comfy.ldm.models.autoencoder import AutoencoderKL
    from comfy.ldm.modules.diffusionmodules.openaimodel import UNetModel
    from safetensors.torch import save_file

    unet = {**unet_config("sd15", in_channels)}
    networks = {
        "model.diffusion_model.": UNetModel(**unet),
        "cond_stage_model.transformer.": CLIPTextModel(CLIP, torch.float32, "cpu", comfy.ops.disable_weight_init),
        "first_stage_model.": AutoencoderKL(**json.loads(json.dumps(VAE))),
    }
    state = {}
    for number, (prefix, network) in enumerate(networks.items()):
        weights = randomise(network, seed + number).state_dict()
        state |= {prefix + key: value.contiguous() for key, value in weights.items()}
    config = {"unet": unet, "clip": CLIP, "vae": VAE, "latent_scale": LATENT_SCALE}
    said = {"same_subject.config": json.dumps(config), "jedi.channel_order": "noisy, reference, mask", **metadata}
    save_file(state, str(path), metadata=said)
    return path


class Text:
    """A text encoder in the host's interface, for layouts whose real one is large.

    The states of a text are random but always the same; every 75 words start another chunk of 77 tokens.
    """

    def __init__(self, kind: str = "sd15"):
        self.width = UNETS[kind]["context_dim"]

    def tokenize(self, text: str) -> str:
        return text

    def encode_from_tokens_scheduled(self, text: str, show_pbar: bool = True) -> list:
        import zlib

        chunks = max(1, -(-len(text.split()) // 75))
        generator = torch.Generator().manual_seed(zlib.crc32(text.encode()))
        states = torch.randn(1, 77 * chunks, self.width, generator=generator)
        return [[states, {"pooled_output": torch.randn(1, 1280, generator=generator)}]]
