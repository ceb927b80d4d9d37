"""Finished sets as a shard in the host's folders: what the node Save Sets does."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Sequence
from pathlib import Path

import folder_paths
import torch

from ...data import shards
from ...data.examples import PictureSet
from ...data.pictures import as_picture
from ...host import small_pictures
from ...metrics import similarity
from ..grouping import InstanceSet

NODE = "Save Sets"
OUTPUT, TEMPORARY = "output folder", "temporary folder"
KINDS = ("png", "jpg")
NAME = re.compile(r"[\w-]{0,100}")


def gathered(
    sets: Sequence[InstanceSet], pictures: Sequence[torch.Tensor], captions: Sequence[str], styles: Sequence[str], name: str
) -> list[PictureSet]:
    """Finished pictures [H, W, 3] with captions as sets again, in the order of their instances.

    styles: the instruction of each picture, or none at all. name: that keys begin with; "" takes a hash of the pictures. Raises
    ValueError where there are not as many of each as instances.
    """
    wanted = sum(len(one.instances) for one in sets)
    for what, given in (("pictures", pictures), ("captions", captions), ("styles", styles or captions)):
        if len(given) != wanted:
            raise ValueError(
                f"{NODE}: `{what}` has {len(given)} entries for {wanted} instances, but needs as many. Connect what was made of "
                "the outputs of Paste Instances, all of them."
            )
    shown = tuple(map(as_picture, pictures))
    name = name or hashlib.sha256(b"".join(each.tobytes() for each in shown)).hexdigest()[:16]
    made, done = [], 0
    for number, one in enumerate(sets, 1):
        part = slice(done, done := done + len(one.instances))
        style = styles[part][0] if styles else ""
        about = {"subject": one.subject, "affinity": round(similarity.mean_of_pairs(one.affinity), 4), "style": style}
        made.append(PictureSet(f"{name}-{number}", shown[part], tuple(captions[part]), about))
    return made


def save(sets: Sequence[PictureSet], prefix: str, name: str, where: str, kind: str) -> dict[str, str]:
    """Write sets as one shard and return its filename, subfolder and type, by which the host gives it out.

    A name is the file's own, written again where it is there; "" counts up. Raises ValueError for a name with other letters.
    """
    if not NAME.fullmatch(name):
        raise ValueError(f"{NODE}: `name` is `{name[:100]}`, but needs letters, digits, - and _ only. Type such a name, or none.")
    root = folder_paths.get_output_directory() if where == OUTPUT else folder_paths.get_temp_directory()
    folder, stem, counter, subfolder, _ = folder_paths.get_save_image_path(prefix, root)
    file = Path(folder, f"{stem}_{name}.tar" if name else f"{stem}_{counter:05}_.tar")
    os.makedirs(folder, exist_ok=True)
    shards.write(file, sets, kind)
    return {"filename": file.name, "subfolder": subfolder, "type": "output" if where == OUTPUT else "temp"}


def strips(sets: Sequence[InstanceSet], pictures: Sequence[torch.Tensor]) -> list[dict]:
    """A strip of each set's pictures, for the node to show."""
    made, done = [], 0
    for one in sets:
        part = slice(done, done := done + len(one.instances))
        made.append(torch.cat([small_pictures.small(picture) for picture in pictures[part]], dim=1))
    return small_pictures.save(made)
