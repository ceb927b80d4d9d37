"""The authors' four state dicts: what is read from them is what they are, by a plain reading, and others are refused by name."""

import pytest
import torch
from same_subject.nodes.subject import about as abouts
from same_subject.nodes.subject import authors
from same_subject.nodes.subject.adapter import Networks
from same_subject.tests.subject.test_adapter import attend
from same_subject.tests.tiny import subject_authors
from same_subject.tests.tiny.sets import gap

ROUNDING = 1e-5
"""As a share of the spread: 1e-6 was seen."""
BLOCK = "down_blocks.1.attentions.1.transformer_blocks.0"


@pytest.fixture
def small(monkeypatch):
    subject_authors.shrink(monkeypatch)


def networks(about, state):
    built = Networks(about.sizes)
    built.load_state_dict({key: value for key, value in state.items() if not key.startswith("text.")})
    return built.requires_grad_(False)


def test_every_network_gives_what_a_plain_reading_of_the_four_gives(small):
    parts = subject_authors.parts(seed=5)
    built = networks(*authors.convert(parts))
    generator = torch.Generator().manual_seed(6)
    cls, patches = torch.randn(40, generator=generator), 3 * torch.randn(2, 16, 48, generator=generator)
    boxes = torch.tensor([[0.1, 0.2, 0.5, 0.9], [0.4, 0.0, 1.0, 0.6]])
    assert gap(built.mlp["h"](cls), subject_authors.word(parts["mlp"], cls)) < ROUNDING
    objects = subject_authors.objects(parts["proj"], patches, boxes)
    found = built.proj(patches, boxes)
    assert gap(found, objects) < ROUNDING and gap(built.proj(patches, boxes.flip(0)), objects) > 100 * ROUNDING
    for number, (layer, channels) in enumerate(zip(built.layers, subject_authors.CHANNELS, strict=True)):
        x = torch.randn(1, 30, channels, generator=generator)
        expected = subject_authors.fused(parts["unet"], number, x[0], objects)[None]
        assert gap(layer(x, layer.subjects(found), 1.0, attend), expected) < ROUNDING
        assert gap(x, expected) > 100 * ROUNDING


def test_keys_values_convolution_and_text_are_theirs_in_the_order_of_a_picture(small):
    parts = subject_authors.parts()
    about, state = authors.convert(parts, steps=7)
    for number, block in enumerate(subject_authors.BLOCKS):
        for name in ("attn2.to_k", "attn2.to_v"):
            ours = f"attn2.{number}.{name[6:]}.weight"
            assert state[ours] is parts["unet"][f"{block}.transformer_blocks.0.{name}.weight"]
    assert state["conv_in.weight"] is parts["unet"]["conv_in.weight"]
    assert len(state) == len(Networks(about.sizes).state_dict()) + len(parts["clip_text"]) - 1
    said = (about.family, about.placeholder, about.placeholder_token, about.slots, about.box_of_one, about.text, about.steps)
    assert said == ("sd2", "sks", 48136, 2, False, "whole", 7)
    assert about.location and about.cls and about.boxes and about.image_encoder == abouts.VIT_H


@pytest.mark.parametrize(
    ("part", "change", "said"),
    [
        ("unet", {f"{BLOCK}.fuser.attn.to_q.weight": None}, rf"`unet: {BLOCK}\.fuser\.attn\.to_q\.weight` is missing"),
        ("unet", {f"{BLOCK}.fuser.linear.weight": None}, rf"`unet: {BLOCK}\.fuser\.linear\.weight` is missing"),
        ("unet", {f"{BLOCK}.attn2.to_v.weight": None}, rf"`unet: {BLOCK}\.attn2\.to_v\.weight` is missing"),
        ("unet", {f"{BLOCK}.fuser.to_x.weight": torch.ones(1)}, rf"`unet: {BLOCK}\.fuser\.to_x\.weight` is not known"),
        ("unet", {f"{BLOCK}.attn3.to_q.weight": torch.ones(1)}, rf"`unet: {BLOCK}\.attn3\.to_q\.weight` is not known"),
        ("unet", {"class_embedding.weight": torch.ones(1)}, "`unet: class_embedding.weight` is not known"),
        (
            "unet",
            {"conv_in.weight": torch.ones(64, 4, 3, 3)},
            r"conv_in.weight` has shape \(64, 4, 3, 3\), needs \(64, 5, 3, 3\)",
        ),
        ("unet", {"conv_in.weight": torch.ones(96, 5, 3, 3)}, "`sizes.first` is 96, but sd2 has 64"),
        ("mlp", {"fc2.bias": None}, "`mlp: fc2.bias` is missing"),
        ("mlp", {"fc1.weight": torch.ones(96, 41)}, "`sizes.cls` is 41, but its image encoder gives 40"),
        ("proj", {"linears_text.fc1.weight": torch.ones(1)}, "`proj: linears_text.fc1.weight` is not known"),
        ("proj", {"null_image_feature": {"a": 1}}, "`proj: null_image_feature` is missing"),
        ("clip_text", {"text_model.final_layer_norm.bias": None}, "`clip_text: text_model.final_layer_norm.bias` is missing"),
        (
            "clip_text",
            {"text_model.final_layer_norm.bias": 3.0},
            "`clip_text: text_model.final_layer_norm.bias` holds no weights",
        ),
    ],
)
def test_what_is_missing_left_over_or_of_another_size_is_refused_by_the_authors_name(small, part, change, said):
    parts = subject_authors.parts()
    parts[part] = {name: value for name, value in {**parts[part], **change}.items() if value is not None}
    with pytest.raises(ValueError, match=said):
        authors.convert(parts)


def test_a_unet_with_fewer_blocks_or_in_other_names_is_refused(small):
    parts = subject_authors.parts()
    fewer = {name: value for name, value in parts["unet"].items() if not name.startswith("mid_block.attentions")}
    with pytest.raises(ValueError, match="it has 15 layers, but sd2 has 16 blocks with attention"):
        authors.convert({**parts, "unet": fewer})
    with pytest.raises(ValueError, match="`unet` has no weights of attention in diffusers' names"):
        authors.convert({**parts, "unet": {"input_blocks.0.0.weight": torch.ones(1)}})
