"""The networks that are trained here: the host's own UNet, CLIP text model and VAE, made small.

Training the host's classes means that nothing is converted: what is saved is what the host loads.
The host is imported inside the functions, so that the world can be used without it.
"""

from __future__ import annotations

import torch
from torch import nn

FACTOR = 4
UNET = {
    "image_size": 16,
    "in_channels": 9,
    "out_channels": 4,
    "model_channels": 64,
    "num_res_blocks": [1, 1, 1],
    "channel_mult": [1, 2, 2],
    "transformer_depth": [1, 1, 1],
    "transformer_depth_output": [1, 1, 1, 1, 1, 1],
    "transformer_depth_middle": 1,
    "num_head_channels": 32,
    "context_dim": 64,
    "use_spatial_transformer": True,
    "use_linear_in_transformer": True,
    "legacy": False,
}
CLIP = {
    "hidden_size": 64,
    "intermediate_size": 256,
    "num_attention_heads": 4,
    "num_hidden_layers": 2,
    "hidden_act": "quick_gelu",
    "eos_token_id": 49407,
    "max_position_embeddings": 77,
    "vocab_size": 49408,
}
VAE = {
    "embed_dim": 4,
    "ddconfig": {
        "double_z": True,
        "z_channels": 4,
        "resolution": 64,
        "in_channels": 3,
        "out_ch": 3,
        "ch": 32,
        "ch_mult": [1, 2, 2],
        "num_res_blocks": 1,
        "attn_resolutions": [],
        "dropout": 0.0,
    },
}


def initialise(net: nn.Module, generator_seed: int) -> nn.Module:
    """Give every layer torch's default start (the host's layers skip it to load faster), seeded."""
    torch.manual_seed(generator_seed)
    for module in net.modules():
        for kind in (nn.Linear, nn.Conv2d, nn.GroupNorm, nn.LayerNorm, nn.Embedding):
            if isinstance(module, kind):
                kind.reset_parameters(module)
                if kind is nn.Embedding:
                    nn.init.normal_(module.weight, std=0.02)
    return net


def unet(config: dict = UNET, seed: int = 0) -> nn.Module:
    """A UNet in the host's layout: residual branches start at zero, as in the original code."""
    from comfy.ldm.modules.attention import SpatialTransformer
    from comfy.ldm.modules.diffusionmodules.openaimodel import ResBlock, UNetModel

    net = initialise(UNetModel(**config), seed)
    for module in net.modules():
        if isinstance(module, ResBlock):
            nn.init.zeros_(module.out_layers[-1].weight)
        if isinstance(module, SpatialTransformer):
            nn.init.zeros_(module.proj_out.weight)
    nn.init.zeros_(net.out[-1].weight)
    return net


def text_encoder(config: dict = CLIP, seed: int = 1) -> nn.Module:
    """A CLIP text model in the host's layout; called with token ids [B, 77] it gives states [B, 77, D]."""
    import comfy.ops
    from comfy.clip_model import CLIPTextModel

    return initialise(CLIPTextModel(config, torch.float32, "cpu", comfy.ops.disable_weight_init), seed)


def autoencoder(config: dict = VAE, seed: int = 2) -> nn.Module:
    """A KL autoencoder in the host's layout, FACTOR pixels a latent."""
    from comfy.ldm.models.autoencoder import AutoencoderKL

    return initialise(AutoencoderKL(**config), seed)


def text_states(net: nn.Module, tokens: torch.Tensor | None = None, embedded: torch.Tensor | None = None) -> torch.Tensor:
    """The text model's last states [B, T, D] for token ids [B, T] or their embeddings [B, T, D], as its own forward has them.

    That forward adds into its own input, which automatic differentiation does not allow.
    """
    from comfy.ldm.modules.attention import optimized_attention_for_device

    model = net.text_model
    x = model.embeddings(tokens) if embedded is None else embedded + model.embeddings.position_embedding.weight
    mask = torch.full((x.shape[1], x.shape[1]), -torch.finfo(x.dtype).max).triu_(1).to(x)
    attention = optimized_attention_for_device(x.device, mask=True, small_input=True)
    for layer in model.encoder.layers:
        x = x + layer.self_attn(layer.layer_norm1(x), mask, attention)
        x = x + layer.mlp(layer.layer_norm2(x))
    return model.final_layer_norm(x)
