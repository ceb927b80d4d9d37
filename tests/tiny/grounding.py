"""A tiny Grounding DINO with random weights, in the layouts of the published files, and its vocabulary."""

from __future__ import annotations

import json
from pathlib import Path

import torch

WORDS = ("a", "red", "green", "blue", "ball", "box", "star", "heart", "man", "woman", "cat", "dog", "zebra", "in")
CONFIG = {
    "backbone_config": {
        "model_type": "swin",
        "embed_dim": 16,
        "depths": [1, 1, 2, 1],
        "num_heads": [1, 2, 4, 4],
        "window_size": 4,
        "out_indices": [2, 3, 4],
        "image_size": 224,
    },
    "text_config": {
        "model_type": "bert",
        "vocab_size": 1030 + len(WORDS),
        "hidden_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 1,
        "intermediate_size": 64,
        "max_position_embeddings": 512,
    },
    "d_model": 256,  # the original package allows no other
    "num_queries": 12,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_ffn_dim": 64,
    "decoder_ffn_dim": 64,
}
PREPROCESSOR = {"image_processor_type": "GroundingDinoImageProcessor", "size": {"shortest_edge": 96, "longest_edge": 160}}


def vocabulary(folder: Path) -> None:
    """The tokenizer's files: the separators stand where the network expects them, then the words."""
    tokens = [f"[unused{number}]" for number in range(1030)] + list(WORDS)
    tokens[0], tokens[100:104], tokens[1012], tokens[1029] = "[PAD]", ["[UNK]", "[CLS]", "[SEP]", "[MASK]"], ".", "?"
    (folder / "vocab.txt").write_text("\n".join(tokens) + "\n")
    said = {"tokenizer_class": "BertTokenizer", "do_lower_case": True, "model_max_length": 512}
    (folder / "tokenizer_config.json").write_text(json.dumps(said))


def randomise(network: torch.nn.Module, seed: int) -> torch.nn.Module:
    """Seeded weights large enough that every input shows in the outputs."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in network.named_parameters():
            noise = torch.randn(weight.shape, generator=generator)
            if weight.ndim > 1:
                weight.copy_(noise * weight[0].numel() ** -0.5)
            else:
                weight.copy_(0.1 * noise + (1 if "norm" in name and name.endswith("weight") else 0))
    return network


def network(seed: int = 0, **changes):
    """The network in transformers, ready to evaluate. changes: to CONFIG."""
    import transformers

    config = transformers.GroundingDinoConfig(**{**CONFIG, **changes})
    network = randomise(transformers.GroundingDinoForObjectDetection(config), seed)
    for number in range(1, len(network.bbox_embed)):
        network.bbox_embed[number].load_state_dict(network.bbox_embed[0].state_dict())
    network.model.decoder.bbox_embed.load_state_dict(network.bbox_embed.state_dict())
    return network.eval()


def save_folder(folder: Path, seed: int = 0, made=None) -> Path:
    """A folder as published: config.json, model.safetensors, preprocessor_config.json and the tokenizer's files.

    made: the network to save; None is the random one of ``seed``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (made or network(seed)).save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(PREPROCESSOR))
    vocabulary(folder)
    return folder
