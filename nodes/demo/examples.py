"""The pictures of toys that ship with the pack, by name."""

PICTURES = {
    "box in the desert": "reference_1",
    "box at night": "reference_2",
    "box in a meadow": "reference_3",
    "ball in the desert": "toy_1",
    "star under the sea": "toy_2",
}
"""Each picture's name, which is that of its large file, and the name of its small one."""
SETS = {"box in all three places": ("box in the desert", "box at night", "box in a meadow")}
"""Several of them under one name."""
SIZES = ("64", "512")
"""Sides: what the demo model paints; for checkpoints."""


def members(name: str) -> tuple[str, ...]:
    """The pictures of a set, or the one picture itself."""
    return SETS.get(name, (name,))
