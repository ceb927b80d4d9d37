"""JeDi's hooks on a host model: what happens when a run, a step and a call of the UNet begin and end.

In the order of the data: `outer_sample` (the run), `prepare_sampling` (its memory), `predict_noise` (a
step), `apply_model` (a call of the UNet), then `attention.py`. A `JointSampling` never changes, and
nothing that belongs to a run outlives it.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass, field, replace
from functools import partial

import torch
from comfy.patcher_extension import WrappersMP

from ...host import exclusive, unet
from .. import guidance, settings, sharing
from ..coupling import View
from ..layout import JointSet, Layout
from ..matching import match_colors
from ..places import Places
from ..recording import KEY as RECORDING
from ..recording import Run as RecordedRun
from ..recording import Take
from ..sharing import Sharing
from . import attention, bank, calls, channels, checks, guiding, row_noise, strip, tagging, windows
from .rows import Inputs, may_be_cut

KEY = "same_subject_step"
"""Where a `Step` stands in the host's transformer options; also names the wrappers."""
PLACES = "same_subject_places"
"""Where the `Places` of a run stand in its guider's model options."""
FULL = 1e-5
"""Share by which a run's first noise level may lie below the model's highest and still count as it; the host's own bound."""
MEBIBYTE = 2**20
RUN = "same_subject_run"
"""Where a run's `bank.Run` stands there."""


@dataclass(frozen=True)
class Step:
    """Where in the schedule a step is: whether image guidance is active, and at which levels attention is coupled.

    attended: of each call, how much generated rows attended to references, [S * M, h, w], where that is asked for; NaN in rows
    that the call was not about. sigma: its noise level. wrapped: whether another node calls the model in its own way. run:
    where keys and values are kept. strengths: of levels, by how much references' strengths are multiplied. where: on
    which part of each picture each reference acts, [S * R, M, h, w], where steps before this one found it. looked: of each call,
    how much pictures attend to their subjects' words, [S * M, K + 1, h, w]. recorded: the run's, if this step is recorded;
    known: what of it is. rows: of a call that is about some of the batch.
    """

    guided: bool
    levels: frozenset[str]
    sigma: float
    wrapped: bool = False
    run: bank.Run | None = None
    attended: list[torch.Tensor] = field(default_factory=list)
    strengths: dict[str, float] = field(default_factory=dict)
    where: torch.Tensor | None = None
    looked: list[torch.Tensor] = field(default_factory=list)
    recorded: RecordedRun | None = None
    rows: list[int] | None = None
    known: set[tuple] = field(default_factory=set)

    def take(self, wanted: tuple[bool, ...], options: dict, layout: Layout) -> Take | None:
        """What is recorded of a call on a ``layout``. wanted: of each chunk, whether its term is. options: the host's.

        A conditioning is recorded once a step: what asks for it again is a node (PAG and others) that changes what it does.
        """
        if self.recorded is None:
            return None
        names = [(one, *(self.rows or ())) for one in options["uuids"]]
        chunks = [flag and name not in self.known for flag, name in zip(wanted, names, strict=True)]
        self.known.update(name for flag, name in zip(wanted, names, strict=True) if flag)
        return self.recorded.take(chunks, layout, self.rows)


