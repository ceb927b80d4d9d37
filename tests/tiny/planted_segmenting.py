"""A tiny Segment Anything with planted weights: whatever the box, its mask is all that is darker than grey.

Nothing is trained. A patch becomes one number (how far its red, green and blue add up to less than DARK), the layers
behind carry that number's sign, and the masks are where it is positive.
"""

from __future__ import annotations

import torch

from . import planted

SIDE, PATCH = 256, 16
DARK = 1.25
"""Sum of the colours, each 0 to 1, between pure green or blue (1) and grey (1.5)."""


@torch.no_grad()
def segment_anything() -> torch.nn.Module:
    """The network in its authors' package, in the layout of the published files."""
    sam = planted.segment_anything(side=SIDE)
    encoder, decoder = sam.image_encoder, sam.mask_decoder
    signs = torch.ones(32)
    signs[1::2] = -1
    for part in (encoder, decoder.transformer, decoder.output_upscaling):
        for layer in part.modules():
            if "LayerNorm" in type(layer).__name__:
                layer.weight.fill_(1)
                layer.bias.zero_()
    encoder.pos_embed.zero_()
    for block in encoder.blocks:
        _zero(block.attn.proj, block.mlp.lin2)
    seen = encoder.patch_embed.proj
    _zero(seen)
    seen.weight[0] = -(sam.pixel_std / 255 / PATCH**2)
    seen.bias[0] = DARK - sam.pixel_mean.sum() / 255
    first, _, second, _ = encoder.neck
    first.weight.zero_()
    first.weight[:, 0, 0, 0] = signs
    second.weight.zero_()
    second.weight[:, :, 1, 1] = torch.eye(len(signs))
    sam.prompt_encoder.no_mask_embed.weight.zero_()
    for layer in decoder.transformer.layers:
        _zero(layer.cross_attn_image_to_token.out_proj)
    larger, _, _, largest, _ = decoder.output_upscaling
    _zero(larger, largest)
    larger.weight.copy_((signs[:, None] * signs[:8]).view(32, 8, 1, 1).expand_as(larger.weight) / 32)
    largest.weight.copy_((signs[:8, None] / 8).view(8, 1, 1, 1).expand_as(largest.weight))
    for network in decoder.output_hypernetworks_mlps:
        _zero(network.layers[-1])
        network.layers[-1].bias.fill_(1)
    return sam


def _zero(*layers) -> None:
    for layer in layers:
        layer.weight.zero_()
        layer.bias.zero_()
