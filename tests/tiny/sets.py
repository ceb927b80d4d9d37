"""Small joint sets on tiny models, and sampling them with the host's own nodes."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from same_subject.nodes.joint import layout, settings

from . import models

SIZE = 8
"""Height and width of the latents."""


@dataclass(frozen=True)
class Case:
    """A joint set with what a sampler needs. positive and negative are CONDITIONING."""

    joint_set: layout.JointSet
    positive: list
    negative: list

    @property
    def layout(self) -> layout.Layout:
        return self.joint_set.layout

    @property
    def latent(self) -> dict:
        return {"samples": self.joint_set.latent(), "batch_index": self.layout.noise_index}


def pictures(count: int, seed: int = 0, size: int = SIZE) -> torch.Tensor:
    """Clean latents of ``count`` references, unscaled."""
    generator = torch.Generator().manual_seed(1000 + seed)
    return torch.randn(count, 4, size, size, generator=generator) / models.LATENT_SCALE


def case(kind="sd15", sets=1, generated=2, references=2, seed=0, latents=None, noise=None, captions=None, prompts=None) -> Case:
    """A joint set of random references; every row has a text of its own."""
    from same_subject.nodes.joint.host import encoding, tagging

    where = layout.Layout(sets, generated, references)
    latents = pictures(references, seed) if latents is None else latents
    noise = layout.draw_noise(seed, sets, references, tuple(latents.shape[1:])) if noise is None else noise
    prompts = prompts or [f"prompt {number}" for number in range(generated)]
    captions = captions or [f"caption {number}" for number in range(references)]
    texts = [*prompts, *captions] * sets
    joint_set = layout.JointSet(where, latents, noise, layout.key_of(where, texts, latents, noise))
    positive, negative = encoding.encode_texts(models.Text(kind), texts, "null", {tagging.SET_KEY: joint_set.key})
    return Case(joint_set, positive, negative)


def again(one: Case, start: torch.Tensor, redo: str = "", seed: int = 0) -> Case:
    """The same set that begins from ``start`` [S * M, C, h, w]; without the pictures that ``redo`` names the others are known."""
    from same_subject.nodes.joint import picking

    known = picking.known_rows(one.layout, redo)
    noise = layout.draw_known_noise(seed, one.layout, known, tuple(start.shape[1:]))
    return replace(one, joint_set=replace(one.joint_set, start=start, known=known, known_noise=noise))


def apply(model, joint_set, mode="joint", image_scale=3.0, start=0.0, end=1.0, channel_order=None, **options):
    """The model that the node `JeDi` gives. channel_order: None for 4-channel models."""
    from same_subject.nodes.joint.host.sampling import JointSampling

    chosen = settings.Settings(mode, image_scale, start, end, settings.Options(**options))
    return JointSampling(joint_set, chosen, channel_order).install(model)


def sample(
    model, case: Case, seed=1, steps=2, cfg=2.0, sampler="euler", scheduler="normal", latent=None, unload=True, **advanced
) -> torch.Tensor:
    """The latents [B, C, H, W] that KSampler gives, or KSampler Advanced with its keywords."""
    import nodes

    with torch.inference_mode():
        latent = case.latent if latent is None else latent
        (out,) = nodes.common_ksampler(
            model, seed, steps, cfg, sampler, scheduler, case.positive, case.negative, latent, **advanced
        )
    return _unloaded(out) if unload else out["samples"].clone()


def guide(guider, case: Case, seed=1, steps=2) -> torch.Tensor:
    """The latents that SamplerCustomAdvanced gives with a GUIDER."""
    import comfy.samplers
    from comfy_extras.nodes_custom_sampler import Noise_RandomNoise, SamplerCustomAdvanced

    with torch.inference_mode():
        sigmas = comfy.samplers.calculate_sigmas(guider.model_patcher.get_model_object("model_sampling"), "normal", steps)
        sampler = comfy.samplers.sampler_object("euler")
        out, _ = SamplerCustomAdvanced.execute(Noise_RandomNoise(seed), guider, sampler, sigmas, case.latent).result
    return _unloaded(out)


def _unloaded(latent: dict) -> torch.Tensor:
    """The latents, with the host's list of loaded models emptied: it collects garbage over models that died loaded."""
    import comfy.model_management

    comfy.model_management.unload_all_models()
    return latent["samples"].clone()


def made(samples: torch.Tensor, case: Case) -> torch.Tensor:
    """The generated rows, [S * M, C, H, W]."""
    return samples[case.layout.generated_rows]


def gap(a: torch.Tensor, b: torch.Tensor) -> float:
    """Largest difference of two batches, as a share of their spread."""
    return float((a - b).abs().max() / (0.5 * (a.std() + b.std())))


class Calls:
    """Counts the UNet's calls and keeps their inputs, as a wrapper on a clone of a model."""

    def __init__(self, model):
        from comfy.patcher_extension import WrappersMP

        self.inputs: list[torch.Tensor] = []
        self.options: list[dict] = []
        self.controls: list[dict] = []
        self.model = model.clone()
        self.model.add_wrapper_with_key(WrappersMP.DIFFUSION_MODEL, "test", self._record)

    def _record(self, executor, x, timesteps, context, y, control, transformer_options, **kwargs):
        self.inputs.append(x.clone())
        self.options.append(dict(transformer_options))
        self.controls.append({group: list(residuals) for group, residuals in (control or {}).items()})
        return executor(x, timesteps, context, y, control, transformer_options, **kwargs)

    def __len__(self) -> int:
        return len(self.inputs)
