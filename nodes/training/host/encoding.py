"""Sets of pictures as a training takes them: latents of the base's VAE, states of its text encoder, kept on disk if wanted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial

import torch

from ...data import buckets, pictures
from ...data.examples import PictureSet
from ...joint import prompts
from ..cache import Cache, fingerprint
from ..settings import Settings
from .base import NAME, Base
from .step import Sets

MOST_CHUNKS = 4
"""Of 77 tokens; what a caption says after them is left out."""
AT_ONCE = 8
"""Sides of pictures that keep their aspect are multiples of so many latents, which a UNet can halve three times."""
TEXTS = 1024
"""Texts whose states are kept in memory."""


@dataclass(frozen=True, eq=False)
class Encoded:
    """One set. latents: [N, 4, h, w], scaled. texts: its captions. places: of each picture width and height that it had, what was
    cut off left and top, and width and height that it has, [N, 6].
    """

    latents: torch.Tensor
    texts: tuple[str, ...]
    places: torch.Tensor


class Encoder:
    """The base's VAE and text encoder. cache: where latents and states are kept from one run to the next; None keeps none."""

    def __init__(self, base: Base, settings: Settings, cache: Cache | None = None):
        self.base, self.cache = base, cache
        self._makers: dict[str, tuple] = {}
        self.states = lru_cache(TEXTS)(self._states)
        side, factor = settings.side, base.vae.spacial_compression_encode()
        step = AT_ONCE * factor if settings.buckets else factor
        if side % step:
            raise ValueError(
                f"{NAME}: pictures were to have an area of {side} x {side} pixels, but this checkpoint needs a multiple of "
                f"{step}. Set `side` to {max(1, round(side / step)) * step}."
            )
        self.sizes = buckets.sizes(side, step) if settings.buckets else [(side, side)]

    def encode(self, one: PictureSet) -> Encoded:
        """The pictures of a set at one of the sizes. Raises ValueError where the VAE's numbers are not finite."""
        size = buckets.nearest([picture.size for picture in one.pictures], self.sizes)
        cuts = [buckets.cut(picture, size) for picture in one.pictures]
        pixels = [pictures.tensor(cut.picture) for cut in cuts]
        if self.cache is None:
            latents = self._latents(torch.stack(pixels))["latents"]
        else:
            made = [self._kept("latent", x, partial(self._latents, x[None])) for x in pixels]
            latents = torch.cat([each["latents"] for each in made])
        if not latents.isfinite().all():
            raise ValueError(
                f"{NAME}: the VAE made NaN or infinity of the pictures of {one.name}. Use a VAE that works in half precision, or "
                "start with --fp32-vae."
            )
        places = [[*cut.own, *cut.corner, *size] for cut in cuts]
        return Encoded(latents, one.captions, torch.tensor(places))

    def together(self, sets: list[Encoded]) -> Sets:
        """Sets of one size and number of pictures as one batch, with their texts at one length."""
        texts = [self.states(text) for one in sets for text in one.texts]
        empty = self.states("")
        length = prompts.common_length([found["states"].shape[1] for found in (*texts, empty)])
        states = torch.cat([prompts.lengthen(found["states"], length) for found in texts])
        places = torch.cat([one.places for one in sets])
        y = self._sizes([found.get("pooled") for found in texts], places)
        null_y = self._sizes([empty.get("pooled")] * len(texts), places)
        latents = torch.cat([one.latents for one in sets])
        return Sets(latents, states, prompts.lengthen(empty["states"], length), len(sets[0].latents), y, null_y)

    def _sizes(self, pooled: list[torch.Tensor | None], places: torch.Tensor) -> torch.Tensor | None:
        """What SDXL is told of each picture and its text, [B, A]; None for other models."""
        rows = []
        for one, place in zip(pooled, places.tolist(), strict=True):
            names = ("width", "height", "crop_w", "crop_h", "target_width", "target_height")
            row = self.base.patcher.model.encode_adm(pooled_output=one, device="cpu", **dict(zip(names, place, strict=True)))
            if row is None:
                return None
            rows.append(row.float().cpu())
        return torch.cat(rows)

    def _latents(self, pixels: torch.Tensor) -> dict[str, torch.Tensor]:
        """latents [N, 4, h, w], scaled, of pictures [N, H, W, 3]."""
        with torch.inference_mode(False), torch.no_grad():
            return {"latents": self.base.patcher.model.process_latent_in(self.base.vae.encode(pixels).float()).cpu().clone()}

    def _states(self, text: str) -> dict[str, torch.Tensor]:
        """states [1, T, D] and, where the text encoder gives it, pooled [1, P]."""

        def made() -> dict[str, torch.Tensor]:
            with torch.inference_mode(False), torch.no_grad():
                ((states, more),) = self.base.clip.encode_from_tokens_scheduled(self.base.clip.tokenize(text), show_pbar=False)
                found = {"states": states[:, : MOST_CHUNKS * 77], "pooled": more.get("pooled_output")}
                return {name: value.float().cpu().clone() for name, value in found.items() if value is not None}

        return self._kept("text", text, made)

    def _kept(self, kind: str, what: object, make: Callable[[], dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
        """What ``make`` gives, from disk where it was made of the same by the same before."""
        return make() if self.cache is None else self.cache.get((kind, self._by(kind), what), make)

    def _by(self, kind: str) -> tuple:
        """What makes latents or states: its weights, and how the host was told to use them."""
        if kind not in self._makers:
            base = self.base
            network = base.vae.first_stage_model if kind == "latent" else base.clip.cond_stage_model
            if kind == "latent":
                form = base.patcher.model.latent_format
                ways: tuple = (type(form).__name__, float(form.scale_factor), str(getattr(base.vae, "vae_dtype", "")))
            else:
                patcher = base.clip.patcher
                ways = (base.clip.layer_idx, str(patcher.patches_uuid) if patcher.patches else "")
            self._makers[kind] = (fingerprint(network), *ways)
        return self._makers[kind]
