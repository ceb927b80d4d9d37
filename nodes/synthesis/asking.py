"""Prompts by a language model, as the paper has them from ChatGPT: any server that speaks OpenAI's chat completions.

Nothing is sent unless a user gives an address. The key is in an environment variable and is sent to the address that stands in
the variable beside it, to no other: graphs hold neither, so that no graph of a stranger's can send a key anywhere.
"""

from __future__ import annotations

import json
import os
import re
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

from .prompts import lines

URL, KEY, MODEL = "SAME_SUBJECT_LLM_URL", "SAME_SUBJECT_LLM_KEY", "SAME_SUBJECT_LLM_MODEL"
"""Environment variables: an address such as https://host/v1, its key (none for servers without), the model's name there."""
SECONDS, MOST_BYTES = 120, 2**20
PASSING = (408, 409, 425, 429)
"""Answers, beside those from 500 on, that another time may be others."""
MARK = re.compile(r"^(?:[-*•]|\d+[.)])\s+")
"""What makes a line one of a list."""
OBJECT = (
    "Describe one particular {subject} for a photograph of a product, in one line of at most 20 words: its colours, material, "
    "pattern and shape, nothing around it. Begin with its name. Variation {seed}. Write nothing but that line."
)
SCENE = (
    "Write {count} lines. Each describes, in at most 20 words, another scene with {subject} in it: a place, light and mood. "
    "Name the {subject} in each, do not describe its looks. Variation {seed}. Write nothing but these lines, without numbers."
)


class Unanswered(ValueError):
    """A language model gave nothing of use; the message is for the user.

    again: whether it may when it is asked again. after: seconds that it wants to be left alone before.
    """

    def __init__(self, message: str, again: bool = True, after: float = 0.0):
        super().__init__(message)
        self.again, self.after = again, after


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect would carry the key to another host."""

    def redirect_request(self, *_):
        return None


def texts(subject: str, count: int, seed: int, settings: Mapping[str, str] | None = None) -> tuple[str, tuple[str, ...]]:
    """What a subject looks like, and ``count`` scenes or more, from the language model that the environment names.

    settings: in place of the environment. Raises `Unanswered` where there is none, or it gave nothing of use.
    """
    settings = os.environ if settings is None else settings
    looks = _asked(OBJECT.format(subject=subject, seed=seed), settings)
    scenes = _asked(SCENE.format(subject=subject, count=count, seed=seed), settings)
    if not looks or len(scenes) < count:
        raise Unanswered(
            f"the language model at {settings[URL]} wrote {len(looks)} descriptions and {len(scenes)} scenes of `{subject}`, but "
            f"1 and {count} are needed. Name a larger model in {MODEL}, or take the lists."
        )
    return looks[0], scenes[:count]


def _asked(question: str, settings: Mapping[str, str]) -> tuple[str, ...]:
    """The lines of the answer."""
    address = settings.get(URL, "").rstrip("/")
    place = urlsplit(address)
    if place.scheme not in ("http", "https") or not place.hostname:
        raise Unanswered(f"no language model is known. Set {URL} (such as http://127.0.0.1:11434/v1), or take the lists.", False)
    key = settings.get(KEY, "")
    if key and place.scheme == "http" and place.hostname not in ("127.0.0.1", "localhost", "::1"):
        raise Unanswered(f"{KEY} would travel unencrypted to {place.hostname}. Give {URL} with https, or unset {KEY}.", False)
    content = {"model": settings.get(MODEL, "default"), "messages": [{"role": "user", "content": question}], "temperature": 1.0}
    headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {key}"} if key else {})}
    request = urllib.request.Request(f"{address}/chat/completions", json.dumps(content).encode(), headers)
    try:
        with urllib.request.build_opener(_NoRedirect).open(request, timeout=SECONDS) as answer:
            said = json.loads(answer.read(MOST_BYTES))["choices"][0]["message"]["content"]
        return tuple(MARK.sub("", line).strip("\"' ") for line in lines(said))
    except urllib.error.HTTPError as problem:
        said = f"the language model at {address} answered {problem.code}. See {URL}, {KEY} and {MODEL}."
        again = problem.code >= 500 or problem.code in PASSING
        raise Unanswered(said, again, _seconds(problem.headers.get("Retry-After", ""))) from None
    except (OSError, ValueError, KeyError, IndexError, TypeError, AttributeError) as problem:
        raise Unanswered(f"the language model at {address} gave no answer of use ({problem}). See {URL}.") from None


def _seconds(said: str) -> float:
    """Of a header Retry-After, which has a number or a date; 0 for anything else."""
    if said.strip().isdecimal():
        return float(said)
    try:
        return max(0.0, parsedate_to_datetime(said).timestamp() - time.time())
    except (ValueError, OverflowError):
        return 0.0
