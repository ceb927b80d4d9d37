"""Small scenes of several concepts on tiny models, and plain evaluations to compare them with."""

from __future__ import annotations

import torch

from . import models, sets

SIZE, CFG, STEPS = 8, 2.0, 3


def text(words: str, kind: str = "sd15") -> list:
    return models.Text(kind).encode_from_tokens_scheduled(words)


def soft_masks(concepts: int, rows: int = 1, seed: int = 0) -> list[torch.Tensor]:
    """Masks [rows, h, w] that leave something to the background everywhere."""
    generator = torch.Generator().manual_seed(seed)
    return list((2 * torch.randn(concepts + 1, rows, SIZE, SIZE, generator=generator)).softmax(0)[1:])


def branches(concepts: int, rows: int = 1, kind: str = "sd15", masks=None, model=None):
    """Branches with prompts of their own."""
    from same_subject.nodes.scene.branch import Branch

    masks = soft_masks(concepts, rows) if masks is None else masks
    return tuple(
        Branch(text(f"concept {number}", kind), text(f"not {number}", kind), model, mask) for number, mask in enumerate(masks)
    )


def install(model, chain, continue_from="blend", last_steps=0, feather=0.0):
    """The model that the node `Concept Scene` gives."""
    from same_subject.nodes.scene.host.runs import Scene

    return Scene(chain, None, continue_from, last_steps, feather).install(model)


def sample(
    model, seed=1, steps=STEPS, cfg=CFG, sampler="euler", rows=1, kind="sd15", positive=None, negative=None, latent=None, **more
) -> torch.Tensor:
    """The latents [rows, 4, h, w] that KSampler gives with the scene's prompt."""
    import nodes

    positive, negative = positive or text("the scene", kind), negative or text("not the scene", kind)
    latent = latent or {"samples": torch.zeros(rows, 4, SIZE, SIZE)}
    with torch.inference_mode():
        (out,) = nodes.common_ksampler(model, seed, steps, cfg, sampler, "normal", positive, negative, latent, **more)
    return sets._unloaded(out)


def sigmas(model, steps=STEPS) -> torch.Tensor:
    import comfy.samplers

    return comfy.samplers.calculate_sigmas(model.get_model_object("model_sampling"), "normal", steps)


def start(model, steps=STEPS, seed=1, rows=1) -> torch.Tensor:
    """What a sampler starts from with this seed: Z'_t."""
    import comfy.sample

    noise = comfy.sample.prepare_noise(torch.zeros(rows, 4, SIZE, SIZE), seed)
    return model.get_model_object("model_sampling").noise_scaling(sigmas(model, steps)[0], noise, torch.zeros_like(noise), True)


def finish(model, latents: torch.Tensor) -> torch.Tensor:
    """Latents as a sampler gives them back."""
    return model.model.process_latent_out(latents)


def denoise(model, positive, negative, x, sigma, cfg=CFG, latent=None) -> torch.Tensor:
    """The host's denoised prediction of one plain branch, from a run of its own with one evaluation."""
    import comfy.samplers

    class Once(comfy.samplers.Sampler):
        def sample(self, guider, sigmas, extra_args, callback, noise, latent_image=None, denoise_mask=None, disable_pbar=False):
            self.denoised = guider(x, sigma * x.new_ones(len(x)), model_options=extra_args["model_options"], seed=0)
            return noise

    guider, once = comfy.samplers.CFGGuider(model), Once()
    guider.set_conds(positive, negative)
    guider.set_cfg(cfg)
    with torch.inference_mode():
        guider.sample(
            torch.zeros_like(x), torch.zeros_like(x) if latent is None else latent, once, torch.stack((sigma, 0 * sigma))
        )
    return once.denoised.clone()


def denoise_all(model, chain, latents, sigma, kind="sd15") -> list[torch.Tensor]:
    """Every branch by itself, the background first."""
    background = denoise(model, text("the scene", kind), text("not the scene", kind), latents[0], sigma)
    return [
        background,
        *(denoise(one.model or model, one.positive, one.negative, x, sigma) for one, x in zip(chain, latents[1:], strict=True)),
    ]


def blend_weights(chain, rows=1) -> torch.Tensor:
    own = torch.stack([one.mask for one in chain])[:, :, None]
    return torch.cat((1 - own.sum(0, keepdim=True), own))
