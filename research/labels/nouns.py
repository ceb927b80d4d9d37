"""The nouns of a caption, by a spaCy pipeline's part-of-speech tags."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from ...dev.setup.errors import SetupError

MODEL = "en_core_web_sm"
NOUNS = ("NOUN", "PROPN")
ONE_THING = frozenset(
    "binoculars glasses goggles headphones jeans leggings overalls pajamas pants pliers pyjamas scissors shorts sunglasses "
    "tights trousers tweezers".split()
)
"""Plurals of form that name one thing."""


@dataclass(frozen=True)
class Noun:
    """name: in lower case and the singular, words that stand together joined ("teddy bear"). plural: as the caption has it."""

    name: str
    plural: bool = False


def load(name: str) -> Any:
    """A spaCy pipeline by the name of its package or its folder. Raises SetupError where it is not there or tags nothing."""
    try:
        import spacy
    except ImportError as problem:
        raise SetupError(
            f"label: nouns are found with the Python package `spacy`, which cannot be imported ({problem}). Install it with "
            "`pip install spacy`."
        ) from problem
    try:
        pipeline = spacy.load(name)
    except (OSError, ValueError, ImportError) as problem:
        said = " ".join(str(problem).split())[:200]
        raise SetupError(
            f"label: the spaCy pipeline `{name}` cannot be loaded ({said}). Install it with `python -m spacy download {MODEL}`, "
            "or name another with `--tagger`: a package, or a folder of `nlp.to_disk`."
        ) from problem
    if not any(token.pos_ in NOUNS for token in pipeline("a photo of a dog and a ball on the table")):
        raise SetupError(
            f"label: the spaCy pipeline `{name}` finds no noun in `a photo of a dog and a ball on the table`: it has no "
            f"part-of-speech tagger. Name one that has, such as {MODEL}, with `--tagger`."
        )
    return pipeline


def nouns(tokens: Iterable[Any]) -> list[Noun]:
    """The distinct nouns of spaCy's tokens, in their order. Neighbouring nouns, also with a hyphen between, are one."""
    found: dict[str, bool] = {}
    run: list[Any] = []
    hyphen = None
    for token in (*tokens, None):
        if token is not None and _is_noun(token):
            run += [token] if hyphen is None else [hyphen, token]
            hyphen = None
        elif token is not None and token.text == "-" and run and not (run[-1].whitespace_ or token.whitespace_ or hyphen):
            hyphen = token
        elif run:
            noun = _named(run)
            found[noun.name] = found.get(noun.name, False) or noun.plural
            run, hyphen = [], None
    return [Noun(name, plural) for name, plural in found.items()]


def _is_noun(token: Any) -> bool:
    """Whether a token is a noun that a detector can read: its captions part phrases at full stops and question marks."""
    return token.pos_ in NOUNS and any(letter.isalpha() for letter in token.text) and not set(token.text) & set(".?")


def _named(run: list[Any]) -> Noun:
    *before, last = run
    whole = last.lower_ in ONE_THING
    head = last.lower_ if whole else (last.lemma_ or last.lower_).lower()
    parts = [token.lower_ + (" " if token.whitespace_ else "") for token in before]
    plural = not whole and (last.tag_ in ("NNS", "NNPS") or "Plur" in last.morph.get("Number"))
    return Noun(" ".join("".join((*parts, head)).split()), plural)
