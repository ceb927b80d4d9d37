"""Files with random weights that the stock loaders take.

SD1.5 with a UNet of one level or of three and a ControlNet; SD2 with a UNet of one level, and OpenCLIP's image encoder; and SDXL
and its ControlNet in full size.
"""

import json
import os
from pathlib import Path

import torch
from same_subject.dev.benchmark import models as full_size
from same_subject.tests.tiny import identities, subject_adapter_files

USE_SDXL = bool(os.environ.get("SAME_SUBJECT_SDXL"))
"""Whether the tests of whole scenes were asked to run on SDXL in full size."""
UNET = {
    "image_size": 32,
    "in_channels": 4,
    "out_channels": 4,
    "model_channels": 320,
    "num_res_blocks": [1],
    "channel_mult": [1],
    "transformer_depth": [1],
    "transformer_depth_middle": -1,
    "transformer_depth_output": [1, 1],
    "context_dim": 768,
    "num_heads": 8,
    "use_spatial_transformer": True,
    "use_linear_in_transformer": False,
    "legacy": False,
}
SIDES, ONE = 3, 4
"""Channels of `averaging_autoencoder`: how much brighter right is, with one added; and one."""
SD2_UNET = UNET | {"context_dim": 1024, "num_heads": -1, "num_head_channels": 64, "use_linear_in_transformer": True}
SDXL_UNET = SD2_UNET | {
    "context_dim": 2048,
    "num_res_blocks": [1, 1, 1],
    "channel_mult": [1, 1, 1],
    "transformer_depth": [0, 2, 5],
    "transformer_depth_output": [0, 0, 2, 2, 5, 5],
    "transformer_depth_middle": -2,
    "adm_in_channels": 2816,
    "num_classes": "sequential",
}
"""The smallest that the host takes for an SDXL (a KOALA)."""
SMALLEST = UNET | {"transformer_depth_middle": -2}
"""The smallest whose every block couples: 19 million weights."""
LEVELS = UNET | {
    "num_res_blocks": [1, 1, 1],
    "channel_mult": [1, 2, 4],
    "transformer_depth": [1, 1, 0],
    "transformer_depth_middle": -2,
    "transformer_depth_output": [1, 1, 1, 1, 0, 0],
}
"""A UNet whose levels are those of CONTROL. It has no middle block."""
LEVELS_CROSS_ATTENTION = [320, 640, 640, 640, 320, 320]
"""Channels of its cross-attention layers in the order of an InstantID adapter."""
CONTROL = LEVELS | {
    "transformer_depth": [0, 1, 1],
    "transformer_depth_output": [0, 0, 1, 1, 1, 1],
    "num_heads": -1,
    "num_head_channels": 64,
}
"""The smallest network with cross-attention in the host's list of published ControlNet layouts (that of SDXS)."""
CLIP = {
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_attention_heads": 12,
    "num_hidden_layers": 12,
    "hidden_act": "quick_gelu",
    "max_position_embeddings": 77,
    "vocab_size": 49408,
    "eos_token_id": 49407,
}
VAE = {
    "double_z": True,
    "z_channels": 4,
    "resolution": 256,
    "in_channels": 3,
    "out_ch": 3,
    "ch": 128,
    "ch_mult": [1, 2, 4, 4],
    "num_res_blocks": 2,
    "attn_resolutions": [],
    "dropout": 0.0,
}


def save_sd15(path, unet=UNET, vae=None):
    """Write a checkpoint (about 450 MB; 850 MB with LEVELS) and return its path. vae: weights. Needs the host."""
    from comfy.ldm.modules.diffusionmodules.openaimodel import UNetModel
    from safetensors.torch import save_file

    state = random_state("model.diffusion_model.", UNetModel(**unet, device="meta"))
    state |= random_state("cond_stage_model.transformer.", text_model(CLIP))
    state |= vae or random_state("first_stage_model.", autoencoder())
    save_file(state, str(path))
    return path


def save_sd2(path):
    """Write a checkpoint (about 900 MB: its text encoder is that of SD2) and return its path. Needs the host."""
    import comfy.supported_models
    from comfy.ldm.modules.diffusionmodules.openaimodel import UNetModel
    from safetensors.torch import save_file
    from same_subject.nodes.subject.about import TEXT_ENCODERS

    text = random_state("clip_h.transformer.", text_model(TEXT_ENCODERS["h"]))
    state = random_state("model.diffusion_model.", UNetModel(**SD2_UNET, device="meta"))
    state |= comfy.supported_models.SD20(dict(SD2_UNET)).process_clip_state_dict_for_saving(text)
    state |= random_state("first_stage_model.", autoencoder())
    save_file({name: value.contiguous() for name, value in state.items()}, str(path))
    return path


def save_vit_h(path):
    """Write OpenCLIP's ViT-H/14 (1.3 GB) and return its path. Needs the host."""
    import comfy.clip_vision
    import comfy.ops
    from comfy.clip_model import CLIPVisionModelProjection
    from safetensors.torch import save_file

    config = json.loads(Path(comfy.clip_vision.__file__).with_name("clip_vision_config_h.json").read_text())
    network = CLIPVisionModelProjection(config, torch.float16, "meta", comfy.ops.disable_weight_init)
    save_file(random_state("", network), str(path))
    return path


def save_subject_adapter(path):
    """Write a subject adapter for the checkpoint of `save_sd2` and the image encoder of `save_vit_h` (60 MB)."""
    from same_subject.nodes.subject import about as abouts
    from same_subject.nodes.subject.adapter import Sizes

    sizes = Sizes(
        words={"h": 1024}, cls=1024, patch=1280, patches=256, tokens=64, context=1024, layers=((320, 5),) * 3, first=320
    )
    said = {"family": abouts.DEMO, "text": abouts.DIFFERENCE, "text_config": {"h": abouts.TEXT_ENCODERS["h"]}}
    return subject_adapter_files.save(
        path, "sd2", base="a small Stable Diffusion 2", sizes=sizes, image_encoder=abouts.VIT_H, **said
    )


