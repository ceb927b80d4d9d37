"""A tiny Grounding DINO with planted weights: pictures of green and blue blobs go through every layer of the real network.

Nothing is trained. Swin's weights are random; residual branches behind it are shut, so that text is its words and
vision is what Swin makes of a place. One linear map, the projection of the words, is then solved for by least squares on
pictures of blobs. Boxes are not regressed: each is BOX around a place of 8 pixels that has its word's colour.
"""

from __future__ import annotations

from pathlib import Path

import torch

from . import grounding

HEIGHT, WIDTH, CELL = 80, 160, 8
"""The size at which the network sees pictures of twice their height, and a place on its finest level, in pixels."""
COLOURS = {"green": (0.0, 1.0, 0.0), "blue": (0.0, 0.0, 1.0)}
BOX = (0.35, 0.7)
"""Width and height of every box, shares of the picture."""
SMALLEST = 0.05
"""Width and height of the network's boxes on the finest level before they are refined."""
PLANTED, PICTURES = 4.0, 32
"""Size of the logits that are planted, and how many pictures the map is fitted to."""


def scene(green: tuple[int, int, int, int], blue: tuple[int, int, int, int], scale: int = 1) -> torch.Tensor:
    """A grey picture [1, H, W, 3] with a blob of each colour, in places: left, top, right, bottom (exclusive).

    scale: 1 gives HEIGHT by WIDTH pixels, the size that the network sees.
    """
    picture, side = torch.full((1, HEIGHT * scale, WIDTH * scale, 3), 0.5), CELL * scale
    for blob, colour in zip((green, blue), COLOURS.values(), strict=True):
        left, top, right, bottom = (side * edge for edge in blob)
        picture[:, top:bottom, left:right] = torch.tensor(colour)
    return picture


@torch.no_grad()
def network(seed: int = 0):
    """The network in transformers. With other words than COLOURS it finds nothing."""
    made = grounding.network(seed, num_queries=100)
    model = made.model
    _shut(model)
    places, labels = _examples(made, torch.Generator().manual_seed(seed))
    _fit(made, places, labels)
    for level in model.input_proj_vision[1:]:  # coarser levels see grey everywhere, and so find nothing
        level[1].weight.zero_()
        level[1].bias.copy_(places[labels.sum(1) == 0].mean(0))
    steps = (torch.tensor(BOX).logit() - torch.tensor(SMALLEST).logit()) / len(model.decoder.layers)
    for head in (*made.bbox_embed, *model.decoder.bbox_embed):
        _zero(head.layers[-1])
        head.layers[-1].bias[2:] = steps
    _zero(model.encoder_output_bbox_embed.layers[-1])
    return made


def save_folder(folder: Path, seed: int = 0) -> Path:
    """A folder as published, with these weights."""
    return grounding.save_folder(folder, made=network(seed))


def _shut(model) -> None:
    """Leave of all layers behind Swin and the words' embeddings a path that copies."""
    for part in (model.encoder, model.decoder, model.enc_output_norm):
        for layer in part.modules():
            if isinstance(layer, torch.nn.LayerNorm):
                layer.weight.fill_(1)
                layer.bias.zero_()
    model.text_backbone.embeddings.position_embeddings.weight.zero_()
    for layer in model.text_backbone.encoder.layer:
        _zero(layer.attention.output.dense, layer.output.dense)
    for layer in model.encoder.layers:
        layer.fusion_layer.vision_param.zero_()
        layer.fusion_layer.text_param.zero_()
        deformable, text = layer.deformable_layer, layer.text_enhancer_layer
        _zero(deformable.self_attn.output_proj, deformable.fc2, text.self_attn.out_proj, text.fc2)
    model.query_position_embeddings.weight.zero_()
    _copy(model.enc_output)
    for layer in model.decoder.layers:
        attention = layer.encoder_attn
        _zero(layer.self_attn.out_proj, layer.encoder_attn_text.out_proj, layer.fc2)
        _zero(attention.sampling_offsets, attention.attention_weights)
        attention.attention_weights.bias.view(attention.n_heads, attention.n_levels, -1)[:, 0] = 20  # the finest level only
        _copy(attention.value_proj, attention.output_proj)


