"""Original Grounding DINO weights under published names, and the network that their shapes describe."""

import pytest
import torch
from same_subject.nodes.concepts import grounding_keys

NETWORKS = {
    "swint_ogc": (96, (2, 2, 6, 2), (3, 6, 12, 24), 7),
    "swinb_cogcoor": (128, (2, 2, 18, 2), (4, 8, 16, 32), 12),
}


def original(embed, depths, heads, window):
    """The weights that tell one network from another, without values, as the original files name them."""
    shapes = {
        "backbone.0.patch_embed.proj.weight": (embed, 3, 4, 4),
        **{f"backbone.0.norm{number}.weight": (embed * 2**number,) for number in (1, 2, 3)},
        "bert.embeddings.word_embeddings.weight": (30522, 768),
        "bert.embeddings.position_embeddings.weight": (512, 768),
        "bert.embeddings.position_ids": (1, 512),
        "bert.pooler.dense.weight": (768, 768),
        **{f"bert.encoder.layer.{number}.intermediate.dense.weight": (3072, 768) for number in range(12)},
        "transformer.level_embed": (4, 256),
        "transformer.tgt_embed.weight": (900, 256),
        "transformer.decoder.bbox_embed.0.layers.0.weight": (256, 256),
    }
    for stage, (depth, count) in enumerate(zip(depths, heads, strict=True)):
        for block in range(depth):
            at, width = f"backbone.0.layers.{stage}.blocks.{block}.attn", embed * 2**stage
            shapes[f"{at}.relative_position_bias_table"] = ((2 * window - 1) ** 2, count)
            shapes[f"{at}.relative_position_index"] = (window**2, window**2)
            shapes[f"{at}.qkv.weight"] = (3 * width, width)
    for number in range(6):
        for part, name in (("encoder", "self_attn"), ("decoder", "cross_attn")):
            shapes[f"transformer.{part}.layers.{number}.{name}.sampling_offsets.weight"] = (256, 256)
            shapes[f"transformer.{part}.layers.{number}.linear1.weight"] = (2048, 256)
        shapes[f"transformer.encoder.text_layers.{number}.self_attn.in_proj_weight"] = (768, 256)
        shapes[f"transformer.encoder.fusion_layers.{number}.gamma_v"] = (256,)
    return {key: torch.empty(shape, device="meta") for key, shape in shapes.items()}


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("prefix", ("", "module."))
def test_shapes_tell_the_published_networks(name, prefix):
    embed, depths, heads, window = NETWORKS[name]
    state = {"model": {prefix + key: value for key, value in original(*NETWORKS[name]).items()}}
    said = grounding_keys.configuration(grounding_keys.published(state))
    assert said["backbone_config"] == {
        "model_type": "swin", "embed_dim": embed, "depths": list(depths), "num_heads": list(heads), "window_size": window,
        "out_indices": [2, 3, 4],
    }  # fmt: skip
    text = said["text_config"]
    assert (text["vocab_size"], text["hidden_size"], text["num_hidden_layers"], text["num_attention_heads"]) == (
        30522,
        768,
        12,
        12,
    )
    assert (said["d_model"], said["num_queries"], said["num_feature_levels"], said["encoder_ffn_dim"]) == (256, 900, 4, 2048)
    assert said["encoder_layers"] == said["decoder_layers"] == 6
    assert said["encoder_n_points"] == said["decoder_n_points"] == 4


def test_joined_weights_are_parted_into_query_key_and_value_and_unused_ones_are_left_out():
    renamed = grounding_keys.published(original(*NETWORKS["swint_ogc"]))
    block = "model.backbone.conv_encoder.model.encoder.layers.1.blocks.0.attention.self."
    for name in ("query", "key", "value"):
        assert renamed[f"{block}{name}.weight"].shape == (192, 192)
        assert renamed[f"model.encoder.layers.0.text_enhancer_layer.self_attn.{name}.weight"].shape == (256, 256)
    assert not [key for key in renamed if "pooler" in key or "position_i" in key or "decoder.bbox_embed" in key]


def test_weights_of_another_network_are_refused():
    with pytest.raises(ValueError, match="1 of its .* are not those of a Grounding DINO, for example `unet.weight`"):
        grounding_keys.published(original(*NETWORKS["swint_ogc"]) | {"unet.weight": torch.zeros(1)})
    with pytest.raises(ValueError, match="not those of a Grounding DINO"):
        grounding_keys.published({})
