"""Subject-Diffusion's hooks on a host model: what happens when a run, a step, a call of the UNet and a layer begin.

In the order of the data: `outer_sample` (the run), `prepare_sampling` (its memory), `predict_noise` (a step), `apply_model` and
`diffusion_model` (a call of the UNet), then `First`, `Middle` and `Text` (its layers). A `SubjectSampling` never changes, and
nothing that belongs to a run outlives it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import comfy.samplers
import torch
import torch.nn.functional as F
from comfy.patcher_extension import WrappersMP

from ...host import attention, chunk_tags, unet
from ...joint import guidance
from ...joint.host import guiding
from ...joint.host.attention import level
from .. import chain, where
from ..adapter import LATENT, KeysValues, Networks
from ..chain import Subjects
from ..settings import Settings
from . import prompting

KEY = "same_subject_subjects"
"""Names the wrappers, and tags each chunk with whether its term leaves subjects out."""
STEP, CALL = "same_subject_subjects_step", "same_subject_subjects_call"
"""Where a `Step` and a `Call` stand in the host's transformer options."""
RUN = "same_subject_subjects_run"
PARTIAL = "same_subject_subjects_partial"
"""The conditioning of the term with subjects and without text, beside the guider's own."""
ORIGINAL = "same_subject_subjects_original_"
"""Begins the names of the conditioning of steps without subjects."""
PREFIX = "diffusion_model."


@dataclass(frozen=True, eq=False)
class Run:
    """A run of a sampler. networks: on the device, where the host put them. unpatched: the model's weights that are exchanged.

    boxes: of the subjects. height, width: of its latents.
    """

    networks: Networks
    subjects: Subjects
    unpatched: dict[str, torch.Tensor]
    boxes: tuple[where.Box, ...]
    height: int
    width: int
    cache: dict[tuple, Any] = field(default_factory=dict)

    def keep(self, key: tuple, make: Callable[[], Any]) -> Any:
        if key not in self.cache:
            self.cache[key] = make()
        return self.cache[key]

    def tokens(self, device: torch.device) -> torch.Tensor:
        """[2, T, width]: of the subjects, and of none, which are zeros as the authors' null branch has them."""
        about = self.subjects.adapter.about
        told = about.boxes and (about.box_of_one or len(self.boxes) > 1)
        boxes = self.boxes if told else None
        shown = chain.tokens(self.networks.proj, self.subjects.each, boxes, about.slots, device)
        return torch.stack((shown, torch.zeros_like(shown)))

    def keys_values(self, layer: int, nulls: tuple[bool, ...], rows: int, like: torch.Tensor) -> KeysValues:
        """What a layer sees in each row of a call, made once a run."""
        key = layer, like.device, like.dtype
        tokens = self.keep((like.device, like.dtype), lambda: self.tokens(like.device).to(like))
        both = self.keep(key, lambda: self.networks.layers[layer].subjects(tokens))

        def of_rows() -> KeysValues:
            chosen = [int(null) for null in nulls for _ in range(rows)]
            return KeysValues(both.keys[chosen], both.values[chosen])

        return self.keep((*key, nulls, rows), of_rows)

    def exchanged(self, name: str, own: str, like: torch.Tensor) -> torch.Tensor:
        """By how much the networks' weight ``name`` differs from the model's ``own``, without what is patched on it."""

        def difference() -> torch.Tensor:
            new = self.networks.get_parameter(name).to(like.device, torch.float32)
            base = self.unpatched[own].to(like.device, torch.float32)
            if new.ndim == 4:
                base = F.pad(base, (0, 0, 0, 0, 0, new.shape[1] - base.shape[1]))
            return (new - base).to(like)

        return self.keep((name, like.device, like.dtype), difference)

    def location(self, nulls: tuple[bool, ...], rows: int, like: torch.Tensor) -> torch.Tensor:
        """The fifth channel of each row [B, 1, h, w]: 0 inside the boxes, 1 outside; 0 everywhere where a term has none."""
        outside = where.channel(self.boxes, self.height, self.width).to(like)
        shown = self.subjects.adapter.about.location
        return torch.cat([outside * (shown and not null) for null in nulls]).repeat_interleave(rows, dim=0)


@dataclass(frozen=True, eq=False)
class Step:
    """A step with subjects: its run, β, and whether terms are three."""

    run: Run
    strength: float
    levels: frozenset[str]
    three_terms: bool


