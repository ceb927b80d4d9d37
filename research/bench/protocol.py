"""What the papers measure with: DreamBooth's subjects and prompts, Subject-Diffusion's pairs, and the published figures."""

from __future__ import annotations

from dataclasses import dataclass

CLASSES = {
    "backpack": "backpack", "backpack_dog": "backpack", "bear_plushie": "stuffed animal", "berry_bowl": "bowl", "can": "can",
    "candle": "candle", "clock": "clock", "colorful_sneaker": "sneaker", "duck_toy": "toy", "fancy_boot": "boot",
    "grey_sloth_plushie": "stuffed animal", "monster_toy": "toy", "pink_sunglasses": "glasses", "poop_emoji": "toy",
    "rc_car": "toy", "red_cartoon": "cartoon", "robot_toy": "toy", "shiny_sneaker": "sneaker", "teapot": "teapot",
    "vase": "vase", "wolf_plushie": "stuffed animal",
}  # fmt: skip
"""Objects and their words (Ruiz et al., 2023)."""
LIVE = {"cat": "cat", "cat2": "cat", **{f"dog{number}": "dog" for number in ("", 2, 3, 5, 6, 7, 8)}}
"""Live subjects and theirs."""
BOTH = (
    "a {} in the jungle",
    "a {} in the snow",
    "a {} on the beach",
    "a {} on a cobblestone street",
    "a {} on top of pink fabric",
    "a {} on top of a wooden floor",
    "a {} with a city in the background",
    "a {} with a mountain in the background",
    "a {} with a blue house in the background",
    "a {} on top of a purple rug in a forest",
)
OF_OBJECTS = (
    "a {} with a wheat field in the background",
    "a {} with a tree and autumn leaves in the background",
    "a {} with the Eiffel Tower in the background",
    "a {} floating on top of water",
    "a {} floating in an ocean of milk",
    "a {} on top of green grass with sunflowers around it",
    "a {} on top of a mirror",
    "a {} on top of the sidewalk in a crowded street",
    "a {} on top of a dirt road",
    "a {} on top of a white rug",
)
OF_LIVE = (
    "a {} wearing a red hat",
    "a {} wearing a santa hat",
    "a {} wearing a rainbow scarf",
    "a {} wearing a black top hat and a monocle",
    "a {} in a chef outfit",
    "a {} in a firefighter outfit",
    "a {} in a police outfit",
    "a {} wearing pink glasses",
    "a {} wearing a yellow shirt",
    "a {} in a purple wizard outfit",
)
PROPERTIES = tuple(f"a {word} {{}}" for word in ("red", "purple", "shiny", "wet", "cube shaped"))
PAIRS = (
    *("backpack-can", "bear_plushie-backpack_dog", "berry_bowl-vase", "duck_toy-can", "fancy_boot-shiny_sneaker"),
    *("grey_sloth_plushie-poop_emoji", "teapot-backpack_dog", "teapot-berry_bowl", "wolf_plushie-backpack_dog"),
    *("can-bear_plushie", "can-candle", "can-duck_toy", "can-shiny_sneaker", "clock-teapot", "colorful_sneaker-vase"),
    *("robot_toy-backpack", "shiny_sneaker-duck_toy", "shiny_sneaker-poop_emoji", "pink_sunglasses-candle"),
    *("poop_emoji-clock", "poop_emoji-shiny_sneaker"),
    *("cat-dog2", "cat-dog5", "cat2-dog3", "dog2-dog3", "dog5-dog6", "dog6-dog7", "dog6-dog8", "dog7-dog8", "dog8-dog6"),
)
"""Subject-Diffusion, table 8: two subjects of DreamBooth each; those of the last nine are live."""


def prompts(live: bool) -> tuple[str, ...]:
    """The 25 prompts of an object or a live subject, with {} for its class."""
    return (*BOTH, *(OF_LIVE if live else OF_OBJECTS), *PROPERTIES)


def every_prompt() -> list[str]:
    """All 750 prompts, a subject after the other."""
    return [
        text.format(word) for words, live in ((CLASSES, False), (LIVE, True)) for word in words.values() for text in prompts(live)
    ]


@dataclass(frozen=True)
class Published:
    """A row of a published table; None where it has no such figure. Figures in the order of `metrics.similarity.NAMES`."""

    method: str
    figures: tuple[float | None, ...]


TABLE_2 = (
    Published("DreamBooth (3 inputs, finetuned)", (0.2812, 0.8135, 0.8683, 0.6341, 0.7115)),
    Published("Custom Diffusion (3, finetuned)", (0.3015, 0.7952, 0.8640, 0.6343, 0.7109)),
    Published("BLIP Diffusion (1 input)", (0.2934, 0.7899, 0.8620, 0.5855, 0.6692)),
    Published("ELITE (1 input)", (0.2961, 0.7924, 0.8615, 0.5922, 0.6805)),
    Published("JeDi (1 input)", (0.3040, 0.7818, 0.8764, 0.6190, 0.7510)),
    Published("JeDi (3 inputs)", (0.2932, 0.8139, 0.9011, 0.6791, 0.8037)),
    Published("Real pictures (table 8)", (None, 0.885, None, 0.774, None)),
)
TABLE_5 = (
    Published("BLIP Diffusion", (0.2851, 0.8107, 0.8234, 0.6091, 0.6018)),
    Published("ELITE", (0.2193, 0.6082, 0.6430, 0.1862, 0.2156)),
    Published("JeDi", (0.2856, 0.8697, 0.8838, 0.7934, 0.7926)),
)
SUBJECT_DIFFUSION_1 = (
    Published("Real images", (None, 0.885, None, 0.774, None)),
    Published("Textual Inversion (finetuned)", (0.255, 0.780, None, 0.569, None)),
    Published("DreamBooth (finetuned)", (0.305, 0.803, None, 0.668, None)),
    Published("Custom Diffusion (finetuned)", (0.305, 0.790, None, 0.643, None)),
    Published("ELITE", (0.293, 0.771, None, 0.621, None)),
    Published("BLIP-Diffusion", (0.300, 0.779, None, 0.594, None)),
    Published("Subject-Diffusion", (0.293, 0.787, None, 0.711, None)),
)
SUBJECT_DIFFUSION_2 = (
    Published("DreamBooth (finetuned)", (0.308, 0.695, None, 0.430, None)),
    Published("Custom Diffusion (finetuned)", (0.300, 0.698, None, 0.464, None)),
    Published("Subject-Diffusion", (0.310, 0.696, None, 0.506, None)),
)
FACES = (
    ("Stable Diffusion (0 pictures)", 0.039, 0.268),
    ("Textual Inversion (5)", 0.293, 0.219),
    ("DreamBooth (5)", 0.273, 0.239),
    ("Custom Diffusion (5)", 0.434, 0.233),
    ("FastComposer (1)", 0.514, 0.243),
    ("Subject-Diffusion (1)", 0.605, 0.228),
)
"""Subject-Diffusion, table 4: identity preservation and prompt consistency on people."""
