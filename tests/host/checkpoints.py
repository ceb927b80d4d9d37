"""Files with random weights that the stock loaders take: SD1.5 with a UNet of one level or of three, and a ControlNet."""

import torch
from same_subject.tests.tiny import identities

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


def save_sd15(path, unet=UNET):
    """Write a checkpoint (about 450 MB; 850 MB with LEVELS) and return its path. Needs the host."""
    import comfy.ops
    from comfy.clip_model import CLIPTextModel
    from comfy.ldm.models.autoencoder import AutoencoderKL
    from comfy.ldm.modules.diffusionmodules.openaimodel import UNetModel
    from safetensors.torch import save_file

    with torch.device("meta"):  # only the shapes are wanted
        networks = {
            "model.diffusion_model.": UNetModel(**unet, device="meta"),
            "cond_stage_model.transformer.": CLIPTextModel(CLIP, torch.float16, "meta", comfy.ops.disable_weight_init),
            "first_stage_model.": AutoencoderKL(embed_dim=4, ddconfig=dict(VAE)),
        }
    state, generator = {}, torch.Generator().manual_seed(0)
    for prefix, network in networks.items():
        state |= {prefix + name: value for name, value in random_state(network, generator).items()}
    save_file(state, str(path))
    return path


def save_control(path, seed=1):
    """Write a ControlNet for LEVELS in the published (diffusers) layout (about 240 MB) and return its path. Needs the host."""
    import comfy.cldm.cldm
    from safetensors.torch import save_file

    config = {key: value for key, value in CONTROL.items() if key not in ("out_channels", "transformer_depth_output")}
    network = comfy.cldm.cldm.ControlNet(hint_channels=3, **config, device="meta")
    state = random_state(network, torch.Generator().manual_seed(seed))
    save_file(identities.published_control(state, CONTROL), str(path))
    return path


def random_state(network, generator):
    """Weights in half precision for a network of which only the shapes count; they keep the size of activations."""
    state = {}
    for name, weight in network.state_dict().items():
        bound = (3 / max(1, weight[0].numel())) ** 0.5 if weight.ndim > 1 else 0.0
        value = torch.empty(weight.shape).uniform_(-bound, bound, generator=generator)
        state[name] = (value + (weight.ndim == 1 and name.endswith("weight"))).half()  # 1 for the scale of a norm
    return state
