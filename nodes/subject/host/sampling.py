"""Subject-Diffusion's hooks on a host model: what happens when a run, a step and a call of the UNet begin.

In the order of the data: `outer_sample` (the run), `prepare_sampling` (its memory), `predict_noise` (a step), `apply_model` and
`diffusion_model` (a call of the UNet), then `layers.py`. A `SubjectSampling` never changes, and nothing that belongs
to a run outlives it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import comfy.samplers
import torch
import torch.nn.functional as F
from comfy.patcher_extension import WrappersMP

from ...host import chunk_tags, moving, unet
from ...joint import guidance
from ...joint.host import guiding
from .. import where
from ..adapter import LATENT
from ..chain import Subjects
from ..settings import Settings
from . import prompting, steering
from .layers import CALL, FIRST, Call, First, Middle, Run, Step, Text

KEY = "same_subject_subjects"
"""Names the wrappers, and tags each chunk with whether its term leaves subjects out."""
STEP, RUN = "same_subject_subjects_step", "same_subject_subjects_run"
"""Where a `Step` and a `Run` stand in the host's transformer options."""
PARTIAL = "same_subject_subjects_partial"
"""The conditioning of the term with subjects and without text, beside the guider's own."""
ORIGINAL = "same_subject_subjects_original_"
"""Begins the names of the conditioning of steps without subjects."""
LAYERS = ("watched layers",)
"""Where a run keeps how many layers are watched."""
PREFIX = "diffusion_model."