def _zero(*layers) -> None:
    for layer in layers:
        layer.weight.zero_()
        layer.bias.zero_()


def _copy(*layers) -> None:
    for layer in layers:
        torch.nn.init.eye_(layer.weight)
        layer.bias.zero_()


def _seen(made, pictures: torch.Tensor, part) -> torch.Tensor:
    """What ``part`` gives for pictures [B, H, W, 3]."""
    from same_subject.nodes.concepts.host import grounding as host

    kept = []
    hook = part.register_forward_hook(lambda module, given, out: kept.append(out))
    ids = torch.tensor([[101, 1012, 102]]).expand(len(pictures), -1)
    made(pixel_values=host.prepared(pictures, HEIGHT, WIDTH), input_ids=ids, attention_mask=torch.ones_like(ids))
    hook.remove()
    return kept[0]


def _examples(made, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Places [places, 256] as the finest level shows them, and which of COLOURS each wholly has [places, 2], 0 or 1."""
    rows, columns = HEIGHT // CELL, WIDTH // CELL
    pictures, labels = torch.full((PICTURES, HEIGHT, WIDTH, 3), 0.5), torch.zeros(PICTURES, rows, columns, len(COLOURS))

    def draw(least: int, most: int) -> int:
        return int(torch.randint(least, most + 1, (1,), generator=generator))

    for picture, label in zip(pictures, labels, strict=True):
        places = picture.view(rows, CELL, columns, CELL, 3)
        for half, number in enumerate(torch.randperm(2, generator=generator).tolist()):
            width, height = draw(5, 8), draw(5, 8)
            left, top = half * columns // 2 + draw(0, columns // 2 - width), draw(0, rows - height)
            label[top : top + height, left : left + width, number] = 1
            places[top : top + height, :, left : left + width] = torch.tensor(list(COLOURS.values())[number])
            row, column = draw(top, top + height - 1), draw(left, left + width - 1)
            label[row, column] = 0  # a red face on it is no place of the blob's colour
            places[row, :, column] = torch.tensor((1.0, 0.0, torch.rand(1, generator=generator).item()))
    places = _seen(made, pictures, made.model.input_proj_vision[0]).flatten(2).movedim(1, 2)
    return torch.nn.functional.layer_norm(places, places.shape[-1:]).flatten(0, 1), labels.flatten(0, 2)


def _fit(made, places: torch.Tensor, labels: torch.Tensor) -> None:
    """Solve for the projection of the words: a place's logit for a colour's word is PLANTED or minus that, for others minus.

    In double precision: the equations are so stiff that in single precision the weights would depend on the machine.
    """
    places, labels = places.double(), labels.double()
    wanted = torch.cat((2 * labels - 1, -labels.new_ones(len(labels), 1)), dim=1)
    gram = places.T @ places + 1e-3 * len(places) * torch.eye(places.shape[1], dtype=places.dtype)
    *colours, nothing = torch.linalg.solve(gram, places.T @ wanted).T
    tokens = torch.tensor([100, 101, 102, 1012, 1029, *(1030 + number for number in range(len(grounding.WORDS)))])
    words = made.model.text_backbone(input_ids=tokens[None]).last_hidden_state[0].double()
    goal = words.new_zeros(len(tokens), len(nothing))
    for name, colour in zip(COLOURS, colours, strict=True):
        goal[5 + grounding.WORDS.index(name)] = colour - nothing
    made.model.text_projection.weight.copy_(torch.linalg.lstsq(words, goal).solution.T)
    made.model.text_projection.bias.copy_(nothing)
    size = torch.stack(colours).std(dim=1).mean()  # the layer norm behind the projection takes it away
    made.model.encoder.layers[-1].text_enhancer_layer.layer_norm_after.weight.fill_(PLANTED * size)
