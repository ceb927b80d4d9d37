"""CLIP and DINO in plain torch, on weights under the names of their authors' own code."""

from __future__ import annotations

import re

import torch
import torch.nn.functional as F

CLIP_PARTS = {
    "self_attn.out_proj": "attn.out_proj",
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
}
CLIP_SINGLE = {
    "text_model.embeddings.token_embedding.weight": "token_embedding.weight",
    "text_model.embeddings.position_embedding.weight": "positional_embedding",
    "text_model.final_layer_norm": "ln_final",
    "vision_model.embeddings.class_embedding": "visual.class_embedding",
    "vision_model.embeddings.patch_embedding.weight": "visual.conv1.weight",
    "vision_model.embeddings.position_embedding.weight": "visual.positional_embedding",
    "vision_model.pre_layrnorm": "visual.ln_pre",
    "vision_model.post_layernorm": "visual.ln_post",
    "logit_scale": "logit_scale",
}
DINO_SINGLE = {
    "embeddings.cls_token": "cls_token",
    "embeddings.position_embeddings": "pos_embed",
    "embeddings.patch_embeddings.projection": "patch_embed.proj",
    "layernorm": "norm",
}
DINO_PARTS = {
    "layernorm_before": "norm1",
    "layernorm_after": "norm2",
    "attention.output.dense": "attn.proj",
    "intermediate.dense": "mlp.fc1",
    "output.dense": "mlp.fc2",
}


