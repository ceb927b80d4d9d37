"""Branches inside one run of the host's sampler: each prepared and stepped as a run of its own, blended every step.

A scene is a hook on the background's model, so that it works with KSampler and with every node that takes a MODEL.
The background is what the sampler is given; a concept is any model and conditioning. In the order of the data:
- `Scene.outer_sample` (the run) opens a guider for each concept, one inside the other, so that the host and
  every other node's hooks prepare it as they would a plain run of it; the sampler's own run is the innermost.
- `SceneRun.predict_noise` (a step) asks all branches for their predictions together (`pooling.py`) and blends them.
- `own_latents.py` stands in for the sampler where each branch keeps its own latents.
Nothing that belongs to a run outlives it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from math import isfinite

import comfy.patcher_extension
import comfy.samplers
import torch
from comfy.patcher_extension import WrappersMP

from ...concepts import masks as pipeline
from ...concepts.places import Concepts
from ...host import moving
from .. import blending
from ..branch import Branch
from . import checks, identities
from .own_latents import STACKED, algorithm_1, can_follow
from .pooling import Pool

KEY = checks.KEY


@dataclass(frozen=True, eq=False)
class Scene:
    """The hooks for some concepts. concepts: their places, in the order of ``branches``, or None where they have masks.

    continue_from: one of CONTINUE_FROM. last_steps: S of Algorithm 1, where that is OWN. feather: of the branches' own masks, in
    latent pixels. speaking: surrounds a run, for a node that says in its own words what this one refuses.
    """

    branches: tuple[Branch, ...]
    concepts: Concepts | None
    continue_from: str
    last_steps: int
    feather: float
    speaking: Callable[[], AbstractContextManager] = nullcontext

    def install(self, model):
        """A clone of the ModelPatcher ``model`` that paints this scene; the one given stays as it was."""
        if model.get_wrappers(WrappersMP.OUTER_SAMPLE, KEY):
            raise ValueError(
                "Concept Scene: the model already went through a Concept Scene. Connect the model from before that node, and "
                "chain all Concept Branch nodes."
            )
        branches = (replace(one, model=None) if one.model is model else one for one in self.branches)
        scene = replace(self, branches=tuple(map(identities.on_its_own_model, branches)))
        checks.check_models(model, scene.branches)
        model = identities.added(model, [one.identity for one in scene.branches if one.identity is not None]).clone()
        others = model.wrappers.get(WrappersMP.OUTER_SAMPLE, {})
        # First, so that the concepts' runs are beside what other nodes do to the background's, not inside it.
        model.wrappers[WrappersMP.OUTER_SAMPLE] = {KEY: [scene.outer_sample], **others}
        return model

    def blend_weights(self, rows: int, height: int, width: int) -> torch.Tensor:
        """[K + 1, rows or 1, 1, h, w], the background's first."""
        if self.concepts is None:
            masks = [branch.mask for branch in self.branches if branch.mask is not None]  # all of them: `check_places`
            for number, mask in enumerate(masks, 1):
                pipeline.check_shape(mask, height, width, f"Concept Scene: the mask of concept {number}")
            return blending.blend_weights_of(masks, rows, height, width, self.feather)
        high, wide = self.concepts.masks.shape[-2:]
        if pipeline.stretched(self.concepts.masks, height, width):
            raise ValueError(
                f"Concept Scene: `concepts` were found on a picture of {wide}x{high} pixels, but the latents have another shape, "
                f"{width}x{height}. Paint a picture of the shape that they were found on."
            )
        blend_weights = blending.background_first(*self.concepts.blend_weights(height, width))
        if blend_weights.shape[1] not in (1, rows):
            raise ValueError(
                f"Concept Scene: `concepts` were found on {blend_weights.shape[1]} pictures, but the latent batch has {rows}. "
                "Paint as many pictures as the concepts were found on, or find them on one."
            )
        return blend_weights

    def outer_sample(self, executor, noise, latent_image, sampler, sigmas, *args, **kwargs):
        """A run. Concepts that are nowhere in the picture are left out."""
        if isinstance(executor.class_obj, _Concept):
            return executor(noise, latent_image, sampler, sigmas, *args, **kwargs)
        with self.speaking():
            return self._sampled(executor, noise, latent_image, sampler, sigmas, *args, **kwargs)

    def _sampled(self, executor, noise, latent_image, sampler, sigmas, *args, **kwargs):
        guider = executor.class_obj
        checks.check_guider(guider, self.branches)
        if latent_image.is_nested or latent_image.ndim != 4:
            raise ValueError("Concept Scene: the latents are not pictures, but need to be [rows, channels, height, width].")
        blend_weights = self.blend_weights(latent_image.shape[0], *latent_image.shape[-2:])
        present = [number for number in range(len(self.branches)) if blend_weights[number + 1].any()]
        blend_weights = blend_weights[[0, *(number + 1 for number in present)]]
        concepts = [_Concept(guider, self.branches[number], number + 1, latent_image) for number in present]
        identities.assign(guider, concepts, self.branches)
        run = SceneRun(guider, tuple(concepts), blend_weights.to(guider.model_patcher.load_device))
        if self.continue_from == blending.OWN:
            checks.warn_if_continued(guider.model_patcher, noise, sigmas)
            sampler = algorithm_1(sampler, run.blend_weights, self.last_steps, run.highest)
        elif self.continue_from == blending.AUTO:
            continued = checks.is_continued(guider.model_patcher, noise, sigmas)
            if can_follow(sampler) and not continued and not checks.is_cut([guider, *concepts]):
                sampler = algorithm_1(sampler, run.blend_weights, len(sigmas) - 1, run.highest)
        for kind, wrapper in ((WrappersMP.PREPARE_SAMPLING, run.prepare_sampling), (WrappersMP.PREDICT_NOISE, run.predict_noise)):
            comfy.patcher_extension.add_wrapper_with_key(kind, KEY, wrapper, guider.model_options, is_model_options=True)
        return run.open(executor, noise, latent_image, moving.following(sampler), sigmas, *args, **kwargs)