@dataclass(frozen=True, eq=False)
class JointSampling:
    """The hooks for one joint set. channel_order: None for a 4-channel UNet, else one of CHANNEL_ORDERS.

    blocks: those of the UNet that have attention, known once it is installed. node: in which runs are shown live, or None.
    """

    joint_set: JointSet
    settings: settings.Settings
    channel_order: str | None
    blocks: tuple[tuple[str, int], ...] = ()
    node: str | None = None

    def install(self, model):
        """A clone of the ModelPatcher ``model`` that samples this joint set; the one given stays as it was."""
        exclusive.refuse_others(model, "JeDi")
        hooks = replace(self, blocks=tuple(unet.attention_blocks(model, "JeDi")))
        model = model.clone()
        model.add_wrapper_with_key(WrappersMP.OUTER_SAMPLE, KEY, hooks.outer_sample)
        model.add_wrapper_with_key(WrappersMP.PREPARE_SAMPLING, KEY, hooks.prepare_sampling)
        model.add_wrapper_with_key(WrappersMP.PREDICT_NOISE, KEY, hooks.predict_noise)
        model.add_wrapper_with_key(WrappersMP.APPLY_MODEL, KEY, hooks.apply_model)
        return model

    @functools.cached_property
    def _sharing(self) -> Sharing | None:
        """What is shown of the references, None if that is all of them at strength 1."""
        one, chosen = self.joint_set, self.settings.options
        strengths = one.strengths or (1.0,) * one.layout.references
        factor = self.settings.strength * chosen.reference_strength
        found = Sharing(
            one.layout.references,
            one.shown_masks() if chosen.subject_masks != settings.OFF else None,
            tuple(factor * strength for strength in strengths),
            one.where,
            chosen.color_match > 0,
        )
        return None if found.plain and chosen.style_fidelity == 1 and chosen.steady else found

    def _at(self, where: torch.Tensor | None) -> JointSampling:
        """These hooks where references act where a step found it."""
        return self if where is None else replace(self, joint_set=replace(self.joint_set, where=where))

    @property
    def _amounts(self) -> tuple[float, ...]:
        """How far colours go to those of each reference: strengths below 1 lessen it, those above do not add to it."""
        strengths = self.joint_set.strengths or (1.0,) * self.joint_set.layout.references
        return tuple(self.settings.options.color_match * min(1.0, self.settings.strength * own) for own in strengths)

    def _view(self, null: bool) -> View:
        """What a chunk's rows see; null: its term leaves references out."""
        chosen = self.settings.options
        seen = 1 - chosen.style_fidelity if null else 1.0
        generated, alone = (chosen.reference_attention == one for one in (settings.ALL_PICTURES, settings.ITSELF_ONLY))
        return View(seen > 0, generated, alone, seen)

    def outer_sample(self, executor, noise, latent_image, sampler, sigmas, denoise_mask=None, callback=None, *args, **kwargs):
        """A run: checked and tagged before it, the references and known pictures given back exactly after it.

        Their rows of the sampler's own noise are the set's epsilon too, so that what the
        sampler carries from step to step there is their diffusion path.
        """
        guider, held = executor.class_obj, self.joint_set.held
        checks.check_latent(latent_image, self.joint_set, denoise_mask)
        checks.check_guider(guider, self.settings.mode)
        guider.model_options = windows.of_sets(guider.model_options, self.joint_set.layout)
        if self.joint_set.layout.references:
            checks.warn_of_areas(guider.conds)
        if self.joint_set.words is not None:
            checks.check_words(guider.conds)
            found = Places(self.joint_set.words, self.joint_set.where, self.joint_set.layout.sets)
            guider.model_options = {**guider.model_options, PLACES: found}
        beside = None
        if self.channel_order is not None:
            model = guider.model_patcher.model
            shown = channels.reference_channels(self.joint_set, model, self.channel_order)
            beside = partial(channels.with_inpainting, shown, layout=self.joint_set.layout, model=model, order=self.channel_order)
        options = guider.model_options.get("transformer_options", {})
        recording = options.get(RECORDING)
        recorded = recording and recording.begin(self.joint_set.layout, tuple(self.joint_set.references.shape[-2:]))
        guider.conds = tagging.tag(guider.conds, self.joint_set, self.settings.mode, beside, recorded is not None)
        if denoise_mask is None and self._all_is_made(guider.model_patcher, noise, sigmas):
            latent_image = latent_image.clone()
            latent_image[self.joint_set.made_rows] = 0
        kept = bank.begin(guider.model_patcher.model, self.settings.options.bank * MEBIBYTE)
        run = {**options, RUN: kept} if recorded is None else {**options, RUN: kept, RECORDING: recorded}
        guider.model_options = {**guider.model_options, "transformer_options": run}
        noise = noise.clone()
        noise[held.rows] = held.noise.to(noise)
        if self.settings.step_noise == settings.EACH_PICTURE:
            sampler = row_noise.for_rows(sampler, self.joint_set.layout)
        watched = strip.beside(callback, self.node, guider.model_patcher, self.joint_set.layout)
        try:
            with checks.within_memory(guider.model_patcher, self.joint_set), watched as callback:
                samples = executor(noise, latent_image, sampler, sigmas, denoise_mask, callback, *args, **kwargs).clone()
        finally:
            bank.end(guider.model_patcher.model)
        samples[held.rows] = held.latents.to(samples)
        if recorded is not None:
            recording.finish(recorded, samples)
        return samples

    def _all_is_made(self, model, noise: torch.Tensor, sigmas: torch.Tensor) -> bool:
        """Whether a run of a set with a start begins at pure noise, so that nothing of the start may show.

        The host leaves a trace of the latents there: what it adds to them is strong noise, but not all.
        """
        if self.joint_set.start is None or not len(sigmas) or not noise.any():
            return False
        return float(sigmas[0]) >= float(model.get_model_object("model_sampling").sigma_max) * (1 - FULL)

    def prepare_sampling(self, executor, model, noise_shape, *args, **kwargs):
        """Memory for a run: the host counts two terms, here there may be three."""
        if self.settings.mode in guidance.THREE_TERMS:
            noise_shape = [math.ceil(noise_shape[0] * 1.5), *noise_shape[1:]]
        return executor(model, noise_shape, *args, **kwargs)

    def predict_noise(self, executor, x, timestep, model_options=None, seed=None):
        """A step: the rows of references are the forward-diffused references (section 3.3), and come back clean.

        So are those of known pictures. The terms of equation 4 are added here, for this step only.
        """
        guider, held = executor.class_obj, self.joint_set.held
        model, mode, image_scale = guider.inner_model, self.settings.mode, self.settings.image_scale
        options, size = dict(model_options or {}), self.joint_set.references.shape[-2:]
        given = options.get("transformer_options", {})
        step = self._step(model.model_sampling, float(timestep.max()), given.get(RECORDING))
        found = options.get(PLACES)
        where = None if found is None else found.where(size)
        step = replace(step, where=where, wrapped=options.get("model_function_wrapper") is not None, run=given.get(RUN))
        options["transformer_options"] = {**given, KEY: step}
        if step.guided and guidance.needs_partial(mode, guider.cfg, image_scale):
            options = guiding.three_terms(options, guider.conds[tagging.PARTIAL], mode, image_scale)
        denoised = executor(self._replaced(model, x, timestep), timestep, options, seed).clone()
        if found is not None and step.looked:
            found.add(torch.stack(step.looked).nanmean(dim=0))
        sharing = self._at(None if found is None else found.where(size))._sharing
        if step.attended and sharing is not None:
            made, mass = self.joint_set.layout.generated_rows, torch.stack(step.attended).nanmean(dim=0)
            references = model.process_latent_in(self.joint_set.reference_latents().to(denoised))
            denoised[made] = match_colors(denoised[made], mass, references, sharing, self._amounts)
        denoised[held.rows] = model.process_latent_in(held.latents.to(denoised))
        return denoised

    def _step(self, sampling, sigma: float, recorded: RecordedRun | None) -> Step:
        """Where noise level ``sigma`` is in the schedule; bounds are inclusive, as the host's are."""

        def within(start: float, end: float) -> bool:
            return sampling.percent_to_sigma(start) >= sigma >= sampling.percent_to_sigma(end)

        options = self.settings.options
        coupled = within(options.coupling_start, options.coupling_end)
        strengths = {} if options.steady else options.strengths_at(_share(sampling, sigma))
        levels = options.levels if coupled else frozenset()
        recorded = recorded if recorded is not None and within(*recorded.window) else None
        return Step(within(self.settings.start, self.settings.end), levels, sigma, strengths=strengths, recorded=recorded)

    def _replaced(self, model, x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        """``x``, chunks of B rows, with what is held, forward-diffused (x0 + sigma * epsilon), in its rows."""
        held, whole = self.joint_set.held, self.joint_set.layout.rows
        chunks = x.shape[0] // whole
        rows = [chunk * whole + row for chunk in range(chunks) for row in held.rows]
        clean = model.process_latent_in(held.latents.to(x)).repeat(chunks, 1, 1, 1)
        noise = held.noise.to(x).repeat(chunks, 1, 1, 1)
        x = x.clone()
        x[rows] = model.model_sampling.noise_scaling(sigma[rows] if sigma.numel() > 1 else sigma, noise, clean).to(x)
        return x

    def apply_model(self, executor, x, t, c_concat=None, c_crossattn=None, control=None, transformer_options=None, **kwargs):
        """A call of the UNet: find out which term each chunk is, and tell its input and its attention layers.

        The references are put in again because some guidance (SAG) calls the model on an x of its own.
        """
        options, layout, model = dict(transformer_options or {}), self.joint_set.layout, executor.class_obj
        some = windows.rows_of_call(options, kwargs.get(tagging.TAG), layout)
        step, *_ = options.pop(KEY, None), options.pop(RUN, None), options.pop(RECORDING, None)
        acting = self._at(None if step is None else step.where)
        if step is not None and some is not None:
            part = replace(acting, joint_set=acting.joint_set.of_rows(some))
            kwargs = windows.renumbered(kwargs, some, part.joint_set)
            options[KEY] = its = replace(
                step, attended=[], where=None, looked=[], run=None if step.where is not None else step.run, rows=some
            )
            out = part.apply_model(executor, x, t, c_concat, c_crossattn, control, options, **kwargs)
            step.attended.extend(windows.among_all(mass, some, layout) for mass in its.attended)
            step.looked.extend(windows.among_all(heat, some, layout) for heat in its.looked)
            return out
        if step is None:
            raise ValueError("JeDi: the model was called outside of a sampler's step, where no set can be followed.")
        tags = kwargs.pop(tagging.TAG, None)
        null = [flag and step.guided for flag in tagging.null_chunks(tags, x.shape[0], layout)]
        tagging.check_whole(tags, tuple(x.shape[1:]), tuple(self.joint_set.references.shape[1:]))
        literal = self.settings.options.null_references == settings.LITERAL
        views = tuple(self._view(flag and not literal) for flag in null)
        words, recorded = kwargs.pop(tagging.WORDS, ()), kwargs.pop(tagging.RECORDED, ())
        own = attention.lengths(kwargs.pop(tagging.TOKENS), layout.rows, c_crossattn.shape[1])
        terms = tuple(options["cond_or_uncond"])
        if step.guided and self.settings.mode in guidance.THREE_TERMS:
            options["cond_or_uncond"] = guiding.numbers(options["cond_or_uncond"], self.settings.mode)
        whole_pictures = x.shape[1:] == self.joint_set.references.shape[1:]
        if whole_pictures:
            rows = [chunk * layout.rows + row for chunk in range(x.shape[0] // layout.rows) for row in layout.reference_rows]
            t = t.clone()
            t[rows] = self._shown_level(t[rows])
            x = self._replaced(model, x, t)
        if self.channel_order is not None:
            c_concat = channels.without_references(c_concat, null, self.channel_order, literal, layout.reference_rows)
        about = attention.SetCall(
            (layout,) * len(views), views, step.levels, terms, sharing=acting._sharing, strengths=step.strengths
        )
        if whole_pictures:
            about = replace(about, words=words, take=step.take(recorded, options, layout))
        inputs = Inputs(x, t, c_concat, c_crossattn, kwargs)
        call = calls.Call(executor, inputs, own, about, options, self.blocks)
        if layout.references and whole_pictures and not control and not step.wrapped and may_be_cut(model, options, KEY, inputs):
            clean = model.process_latent_in(self.joint_set.reference_latents().to(x))
            run = step.run if step.where is None else None  # what a page shows would change from step to step
            out = call.on_seen_rows(run, float(self._shown_level(torch.tensor(step.sigma))), clean)
        else:
            out = call.on_every_row(self._for_generated_rows(control))
        mass = about.attended(x.shape[-2:])
        if mass is not None:
            step.attended.append(mass)
        heat = about.looked(x.shape[-2:])
        if heat is not None:
            step.looked.append(heat)
        return out

    def _shown_level(self, sigma: torch.Tensor) -> torch.Tensor:
        """The noise levels of references where the pictures' are ``sigma``."""
        chosen = self.settings.options
        return sharing.at_levels(sigma * chosen.reference_noise, chosen.reference_levels)

    def _for_generated_rows(self, control):
        """A ControlNet's residuals without those on reference rows: its hint is about pictures to generate."""
        if not control:
            return control
        layout = self.joint_set.layout
        acts = torch.ones(layout.rows)
        acts[layout.reference_rows] = 0

        def masked(residual):
            if residual is None or residual.shape[0] % layout.rows:
                return residual
            return residual * acts.repeat(residual.shape[0] // layout.rows).to(residual)[:, None, None, None]

        return {group: [masked(residual) for residual in residuals] for group, residuals in control.items()}


def _share(sampling, sigma: float) -> float:
    """The share of the schedule, 0 to 1, at which a host's model sampling is at noise level ``sigma``; found by halving."""
    low, high = 0.0, 1.0
    for _ in range(16):
        middle = (low + high) / 2
        low, high = (middle, high) if sampling.percent_to_sigma(middle) > sigma else (low, middle)
    return (low + high) / 2
