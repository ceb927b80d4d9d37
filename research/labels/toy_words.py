"""A spaCy pipeline for the captions of the demo world, which needs no download: it tags the words that they are made of."""

from __future__ import annotations

from pathlib import Path

from .. import world

NOUNS = ("photo", *world.SHAPES, "beach", "snow", "night", "meadow", "desert", "sea")
OTHERS = {"DET": ("a", "the"), "ADP": ("of", "on", "in", "at", "under", "with"), "CCONJ": ("and",)}


def save(folder: Path, more: tuple[str, ...] = ()) -> Path:
    """Write it to a folder, from which `spacy.load` takes it. more: further nouns."""
    import spacy

    pipeline = spacy.blank("en")
    ruler = pipeline.add_pipe("attribute_ruler")
    words = [(word, "NOUN", "NN", word) for word in (*NOUNS, *more)]
    words += [(word + "s", "NOUN", "NNS", word) for word in (*world.SHAPES, *more)]
    words += [(word, kind, "", word) for kind, listed in OTHERS.items() for word in listed]
    for word, kind, tag, lemma in words:
        ruler.add([[{"LOWER": word}]], {"POS": kind, "LEMMA": lemma, **({"TAG": tag} if tag else {})})
    pipeline.to_disk(folder)
    return folder
