"""The original Grounding DINO checkpoints, in the names of the published Hugging Face files.

`groundingdino_swint_ogc.pth` and `groundingdino_swinb_cogcoor.pth` are {"model": weights}, some with a
prefix `module.` on every name. The published folders (grounding-dino-tiny, -base) name the same weights
differently; transformers reads those names in every version, whatever it calls the weights in memory.
"""

from __future__ import annotations

import re

import torch

BACKBONE = "model.backbone.conv_encoder.model."
UNUSED = re.compile(
    r"bert\.pooler\.|bert\.embeddings\.position_ids$|.*relative_position_index$|.*attn_mask$|label_enc\.|transformer\.decoder\.bbox_embed\."
)
"""Not part of the network at inference, or (decoder.bbox_embed) a second name of the same weights."""
DEFORMABLE = {"norm1": "self_attn_layer_norm", "norm2": "final_layer_norm", "linear": "fc"}
TEXT = {"norm1": "layer_norm_before", "norm2": "layer_norm_after", "linear": "fc"}
FUSION = {
    "layer_norm_v.": "layer_norm_vision.",
    "layer_norm_l.": "layer_norm_text.",
    "attn.v_proj": "attn.vision_proj",
    "attn.l_proj": "attn.text_proj",
    "attn.values_v_proj": "attn.values_vision_proj",
    "attn.values_l_proj": "attn.values_text_proj",
    "attn.out_v_proj": "attn.out_vision_proj",
    "attn.out_l_proj": "attn.out_text_proj",
    "gamma_v": "vision_param",
    "gamma_l": "text_param",
}
DECODER = {
    "cross_attn.": "encoder_attn.",
    "norm1": "encoder_attn_layer_norm",
    "ca_text": "encoder_attn_text",
    "catext_norm": "encoder_attn_text_layer_norm",
    "norm2": "self_attn_layer_norm",
    "norm3": "final_layer_norm",
    "linear": "fc",
}
SWIN = {
    "norm1": "layernorm_before",
    "norm2": "layernorm_after",
    "attn.relative": "attention.self.relative",
    "attn.proj": "attention.output.dense",
    "mlp.fc1": "intermediate.dense",
    "mlp.fc2": "output.dense",
}
PREFIXES: tuple[tuple[str, str, dict[str, str]], ...] = (
    (r"backbone\.0\.patch_embed\.proj\.", BACKBONE + "embeddings.patch_embeddings.projection.", {}),
    (r"backbone\.0\.patch_embed\.norm\.", BACKBONE + "embeddings.norm.", {}),
    (r"backbone\.0\.layers\.(\d+)\.blocks\.(\d+)\.", BACKBONE + r"encoder.layers.\1.blocks.\2.", SWIN),
    (r"backbone\.0\.layers\.(\d+)\.downsample\.", BACKBONE + r"encoder.layers.\1.downsample.", {}),
    (r"backbone\.0\.norm(\d+)\.", BACKBONE + r"hidden_states_norms.stage<\1>.", {}),
    (r"bert\.", "model.text_backbone.", {}),
    (r"feat_map\.", "model.text_projection.", {}),
    (r"input_proj\.", "model.input_proj_vision.", {}),
    (r"transformer\.encoder\.layers\.(\d+)\.", r"model.encoder.layers.\1.deformable_layer.", DEFORMABLE),
    (r"transformer\.encoder\.text_layers\.(\d+)\.", r"model.encoder.layers.\1.text_enhancer_layer.", TEXT),
    (r"transformer\.encoder\.fusion_layers\.(\d+)\.", r"model.encoder.layers.\1.fusion_layer.", FUSION),
    (r"transformer\.decoder\.layers\.(\d+)\.", r"model.decoder.layers.\1.", DECODER),
    (r"transformer\.decoder\.norm\.", "model.decoder.layer_norm.", {}),
    (r"transformer\.decoder\.ref_point_head\.", "model.decoder.reference_points_head.", {}),
    (r"transformer\.level_embed", "model.level_embed", {}),
    (r"transformer\.tgt_embed\.", "model.query_position_embeddings.", {}),
    (r"transformer\.enc_output", "model.enc_output", {}),
    (r"transformer\.enc_out_bbox_embed\.", "model.encoder_output_bbox_embed.", {}),
    (r"bbox_embed\.", "bbox_embed.", {}),
)


