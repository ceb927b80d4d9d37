"""The words of a prompt with subjects (figure 3): `{text}, the {class} is {placeholder}, the {class} is {placeholder}`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Worded:
    """A prompt with a placeholder for each subject, in their order.

    text: the whole. classes, placeholders: for each subject where its class word and its placeholder begin and end in ``text``,
    in characters; the class word is the one before the placeholder.
    """

    text: str
    classes: tuple[tuple[int, int], ...]
    placeholders: tuple[tuple[int, int], ...]


def worded(text: str, names: Sequence[str], placeholder: str) -> Worded:
    """``text`` with a clause for each subject's class name; without names it is ``text`` as it is.

    Raises ValueError for an empty name, or where the placeholder stands in the text or a name and would be taken for a subject.
    """
    for number, name in enumerate(names, 1):
        if not name.strip():
            raise ValueError(f"Subject Prompt: subject {number} has no class name. Write one in Subject, such as `dog`.")
    for where, said in (("the text", text), *((f"the class of subject {n}", name) for n, name in enumerate(names, 1))):
        if names and placeholder.lower() in said.lower().split():
            raise ValueError(
                f"Subject Prompt: {where} has the word `{placeholder}`, which stands for a subject in this adapter. Use "
                "another word."
            )
    whole = text.rstrip(" ,")
    classes, placeholders = [], []
    for name in (name.strip() for name in names):
        whole += ", the " if whole else "the "
        classes.append((len(whole), len(whole) + len(name)))
        whole += f"{name} is "
        placeholders.append((len(whole), len(whole) + len(placeholder)))
        whole += placeholder
    return Worded(whole if names else text, tuple(classes), tuple(placeholders))
