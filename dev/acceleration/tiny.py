"""The builders of `benchmark/models.py` for tiny models: the seeded ones of the tests, on this machine's device."""


def model(kind, device):
    """A UNet of few layers, as a ModelPatcher."""
    from same_subject.tests.tiny import models

    return placed(models.model("sd15" if kind == "sd15" else "sdxl"), device)


def control(kind, device):
    """A face ControlNet for it, as a CONTROL_NET."""
    import comfy.controlnet
    from same_subject.tests.tiny import identities, models

    network = identities.control(unet=models.unet_config("sdxl")).control_model
    return comfy.controlnet.ControlNet(network, load_device=device)


def adapter(kind, device):
    """An identity adapter for it, as a `LoadedAdapter`."""
    from same_subject.nodes.identity.host.sampling import cross_attention_layers
    from same_subject.tests.tiny import identities, models

    built = identities.adapter(channels=[layer.channels for layer in cross_attention_layers(models.model("sdxl"))])
    return type(built)(placed(built.patcher, device), built.name)


def placed(patcher, device):
    """The same network, to be loaded on a device."""
    import comfy.model_management
    import comfy.model_patcher

    offload = comfy.model_management.unet_offload_device()
    return comfy.model_patcher.ModelPatcher(patcher.model, load_device=device, offload_device=offload)