def openai_names(published: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The weights of a published CLIP folder under the names of OpenAI's package."""
    state = {}
    for key, weight in published.items():
        layer = re.fullmatch(r"(text|vision)_model\.encoder\.layers\.(\d+)\.(.+)\.(weight|bias)", key)
        tower = "visual." if key.startswith("vi") else ""
        if layer:
            _, number, part, what = layer.groups()
            block = f"{tower}transformer.resblocks.{number}"
            if part.startswith("self_attn.") and part[10] in "qkv":
                if part[10] == "q":
                    joined = [published[key.replace("q_proj", f"{each}_proj")] for each in "qkv"]
                    state[f"{block}.attn.in_proj_{what}"] = torch.cat(joined)
                continue
            state[f"{block}.{CLIP_PARTS[part]}.{what}"] = weight
        elif key.endswith("_projection.weight"):
            state["text_projection" if key.startswith("text") else "visual.proj"] = weight.T.contiguous()
        else:
            state[_renamed(key, CLIP_SINGLE)] = weight
    return state


def dino_names(published: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The weights of a published DINO folder under the names of its authors' (and timm's) vision transformer."""
    state = {}
    for key, weight in published.items():
        layer = re.fullmatch(r"encoder\.layer\.(\d+)\.(.+)\.(weight|bias)", key)
        if key.startswith("pooler"):
            continue
        if not layer:
            state[_renamed(key, DINO_SINGLE)] = weight
            continue
        number, part, what = layer.groups()
        if part == "attention.attention.query":
            joined = [published[key.replace("query", each)] for each in ("query", "key", "value")]
            state[f"blocks.{number}.attn.qkv.{what}"] = torch.cat(joined)
        elif not part.startswith("attention.attention"):
            state[f"blocks.{number}.{DINO_PARTS[part]}.{what}"] = weight
    return state


def _renamed(key: str, names: dict[str, str]) -> str:
    whole, (start, _, end) = names.get(key), key.rpartition(".")
    return whole or f"{names[start]}.{end}"


def clip_pictures(state: dict[str, torch.Tensor], pictures: torch.Tensor, heads: int) -> torch.Tensor:
    """OpenAI's image tower: [B, 3, H, W], normalised, to [B, D]."""
    tokens = F.conv2d(pictures, state["visual.conv1.weight"], stride=state["visual.conv1.weight"].shape[-1])
    tokens = tokens.flatten(2).mT
    first = state["visual.class_embedding"].expand(len(tokens), 1, -1)
    x = torch.cat((first, tokens), 1) + state["visual.positional_embedding"]
    x = _layers(state, "visual.transformer.resblocks", _norm(state, "visual.ln_pre", x), heads, None)
    return _norm(state, "visual.ln_post", x[:, 0]) @ state["visual.proj"]


def clip_texts(state: dict[str, torch.Tensor], ids: torch.Tensor, heads: int) -> torch.Tensor:
    """OpenAI's text tower: ids [T, 77], 0 behind the end, to [T, D]."""
    x = state["token_embedding.weight"][ids] + state["positional_embedding"][: ids.shape[1]]
    unseen = torch.full((ids.shape[1],) * 2, -torch.inf).triu(1)
    x = _norm(state, "ln_final", _layers(state, "transformer.resblocks", x, heads, unseen))
    return x[torch.arange(len(ids)), ids.argmax(dim=-1)] @ state["text_projection"]


def dino(state: dict[str, torch.Tensor], pictures: torch.Tensor, heads: int) -> torch.Tensor:
    """DINO's vision transformer: [B, 3, H, W], normalised, to the class token [B, D]."""
    weight = state["patch_embed.proj.weight"]
    tokens = F.conv2d(pictures, weight, state["patch_embed.proj.bias"], stride=weight.shape[-1]).flatten(2).mT
    x = torch.cat((state["cls_token"].expand(len(tokens), -1, -1), tokens), 1) + state["pos_embed"]
    for number in range(1 + max(int(key.split(".")[1]) for key in state if key.startswith("blocks."))):
        name = f"blocks.{number}"
        inner = _norm(state, f"{name}.norm1", x, 1e-6)
        joined = F.linear(inner, state[f"{name}.attn.qkv.weight"], state[f"{name}.attn.qkv.bias"])
        x = x + F.linear(_attention(joined, heads, None), state[f"{name}.attn.proj.weight"], state[f"{name}.attn.proj.bias"])
        inner = F.linear(_norm(state, f"{name}.norm2", x, 1e-6), state[f"{name}.mlp.fc1.weight"], state[f"{name}.mlp.fc1.bias"])
        x = x + F.linear(F.gelu(inner), state[f"{name}.mlp.fc2.weight"], state[f"{name}.mlp.fc2.bias"])
    return _norm(state, "norm", x, 1e-6)[:, 0]


def _layers(state, name: str, x: torch.Tensor, heads: int, unseen: torch.Tensor | None) -> torch.Tensor:
    count = 1 + max(int(key[len(name) + 1 :].split(".")[0]) for key in state if key.startswith(f"{name}."))
    for block in (f"{name}.{number}" for number in range(count)):
        joined = F.linear(
            _norm(state, f"{block}.ln_1", x), state[f"{block}.attn.in_proj_weight"], state[f"{block}.attn.in_proj_bias"]
        )
        seen = _attention(joined, heads, unseen)
        x = x + F.linear(seen, state[f"{block}.attn.out_proj.weight"], state[f"{block}.attn.out_proj.bias"])
        inner = F.linear(_norm(state, f"{block}.ln_2", x), state[f"{block}.mlp.c_fc.weight"], state[f"{block}.mlp.c_fc.bias"])
        inner = inner * torch.sigmoid(1.702 * inner)
        x = x + F.linear(inner, state[f"{block}.mlp.c_proj.weight"], state[f"{block}.mlp.c_proj.bias"])
    return x


def _attention(joined: torch.Tensor, heads: int, unseen: torch.Tensor | None) -> torch.Tensor:
    q, k, v = (part.unflatten(-1, (heads, -1)).transpose(1, 2) for part in joined.chunk(3, dim=-1))
    weights = q @ k.mT / q.shape[-1] ** 0.5
    weights = weights if unseen is None else weights + unseen
    return (weights.softmax(dim=-1) @ v).transpose(1, 2).flatten(2)


def _norm(state, name: str, x: torch.Tensor, epsilon: float = 1e-5) -> torch.Tensor:
    return F.layer_norm(x, x.shape[-1:], state[f"{name}.weight"], state[f"{name}.bias"], epsilon)