def published(checkpoint: dict) -> dict[str, torch.Tensor]:
    """Weights of an original checkpoint under the names of the published folders.

    Raises ValueError, with what is wrong, if they are not those of a Grounding DINO.
    """
    weights: dict[str, torch.Tensor] = checkpoint.get("model", checkpoint)
    state = {key.removeprefix("module."): value for key, value in weights.items()}
    unknown = [key for key in state if not UNUSED.match(key) and not any(re.match(old, key) for old, *_ in PREFIXES)]
    if unknown or "transformer.level_embed" not in state:
        example = f", for example `{unknown[0]}`" if unknown else ""
        raise ValueError(f"{len(unknown)} of its {len(state)} weights are not those of a Grounding DINO{example}")
    renamed: dict[str, torch.Tensor] = {}
    for key, value in state.items():
        if not UNUSED.match(key):
            renamed |= _split(_rename(key), value)
    return renamed


def _rename(key: str) -> str:
    fits = ((re.match(old, key), new, inner) for old, new, inner in PREFIXES)
    start, new, inner = next((start, new, inner) for start, new, inner in fits if start)
    rest = key[start.end() :]
    for before, after in inner.items():
        if rest.startswith(before):
            rest = after + rest[len(before) :]
            break
    return re.sub(r"<(\d+)>", lambda found: str(int(found[1]) + 1), start.expand(new)) + rest


def _split(key: str, value: torch.Tensor) -> dict[str, torch.Tensor]:
    """Query, key and value stand in one matrix in the original, in this order, and in three in the published files."""
    for joined, own in ((".attn.qkv.", ".attention.self.{}."), (".in_proj_", ".{}.")):
        if joined in key:
            before, after = key.split(joined)
            return {
                before + own.format(name) + after: part
                for name, part in zip(("query", "key", "value"), value.chunk(3), strict=True)
            }
    return {key: value}


def configuration(state: dict[str, torch.Tensor]) -> dict:
    """What the network must be, read from weights under published names: arguments of transformers' configuration.

    What shapes cannot tell is as in both published configurations: 8 heads of attention, 64 channels a
    head of the text encoder.
    """

    def count(pattern: str) -> int:
        return 1 + max(int(found[1]) for found in map(re.compile(pattern).match, state) if found)

    swin = re.escape(BACKBONE) + r"encoder\.layers\."
    depths = [count(swin + rf"{stage}\.blocks\.(\d+)\.") for stage in range(count(swin + r"(\d+)\."))]
    tables = [
        state[f"{BACKBONE}encoder.layers.{stage}.blocks.0.attention.self.relative_position_bias_table"]
        for stage in range(len(depths))
    ]
    words, width = state["model.text_backbone.embeddings.word_embeddings.weight"].shape
    levels, channels = state["model.level_embed"].shape
    offsets = state["model.encoder.layers.0.deformable_layer.self_attn.sampling_offsets.weight"].shape[0]
    norms = re.compile(re.escape(BACKBONE) + r"hidden_states_norms\.stage(\d)\.weight")
    heads = 8
    return {
        "backbone_config": {
            "model_type": "swin",
            "embed_dim": state[BACKBONE + "embeddings.patch_embeddings.projection.weight"].shape[0],
            "depths": depths,
            "num_heads": [table.shape[1] for table in tables],
            "window_size": (round(tables[0].shape[0] ** 0.5) + 1) // 2,
            "out_indices": sorted(int(found[1]) for found in map(norms.match, state) if found),
        },
        "text_config": {
            "model_type": "bert",
            "vocab_size": words,
            "hidden_size": width,
            "num_hidden_layers": count(r"model\.text_backbone\.encoder\.layer\.(\d+)\."),
            "num_attention_heads": max(1, width // 64),
            "intermediate_size": state["model.text_backbone.encoder.layer.0.intermediate.dense.weight"].shape[0],
            "max_position_embeddings": state["model.text_backbone.embeddings.position_embeddings.weight"].shape[0],
        },
        "d_model": channels,
        "num_queries": state["model.query_position_embeddings.weight"].shape[0],
        "num_feature_levels": levels,
        "encoder_layers": count(r"model\.encoder\.layers\.(\d+)\."),
        "decoder_layers": count(r"model\.decoder\.layers\.(\d+)\."),
        "encoder_ffn_dim": state["model.encoder.layers.0.deformable_layer.fc1.weight"].shape[0],
        "decoder_ffn_dim": state["model.decoder.layers.0.fc1.weight"].shape[0],
        "encoder_attention_heads": heads,
        "decoder_attention_heads": heads,
        "encoder_n_points": offsets // (heads * levels * 2),
        "decoder_n_points": state["model.decoder.layers.0.encoder_attn.sampling_offsets.weight"].shape[0] // (heads * levels * 2),
        "decoder_bbox_embed_share": True,
        "two_stage": True,
    }
