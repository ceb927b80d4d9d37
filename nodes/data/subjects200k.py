"""Subjects200K."""

from __future__ import annotations

from .sources import Source

SUFFIX = ".parquet"


class Subjects200K(Source):
    """Pairs."""

    kind = "subjects200k"
