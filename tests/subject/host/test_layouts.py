"""The families, encoders and names that files are read by are those of the published models, as the host has them."""

import json
from pathlib import Path

import comfy.clip_vision
import comfy.ops
import comfy.utils
import pytest
import torch
from comfy.clip_model import CLIPTextModel, CLIPVisionModelProjection
from comfy.ldm.modules.attention import SpatialTransformer
from comfy.ldm.modules.diffusionmodules.openaimodel import UNetModel
from same_subject.nodes.subject import about as abouts
from same_subject.nodes.subject import authors, files
from same_subject.nodes.subject.adapter import Networks, Sizes
from same_subject.tests.tiny import subject_authors

CONFIGS = Path(comfy.clip_vision.__file__).parent
COMMON = {
    "image_size": 32,
    "in_channels": 4,
    "out_channels": 4,
    "model_channels": 320,
    "use_spatial_transformer": True,
    "legacy": False,
}
SIXTEEN = {
    "num_res_blocks": [2, 2, 2, 2],
    "channel_mult": [1, 2, 4, 4],
    "transformer_depth": [1, 1, 1, 1, 1, 1, 0, 0],
    "transformer_depth_output": [1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0],
    "transformer_depth_middle": 1,
}
UNETS = {
    "sd15": {**SIXTEEN, "context_dim": 768, "num_heads": 8},
    "sd2": {**SIXTEEN, "context_dim": 1024, "num_head_channels": 64, "num_heads": -1, "use_linear_in_transformer": True},
    "sdxl": {
        "num_res_blocks": [2, 2, 2],
        "channel_mult": [1, 2, 4],
        "transformer_depth": [0, 0, 2, 2, 10, 10],
        "transformer_depth_output": [0, 0, 0, 2, 2, 2, 10, 10, 10],
        "transformer_depth_middle": 10,
        "context_dim": 2048,
        "num_head_channels": 64,
        "num_heads": -1,
        "use_linear_in_transformer": True,
    },
}


def unet(name):
    with torch.device("meta"):
        return UNetModel(**COMMON, **UNETS[name])


def shapes(network):
    return {name: tuple(value.shape) for name, value in network.state_dict().items()}


@pytest.mark.parametrize("name", abouts.FAMILIES)
def test_a_family_has_the_blocks_of_its_unet_in_the_order_of_a_picture(name):
    network, family = unet(name), abouts.FAMILIES[name]
    transformers = [module for module in network.modules() if isinstance(module, SpatialTransformer)]
    blocks = [block for one in transformers for block in one.transformer_blocks]
    assert family.layers == tuple((block.attn1.to_q.out_features, block.n_heads) for block in blocks)
    assert {block.attn2.to_k.in_features for block in blocks} == {family.context}
    assert network.input_blocks[0][0].out_channels == family.first
    assert [name for name, _ in network.named_children()].index("middle_block") == 2, "modules come in the order of a picture"


@pytest.mark.parametrize(
    ("name", "file"), [("l", "sd1_clip_config"), ("h", "text_encoders/sd2_clip_config"), ("g", "clip_config_bigg")]
)
def test_text_encoders_are_the_published_ones(name, file):
    published, own = json.loads((CONFIGS / f"{file}.json").read_text()), abouts.TEXT_ENCODERS[name]
    assert own == {key: published[key] for key in own}
    with torch.device("meta"):
        assert files.text_shapes(own) == shapes(CLIPTextModel(own, torch.float32, "meta", comfy.ops.disable_weight_init))


def test_the_image_encoder_is_the_published_one():
    published = json.loads((CONFIGS / "clip_vision_config_h.json").read_text())
    own = abouts.IMAGE_ENCODERS[abouts.VIT_H]
    assert own == {key: published[key] for key in own} and abouts.patches_of(own) == 256
    with torch.device("meta"):
        network = CLIPVisionModelProjection(published, torch.float32, "meta", comfy.ops.disable_weight_init)
    assert files.vision_shapes(published) == shapes(network)


def published_parts():
    """Of the authors' four the names and sizes, without numbers: the host's UNet under diffusers' names, with their layers."""
    config = {**COMMON, **UNETS["sd2"]}
    ours, theirs = unet("sd2").state_dict(), {}
    for name, host in comfy.utils.unet_to_diffusers(config).items():
        if host in ours:
            theirs[name] = ours[host]
    with torch.device("meta"):
        networks = Networks(Sizes(**vars(abouts.FAMILIES["sd2"]), cls=1024, patch=1280, patches=256, tokens=1024))
        text = CLIPTextModel(
            {**abouts.TEXT_ENCODERS["h"], "num_hidden_layers": 23}, torch.float32, "meta", comfy.ops.disable_weight_init
        )
    theirs |= {f"conv_in.{name}": value for name, value in networks.conv_in.state_dict().items()}
    for block, layer in zip(subject_authors.BLOCKS, networks.layers, strict=True):
        theirs |= {f"{block}.transformer_blocks.0.fuser.{name}": value for name, value in layer.state_dict().items()}
    texts = {name: value for name, value in text.state_dict().items() if "projection" not in name}
    return {"unet": theirs, "clip_text": texts, "mlp": networks.mlp["h"].state_dict(), "proj": networks.proj.state_dict()}


def test_the_authors_four_at_real_names_and_sizes_are_taken():
    parts = published_parts()
    assert len(parts["unet"]) == 686 + 16 * 17
    about, state = authors.convert(parts)
    assert about.sizes == Sizes(**vars(abouts.FAMILIES["sd2"]), cls=1024, patch=1280, patches=256, tokens=1024)
    assert tuple(state["proj.linears_image.fc1.weight"].shape) == (1024, 1344)


def test_the_small_four_have_the_real_names():
    real = published_parts()
    small = subject_authors.shapes()
    assert small["unet"].keys() == real["unet"].keys()
    assert small["mlp"].keys() == real["mlp"].keys() and small["proj"].keys() == real["proj"].keys()
