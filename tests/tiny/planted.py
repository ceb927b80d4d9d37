"""Stand-ins whose answers are known: a detector that sees colours, and a tiny Segment Anything with random weights.

The detector is planted, not trained: it finds upright blobs of pure red, green or blue and gives them to
the words `red`, `green` and `blue`. It stands where the network stands, so all around it is the pack's own.
"""

from __future__ import annotations

from pathlib import Path

import torch

from . import grounding

COLOURS = {"red": 0, "green": 1, "blue": 2}
QUERIES = 16
SIDE = 64


class ColourNetwork(torch.nn.Module):
    """What `concepts.host.grounding.DetectingNetwork` is to the pack: pictures and token ids in, logits and boxes out.

    A blob scores 0.4 plus half its share of the picture's width, on its colour's word and nothing else.
    """

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1), requires_grad=False)

    def forward(self, pictures, ids):
        from same_subject.nodes.concepts.host import grounding as host

        mean, deviation = (torch.tensor(value).view(3, 1, 1) for value in (host.MEAN, host.DEVIATION))
        logits = torch.full((len(pictures), QUERIES, 256), -torch.inf)
        logits[..., : ids.shape[1]] = -4.0
        boxes = torch.full((len(pictures), QUERIES, 4), 0.5)
        for row, picture in enumerate(pictures * deviation + mean):
            blobs = [(channel, *blob) for channel in range(3) for blob in _blobs(picture, channel)]
            for query, (channel, score, box) in enumerate(blobs):
                word = 1030 + grounding.WORDS.index(list(COLOURS)[channel])
                logits[row, query, : ids.shape[1]][ids[row] == word] = torch.tensor(score).logit()
                boxes[row, query] = torch.tensor(box)
        return logits, boxes


def _blobs(picture, channel):
    """(score, cxcywh) of every run of columns that holds this colour, from left to right."""
    others = picture[[number for number in range(3) if number != channel]].amax(0)
    seen = (picture[channel] > 0.6) & (others < 0.4)
    height, width = seen.shape
    columns = [*seen.any(0).tolist(), False]
    start = None
    for x, inside in enumerate(columns):
        if inside and start is None:
            start = x
        elif not inside and start is not None:
            rows = seen[:, start:x].any(1).nonzero().flatten()
            top, bottom = rows.min().item(), rows.max().item() + 1
            size = ((x - start) / width, (bottom - top) / height)
            yield 0.4 + size[0] / 2, ((start + x) / 2 / width, (top + bottom) / 2 / height, *size)
            start = None


def detector(folder: Path):
    """A `concepts.host.grounding.Detector` around the colour network. folder: takes the tokenizer's file."""
    import comfy.model_patcher
    from same_subject.nodes.concepts.host import grounding as host

    folder.mkdir(parents=True, exist_ok=True)
    grounding.vocabulary(folder)
    cpu = torch.device("cpu")
    patcher = comfy.model_patcher.ModelPatcher(ColourNetwork(), load_device=cpu, offload_device=cpu)
    return host.Detector(patcher, host.load_tokenizer(folder / "vocab.txt"), 96, 160)


def scene(*blobs, width=96, height=96) -> torch.Tensor:
    """A grey picture [1, H, W, 3] with blobs (colour, left, top, right, bottom)."""
    picture = torch.full((1, height, width, 3), 0.5)
    for colour, left, top, right, bottom in blobs:
        picture[0, top:bottom, left:right] = torch.eye(3)[COLOURS[colour]]
    return picture


def segment_anything(seed: int = 0, side: int = SIDE) -> torch.nn.Module:
    """A Segment Anything of side x side pixels with random weights, in the layout of the published files."""
    from functools import partial

    from segment_anything.modeling import ImageEncoderViT, MaskDecoder, PromptEncoder, Sam, TwoWayTransformer

    sam = Sam(
        ImageEncoderViT(
            img_size=side, patch_size=16, embed_dim=16, depth=2, num_heads=2, mlp_ratio=4, out_chans=32, qkv_bias=True,
            norm_layer=partial(torch.nn.LayerNorm, eps=1e-6), use_rel_pos=True, window_size=14, global_attn_indexes=[1],
        ),
        PromptEncoder(embed_dim=32, image_embedding_size=(side // 16,) * 2, input_image_size=(side, side), mask_in_chans=16),
        MaskDecoder(
            num_multimask_outputs=3, transformer=TwoWayTransformer(depth=2, embedding_dim=32, mlp_dim=2048, num_heads=8),
            transformer_dim=32, iou_head_depth=3, iou_head_hidden_dim=256,
        ),
    )  # fmt: skip
    frequencies = sam.prompt_encoder.pe_layer.positional_encoding_gaussian_matrix  # a buffer, not a parameter
    frequencies.copy_(torch.randn(frequencies.shape, generator=torch.Generator().manual_seed(seed)))
    return grounding.randomise(sam, seed).eval()