@dataclass(frozen=True, eq=False)
class Call:
    """A call of the UNet on ``rows`` rows a chunk. nulls: of each chunk, whether it leaves subjects out.

    context: the texts [B, T, C]. first: what is added to the first convolution's result.
    """

    step: Step
    nulls: tuple[bool, ...]
    rows: int
    context: torch.Tensor | None = None
    first: torch.Tensor | None = None

    def check(self, given: torch.Tensor) -> None:
        if len(given) != self.rows * len(self.nulls):
            raise ValueError(
                f"Apply Subjects: a layer got {len(given)} rows, but needs {self.rows * len(self.nulls)}. Another node on the "
                "model cuts the batch or pictures into tiles; remove it."
            )


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

    def outer_sample(self, executor, noise, latent_image, *args, **kwargs):
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
        run = Run(self.subjects.adapter.networks, self.subjects, unpatched, boxes, height, width)
        guider.conds = self._conds(guider.conds)
        options = guider.model_options.get("transformer_options", {})
        guider.model_options = {**guider.model_options, "transformer_options": {**options, RUN: run}}
        return executor(noise, latent_image, *args, **kwargs)

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
        run, sigma = given.pop(RUN, None), float(timestep.max())
        if run is None:
            raise ValueError("Apply Subjects: the model was called outside of a sampler's run. Remove the node that does so.")
        if not self._has_subjects(sampling, sigma):
            conds = guider.conds
            own = {name.removeprefix(ORIGINAL): entries for name, entries in conds.items() if name.startswith(ORIGINAL)}
            guider.conds = {**conds, **own}
            try:
                return executor(x, timestep, {**options, "transformer_options": {**given, STEP: None}}, seed)
            finally:
                guider.conds = conds
        three = guidance.needs_partial(guidance.IMAGE_FIRST, guider.cfg, self.settings.image_scale)
        within = sampling.percent_to_sigma(self.settings.start) >= sigma >= sampling.percent_to_sigma(self.settings.end)
        step = Step(run, self.settings.strength if within else 0.0, self.settings.levels, three)
        options["transformer_options"] = {**given, STEP: step}
        if three:
            options = guiding.three_terms(options, guider.conds[PARTIAL], guidance.IMAGE_FIRST, self.settings.image_scale)
        return executor(x, timestep, options, seed)

    def _has_subjects(self, sampling, sigma: float) -> bool:
        """t > α T of equation 4, where t counts from 1 to T."""
        level = float(sampling.timestep(torch.tensor(sigma)))
        return level + 1 > self.settings.interpolation * sampling.num_timesteps

    def apply_model(self, executor, x, t, c_concat=None, c_crossattn=None, control=None, transformer_options=None, **kwargs):
        """A call of the UNet: find out which term each chunk is."""
        options, nulls = dict(transformer_options or {}), kwargs.pop(KEY, None)
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
        options[CALL] = Call(step, tuple(nulls), len(x) // len(nulls))
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


FIRST = PREFIX + "input_blocks.0.0."


class First:
    """A function for `input_block_patch`: what the new first convolution adds."""

    @torch.compiler.disable
    def __call__(self, h, transformer_options):
        call = transformer_options.get(CALL)
        if call is None or transformer_options["block"] != ("input", 0):
            return h
        return h + call.first.to(h)


class Middle:
    """A function for `middle_patch`: the layer between self- and cross-attention."""

    def __init__(self, blocks: tuple[tuple[tuple[str, int], int], ...]):
        self.numbers = {block: number for number, block in enumerate(blocks)}

    @torch.compiler.disable
    def __call__(self, x, extra_options):
        call = extra_options.get(CALL)
        if call is None or not call.step.strength or level(extra_options) not in call.step.levels:
            return x
        call.check(x)
        number = self.numbers[extra_options["block"], extra_options.get("block_index", 0)]
        run, attend = call.step.run, partial(_attend, extra_options)
        shown = run.keys_values(number, call.nulls, call.rows, x)
        return run.networks.layers[number](x, shown, call.step.strength, attend)


def _attend(extra_options: dict, q, k, v, heads: int) -> torch.Tensor:
    return attention.attend(q, k, v, {**extra_options, "n_heads": heads})


class Text:
    """A function for `attn2_replace` of one layer: keys and values as they were trained beside the layers.

    What another node patched on the model's own keys and values (a LoRA) stays. previous: the replacement found in its place.
    """

    def __init__(self, layer: int, own: str, previous=None):
        self.layer, self.own, self.previous = layer, own, previous

    @torch.compiler.disable
    def __call__(self, q, k, v, extra_options):
        call = extra_options.get(CALL)
        if call is not None:
            call.check(k)
            k, v = (
                projected + F.linear(call.context.to(projected), self._exchanged(call, name, projected))
                for name, projected in (("to_k", k), ("to_v", v))
            )
        if self.previous is not None:
            return self.previous(q, k, v, extra_options)
        return attention.attend(q, k, v, extra_options)

    def _exchanged(self, call: Call, name: str, like: torch.Tensor) -> torch.Tensor:
        return call.step.run.exchanged(f"attn2.{self.layer}.{name}.weight", f"{self.own}{name}.weight", like)

    def add(self, *args, **kwargs):
        """Some packs add their own adapter to what they find here, in place, which would leak into other models."""
        raise ValueError(
            "Apply Subjects: another adapter node (IPAdapter, InstantID or PuLID of another pack) comes after Apply Subjects "
            "on the model, and would change it for other nodes too. Put that node before Apply Subjects."
        )
