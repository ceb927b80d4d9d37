"""What the parts of a scene say, said by the one node that a user has: `Compose Scene`."""

from __future__ import annotations

import re
from contextlib import AbstractContextManager

from ...host.speaking import said_by

NODE = "Compose Scene"
PARTS = ("Find Concepts", "Concept Masks", "Identity ControlNet", "Concept Scene", "Joint Set", "JeDi")
"""Nodes of the long graph, whose functions speak for them."""
REMEDIES = {
    r"look for `[^`]*` in a Find Concepts of its own and connect [^,]* `previous`": "give one a `mask`",
    r" with `index` 0 need ": " need ",
    r"Lower `index` \(0 is box 1\) or `box_threshold`": "Lower `box_threshold`",
    r"another `order` or `index`": "another `order`",
    r"or several Find Concepts nodes in a chain": "or give a Concept a `mask`",
    r"raise `grow` of Concept Masks": "raise `grow`",
    r"and chain all Concept Branch nodes": "and connect all Concepts to one Compose Scene",
    r"but \d+ Concept Branch nodes without an identity.*": "which Concepts bring themselves. Remove Apply Identity before it.",
    r"`subject_masks` is `auto`, but": "the references' subject is found by its word, but",
    r", or set `subject_masks` to `given`": "",
    r"the joint set of concept (\d+) has": r"the `subject` of concept \1 has",
    r"Give Joint Set one prompt for each picture of the scene, and the scene's size\.": (
        "Paint as many pictures as `image` has, of its size."
    ),
}
"""What they advise that this node does not have, and what it has instead."""


def as_compose_scene(about: str = "") -> AbstractContextManager[None]:
    """What a part of the long graph refuses inside is refused by this node. about: which concept it is about, if one."""
    return said_by(NODE, (*PARTS, NODE), lambda said: about + _remedied(said))


def _remedied(said: str) -> str:
    for theirs, ours in REMEDIES.items():
        said = re.sub(theirs, ours, said)
    return said