class _Concept(comfy.samplers.CFGGuider):
    """A concept's own run beside the background's, and its rows in the scene. ``number``: from 1, for errors."""

    def __init__(self, background, branch: Branch, number: int, latent_image: torch.Tensor):
        super().__init__(branch.model or background.model_patcher)
        self.set_conds(branch.positive, branch.negative)
        self.set_cfg(background.cfg if branch.cfg is None else branch.cfg)
        self.number, self.joint_set = number, branch.joint_set
        sampling = background.model_patcher.get_model_object("model_sampling")
        self.highest = float("inf") if branch.denoise >= 1 else float(sampling.percent_to_sigma(1 - branch.denoise))
        self.step_options: dict = {}
        self.rows = 0
        if self.joint_set is None:
            return
        if self.joint_set.start is not None:
            raise ValueError(
                f"Concept Scene: the joint set of concept {number} has a `start`, but all concepts begin from the scene's own "
                "latents. Connect these to the sampler, and nothing to `start` of Joint Set."
            )
        given, needed = self.joint_set.layout, latent_image.shape
        if len(given.generated_rows) != needed[0] or self.joint_set.references.shape[1:] != needed[1:]:
            raise ValueError(
                f"Concept Scene: the joint set of concept {number} has {len(given.generated_rows)} pictures to generate of "
                f"{tuple(self.joint_set.references.shape[1:])} (channels, height, width), but the scene has {needed[0]} of "
                f"{tuple(needed[1:])}. Give Joint Set one prompt for each picture of the scene, and the scene's size."
            )

    def outer_sample(self, *args, **kwargs):
        """As the host's, but ``rows`` is what it counts memory for: with a set's, and with a third term."""
        given = WrappersMP.PREPARE_SAMPLING, KEY, self._count
        comfy.patcher_extension.add_wrapper_with_key(*given, self.model_options, is_model_options=True)
        return super().outer_sample(*args, **kwargs)

    def _count(self, executor, model, noise_shape, *args, **kwargs):
        self.rows = noise_shape[0]
        return executor(model, noise_shape, *args, **kwargs)

    def widen(self, rows: torch.Tensor, rest: torch.Tensor | float = 0.0) -> torch.Tensor:
        """The scene's rows [B, ...] as this branch's model takes them; ``rest`` fills the rows of references."""
        if self.joint_set is None:
            return rows
        layout = self.joint_set.layout
        wide = rows.new_zeros(layout.rows, *rows.shape[1:]) + rest
        wide[layout.generated_rows] = rows
        return wide

    def narrow(self, rows: torch.Tensor) -> torch.Tensor:
        """Back to the scene's rows."""
        return rows if self.joint_set is None else rows[self.joint_set.layout.generated_rows]

    def predict(self, x: torch.Tensor, sigma: torch.Tensor, options: dict, seed) -> torch.Tensor:
        """The denoised prediction [B, C, h, w] of a step, as a plain run of this concept makes it."""
        wide = self.widen(x)
        return self.narrow(self(wide, sigma[:1].expand(len(wide)), model_options={**self.step_options, **options}, seed=seed))


class _Open(comfy.samplers.Sampler):
    """A sampler that takes no step: it hands over to the next branch while its guider is open. sampler: that of the scene."""

    def __init__(self, proceed: Callable[[], None], sampler):
        self.proceed, self.sampler_function = proceed, getattr(sampler, "sampler_function", None)

    def sample(self, guider, sigmas, extra_args, callback, noise, latent_image=None, denoise_mask=None, disable_pbar=False):
        guider.step_options = extra_args["model_options"]
        self.proceed()
        return noise if latent_image is None else latent_image


