"""Pictures, shards and records for the tests of labelling."""

import hashlib

import torch
from same_subject.research.labels import rle, statistics
from same_subject.tests.data.given import picture, shard

__all__ = ["MASK", "picture", "record", "shard"]

MASK = torch.zeros(12, 20, dtype=torch.bool)
MASK[3:9, 5:15] = True


def record(path, outcome=statistics.KEPT, caption="a dog"):
    """What a worker makes of a picture of `picture` at ``path``; it is kept with one dog, in MASK."""
    data = path.read_bytes()
    said = {"key": path.name, "path": str(path), "start": 0, "length": -1, "outcome": outcome}
    if outcome != statistics.KEPT:
        return {**said, "reason": "it is broken"}
    dog = {"class": "dog", "box": [0.25, 0.25, 0.75, 0.75], "score": 0.5, "mask": rle.encode(MASK)}
    digest = hashlib.sha256(data).hexdigest()
    sizes = {"width": 20, "height": 12, "sha256": digest, "candidates": 1, "dropped": {}}
    return {**said, **sizes, "caption": caption, "entities": [dog]}
