"""A checkpoint file with random weights that the stock loader takes: SD1.5 with a UNet of one level."""

import torch

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


def save_sd15(path):
    """Write the file (about 450 MB) and return its path. Needs the host."""
    import comfy.ops
    from comfy.clip_model import CLIPTextModel
    from comfy.ldm.models.autoencoder import AutoencoderKL
    from comfy.ldm.modules.diffusionmodules.openaimodel import UNetModel
    from safetensors.torch import save_file

    with torch.device("meta"):  # only the shapes are wanted
        networks = {
            "model.diffusion_model.": UNetModel(**UNET, device="meta"),
            "cond_stage_model.transformer.": CLIPTextModel(CLIP, torch.float16, "meta", comfy.ops.disable_weight_init),
            "first_stage_model.": AutoencoderKL(embed_dim=4, ddconfig=dict(VAE)),
        }
    state, generator = {}, torch.Generator().manual_seed(0)
    for prefix, network in networks.items():
        for name, weight in network.state_dict().items():
            bound = (3 / max(1, weight[0].numel())) ** 0.5 if weight.ndim > 1 else 0.0
            value = torch.empty(weight.shape).uniform_(-bound, bound, generator=generator)
            state[prefix + name] = (value + (weight.ndim == 1 and "norm" in name and name.endswith("weight"))).half()
    save_file(state, str(path))
    return path