@dataclass(frozen=True, eq=False)
class SceneRun:
    """A run of a scene. blend_weights: [K + 1, B or 1, 1, h, w], the background's first."""

    background: comfy.samplers.CFGGuider
    concepts: tuple[_Concept, ...]
    blend_weights: torch.Tensor

    @property
    def highest(self) -> list[float]:
        """The noise level at which each concept begins to paint."""
        return [concept.highest for concept in self.concepts]

    def open(
        self,
        executor,
        noise,
        latent_image,
        sampler,
        sigmas,
        denoise_mask=None,
        callback=None,
        disable_pbar=False,
        seed=None,
        **more,
    ):
        """The sampler's own run, inside open runs of all concepts; all of them start from the same noise."""
        result = []

        def enter(number: int) -> None:
            if number == len(self.concepts):
                whole = (noise, latent_image, sampler, sigmas, denoise_mask, callback, disable_pbar, seed)
                result.append(executor(*whole, **more))
                return
            concept = self.concepts[number]
            clean = 0.0 if concept.joint_set is None else concept.joint_set.latent().to(latent_image)
            mask = None if denoise_mask is None else concept.widen(denoise_mask[:, :1], 1.0)
            concept.sample(
                concept.widen(noise), concept.widen(latent_image, clean), _Open(lambda: enter(number + 1), sampler), sigmas, mask,
                disable_pbar=True, seed=seed,
            )  # fmt: skip

        enter(0)
        return result[0]

    def prepare_sampling(self, executor, model, noise_shape, conds, *args, **kwargs):
        """The last loading of a run: all models and ControlNets at once, with memory for the largest batch of branches.

        Whatever was loaded for a concept before could have been unloaded for the next one.
        """
        rows = Counter({model: noise_shape[0]})
        for concept in self.concepts:
            rows[concept.model_patcher] += concept.rows
        others = [one.model_patcher for one in self.concepts if one.model_patcher.model is not model.model]
        together = dict(conds)
        for number, concept in enumerate(self.concepts):
            together |= {f"{KEY} {number} {name}": entries for name, entries in concept.conds.items()}
        together[f"{KEY} models"] = [{"additional_models": others}]
        real_model, _, models = executor(model, [max(rows.values()), *noise_shape[1:]], together, *args, **kwargs)
        for concept in self.concepts:
            concept.model_patcher.model_patches_to(concept.model_patcher.load_device)
        return real_model, conds, models

    def predict_noise(self, executor, x, timestep, model_options=None, seed=None):
        """A step: predictions of all branches, blended; stacked [(K + 1) B, C, h, w] if x is a stack of their latents."""
        options = dict(model_options or {})
        inside = options["transformer_options"] = dict(options.get("transformer_options", {}))
        stacked, count = inside.pop(STACKED, False), 1 + len(self.concepts)
        latents = list(x.chunk(count)) if stacked else [x] * count
        if own := inside.pop(moving.KEY, None):
            inside[moving.KEY], *others = own.chunk(count) if stacked else [own] * count
            for concept, part in zip(self.concepts, others, strict=True):
                concept.step_options = moving.telling(concept.step_options, part)
        sigma = timestep[: len(latents[0])]
        options, added = self._without_the_samplers_own(options)
        late = any(isfinite(level) for level in self.highest)
        now = float(sigma.max()) if late else 0.0  # not read from the device without need
        begun = [now <= level for level in self.highest]
        acting = [number for number, begins in enumerate((True, *begun)) if begins]
        pool = Pool(self.background.model_patcher, [self.concepts[number - 1] for number in acting[1:]])

        def of_all(values: Sequence[torch.Tensor]) -> list[torch.Tensor]:
            """What the acting branches have, and the background's for those that have not begun."""
            own = dict(zip(acting, values, strict=True))
            return [own.get(number, values[0]) for number in range(count)]

        denoised = of_all(pool.step(executor, [latents[number] for number in acting], sigma, options, seed))
        if stacked:
            return torch.cat(denoised)
        result = blending.blend(denoised, self.blend_weights)
        for function in added:
            conditional, unconditional = (blending.blend(of_all(pool.parts(part)), self.blend_weights) for part in (0, 1))
            result = function({
                "denoised": result, "cond_denoised": conditional, "uncond_denoised": unconditional, "input": x, "sigma": timestep,
                "cond": self.background.conds.get("positive"), "uncond": self.background.conds.get("negative"),
                "cond_scale": self.background.cfg, "model": self.background.inner_model, "model_options": options,
            })  # fmt: skip
        return result

    def _without_the_samplers_own(self, options: dict) -> tuple[dict, list]:
        """Options without the functions after CFG that the sampler itself added (CFG++), and these: they need the blend."""
        known = self.background.model_options.get("sampler_post_cfg_function", [])
        given = options.get("sampler_post_cfg_function", [])
        added = [function for function in given if function not in known]
        if added:
            options = {**options, "sampler_post_cfg_function": [function for function in given if function in known]}
        return options, added
