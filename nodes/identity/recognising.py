"""Recognising a person in pictures: which face is meant in each of them, in the whole picture or inside a mask."""

from __future__ import annotations

import torch

from .faces import Choice, Face, choose, choose_inside


def choose_in_pictures(node: str, analysis, pictures: list[torch.Tensor], choice: Choice) -> list[Face]:
    """The face that is meant in each picture [H, W, 3]; an error says which picture has none."""
    if not pictures:
        raise ValueError(f"{node}: no picture was given, but needs at least 1. Connect a picture with a face.")
    names = [f"picture {number} of {len(pictures)} (counted from 1)" for number in range(1, len(pictures) + 1)]
    return [choose(analysis.faces(picture), choice, node, name) for picture, name in zip(pictures, names, strict=True)]


def masks_of(concept: int, masks: torch.Tensor, pictures: int) -> torch.Tensor:
    """One concept's masks [B, H, W], counted from 1, of those of all K concepts of B ``pictures`` [B K, H, W]."""
    count, rest = divmod(len(masks), pictures)
    if rest or concept > count:
        raise ValueError(
            f"Face Keypoints: `concept` is {concept}, but `mask` has {len(masks)} masks for {pictures} pictures. Connect `masks` "
            "of Concept Masks, which has one a concept for every picture, and choose one of these concepts."
        )
    return masks.reshape(pictures, count, *masks.shape[1:])[:, concept - 1]


def choose_in_masks(
    node: str, analysis, pictures: torch.Tensor, masks: torch.Tensor, choice: Choice, place: str = ""
) -> list[Face | None]:
    """The face that is meant inside each mask [P, H, W] of pictures [B, H, W, 3]; a single one of either serves for all.

    None for a mask that is black everywhere: that of an empty concept. place: names the mask in errors.
    """
    count = max(len(pictures), len(masks))
    if {len(pictures), len(masks)} - {1, count}:
        raise ValueError(
            f"{node}: `mask` has {len(masks)} masks, but `image` has {len(pictures)} pictures. Give one picture, one mask, or as "
            "many masks as pictures; or choose one `concept` of all."
        )
    found = [analysis.faces(picture) for picture in pictures]
    chosen: list[Face | None] = []
    for number in range(count):
        picture, mask = number % len(pictures), number % len(masks)
        if not masks[mask].any():
            chosen.append(None)
            continue
        names = (f"picture {picture + 1} of {len(pictures)}", place or f"mask {mask + 1} of {len(masks)} (counted from 1)")
        chosen.append(choose_inside(found[picture], masks[mask], choice, node, *names))
    return chosen
