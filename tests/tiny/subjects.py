"""A small saved subject."""

from pathlib import Path

import torch
from same_subject.nodes.joint.references import Reference

PICTURES = (("red", (1.0, 0.0, 0.0)), ("green", (0.0, 1.0, 0.0)))


def references() -> tuple[Reference, ...]:
    """Two plain pictures of different sizes, the second with a mask and a strength."""
    red, green = (torch.tensor(colour).expand(32, 24 + 8 * place, 3) for place, (_, colour) in enumerate(PICTURES))
    mask = torch.zeros(32, 32)
    mask[8:24, 8:24] = 1
    mask[0] = 0.5  # no 255th: stored as fractions
    return Reference(red, "a red toy", "crop", 0.5), Reference(green, "a green toy", "pad", 1.0, mask, "toy", 0.5)


def save(path: Path) -> Path:
    """The file that Save Subject makes of `references`."""
    from same_subject.nodes.joint.host import subject_files

    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(subject_files.content(references(), path.stem))
    return path
