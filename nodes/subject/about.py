"""What a file of Subject-Diffusion says of itself, read field by field, within bounds."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from .adapter import Sizes

KEY = "same_subject.subject_adapter"
"""The metadata entry, JSON: the fields of `About`, and `order`."""
ORDER = ["input", "middle", "output"]
WHOLE, DIFFERENCE = "whole", "difference"
DEMO = "demo"
"""The family of any small model: its file says the sizes of its text encoder, too."""
VIT_H = "ViT-H/14"
IMAGE_ENCODERS = {VIT_H: {"hidden_size": 1280, "projection_dim": 1024, "image_size": 224, "patch_size": 14}}
"""Image encoders that a file leaves to a file of the user's."""
VOCABULARY, POSITIONS = 49408, 77
"""Of CLIP's tokenizer, the only one that the host has for these models."""
TEXT_ENCODERS: dict[str, dict[str, Any]] = {
    name: {
        "hidden_size": width,
        "intermediate_size": 4 * width,
        "num_attention_heads": width // 64,
        "num_hidden_layers": layers,
        "hidden_act": activation,
        "eos_token_id": 49407,
        "max_position_embeddings": POSITIONS,
        "vocab_size": VOCABULARY,
    }
    for name, width, layers, activation in (
        ("l", 768, 12, "quick_gelu"),
        ("h", 1024, 24, "gelu"),
        ("g", 1280, 32, "gelu"),
    )
}
"""The published text encoders, by the host's names for them."""


@dataclass(frozen=True)
class Family:
    """A base model. words, context, first, layers: as of `adapter.Sizes`."""

    words: dict[str, int]
    context: int
    first: int
    layers: tuple[tuple[int, int], ...]


def _sixteen(heads: tuple[int, int, int]) -> tuple[tuple[int, int], ...]:
    """The blocks of Stable Diffusion 1.5 and 2, with the heads of their three levels."""
    high, half, quarter = zip((320, 640, 1280), heads, strict=True)
    return (*[high] * 2, *[half] * 2, *[quarter] * 2, quarter, *[quarter] * 3, *[half] * 3, *[high] * 3)


FAMILIES = {
    "sd15": Family({"l": 768}, 768, 320, _sixteen((8, 8, 8))),
    "sd2": Family({"h": 1024}, 1024, 320, _sixteen((5, 10, 20))),
    "sdxl": Family({"l": 768, "g": 1280}, 2048, 320, (*[(640, 10)] * 4, *[(1280, 20)] * 60, *[(640, 10)] * 6)),
}
MOST_LAYERS = 128
MOST = {"slots": 16, "steps": 10**9, "num_hidden_layers": 48}
"""Bounds of numbers that a file may say, where it is not LARGEST."""
LARGEST = 2**14


@dataclass(frozen=True)
class About:
    """What a file says of itself.

    family: a key of FAMILIES, or DEMO. base: the model that it was trained on, a name for people. slots: subjects that a picture
    has tokens for at least; null tokens stand for absent ones. placeholder, placeholder_token: the word that stands for a
    subject, and its number in CLIP's vocabulary. box_of_one: whether the box of a subject that is alone tells where it is (the
    authors leave it out). location, cls, boxes: whether it was trained with the location channel, with an embedding at the
    placeholder, and with boxes. text: WHOLE or DIFFERENCE. text_config: of a small text encoder, by its name; None is the
    family's own. image_encoder: a key of IMAGE_ENCODERS, or the configuration of one in the file, of the host's CLIP Vision.
    """

    family: str
    base: str
    sizes: Sizes
    slots: int = 2
    placeholder: str = "sks"
    placeholder_token: int = 48136
    box_of_one: bool = False
    location: bool = True
    cls: bool = True
    boxes: bool = True
    text: str = WHOLE
    text_config: dict[str, dict[str, Any]] | None = None
    image_encoder: str | dict[str, Any] = VIT_H
    steps: int = 0

    @property
    def text_encoders(self) -> dict[str, dict[str, Any]]:
        """The configuration of each text encoder, by its name."""
        return self.text_config or {name: TEXT_ENCODERS[name] for name in self.sizes.words}


def metadata(about: About) -> dict[str, str]:
    """The metadata of a file that is ``about``."""
    return {KEY: json.dumps({**asdict(about), "order": ORDER})}


def parse(said: Mapping[str, str]) -> About:
    """Read the metadata of a file. Raises ValueError with what is wrong with it."""
    if KEY not in said:
        raise ValueError(f"it has no metadata `{KEY}`, so it is not a subject adapter in this pack's form")
    try:
        about = _about(json.loads(said[KEY]))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as problem:
        wrong = f"it lacks {problem}" if isinstance(problem, KeyError) else problem
        raise ValueError(f"its metadata `{KEY}` cannot be read: {wrong}") from problem
    return about


