"""Networks with random weights, in the host's own wrapping: of full size, and SDXL's layout at a fifth of its width."""

from types import SimpleNamespace

SHARED = {
    "image_size": 32,
    "in_channels": 4,
    "out_channels": 4,
    "model_channels": 320,
    "use_spatial_transformer": True,
    "use_checkpoint": False,
    "legacy": False,
}
UNETS = {
    "sd15": {
        **SHARED,
        "num_res_blocks": [2, 2, 2, 2],
        "channel_mult": [1, 2, 4, 4],
        "transformer_depth": [1, 1, 1, 1, 1, 1, 0, 0],
        "transformer_depth_middle": 1,
        "transformer_depth_output": [1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0],
        "use_linear_in_transformer": False,
        "context_dim": 768,
        "num_heads": 8,
        "adm_in_channels": None,
    },
    "sdxl": {
        **SHARED,
        "num_res_blocks": [2, 2, 2],
        "channel_mult": [1, 2, 4],
        "transformer_depth": [0, 0, 2, 2, 10, 10],
        "transformer_depth_middle": 10,
        "transformer_depth_output": [0, 0, 0, 2, 2, 2, 10, 10, 10],
        "use_linear_in_transformer": True,
        "context_dim": 2048,
        "num_head_channels": 64,
        "num_classes": "sequential",
        "adm_in_channels": 2816,
    },
}
UNETS["sdxl_small"] = {**UNETS["sdxl"], "model_channels": 64, "context_dim": 512}
RESAMPLER_WIDTH = {"sdxl": 1280, "sdxl_small": 256}


def model(kind, device):
    """A UNet, as a ModelPatcher."""
    import comfy.model_management
    import comfy.model_patcher
    import comfy.supported_models
    import torch

    recipe_class = comfy.supported_models.SD15 if kind == "sd15" else comfy.supported_models.SDXL
    recipe = recipe_class(dict(UNETS[kind]))
    recipe.set_inference_dtype(dtype(torch, device), None)
    network = recipe.get_model({}, "", device=torch.device("cpu"))
    randomise(torch, network.diffusion_model)
    offload = comfy.model_management.unet_offload_device()
    return comfy.model_patcher.ModelPatcher(network, load_device=device, offload_device=offload)


def control(kind, device):
    """A face ControlNet for that UNet, as a CONTROL_NET."""
    import comfy.cldm.cldm
    import comfy.controlnet
    import torch

    network = comfy.cldm.cldm.ControlNet(**control_config(kind), dtype=dtype(torch, device), device="cpu")
    return comfy.controlnet.ControlNet(randomise(torch, network), load_device=device)


def control_config(kind):
    """The configuration of a ControlNet for pictures of three channels."""
    left_out = ("out_channels", "transformer_depth_output")
    return {"hint_channels": 3, **{key: value for key, value in UNETS[kind].items() if key not in left_out}}


def adapter(kind, device):
    """An InstantID adapter for that UNet, as a `LoadedAdapter`."""
    import comfy.model_management
    import comfy.model_patcher
    import torch
    from same_subject.nodes.identity.host.files import LoadedAdapter

    network = randomise(torch, adapter_network(kind)).eval().requires_grad_(False)
    offload = comfy.model_management.unet_offload_device()
    return LoadedAdapter(comfy.model_patcher.ModelPatcher(network, load_device=device, offload_device=offload), "random")


def adapter_network(kind):
    """Its networks, without values."""
    from same_subject.nodes.identity.adapter import Adapter
    from same_subject.nodes.identity.resampler import Resampler

    context, width = UNETS[kind]["context_dim"], RESAMPLER_WIDTH[kind]
    return Adapter(Resampler(width, 4, 16, 512, context, 4 * width), context, adapter_channels(kind))


def adapter_channels(kind):
    """Channels of the 70 cross-attention layers of SDXL's layout, in an adapter's order."""
    base = UNETS[kind]["model_channels"]
    return [2 * base] * 4 + [4 * base] * 50 + [2 * base] * 6 + [4 * base] * 10


def subject_adapter(kind, device):
    """A subject adapter for that UNet, as far as Apply Subjects looks at a `SubjectAdapter`. Its gates are half open."""
    import comfy.model_management
    import comfy.model_patcher
    import comfy.ops
    import torch
    from same_subject.nodes.subject.adapter import Networks

    sizes = subject_sizes(kind)
    networks = randomise(torch, Networks(sizes, comfy.ops.manual_cast)).eval().requires_grad_(False)
    for layer in networks.layers:
        layer.alpha_attn.fill_(0.5), layer.alpha_dense.fill_(0.5)
    if dtype(torch, device) == torch.float16:
        for part in (networks.layers, networks.attn2, networks.conv_in):
            part.half()
    offload = comfy.model_management.unet_offload_device()
    patcher = comfy.model_patcher.ModelPatcher(networks, load_device=device, offload_device=offload)
    about = SimpleNamespace(base=kind, sizes=sizes, slots=2, box_of_one=True, boxes=True, location=True)
    return SimpleNamespace(about=about, networks=networks, patcher=patcher)


def subject_sizes(kind):
    """The sizes of its networks, for ViT-H/14 as image encoder. Small layouts have a fifth of a family's width."""
    from same_subject.nodes.subject.about import FAMILIES
    from same_subject.nodes.subject.adapter import Sizes

    config, family = UNETS[kind], FAMILIES[kind.removesuffix("_small")]
    first = config["model_channels"]
    layers = tuple((channels * first // family.first, heads * first // family.first) for channels, heads in family.layers)
    return Sizes(family.words, 1024, 1280, 256, 1024, config["context_dim"], layers, first)


def dtype(torch, device):
    return torch.float16 if device.type == "cuda" else torch.float32


def randomise(torch, network):
    """Seeded weights that keep the size of activations."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, weight in network.named_parameters():
            if weight.ndim > 1:
                bound = (3 / weight[0].numel()) ** 0.5
                weight.copy_(torch.empty(weight.shape).uniform_(-bound, bound, generator=generator))
            else:
                weight.fill_(1.0 if name.endswith("weight") else 0.0)
    return network
