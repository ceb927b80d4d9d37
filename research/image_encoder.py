"""Train the demo's image encoder: what CLIP's is to Subject-Diffusion, for cut-outs of drawn toys.

It is the host's own CLIP vision network, made small. Two views of a toy shall have alike embeddings, and its looks be told from
them; each patch token shall still know its own pixels.
"""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from ..nodes.subject.host import cutting
from ..nodes.training import loop as training
from . import finder, nets, world

CONFIG = {
    "model_type": "clip_vision_model",
    "hidden_size": 128,
    "intermediate_size": 512,
    "num_attention_heads": 4,
    "num_hidden_layers": 3,
    "hidden_act": "gelu",
    "image_size": 64,
    "patch_size": 8,
    "num_channels": 3,
    "projection_dim": 128,
}
PATCHES = (CONFIG["image_size"] // CONFIG["patch_size"]) ** 2
SEED = 6


def network() -> nn.Module:
    """An encoder with the weights that training starts from."""
    import comfy.ops
    from comfy.clip_model import CLIPVisionModelProjection

    made = nets.initialise(CLIPVisionModelProjection(dict(CONFIG), torch.float32, "cpu", comfy.ops.disable_weight_init), SEED)
    nn.init.normal_(made.vision_model.embeddings.class_embedding, std=0.02)
    return made


def encode(net: nn.Module, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Of pictures as `prepared` gives them: embeddings [B, projection_dim] and raw patch tokens [B, PATCHES, hidden_size].

    The network's own forward adds into its own input, which automatic differentiation does not allow.
    """
    from comfy.ldm.modules.attention import optimized_attention_for_device

    model = net.vision_model
    x = model.pre_layrnorm(model.embeddings(pixels))
    attention = optimized_attention_for_device(x.device, mask=False, small_input=True)
    for layer in model.encoder.layers:
        x = x + layer.self_attn(layer.layer_norm1(x), None, attention)
        x = x + layer.mlp(layer.layer_norm2(x))
    return net.visual_projection(model.post_layernorm(x[:, 0])), x[:, 1:]


def prepared(picture: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Cut-outs [B, 3, S, S] as the encoder takes them, of pictures [B, 3, H, W] and masks [B, 1, H, W]."""
    from comfy.clip_model import clip_preprocess

    squares = (cutting.cut_out(one.movedim(0, -1), cover[0]) for one, cover in zip(picture, mask, strict=True))
    return torch.cat([clip_preprocess(square[None], size=CONFIG["image_size"]) for square in squares])


def views(toys: world.Subjects, generator: torch.Generator) -> torch.Tensor:
    """A cut-out of each toy in any pose of `world.draw_places` and any scene, as the encoder takes it."""
    scenes = torch.randint(len(world.SCENES), (len(toys),), generator=generator)
    return prepared(*world.draw(toys, world.draw_places(len(toys), generator), scenes, generator))


def loss(net: nn.Module, reader: nn.Linear, pixels: nn.Linear, generator: torch.Generator, toys: int = 48, temperature=0.07):
    """Two views of each toy, half of them of one shape: contrastive loss, looks told, patches' own pixels told.

    reader: from an embedding to `finder.LOOKS`. pixels: from a patch token to its pixels.
    """
    drawn = world.draw_subjects(toys, generator)
    drawn.shape[::2] = int(torch.randint(len(world.SHAPES), (1,), generator=generator))
    shown = torch.cat([views(drawn, generator) for _ in range(2)]).to(training.device())
    embedding, patches = encode(net, shown)
    a, b = F.normalize(embedding.float(), dim=1).split(toys)
    logits, same = a @ b.T / temperature, torch.arange(toys, device=a.device)
    contrast = (F.cross_entropy(logits, same) + F.cross_entropy(logits.T, same)) / 2
    told = finder.read_off(reader(embedding).float(), drawn)
    side = CONFIG["patch_size"]
    own = F.unfold(shown, side, stride=side).mT
    kept = F.mse_loss(pixels(patches).float(), own) / own.var()
    figures = {"contrast": contrast, "top1": (logits.argmax(dim=1) == same).float().mean(), "told": told, "pixels": kept}
    return contrast + told + kept, {name: value.item() for name, value in figures.items()}


def train(folder: str, steps: int, rate: float, seed: int = 0) -> None:
    """Train for ``steps``; state in ``<folder>/encoder.pt``; resumable."""
    torch.manual_seed(SEED + seed)
    width = CONFIG["hidden_size"]
    reader, pixels = nn.Linear(CONFIG["projection_dim"], finder.LOOKS), nn.Linear(width, 3 * CONFIG["patch_size"] ** 2)
    networks = {"encoder": network(), "reader": reader, "pixels": pixels}
    loop = training.Loop(folder, "encoder", networks, rate, steps, SEED + seed)
    for _ in loop:
        with training.mixed_precision():
            value, figures = loss(networks["encoder"], reader, pixels, loop.generator)
        loop.learn(value, figures)


def load(folder: str) -> nn.Module:
    """The trained encoder."""
    net = network()
    net.load_state_dict(torch.load(Path(folder) / "encoder.pt", map_location="cpu", weights_only=True)["average"]["encoder"])
    return net.eval().requires_grad_(False).to(training.device())
