"""A tiny BLIP-2 with random weights, in the layout of the published folders."""

from __future__ import annotations

from pathlib import Path

import torch

WORDS = ("a", "photo", "of", "ball", "star", "box", "heart", "on", "the", "beach", "in", "snow")
SIDE, QUERIES = 32, 4


def save_folder(folder: Path, seed: int = 0) -> Path:
    """config.json, model.safetensors, the preprocessor's and the tokenizer's files."""
    import transformers
    from tokenizers import Tokenizer, models, pre_tokenizers

    special = ["<pad>", "</s>", "<unk>", "<image>"]
    made = Tokenizer(models.WordLevel({word: number for number, word in enumerate((*special, *WORDS))}, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token="<pad>", eos_token="</s>", bos_token="</s>", unk_token="<unk>"
    )
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = transformers.Blip2Config(
        vision_config={**sizes, "image_size": SIDE, "patch_size": 8},
        qformer_config={**sizes, "encoder_hidden_size": 32, "vocab_size": 30, "cross_attention_frequency": 1},
        text_config={
            **{"model_type": "opt", "hidden_size": 32, "ffn_dim": 64, "num_hidden_layers": 2, "num_attention_heads": 2},
            **{"word_embed_proj_dim": 32, "vocab_size": len(special) + len(WORDS), "max_position_embeddings": 64},
            **{"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 1},
        },
        num_query_tokens=QUERIES,
        image_token_index=3,
    )
    torch.manual_seed(seed)
    network = transformers.Blip2ForConditionalGeneration(config)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in network.parameters():
            if weight.ndim > 1:
                weight.copy_(torch.randn(weight.shape, generator=generator) * weight[0].numel() ** -0.5)
    processor = transformers.Blip2Processor(
        transformers.BlipImageProcessor(size={"height": SIDE, "width": SIDE}), tokenizer, num_query_tokens=QUERIES
    )
    network.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder
