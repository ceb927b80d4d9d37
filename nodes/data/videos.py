"""Videos: frames of one clip are a set, and share its caption."""

from __future__ import annotations

from .folders import Folder

SUFFIXES = (".mp4", ".mov", ".m4v", ".webm", ".mkv", ".avi")


class Videos(Folder):
    """Videos at any depth."""

    kind = "videos"
