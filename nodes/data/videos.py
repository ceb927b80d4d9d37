"""Videos: frames of one clip are a set, and share its caption (JeDi, section 4)."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from PIL import Image

from . import files
from .examples import PictureSet
from .folders import Folder
from .pictures import MOST_PIXELS, Damaged
from .sources import Entry

SUFFIXES = (".mp4", ".mov", ".m4v", ".webm", ".mkv", ".avi")
OPENED = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi"
"""Containers that are opened, whatever a file is called; others, such as playlists, could name further files and addresses."""
FRAMES = 4
"""Of a clip, where it is not said how many."""
LONGEST = 600.0
"""Seconds from a clip's start that its frames are taken from."""


class Videos(Folder):
    """Videos at any depth, or one; each is a clip, with a caption in the text of its name.

    Frames are one from each of as many equal stretches of time: from the middle, or where ``draw`` says.
    """

    kind = "videos"
    suffixes = SUFFIXES

    def read(self, entry: Entry, draw: random.Random | None = None) -> PictureSet:
        path = self.root / entry.at
        files.check_inside(self.path, path)
        count = self.most or FRAMES
        with opened(str(path)) as (container, stream):
            start, length = span(container, stream)
            shares = [(number + (draw.random() if draw else 0.5)) / count for number in range(count)]
            shown = list(frames(container, stream, [start + share * min(length, LONGEST) for share in shares]))
        if not shown:
            raise Damaged("it has no frame that can be read")
        caption = self.beside(path)
        given = [(f"{entry.name}, frame {number}", caption, lambda one=one: one) for number, one in enumerate(shown, 1)]
        return self.gathered(entry.name, given, draw)


@contextmanager
def opened(path: str) -> Iterator[tuple[Any, Any]]:
    """A video's container and its pictures' stream. Raises Damaged where there is none, or reading fails."""
    import av

    try:
        with av.open(path, options={"format_whitelist": OPENED, "protocol_whitelist": "file"}) as container:
            if not container.streams.video:
                raise Damaged("it has no pictures")
            stream = container.streams.video[0]
            if stream.width * stream.height > MOST_PIXELS:
                raise Damaged(f"its frames have more than {MOST_PIXELS} pixels: {stream.width} x {stream.height}")
            stream.thread_type = "AUTO"
            yield container, stream
    except (av.FFmpegError, OSError, ValueError) as problem:
        raise Damaged(f"it cannot be read: {str(problem)[:200]}") from problem


def span(container: Any, stream: Any) -> tuple[float, float]:
    """When a stream begins and how long it is, in seconds; where its file does not say, its packets do."""
    start = float((stream.start_time or 0) * stream.time_base)
    if stream.duration:
        return start, float(stream.duration * stream.time_base)
    if container.duration:
        return start, container.duration / 1e6
    times = [packet.pts for packet in container.demux(stream) if packet.pts is not None]
    container.seek(0)
    return start, float((max(times, default=0) - (stream.start_time or 0)) * stream.time_base)


def frames(container: Any, stream: Any, times: list[float]) -> Iterator[Image.Image]:
    """The frames that are shown at rising times, in seconds, upright and with square pixels; none twice."""
    last = None
    for time in times:
        container.seek(int(time / stream.time_base), stream=stream)  # to the key frame before
        found = None
        for frame in container.decode(stream):
            if found is not None and frame.time is not None and frame.time > time:
                break
            found = frame
        if found is not None and found.pts != last:
            last = found.pts
            yield upright(found, stream.sample_aspect_ratio)


def upright(frame: Any, aspect: Any) -> Image.Image:
    """A frame as a picture, turned as its file says, its pixels made square. Raises Damaged where it would be too large."""
    width = max(1, round(frame.width * float(aspect or 1)))
    if width * frame.height > MOST_PIXELS:
        raise Damaged(f"its frames have more than {MOST_PIXELS} pixels: {width} x {frame.height}")
    picture = frame.to_image()
    if width != picture.width:
        picture = picture.resize((width, picture.height), Image.Resampling.BICUBIC)
    return picture.rotate(frame.rotation, expand=True) if frame.rotation else picture
