"""Tiny stand-ins for InstantID: an SDXL UNet with all 70 cross-attention layers, an adapter and a ControlNet in their layouts.

Everything has random weights; the builders of host models need the host.
"""

from __future__ import annotations

import torch

from . import models

WIDTH = 64
"""Width of text states and face tokens: 2048 in Stable Diffusion XL."""
UNET = {
    "image_size": 8,
    "in_channels": 4,
    "out_channels": 4,
    "model_channels": 32,
    "num_res_blocks": [2, 2, 2],
    "channel_mult": [1, 2, 4],
    "transformer_depth": [0, 0, 2, 2, 10, 10],
    "transformer_depth_output": [0, 0, 0, 2, 2, 2, 10, 10, 10],
    "transformer_depth_middle": 10,
    "use_spatial_transformer": True,
    "legacy": False,
    "context_dim": WIDTH,
    "num_heads": -1,
    "num_head_channels": 32,
    "use_linear_in_transformer": True,
    "adm_in_channels": 2816,
    "num_classes": "sequential",
}
"""Stable Diffusion XL's own block structure, at a tenth of its channels."""


def unet(seed: int = 0):
    """A ModelPatcher of that UNet."""
    import comfy.model_patcher
    import comfy.supported_models

    class Tiny(comfy.supported_models.SDXL):
        unet_extra_config = {}

    recipe = Tiny(dict(UNET))
    recipe.set_inference_dtype(torch.float32, None)
    network = recipe.get_model({}, "", device="cpu")
    models.randomise(network.diffusion_model, seed)
    device = torch.device("cpu")
    return comfy.model_patcher.ModelPatcher(network, load_device=device, offload_device=device)


def control(seed: int = 1, unet: dict = UNET):
    """A CONTROL_NET of the structure of a UNet's config, on pictures of 3 channels."""
    import comfy.cldm.cldm
    import comfy.controlnet

    config = {key: value for key, value in unet.items() if key not in ("out_channels", "transformer_depth_output")}
    network = comfy.cldm.cldm.ControlNet(hint_channels=3, **config, dtype=torch.float32, device="cpu")
    models.randomise(network, seed)
    return comfy.controlnet.ControlNet(network, load_device=torch.device("cpu"))


def published_control(state: dict[str, torch.Tensor], config: dict) -> dict[str, torch.Tensor]:
    """The weights of a ControlNet of the host under the published (diffusers) names."""
    import comfy.utils

    names = {ours: theirs for theirs, ours in comfy.utils.unet_to_diffusers(config).items()}
    names |= {f"middle_block_out.0.{end}": f"controlnet_mid_block.{end}" for end in ("weight", "bias")}
    published = {}
    for key, value in state.items():
        part, number, *rest = key.split(".")
        if part == "zero_convs":
            theirs = f"controlnet_down_blocks.{number}.{rest[-1]}"
        elif part == "input_hint_block":
            where = {"0": "conv_in", "14": "conv_out"}.get(number, f"blocks.{int(number) // 2 - 1}")
            theirs = f"controlnet_cond_embedding.{where}.{rest[-1]}"
        else:
            theirs = names[key]
        published[theirs] = value.clone()
    return published


def adapter_state(
    seed: int = 2, width: int = WIDTH, channels=None, gain: float = 3.0, inner: int = 64
) -> dict[str, dict[str, torch.Tensor]]:
    """The published file's dict at tiny sizes: 51 tensors in `image_proj`, 140 in `ip_adapter`.

    gain: of values. inner: width of the resampler, 1280 in the published file.
    """
    generator = torch.Generator().manual_seed(seed)
    channels = [64] * 4 + [128] * 50 + [64] * 6 + [128] * 10 if channels is None else channels

    def weight(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator) * shape[-1] ** -0.5

    def vector(size: int, mean: float = 0.0) -> torch.Tensor:
        return mean + 0.1 * torch.randn(size, generator=generator)

    image = {"latents": torch.randn(1, 16, inner, generator=generator)}
    image |= {"proj_in.weight": weight(inner, 512), "proj_in.bias": vector(inner)}
    for number in range(4):
        start = f"layers.{number}."
        image |= {f"{start}0.{norm}.weight": vector(inner, 1.0) for norm in ("norm1", "norm2")}
        image |= {f"{start}0.{norm}.bias": vector(inner) for norm in ("norm1", "norm2")}
        image |= {f"{start}0.to_q.weight": weight(inner, inner), f"{start}0.to_kv.weight": weight(2 * inner, inner)}
        image |= {f"{start}0.to_out.weight": weight(inner, inner)}
        image |= {f"{start}1.0.weight": vector(inner, 1.0), f"{start}1.0.bias": vector(inner)}
        image |= {f"{start}1.1.weight": weight(4 * inner, inner), f"{start}1.3.weight": weight(inner, 4 * inner)}
    image |= {"proj_out.weight": weight(width, inner), "proj_out.bias": vector(width)}
    image |= {"norm_out.weight": vector(width, 1.0), "norm_out.bias": vector(width)}
    pairs = {}
    for number, size in enumerate(channels):
        pairs[f"{2 * number + 1}.to_k_ip.weight"] = weight(size, width)
        pairs[f"{2 * number + 1}.to_v_ip.weight"] = weight(size, width) * gain
    return {"image_proj": image, "ip_adapter": pairs}


def adapter(seed: int = 2, channels=None):
    """A `LoadedAdapter`. channels: of each layer, those of `UNET` if None."""
    import comfy.model_patcher
    from same_subject.nodes.identity import adapter as adapters
    from same_subject.nodes.identity.host.files import LoadedAdapter

    device = torch.device("cpu")
    built = adapters.build(adapter_state(seed, channels=channels), "tiny.bin")
    return LoadedAdapter(comfy.model_patcher.ModelPatcher(built, load_device=device, offload_device=device), "tiny.bin")


def identity(seed: int = 0):
    """An `Identity` with an embedding as long as a recogniser's raw ones are."""
    from same_subject.nodes.identity.faces import Identity

    return Identity(8 * torch.randn(512, generator=torch.Generator().manual_seed(seed)), ())


def conditioning(seed: int, **values) -> list:
    generator = torch.Generator().manual_seed(100 + seed)
    states = torch.randn(1, 77, WIDTH, generator=generator)
    return [[states, {"pooled_output": torch.randn(1, 1280, generator=generator), **values}]]


def sample(model, positive=None, negative=None, rows=1, size=8, seed=1, steps=2, cfg=2.0, sampler="euler") -> torch.Tensor:
    """The latents [rows, 4, size, size] that KSampler gives."""
    import nodes

    positive, negative = positive or conditioning(0), negative or conditioning(1)
    with torch.inference_mode():
        latent = {"samples": torch.zeros(rows, 4, size, size)}
        (out,) = nodes.common_ksampler(model, seed, steps, cfg, sampler, "normal", positive, negative, latent)
    return out["samples"].clone()


def in_context_windows(model, **settings):
    """The model that the host's `Context Windows (Manual)` gives: by default two rows of the batch at a time.

    Settings that an older host does not have are left out.
    """
    import inspect

    from comfy_extras.nodes_context_windows import ContextWindowsManualNode

    given = {"context_length": 2, "context_overlap": 0, "context_schedule": "standard_static", "context_stride": 1}
    given |= {"closed_loop": False, "fuse_method": "pyramid", "dim": 0, "freenoise": False, **settings}
    known = inspect.signature(ContextWindowsManualNode.execute).parameters
    given = {name: value for name, value in given.items() if name in known}
    return ContextWindowsManualNode.execute(model, **given).result[0]