@dataclass(frozen=True, eq=False)
class SubjectSampling:
    """The hooks for some subjects on one model. blocks: (block, index) of each layer, in the networks' order."""

    subjects: Subjects
    settings: Settings
    blocks: tuple[tuple[tuple[str, int], int], ...] = ()

    def install(self, model):
        """A clone of the ModelPatcher ``model`` with these subjects; the one given stays as it was."""
        transformers = unet.transformers(model, "Apply Subjects")
        blocks = tuple((block, index) for block, one in transformers for index in range(len(one.transformer_blocks)))
        names = {id(module): name for name, module in model.model.named_modules()}
        keys = [f"{names[id(layer.attn2)]}." for _, one in transformers for layer in one.transformer_blocks]
        hooks, model = replace(self, blocks=blocks), model.clone()
        for kind, wrapper in (
            (WrappersMP.OUTER_SAMPLE, hooks.outer_sample),
            (WrappersMP.PREPARE_SAMPLING, hooks.prepare_sampling),
            (WrappersMP.PREDICT_NOISE, hooks.predict_noise),
            (WrappersMP.APPLY_MODEL, hooks.apply_model),
            (WrappersMP.DIFFUSION_MODEL, hooks.diffusion_model),
        ):
            model.add_wrapper_with_key(kind, KEY, wrapper)
        model.set_model_input_block_patch(First())
        model.set_model_patch(Middle(blocks), "middle_patch")
        for number, (block, index) in enumerate(blocks):
            found = model.model_options["transformer_options"].get("patches_replace", {}).get("attn2", {})
            previous = found.get((*block, index), found.get(block))
            model.set_model_attn2_replace(Text(number, keys[number], previous), *block, index)
        model.set_additional_models(KEY, [self.subjects.adapter.patcher])
        return model

    def outer_sample(self, executor, noise, latent_image, sampler, sigmas, denoise_mask=None, *args, **kwargs):
        """A run: checked, and its conditioning tagged, with the terms that guidance and steps without subjects need beside it."""
        guider = executor.class_obj
        self._check_guider(guider)
        if latent_image.ndim != 4 or latent_image.shape[1] != LATENT:
            raise ValueError(
                f"Apply Subjects: the latents have the shape {tuple(latent_image.shape)}, but need (pictures, {LATENT}, height, "
                "width). Connect Empty Latent Image, or an encoded picture."
            )
        height, width = latent_image.shape[-2:]
        boxes = where.placed([one.place for one in self.subjects.each], width / height)
        patched = guider.model_patcher.get_key_patches(PREFIX)
        exchanged = {key: values[0] for key, values in patched.items() if self._is_exchanged(key)}
        unpatched = {key: value[0] if isinstance(value, tuple) else value for key, value in exchanged.items()}
        masked = denoise_mask is not None
        run = Run(self.subjects.adapter.networks, self.subjects, unpatched, boxes, height, width, masked)
        guider.conds = self._conds(guider.conds)
        options = guider.model_options.get("transformer_options", {})
        guider.model_options = {**guider.model_options, "transformer_options": {**options, RUN: run}}
        if self.settings.steering.steps:
            if not moving.can_move(sampler):
                raise ValueError(
                    "Apply Subjects: attention control moves the sampler's latents, but uni_pc keeps its own to itself. Choose "
                    "another sampler, such as euler or dpmpp_2m, or set `control_steps` to 0."
                )
            sampler = moving.following(sampler)
        return executor(noise, latent_image, sampler, sigmas, denoise_mask, *args, **kwargs)

    @staticmethod
    def _is_exchanged(key: str) -> bool:
        return key.endswith((".attn2.to_k.weight", ".attn2.to_v.weight")) or key.startswith(FIRST)

    @staticmethod
    def _check_guider(guider) -> None:
        """Raise if a guider cannot combine three terms."""
        if type(guider).predict_noise is not comfy.samplers.CFGGuider.predict_noise or "negative" not in guider.conds:
            raise ValueError(
                f"Apply Subjects: the guider {type(guider).__name__} does not combine a positive and a negative term as CFG "
                "does, but image guidance needs both. Use KSampler, KSampler Advanced or CFG Guider."
            )

    def _conds(self, conds: dict[str, list[dict]]) -> dict[str, list[dict]]:
        """Copies of a guider's conditioning: tagged, and with the terms beside it."""
        prompting.check(conds, self.subjects, self.settings.interpolation)
        nulls = {name: name in chunk_tags.NULL_TERMS for name in conds}
        conds = {name: [_with_words(entry) for entry in entries] for name, entries in conds.items()}
        made = {name: [chunk_tags.tagged(entry, KEY, nulls[name]) for entry in entries] for name, entries in conds.items()}
        shown = [chunk_tags.tagged(entry, KEY, False) for entry in conds["negative"]]
        made[PARTIAL] = [chunk_tags.beside(entry, "negative") for entry in shown]
        if self.settings.interpolation > 0:
            for name in conds:
                original = [prompting.original(entry) for entry in made[name]]
                made[ORIGINAL + name] = [chunk_tags.beside(entry, name) for entry in original]
        return made

    def prepare_sampling(self, executor, model, noise_shape, *args, **kwargs):
        """Memory for a run: the host counts two terms, here there may be three."""
        return executor(model, [math.ceil(noise_shape[0] * 1.5), *noise_shape[1:]], *args, **kwargs)

    def predict_noise(self, executor, x, timestep, model_options=None, seed=None):
        """A step: with subjects and three terms, or, at the end of an interpolation (equation 4), the original model's."""
        guider, options = executor.class_obj, dict(model_options or {})
        sampling = guider.inner_model.model_sampling
        given = dict(options.get("transformer_options", {}))
        run, own, sigma = given.pop(RUN, None), given.pop(moving.KEY, None), float(timestep.max())
        if run is None:
            raise ValueError("Apply Subjects: the model was called outside of a sampler's run. Remove the node that does so.")
        if not self._has_subjects(sampling, sigma):
            conds = guider.conds
            original = {name.removeprefix(ORIGINAL): entries for name, entries in conds.items() if name.startswith(ORIGINAL)}
            guider.conds = {**conds, **original}
            try:
                return executor(x, timestep, {**options, "transformer_options": {**given, STEP: None}}, seed)
            finally:
                guider.conds = conds
        three = guidance.needs_partial(guidance.IMAGE_FIRST, guider.cfg, self.settings.image_scale)
        within = sampling.percent_to_sigma(self.settings.start) >= sigma >= sampling.percent_to_sigma(self.settings.end)
        step = Step(run, self.settings.strength if within else 0.0, self.settings.levels, three)
        if self._is_steered(sampling, sigma, given):
            self._steer(guider, x, own, timestep, {**options, "transformer_options": {**given, STEP: step}})
        options["transformer_options"] = {**given, STEP: step}
        if three:
            options = guiding.three_terms(options, guider.conds[PARTIAL], guidance.IMAGE_FIRST, self.settings.image_scale)
        return executor(x, timestep, options, seed)

    def _is_steered(self, sampling, sigma: float, transformer_options: dict) -> bool:
        """Whether a step is one of the first that latents are moved before."""
        levels = transformer_options.get("sample_sigmas")
        before = 0 if levels is None else int((levels > sigma * (1 + 1e-4)).sum())
        return before < self.settings.steering.steps

    def _steer(self, guider, x: torch.Tensor, own: moving.Own | None, timestep: torch.Tensor, options: dict) -> None:
        """Move latents ``x``, in their place, and the sampler's ``own`` that they were made of; None where they are these."""
        chosen, step = self.settings.steering, options["transformer_options"][STEP]
        run, levels = step.run, options["transformer_options"]["sample_sigmas"]
        if own is None and run.masked:
            raise ValueError(
                "Apply Subjects: attention control moves the sampler's latents, but there is a noise mask, and this sampler does "
                "not show its latents under one. Choose a sampler of KSampler, remove the noise mask, or set `control_steps` to "
                "0."
            )
        entries = [{key: value for key, value in entry.items() if key != "control"} for entry in guider.conds["positive"]]

        def predict(latents: torch.Tensor, level: torch.Tensor, watch: steering.Watch) -> None:
            its = {**options["transformer_options"], STEP: replace(step, three_terms=False, watch=watch)}
            comfy.samplers.calc_cond_batch(guider.inner_model, [entries], latents, level, {**options, "transformer_options": its})

        with steering.differentiable((guider.inner_model.diffusion_model, run.networks)):
            sigma = timestep.expand(len(x)).clone()
            gradient, losses, layers = steering.moves(x, sigma, lambda: steering.Watch(run.boxes, run.cache.get(LAYERS)), predict)
            run.cache[LAYERS] = layers
        number = int((levels > float(timestep.max()) * (1 + 1e-4)).sum())
        scale = chosen.scale * (1 - 0.5 * number / max(1, chosen.steps - 1)) ** 0.5
        acting = torch.tensor([loss > chosen.stop for loss in losses], device=x.device).view(-1, 1, 1, 1)
        by = (scale * acting * gradient).to(x)
        if own is None:
            x -= by
        else:
            own.move(x, by)

    def _has_subjects(self, sampling, sigma: float) -> bool:
        """t > α T of equation 4, where t counts from 1 to T."""
        level = float(sampling.timestep(torch.tensor(sigma)))
        return level + 1 > self.settings.interpolation * sampling.num_timesteps

    def apply_model(self, executor, x, t, c_concat=None, c_crossattn=None, control=None, transformer_options=None, **kwargs):
        """A call of the UNet: find out which term each chunk is."""
        options, nulls, own = dict(transformer_options or {}), kwargs.pop(KEY, None), kwargs.pop(prompting.WORDS, ())
        if nulls is None or STEP not in options or len(x) % len(nulls):
            raise ValueError(
                "Apply Subjects: the model was called with a batch that did not come through the sampler whole, for example by "
                "the deprecated node Perp-Neg or by a node that cuts pictures into tiles. Remove that node."
            )
        step, _ = options.pop(STEP), options.pop(RUN, None)
        if step is None:
            return executor(x, t, c_concat, c_crossattn, control, options, **kwargs)
        if tuple(x.shape[-2:]) != (step.run.height, step.run.width):
            raise ValueError(
                f"Apply Subjects: the UNet was called on {x.shape[-1]}x{x.shape[-2]} of {step.run.width}x{step.run.height} "
                "latents, by area conditioning or tiles, but subjects have their place in the whole picture. Use Conditioning "
                "(Set Mask) with `default` instead, or remove the node that cuts."
            )
        if step.three_terms:
            options["cond_or_uncond"] = guiding.numbers(options["cond_or_uncond"], guidance.IMAGE_FIRST)
        options[CALL] = Call(step, tuple(nulls), len(x) // len(nulls), tuple(own))
        return executor(x, t, c_concat, c_crossattn, control, options, **kwargs)

    def diffusion_model(
        self, executor, x, timesteps=None, context=None, y=None, control=None, transformer_options=None, **kwargs
    ):
        """The same call, where the UNet's own input is known."""
        options = dict(transformer_options or {})
        call = options.get(CALL)
        if call is not None:
            run = call.step.run
            weight = run.exchanged("conv_in.weight", FIRST + "weight", x)
            bias = run.exchanged("conv_in.bias", FIRST + "bias", x)
            seen = torch.cat((x[:, :LATENT], run.location(call.nulls, call.rows, x)), dim=1)
            options[CALL] = replace(call, context=context, first=F.conv2d(seen, weight, bias, padding=1))
        return executor(x, timesteps, context, y, control, options, **kwargs)


def _with_words(entry: dict) -> dict:
    return chunk_tags.tagged(entry, prompting.WORDS, entry.get(prompting.WORDS, ()))
