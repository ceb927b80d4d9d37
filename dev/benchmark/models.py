"""Networks of full size with random weights, in the host's own wrapping."""

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


def model(kind, device):
    """A full-size SD1.5 or SDXL UNet with random weights, in the host's own wrapping."""
    import comfy.model_detection
    import comfy.model_management
    import comfy.model_patcher
    import comfy.supported_models
    import torch

    recipe_class = {"sd15": comfy.supported_models.SD15, "sdxl": comfy.supported_models.SDXL}[kind]
    recipe = recipe_class(dict(UNETS[kind]))
    recipe.set_inference_dtype(torch.float16 if device.type == "cuda" else torch.float32, None)
    network = recipe.get_model({}, "", device=torch.device("cpu"))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, weight in network.diffusion_model.named_parameters():
            if weight.ndim > 1:
                bound = (3 / weight[0].numel()) ** 0.5
                weight.copy_(torch.empty(weight.shape).uniform_(-bound, bound, generator=generator))
            else:
                weight.fill_(1.0 if name.endswith("weight") else 0.0)
    offload = comfy.model_management.unet_offload_device()
    return comfy.model_patcher.ModelPatcher(network, load_device=device, offload_device=offload)