def save_sdxl(path, unet=full_size.UNETS["sdxl"], vae=None):
    """Write a checkpoint of SDXL's full size (6.9 GB; 1.9 GB with SDXL_UNET) and return its path. Needs the host."""
    import comfy.sdxl_clip
    import comfy.supported_models
    from comfy.ldm.modules.diffusionmodules.openaimodel import UNetModel
    from safetensors.torch import save_file

    large = json.loads(Path(comfy.sdxl_clip.__file__).with_name("clip_config_bigg.json").read_text())
    text = random_state("clip_l.transformer.", text_model(CLIP)) | random_state("clip_g.transformer.", text_model(large))
    recipe = comfy.supported_models.SDXL(dict(unet))
    state = random_state("model.diffusion_model.", UNetModel(**unet, device="meta"))
    state |= recipe.process_clip_state_dict_for_saving(text) | (vae or random_state("first_stage_model.", autoencoder()))
    save_file({name: value.contiguous() for name, value in state.items()}, str(path))
    return path


def text_model(config):
    """A text encoder of which only the shapes count."""
    import comfy.ops
    from comfy.clip_model import CLIPTextModel

    return CLIPTextModel(config, torch.float16, "meta", comfy.ops.disable_weight_init)


def autoencoder():
    """The autoencoder of Stable Diffusion, of which only the shapes count."""
    from comfy.ldm.models.autoencoder import AutoencoderKL

    with torch.device("meta"):
        return AutoencoderKL(embed_dim=4, ddconfig=dict(VAE))


def small_autoencoder():
    """The weights of TAESD (5 MB), which the host takes for a VAE, and which is quick, under their names in a checkpoint."""
    import comfy.taesd.taesd

    prefix = "first_stage_model."
    state = random_state(prefix, comfy.taesd.taesd.TAESD())
    return {**state, f"{prefix}vae_scale": torch.tensor(0.18215), f"{prefix}vae_shift": torch.tensor(0.0)}


def averaging_autoencoder():
    """Weights for TAESD whose latents are the mean colour of 8 x 8 pixels, and how much brighter their right half is.

    Those of random weights hardly tell colours. The pictures it makes of them are blocks of one colour.
    """
    state = {name: torch.zeros_like(value) for name, value in small_autoencoder().items()}
    encoder, decoder = (f"first_stage_model.taesd_{part}." for part in ("encoder", "decoder"))
    state["first_stage_model.vae_scale"] += 0.18215
    state[f"{encoder}0.bias"][ONE] = 1.0
    for number in (2, 6, 10):  # halve the sides
        state[f"{encoder}{number}.weight"][ONE, ONE, 1, 1] = 1.0
        for colour in range(3):
            state[f"{encoder}{number}.weight"][colour, colour, 1:, 1:] = 0.25
    state[f"{encoder}10.weight"][SIDES, :3, 1:, 1:] = torch.tensor([-1.0, 1.0]).half() / 6
    state[f"{encoder}10.weight"][SIDES, ONE, 1, 1] = 1.0
    for colour in range(3):
        for number in (f"{encoder}0", *(f"{decoder}{number}" for number in (7, 12, 17, 19))):
            state[f"{number}.weight"][colour, colour, 1, 1] = 1.0
        state[f"{encoder}14.weight"][colour, colour, 1, 1], state[f"{encoder}14.bias"][colour] = 4.0, -2.0
        state[f"{decoder}1.weight"][colour, colour, 1, 1], state[f"{decoder}1.bias"][colour] = 1 / 3.5, 0.5
    state[f"{encoder}14.weight"][SIDES, SIDES, 1, 1], state[f"{encoder}14.bias"][SIDES] = 8.0, -8.0
    return state


def save_control(path, config=CONTROL, seed=1):
    """Write a ControlNet for LEVELS (about 240 MB), or for another UNet, in the published (diffusers) layout. Needs the host."""
    import comfy.cldm.cldm
    from safetensors.torch import save_file

    shapes = {key: value for key, value in config.items() if key not in ("out_channels", "transformer_depth_output")}
    network = comfy.cldm.cldm.ControlNet(hint_channels=3, **shapes, device="meta")
    save_file(identities.published_control(random_state("", network, seed), config), str(path))
    return path


def save_plain_control(path, config=UNET, seed=1):
    """Write a ControlNet for a UNet (about 40 MB for UNET) under the names of its authors. Needs the host."""
    import comfy.cldm.cldm
    from safetensors.torch import save_file

    shapes = {key: value for key, value in config.items() if key not in ("out_channels", "transformer_depth_output")}
    network = comfy.cldm.cldm.ControlNet(hint_channels=3, **shapes, device="meta")
    save_file(random_state("control_model.", network, seed), str(path))
    return path


def random_state(prefix, network, seed=0):
    """Weights in half precision for a network of which only the shapes count; they keep the size of activations."""
    state, generator = {}, torch.Generator().manual_seed(seed)
    for name, weight in network.state_dict().items():
        bound = (3 / max(1, weight[0].numel())) ** 0.5 if weight.ndim > 1 else 0.0
        value = torch.empty(weight.shape).uniform_(-bound, bound, generator=generator)
        # 1 for the scale of a norm
        state[prefix + name] = (value + (weight.ndim == 1 and name.endswith("weight"))).half()
    return state
