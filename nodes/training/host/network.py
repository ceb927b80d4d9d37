"""What is trained of a model: all of its UNet, or factors beside its weights and the first convolution."""

from __future__ import annotations

import torch
from comfy.ldm.modules.attention import BasicTransformerBlock
from comfy.ldm.modules.diffusionmodules.openaimodel import ResBlock
from comfy.weight_adapter import adapter_maps
from comfy.weight_adapter.bypass import BypassForwardHook
from torch.utils.checkpoint import checkpoint

from .. import coupled
from ..settings import ALL, FULL, LOHA, Settings
from .base import NAME, Base, show_references, widened

WITH_FACTORS = (torch.nn.Linear, torch.nn.Conv2d)
PARTS = ("attn1", "attn2", "ff")
"""Of a transformer block, its attention and feed-forward."""
BLOCKS = (ResBlock, BasicTransformerBlock)
"""Whose activations are computed again to save memory, and whose weights are whole at a time where processes share them."""


class Network(torch.nn.Module):
    """The UNet of a ``base``, called as a whole; its state is what is trained of it, and nothing else.

    A base that is given here is changed: it must be this training's own. Its ModelPatcher is then one of what is trained, to
    sample with; its channels are in JeDi's order. `restore` undoes what has no weights.
    """

    def __init__(self, base: Base, settings: Settings):
        super().__init__()
        if not settings.references and base.order is not None:
            raise ValueError(
                f"{NAME}: {base.path.name} has channels for references, so it cannot be trained without them. Let it have them, "
                "or give a checkpoint of 4 input channels."
            )
        unet = base.unet.requires_grad_(False).train()
        self.settings, self.base, self._frozen = settings, base, (unet,)
        self._hooks: list[BypassForwardHook] = []
        first = unet.input_blocks[0][0]
        if settings.references:
            self.before = widened(first.weight.detach(), base.order)
            unet.in_channels = first.in_channels = self.before.shape[1]
            base.patcher.model.model_config.unet_config["in_channels"] = self.before.shape[1]
        else:
            self.before = first.weight.detach().clone()
        first.weight = torch.nn.Parameter(self.before.clone().float())
        if settings.head_start and settings.references and base.order is None:
            show_references(first.weight)
        self.adapted: dict[str, torch.Size] = {}
        if settings.method == FULL:
            self.unet = unet.float().requires_grad_(True)
        else:
            if settings.references:
                self.first = first.weight
            self._adapt(unet)
        if settings.saving:
            self._save_memory(unet)

    @property
    def channels(self) -> int:
        """Input channels, with those of references."""
        return self.before.shape[1]

    def forward(self, x, timestep, states, pictures: int, y=None) -> torch.Tensor:
        """What is predicted, [B, 4, h, w], of x [B, 4 or 9, h, w], timesteps [B], texts [B, T, D] and, of SDXL, y [B, A].

        Every ``pictures`` rows are a set.
        """
        return self._frozen[0](x, timestep, states, y=y, transformer_options=coupled.options(pictures))

    def parts(self) -> list[torch.nn.Module]:
        """What is whole at a time where processes share all weights: its blocks, and last the UNet."""
        return [*(part for part in self.unet.modules() if isinstance(part, BLOCKS)), self.unet]

    def _apply(self, fn, recurse=True):
        if self.settings.method != FULL:
            self._frozen[0]._apply(fn)  # shares the first convolution's weight, which is moved in place
        return super()._apply(fn, recurse)

    def _adapt(self, unet: torch.nn.Module) -> None:
        """Factors beside the layers that were chosen; their product begins as zero."""
        kind = adapter_maps[self.settings.method]
        self.factors = torch.nn.ModuleList()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.settings.seed)
            for name, layer in layers(unet, self.settings.layers):
                factors = kind.create_train(
                    torch.empty(layer.weight.shape), rank=self.settings.rank, alpha=self.settings.rank * self.settings.strength
                )
                factors = factors.float()
                for key, weight in factors.named_parameters():
                    weight.requires_grad_(key != "alpha")
                self.adapted[name] = layer.weight.shape
                self.factors.append(factors)
                if self.settings.method == LOHA:  # the host has no form of it beside a layer
                    layer.weight_function = [factors]
                else:
                    hook = BypassForwardHook(layer, factors)
                    hook.inject()
                    self._hooks.append(hook)

    def _save_memory(self, unet: torch.nn.Module) -> None:
        for part in unet.modules():
            if isinstance(part, BLOCKS):
                part.forward = _again(part.forward)

    def restore(self) -> None:
        """Leave the UNet without factors and hooks, and with the weights that it has."""
        for hook in self._hooks:
            hook.eject()
        for part in self._frozen[0].modules():
            if isinstance(part, BLOCKS):
                part.__dict__.pop("forward", None)
            if isinstance(part, WITH_FACTORS) and self.settings.method == LOHA:
                part.weight_function = []
        self._frozen[0].requires_grad_(False).eval()


def layers(unet: torch.nn.Module, chosen: str) -> list[tuple[str, torch.nn.Module]]:
    """What factors stand beside, by names in the UNet. chosen: of `settings.LAYERS`."""
    first = unet.input_blocks[0][0]
    if chosen == ALL:
        return [(name, part) for name, part in unet.named_modules() if isinstance(part, WITH_FACTORS) and part is not first]
    found = []
    for name, block in unet.named_modules():
        if isinstance(block, BasicTransformerBlock):
            for part, layer in block.named_modules():
                if isinstance(layer, torch.nn.Linear) and part.split(".")[0] in PARTS:
                    found.append((f"{name}.{part}", layer))
    return found


def _again(forward):
    """A part's forward, whose activations are computed again for the gradient."""

    def computed(*given, **named):
        return checkpoint(forward, *given, use_reentrant=False, preserve_rng_state=False, **named)

    return computed
