"""The original Grounding DINO (package `groundingdino-py`) at a tiny size, as an oracle for the same weights.

The package needs three methods that transformers 5 took out of BertModel, and parts of packages that only
draw or read configuration files. Both are supplied here, for the test alone.
"""

from __future__ import annotations

import sys
import types
from pathlib import Path

import torch

from . import grounding


def _stand_ins() -> dict[str, types.ModuleType]:
    """Modules that the package imports and the network does not need, or needs three small functions of."""
    layers = types.ModuleType("timm.models.layers")
    layers.DropPath = torch.nn.Identity
    layers.to_2tuple = lambda value: value if isinstance(value, tuple) else (value, value)
    layers.trunc_normal_ = torch.nn.init.trunc_normal_
    visualizer = types.ModuleType("groundingdino.util.visualizer")
    visualizer.COCOVisualizer = object
    slconfig = types.ModuleType("groundingdino.util.slconfig")
    slconfig.SLConfig = object
    found = {layers.__name__: layers, visualizer.__name__: visualizer, slconfig.__name__: slconfig}
    return found | {name: types.ModuleType(name) for name in ("timm", "timm.models", "groundingdino.util.inference")}


def build(monkeypatch, vocabulary: Path, seed: int = 0) -> torch.nn.Module:
    """The network of `grounding.CONFIG` in the original package, with seeded weights. vocabulary: a folder."""
    import transformers

    for name, module in _stand_ins().items():
        if name not in sys.modules:
            monkeypatch.setitem(sys.modules, name, module)
    from groundingdino.models.GroundingDINO import groundingdino
    from groundingdino.models.GroundingDINO.backbone import backbone, swin_transformer

    said, swin = grounding.CONFIG, grounding.CONFIG["backbone_config"]

    def tiny_swin(name, pretrain_img_size, **settings):
        sizes = {"embed_dim": swin["embed_dim"], "depths": swin["depths"], "num_heads": swin["num_heads"]}
        return swin_transformer.SwinTransformer(pretrain_img_size, window_size=swin["window_size"], **sizes, **settings)

    def bert(name):
        network = transformers.BertModel(transformers.BertConfig(**said["text_config"]))
        network.get_head_mask = lambda mask, layers: [None] * layers
        network.get_extended_attention_mask = lambda mask, *_: (1 - mask[:, None].float()) * torch.finfo(torch.float32).min
        network.invert_attention_mask = None
        return network

    tokenizer = transformers.AutoTokenizer.from_pretrained(vocabulary, local_files_only=True)
    monkeypatch.setattr(backbone, "build_swin_transformer", tiny_swin)
    monkeypatch.setattr(groundingdino.get_tokenlizer, "get_tokenlizer", lambda name: tokenizer)
    monkeypatch.setattr(groundingdino.get_tokenlizer, "get_pretrained_language_model", bert)
    arguments = types.SimpleNamespace(
        backbone="swin_T_224_1k", position_embedding="sine", pe_temperatureH=20, pe_temperatureW=20,
        return_interm_indices=[1, 2, 3], backbone_freeze_keywords=None, use_checkpoint=False, use_transformer_ckpt=False,
        enc_layers=said["encoder_layers"], dec_layers=said["decoder_layers"], pre_norm=False, dropout=0.0,
        dim_feedforward=said["encoder_ffn_dim"], hidden_dim=said["d_model"], nheads=8, num_queries=said["num_queries"],
        query_dim=4, num_patterns=0, num_feature_levels=4, enc_n_points=4, dec_n_points=4, two_stage_type="standard",
        two_stage_bbox_embed_share=False, two_stage_class_embed_share=False, transformer_activation="relu",
        dec_pred_bbox_embed_share=True, dn_box_noise_scale=1.0, dn_label_noise_ratio=0.5, embed_init_tgt=True,
        dn_labelbook_size=100, max_text_len=256, text_encoder_type="bert", use_text_enhancer=True, use_fusion_layer=True,
        use_text_cross_attention=True, text_dropout=0.0, fusion_dropout=0.0, fusion_droppath=0.1, sub_sentence_present=True,
    )  # fmt: skip
    network = groundingdino.build_groundingdino(arguments).eval()
    grounding.randomise(network, seed)
    return network
