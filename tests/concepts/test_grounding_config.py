"""What is taken from a detector folder's configuration."""

import pytest
from same_subject.nodes.concepts import grounding_config

TINY = {
    "_name_or_path": "x",
    "architectures": ["GroundingDinoForObjectDetection"],
    "backbone_config": {"model_type": "swin", "out_features": ["stage2", "stage3", "stage4"], "out_indices": [2, 3, 4]},
    "d_model": 256,
    "decoder_layers": 6,
    "dropout": 0.1,
    "layer_norm_eps": 1e-05,
    "model_type": "grounding-dino",
    "num_queries": 900,
    "positional_embedding_temperature": 20,
    "text_config": {"model_type": "bert"},
    "two_stage": True,
    "transformers_version": "4.40.0",
}
BASE = {"embed_dim": 128, "depths": [2, 2, 18, 2], "num_heads": [4, 8, 16, 32], "window_size": 12, "image_size": 384}


def test_sizes_of_the_published_networks_pass_as_they_are():
    taken = grounding_config.sizes(TINY)
    assert taken == {
        "d_model": 256, "decoder_layers": 6, "num_queries": 900, "two_stage": True, "text_config": {"model_type": "bert"},
        "backbone_config": {"model_type": "swin", "out_indices": [2, 3, 4]},
    }  # fmt: skip
    base = grounding_config.sizes(TINY | {"backbone_config": TINY["backbone_config"] | BASE})["backbone_config"]
    assert base == {"model_type": "swin", "out_indices": [2, 3, 4]} | {name: BASE[name] for name in BASE if name != "image_size"}


def test_outputs_may_be_named_instead_of_counted():
    said = {"out_features": ["stage1", "stage4"]}
    assert grounding_config.sizes({"backbone_config": said})["backbone_config"]["out_indices"] == [1, 4]
    with pytest.raises(ValueError, match="`backbone_config.out_indices` is 'layer1'"):
        grounding_config.sizes({"backbone_config": {"out_features": ["layer1"]}})