def patches_of(config: Mapping[str, Any]) -> int:
    """Patch tokens that an image encoder of a configuration gives."""
    return (config["image_size"] // config["patch_size"]) ** 2


def check(about: About) -> None:
    """Raise ValueError unless the sizes are those of the family and of the image encoder."""
    sizes = about.sizes
    image = about.image_encoder if isinstance(about.image_encoder, dict) else IMAGE_ENCODERS[about.image_encoder]
    given = {"cls": image["projection_dim"], "patch": image["hidden_size"], "patches": patches_of(image)}
    needed = [("its image encoder gives", name, size) for name, size in given.items()]
    if about.family != DEMO:
        family, has = FAMILIES[about.family], f"{about.family} has"
        needed += [(has, name, getattr(family, name)) for name in ("words", "context", "first")]
        if len(sizes.layers) != len(family.layers):
            raise ValueError(f"it has {len(sizes.layers)} layers, but {has} {len(family.layers)} blocks with attention")
        for number, (own, base) in enumerate(zip(sizes.layers, family.layers, strict=True)):
            if own != base:
                raise ValueError(f"`layers.{number}` has {own[0]} channels in {own[1]} heads, but {has} {base[0]} in {base[1]}")
    for who, name, size in needed:
        if getattr(sizes, name) != size:
            raise ValueError(f"`sizes.{name}` is {getattr(sizes, name)}, but {who} {size}")


def _about(said: dict) -> About:
    fields = {"order", *About.__dataclass_fields__}
    if unknown := said.keys() - fields:
        raise ValueError(f"`{sorted(unknown)[0]}` is not known; a newer version of the pack may read it")
    if said["order"] != ORDER:
        raise ValueError(f"`order` is {_shown(said['order'])}, but needs to be {ORDER}")
    family = _choice("family", said["family"], (*FAMILIES, DEMO))
    sizes = _sizes(said["sizes"])
    config, image = said["text_config"], said["image_encoder"]
    if family == DEMO:
        config = {name: _text_config(f"text_config.{name}", config[name], sizes.words[name]) for name in sizes.words}
    elif config is not None:
        raise ValueError(f"`text_config` is given, but the text encoders of {family} are known")
    image = _vision_config(image) if isinstance(image, dict) else _choice("image_encoder", image, IMAGE_ENCODERS)
    flags = {name: _flag(name, said[name]) for name in ("box_of_one", "location", "cls", "boxes")}
    about = About(
        family=family,
        base=_text("base", said["base"]),
        sizes=sizes,
        slots=_number("slots", said["slots"]),
        placeholder=_text("placeholder", said["placeholder"]),
        placeholder_token=_number("placeholder_token", said["placeholder_token"], most=VOCABULARY - 1),
        text=_choice("text", said["text"], (WHOLE, DIFFERENCE)),
        text_config=config,
        image_encoder=image,
        steps=_number("steps", said["steps"], least=0),
        **flags,
    )
    check(about)
    return about


def _sizes(said: dict) -> Sizes:
    names = ("cls", "patch", "patches", "tokens", "context", "first")
    numbers = {name: _number(f"sizes.{name}", said[name]) for name in names}
    words, layers = said["words"], said["layers"]
    if not isinstance(words, dict) or not words or not words.keys() <= TEXT_ENCODERS.keys():
        raise ValueError(f"`sizes.words` is {_shown(words)}, but needs the width of one or more of {', '.join(TEXT_ENCODERS)}")
    if not isinstance(layers, list) or not 1 <= len(layers) <= MOST_LAYERS:
        raise ValueError(f"`sizes.layers` is {_shown(layers)}, but needs 1 to {MOST_LAYERS} pairs of channels and heads")
    pairs = []
    for channels, heads in layers:
        pairs.append((_number("sizes.layers", channels), _number("sizes.layers", heads)))
        _check_heads("sizes.layers", channels, heads)
    return Sizes({name: _number(f"sizes.words.{name}", width) for name, width in words.items()}, layers=tuple(pairs), **numbers)


def _text_config(name: str, said: dict, width: int) -> dict[str, Any]:
    config = _configuration(name, said, ("hidden_size", "intermediate_size", "num_attention_heads", "num_hidden_layers"))
    config["hidden_act"] = _choice(f"{name}.hidden_act", said["hidden_act"], ("quick_gelu", "gelu"))
    for key, needed in (("hidden_size", width), ("eos_token_id", 49407), *TABLES.items()):
        if said[key] != needed:
            raise ValueError(f"`{name}.{key}` is {_shown(said[key])}, but needs to be {needed}")
        config[key] = needed
    return config


TABLES = {"max_position_embeddings": POSITIONS, "vocab_size": VOCABULARY}
VISION_SIZES = ("hidden_size", "intermediate_size", "num_attention_heads", "num_hidden_layers", "image_size", "patch_size")


def _vision_config(said: dict) -> dict[str, Any]:
    config = _configuration("image_encoder", said, (*VISION_SIZES, "projection_dim"))
    for key, choices in (("model_type", ("clip_vision_model",)), ("num_channels", (3,)), ("hidden_act", ("gelu", "quick_gelu"))):
        config[key] = _choice(f"image_encoder.{key}", said[key], choices)
    return config


def _configuration(name: str, said: dict, keys: Iterable[str]) -> dict[str, Any]:
    config = {key: _number(f"{name}.{key}", said[key]) for key in keys}
    _check_heads(name, config["hidden_size"], config["num_attention_heads"])
    return config


def _check_heads(name: str, channels: int, heads: int) -> None:
    if channels % heads:
        raise ValueError(f"`{name}` has {channels} channels, which {heads} heads cannot share")


def _number(name: str, value: Any, least: int = 1, most: int | None = None) -> int:
    most = most or MOST.get(name.split(".")[-1], LARGEST)
    if type(value) is not int or not least <= value <= most:
        raise ValueError(f"`{name}` is {_shown(value)}, but needs to be a whole number from {least} to {most}")
    return value


def _flag(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"`{name}` is {_shown(value)}, but needs to be true or false")
    return value


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= 200 or not value.isprintable() or value != value.strip():
        raise ValueError(f"`{name}` is {_shown(value)}, but needs to be a short text")
    return value


def _choice(name: str, value: Any, choices: Iterable) -> Any:
    choices = tuple(choices)
    if value not in choices:
        raise ValueError(f"`{name}` is {_shown(value)}, but needs to be one of {', '.join(map(str, choices))}")
    return value


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}..."
