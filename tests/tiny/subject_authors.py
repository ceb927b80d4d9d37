"""The four state dicts that the authors of Subject-Diffusion save, small and random, and a plain reading of their networks.

Written from what their code does, with nothing of `nodes/subject`: an oracle for what is read from such files.
"""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F

LEVELS = (64, 128, 256, 256)
"""Channels of the UNet's levels: 320, 640, 1280 and 1280 in Stable Diffusion 2, with as many blocks."""
HEAD, CONTEXT, TEXT_LAYERS = 64, 96, 3
CLS, PATCH, PATCHES = 40, 48, 16
BLOCKS = (
    *(f"down_blocks.{level}.attentions.{number}" for level in range(3) for number in range(2)),
    "mid_block.attentions.0",
    *(f"up_blocks.{level}.attentions.{number}" for level in (1, 2, 3) for number in range(3)),
)
"""In the order in which a picture passes them."""
CHANNELS = (*(LEVELS[number // 2] for number in range(6)), LEVELS[3], *(LEVELS[3 - number // 3] for number in range(3, 12)))


def frozen() -> dict[str, tuple[int, ...]]:
    """Names and shapes of the UNet's weights that stay those of the base, but for `attn2.to_k` and `to_v`."""
    names: dict[str, tuple[int, ...]] = {}

    def affine(name: str, *shape: int) -> None:
        names.update({f"{name}.weight": shape, f"{name}.bias": shape[:1]})

    for name, *shape in (("time_embedding.linear_1", 256, 64), ("time_embedding.linear_2", 256, 256), ("conv_norm_out", 64)):
        affine(name, *shape)
    affine("conv_out", 4, 64, 3, 3)
    down, up = ([f"{way}_blocks.{level}" for level in range(4)] for way in ("down", "up"))
    for block, count in (*((one, 2) for one in down), ("mid_block", 2), *((one, 3) for one in up)):
        for number in range(count):
            for name in ("norm1", "norm2"):
                affine(f"{block}.resnets.{number}.{name}", 64)
            for name in ("conv1", "conv2"):
                affine(f"{block}.resnets.{number}.{name}", 64, 64, 3, 3)
            affine(f"{block}.resnets.{number}.time_emb_proj", 64, 256)
    changing = ("down_blocks.1.resnets.0", "down_blocks.2.resnets.0")
    for name in (*changing, *(f"{block}.resnets.{number}" for block in up for number in range(3))):
        affine(f"{name}.conv_shortcut", 64, 64, 1, 1)
    for name in (*(f"{one}.downsamplers" for one in down[:3]), *(f"{one}.upsamplers" for one in up[:3])):
        affine(f"{name}.0.conv", 64, 64, 3, 3)
    for block, channels in zip(BLOCKS, CHANNELS, strict=True):
        for name in ("norm", "proj_in", "proj_out"):
            affine(f"{block}.{name}", *(channels,) * (1 if name == "norm" else 2))
        start = f"{block}.transformer_blocks.0."
        for name in ("norm1", "norm2", "norm3"):
            affine(start + name, channels)
        for name in ("attn1.to_q", "attn1.to_k", "attn1.to_v", "attn2.to_q"):
            names[f"{start}{name}.weight"] = (channels, channels)
        for name in ("attn1.to_out.0", "attn2.to_out.0"):
            affine(start + name, channels, channels)
        affine(f"{start}ff.net.0.proj", 8 * channels, channels), affine(f"{start}ff.net.2", channels, 4 * channels)
    return names


def shapes() -> dict[str, dict[str, tuple[int, ...]]]:
    """Names and shapes of the four."""

    def affine(*names: tuple) -> dict[str, tuple[int, ...]]:
        return {f"{name}.{end}": shape[:count] for name, *shape in names for end, count in (("weight", None), ("bias", 1))}

    unet = {name: tuple(shape) for name, shape in frozen().items()} | {"conv_in.weight": (64, 5, 3, 3), "conv_in.bias": (64,)}
    for block, channels in zip(BLOCKS, CHANNELS, strict=True):
        start = f"{block}.transformer_blocks.0."
        unet |= {f"{start}attn2.{name}.weight": (channels, CONTEXT) for name in ("to_k", "to_v")}
        unet |= {f"{start}fuser.attn.{name}.weight": (channels, channels) for name in ("to_q", "to_k", "to_v")}
        unet |= {f"{start}fuser.{name}": () for name in ("alpha_attn", "alpha_dense")}
        square = (channels, channels)
        both = affine(("linear", channels, CONTEXT), ("attn.to_out.0", *square), ("norm1", channels), ("norm2", channels))
        both |= affine(("ff.net.0.proj", 8 * channels, channels), ("ff.net.2", channels, 4 * channels))
        unet |= {f"{start}fuser.{name}": tuple(shape) for name, shape in both.items()}
    text = affine(("final_layer_norm", CONTEXT))
    text |= {"embeddings.token_embedding.weight": (49408, CONTEXT), "embeddings.position_embedding.weight": (77, CONTEXT)}
    for number in range(TEXT_LAYERS - 1):  # published without the last one
        own = [("layer_norm1", CONTEXT), ("layer_norm2", CONTEXT), ("mlp.fc1", 128, CONTEXT), ("mlp.fc2", CONTEXT, 128)]
        own += [(f"self_attn.{name}_proj", CONTEXT, CONTEXT) for name in ("q", "k", "v", "out")]
        text |= {f"encoder.layers.{number}.{name}": shape for name, shape in affine(*own).items()}
    mlp = affine(("layernorm", CLS), ("fc1", CONTEXT, CLS), ("fc2", CONTEXT, CONTEXT))
    proj = {"null_image_feature": (1, 1, PATCHES, PATCH), "null_position_feature": (1, 1, PATCHES, 64)}
    inside = affine(("layernorm", PATCH + 64), ("fc1", CONTEXT, PATCH + 64), ("fc2", CONTEXT, CONTEXT))
    proj |= {f"linears_image.{name}": shape for name, shape in inside.items()}
    found = {"unet": unet, "clip_text": {f"text_model.{name}": shape for name, shape in text.items()}, "mlp": mlp, "proj": proj}
    return {part: {name: tuple(shape) for name, shape in names.items()} for part, names in found.items()}


def parts(seed: int = 0) -> dict[str, dict[str, torch.Tensor]]:
    """The four, with random weights that keep the size of what goes through."""
    generator, made = torch.Generator().manual_seed(seed), {}
    for part, names in shapes().items():
        made[part] = {}
        for name, shape in names.items():
            noise = torch.randn(shape, generator=generator)
            if len(shape) > 1 and "null" not in name:
                noise = noise * noise[0].numel() ** -0.5
            elif "norm" in name:
                noise = 0.2 * noise + name.endswith("weight")
            made[part][name] = noise
    made["clip_text"]["text_model.embeddings.position_ids"] = torch.arange(77)[None]
    return made


def shrink(monkeypatch) -> None:
    """Let `nodes/subject` take these sizes for Stable Diffusion 2, and small image and text encoders for published ones."""
    from same_subject.nodes.subject import about as abouts

    layers = tuple((channels, channels // HEAD) for channels in CHANNELS)
    text = {"hidden_size": CONTEXT, "intermediate_size": 128, "num_attention_heads": 2, "num_hidden_layers": TEXT_LAYERS}
    image = {"hidden_size": PATCH, "projection_dim": CLS, "image_size": 32, "patch_size": 8}
    monkeypatch.setitem(abouts.FAMILIES, "sd2", abouts.Family({"h": CONTEXT}, CONTEXT, LEVELS[0], layers))
    monkeypatch.setitem(abouts.TEXT_ENCODERS, "h", {**abouts.TEXT_ENCODERS["h"], **text})
    monkeypatch.setitem(abouts.IMAGE_ENCODERS, abouts.VIT_H, image)


def save(folder: Path, step: int = 449999, seed: int = 0) -> Path:
    """The four folders, as training writes them; returns that of the UNet."""
    for part, state in parts(seed).items():
        into = folder / f"{part}_0_{step}"
        into.mkdir(parents=True)
        torch.save(state, into / "pytorch_model.bin")
    return folder / f"unet_0_{step}"


def word(mlp: dict, cls: torch.Tensor) -> torch.Tensor:
    """What stands at a placeholder for a CLS embedding [CLS]."""
    x = F.layer_norm(cls, cls.shape[-1:], mlp["layernorm.weight"], mlp["layernorm.bias"])
    return F.gelu(x @ mlp["fc1.weight"].T + mlp["fc1.bias"]) @ mlp["fc2.weight"].T + mlp["fc2.bias"]


def objects(proj: dict, patches: torch.Tensor, boxes: torch.Tensor) -> torch.Tensor:
    """Tokens [2 * PATCHES, CONTEXT] of two subjects: patches [2, PATCHES, PATCH], boxes [2, 4]."""
    inner = {name.removeprefix("linears_image."): value for name, value in proj.items()}
    made = []
    for seen, box in zip(patches, boxes, strict=True):
        code = torch.cat([wave(100 ** (k / 8) * box) for k in range(8) for wave in (torch.sin, torch.cos)])
        made.append(word(inner, torch.cat([seen, code.expand(len(seen), -1)], dim=1)))
    return torch.cat(made)


def fused(unet: dict, number: int, x: torch.Tensor, given: torch.Tensor) -> torch.Tensor:
    """What the layer of block ``number`` in BLOCKS makes of x [L, channels], which sees ``given`` [T, CONTEXT]."""
    start = f"{BLOCKS[number]}.transformer_blocks.0.fuser."
    own = {name.removeprefix(start): value for name, value in unet.items() if name.startswith(start)}
    every = torch.cat([x, given @ own["linear.weight"].T + own["linear.bias"]])
    normed = F.layer_norm(every, every.shape[-1:], own["norm1.weight"], own["norm1.bias"])
    seen = []
    q, k, v = (normed @ own[f"attn.to_{name}.weight"].T for name in "qkv")
    for head in range(0, x.shape[1], HEAD):
        part = slice(head, head + HEAD)
        seen.append((q[:, part] @ k[:, part].T / HEAD**0.5).softmax(dim=1) @ v[:, part])
    out = torch.cat(seen, dim=1) @ own["attn.to_out.0.weight"].T + own["attn.to_out.0.bias"]
    x = x + own["alpha_attn"].tanh() * out[: len(x)]
    normed = F.layer_norm(x, x.shape[-1:], own["norm2.weight"], own["norm2.bias"])
    value, gate = (normed @ own["ff.net.0.proj.weight"].T + own["ff.net.0.proj.bias"]).chunk(2, dim=1)
    return x + own["alpha_dense"].tanh() * ((value * F.gelu(gate)) @ own["ff.net.2.weight"].T + own["ff.net.2.bias"])
