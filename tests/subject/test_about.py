"""What a file says of itself: read as it was written, field by field, and refused where it cannot be."""

import json

import pytest
from same_subject.nodes.subject import about as abouts
from same_subject.nodes.subject.adapter import Sizes
from same_subject.tests.tiny import subject_adapter_files as tiny

VIT_H = {"cls": 1024, "patch": 1280, "patches": 256}


def published(name, **changes):
    family = abouts.FAMILIES[name]
    return abouts.About(name, name, Sizes(**vars(family), tokens=1024, **VIT_H), **changes)


def said(about, **changes):
    """The metadata of a file, with changes to its fields; None leaves one out."""
    fields = json.loads(abouts.metadata(about)[abouts.KEY]) | changes
    return {abouts.KEY: json.dumps({name: value for name, value in fields.items() if value != "absent"})}


@pytest.mark.parametrize(
    "about",
    [
        *(published(name) for name in abouts.FAMILIES),
        published("sd15", placeholder="toy", placeholder_token=5988, box_of_one=True, text="difference", steps=12, slots=4),
        *(tiny.about(kind) for kind in ("sd15", "sd2", "sdxl")),
    ],
    ids=lambda about: about.base,
)
def test_what_is_written_is_what_is_read(about):
    assert abouts.parse(abouts.metadata(about)) == about


@pytest.mark.parametrize(
    ("field", "value", "problem"),
    [
        ("family", "flux", "`family` is 'flux', but needs to be one of sd15, sd2, sdxl, demo"),
        ("family", ["sd15"], "`family` is"),
        ("order", ["input", "output", "middle"], "`order` is"),
        ("base", "absent", "it lacks 'base'"),
        ("base", "", "`base` is ''"),
        ("base", "a\nb", "`base` is"),
        ("slots", 0, "`slots` is 0, but needs to be a whole number from 1 to 16"),
        ("slots", 2.0, "`slots` is 2.0"),
        ("slots", True, "`slots` is True"),
        ("placeholder", 7, "`placeholder` is 7"),
        ("placeholder_token", 49408, "`placeholder_token` is 49408"),
        ("boxes", 1, "`boxes` is 1, but needs to be true or false"),
        ("text", "none", "`text` is 'none', but needs to be one of whole, difference"),
        ("text_config", None, "cannot be read"),
        ("text_config", {}, "it lacks 'l'"),
        ("image_encoder", "ViT-L/14", "`image_encoder` is 'ViT-L/14'"),
        ("image_encoder", "ViT-H/14", "`sizes.cls` is 20, but its image encoder gives 1024"),
        ("image_encoder", {**tiny.VISION, "patch_size": 4}, "`sizes.patches` is 16, but its image encoder gives 64"),
        ("image_encoder", {**tiny.VISION, "hidden_size": 10**9}, "`image_encoder.hidden_size` is 1000000000"),
        ("image_encoder", {**tiny.VISION, "num_attention_heads": 5}, "24 channels, which 5 heads cannot share"),
        ("image_encoder", {**tiny.VISION, "model_type": "siglip_vision_model"}, "`image_encoder.model_type` is"),
        ("sizes", [], "cannot be read"),
        ("steps", -1, "`steps` is -1"),
        ("colour", "red", "`colour` is not known; a newer version of the pack may read it"),
    ],
)
def test_a_field_that_cannot_be_is_refused_by_name(field, value, problem):
    with pytest.raises(ValueError, match=problem):
        abouts.parse(said(tiny.about(), **{field: value}))


@pytest.mark.parametrize(
    ("field", "value", "problem"),
    [
        ("words", {"x": 32}, "`sizes.words` is"),
        ("words", {}, "`sizes.words` is"),
        ("words", {"l": 64}, "`text_config.l.hidden_size` is 32, but needs to be 64"),
        ("layers", [], "`sizes.layers` is"),
        ("layers", [[64, 2]] * 129, "`sizes.layers` is"),
        ("layers", [[64, 5]], "64 channels, which 5 heads cannot share"),
        ("layers", [[10**6, 1]], "`sizes.layers` is 1000000, but needs to be a whole number from 1 to 16384"),
        ("layers", [64], "cannot be read"),
        ("tokens", "28", "`sizes.tokens` is '28'"),
        ("context", "absent", "it lacks 'context'"),
    ],
)
def test_sizes_that_cannot_be_are_refused_by_name(field, value, problem):
    sizes = json.loads(abouts.metadata(tiny.about())[abouts.KEY])["sizes"] | {field: value}
    with pytest.raises(ValueError, match=problem):
        abouts.parse(said(tiny.about(), sizes={name: value for name, value in sizes.items() if value != "absent"}))


@pytest.mark.parametrize(
    ("field", "value", "problem"),
    [
        ("words", {"l": 768}, "`sizes.words` is {'l': 768}, but sd2 has {'h': 1024}"),
        ("context", 768, "`sizes.context` is 768, but sd2 has 1024"),
        ("layers", [[320, 5]] * 70, "it has 70 layers, but sd2 has 16 blocks with attention"),
        ("layers", [[320, 8], *[[320, 5]] * 15], "`layers.0` has 320 channels in 8 heads, but sd2 has 320 in 5"),
        ("patches", 257, "`sizes.patches` is 257, but its image encoder gives 256"),
    ],
)
def test_sizes_of_another_base_are_refused(field, value, problem):
    sizes = json.loads(abouts.metadata(published("sd2"))[abouts.KEY])["sizes"] | {field: value}
    with pytest.raises(ValueError, match=problem):
        abouts.parse(said(published("sd2"), sizes=sizes))


def test_a_text_encoder_of_its_own_belongs_to_small_models_only():
    with pytest.raises(ValueError, match="`text_config` is given, but the text encoders of sd15 are known"):
        abouts.parse(said(published("sd15"), text_config={"l": abouts.TEXT_ENCODERS["l"]}))


@pytest.mark.parametrize("text", ["", "[]", "3", "{", '"' + "x" * 100, "[" * 100_000])
def test_what_is_no_such_metadata_is_refused(text):
    with pytest.raises(ValueError, match="its metadata `same_subject.subject_adapter` cannot be read"):
        abouts.parse({abouts.KEY: text})
    with pytest.raises(ValueError, match="it has no metadata `same_subject.subject_adapter`"):
        abouts.parse({"other": text})
