"""Tiny adapters of Subject-Diffusion with random weights, for the tiny models of `models`. Needs the host."""

from __future__ import annotations

from types import SimpleNamespace

import torch
from same_subject.nodes.host import model_files, unet
from same_subject.nodes.subject import adapter, chain

from . import models

CLS, PATCH, PATCHES, TOKENS = 24, 20, 9, 28


def sizes(model) -> adapter.Sizes:
    """Of networks for a ModelPatcher of `models`."""
    blocks = [block for _, one in unet.transformers(model, "test") for block in one.transformer_blocks]
    layers = tuple((block.attn1.to_q.out_features, block.n_heads) for block in blocks)
    context = blocks[0].attn2.to_k.in_features
    return adapter.Sizes({"l": 32}, CLS, PATCH, PATCHES, TOKENS, context, layers, 32)


def networks(model, seed: int = 0, trained: bool = True) -> adapter.Networks:
    """Random networks; those that are not ``trained`` change nothing: closed gates, the model's own weights, no location."""
    import comfy.ops

    made = models.randomise(adapter.Networks(sizes(model), comfy.ops.manual_cast), seed)
    with torch.no_grad():
        for layer in made.layers:
            layer.alpha_attn.fill_(0.8 * trained), layer.alpha_dense.fill_(-0.5 * trained)
        if not trained:
            blocks = [block for _, one in unet.transformers(model, "test") for block in one.transformer_blocks]
            for block, texts in zip(blocks, made.attn2, strict=True):
                texts.to_k.weight.copy_(block.attn2.to_k.weight), texts.to_v.weight.copy_(block.attn2.to_v.weight)
            first = model.model.diffusion_model.input_blocks[0][0]
            made.conv_in.weight.zero_()
            made.conv_in.weight[:, :4].copy_(first.weight), made.conv_in.bias.copy_(first.bias)
    return made.requires_grad_(False)


def subject_adapter(model, seed: int = 0, trained: bool = True, clip=None, **said):
    """What Load Subject Adapter gives."""
    made = networks(model, seed, trained)
    about = {"slots": 2, "box_of_one": True, "boxes": True, "location": True, "base": "tiny", "placeholder": "sks"}
    about = SimpleNamespace(sizes=made.sizes, placeholder_token=48136, **{**about, **said})
    return SimpleNamespace(about=about, networks=made, patcher=model_files.managed(made), clip=clip, plain_clip=None)


def subjects(adapter_, *places, seed: int = 3) -> chain.Subjects:
    """A subject in each of some places."""
    generator = torch.Generator().manual_seed(seed)
    names = ("dog", "cat", "cup", "hat")
    each = [
        chain.Subject(
            names[n % 4], torch.randn(CLS, generator=generator), torch.randn(PATCHES, PATCH, generator=generator), place
        )
        for n, place in enumerate(places)
    ]
    return chain.Subjects(adapter_, tuple(each))
