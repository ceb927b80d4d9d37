"""Videos: frames of one clip from all over it, upright, with its caption; playlists and damaged files are refused."""

from fractions import Fraction

import av
import numpy
import pytest
from same_subject.nodes.data import videos
from same_subject.nodes.data.opening import open_source


def clip(path, frames=24, size=(64, 48), codec="mpeg4", aspect=None):
    """A video at 8 frames a second whose red grows by 10 each frame, with a blue top."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=8)
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        if aspect:
            stream.codec_context.sample_aspect_ratio = Fraction(aspect)
        for number in range(frames):
            picture = numpy.zeros((size[1], size[0], 3), numpy.uint8)
            picture[...] = 10 * number, 0, 0
            picture[: size[1] // 4] = 0, 0, 255
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return path


def numbers(one):
    """Which frame each picture is, about."""
    return [picture.getpixel((picture.width // 2, picture.height - 8))[0] / 10 for picture in one.pictures]


@pytest.mark.parametrize(
    ("name", "codec"), [("a.mp4", "mpeg4"), ("a.avi", "mpeg4"), ("a.mkv", "libvpx-vp9"), ("a.mov", "libx264")]
)
def test_frames_are_from_the_middle_of_equal_stretches(tmp_path, name, codec):
    clip(tmp_path / name, codec=codec)
    (tmp_path / "a.txt").write_text("a red wall")
    source = open_source(tmp_path)
    assert source.kind == "videos"
    one = source.read(source.entries("")[0])
    assert one.captions == ("a red wall",) * 4 and one.pictures[0].size == (64, 48)
    assert numbers(one) == pytest.approx([3, 9, 15, 21], abs=1.2)


def test_drawn_frames_are_one_from_each_stretch_and_other_ones_each_epoch(tmp_path):
    clip(tmp_path / "a.mp4")
    source = open_source(tmp_path / "a.mp4", most=2)
    drawn = [sorted(numbers(next(source.sets(0, epoch)))) for epoch in range(6)]
    assert all(low < 13 and high > 10.5 for low, high in drawn)
    assert len({tuple(map(round, one)) for one in drawn}) > 3


def test_a_video_with_fewer_frames_gives_each_once(tmp_path):
    clip(tmp_path / "a.mp4", frames=2)
    [one] = open_source(tmp_path / "a.mp4").sets(0, 0)
    assert len(one) <= 2


def test_pixels_that_are_not_square_are_made_so(tmp_path):
    clip(tmp_path / "a.mp4", aspect="2/1")
    [one] = open_source(tmp_path / "a.mp4").sets(0, 0)
    assert {picture.size for picture in one.pictures} == {(128, 48)}


def test_pixels_that_would_make_a_huge_picture_are_refused(tmp_path):
    clip(tmp_path / "good.mp4")
    data = bytearray(clip(tmp_path / "a.mp4", aspect="2/1").read_bytes())
    start = data.index(b"pasp") + 4
    data[start : start + 8] = (30_000).to_bytes(4, "big") + (1).to_bytes(4, "big")
    (tmp_path / "a.mp4").write_bytes(data)
    source = open_source(tmp_path)
    assert [one.name for one in source.sets(0, 0)] == ["good.mp4"]
    [(reason, names)] = source.skipped.items()
    assert reason == f"its frames have more than {videos.MOST_PIXELS} pixels" and names[0].startswith("a.mp4: 19")


def test_a_video_of_a_turned_phone_is_upright(tmp_path):
    data = bytearray(clip(tmp_path / "a.mp4").read_bytes())
    start = data.index(b"tkhd") + 4 + 40  # its matrix, behind the times, the numbers and layers of version 0
    one = 0x10000
    for place, value in enumerate((0, one, 0, 2**32 - one, 0, 0, 48 * one, 0, 2**30)):  # x to the right goes down
        data[start + 4 * place : start + 4 * place + 4] = value.to_bytes(4, "big")
    (tmp_path / "a.mp4").write_bytes(data)
    [one] = open_source(tmp_path / "a.mp4").sets(0, 0)
    picture = one.pictures[0]
    assert picture.size == (48, 64)
    blue = [picture.getpixel((x, 32))[2] > 150 for x in (3, 44)]
    assert blue == [False, True], "the top of what was filmed is on the right, a quarter turn clockwise"


def test_damaged_videos_playlists_and_files_without_pictures_are_counted(tmp_path, monkeypatch):
    clip(tmp_path / "good.mp4")
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    (tmp_path / "half.mp4").write_bytes((tmp_path / "good.mp4").read_bytes()[:400])
    (tmp_path / "list.mp4").write_text("ffconcat version 1.0\nfile good.mp4\n")  # FFmpeg would open what it names
    source = open_source(tmp_path)
    assert [one.name for one in source.sets(0, 0)] == ["good.mp4"]
    [(reason, names)] = source.skipped.items()
    assert reason == "it cannot be read" and {name.partition(":")[0] for name in names} == {"bad.mp4", "half.mp4", "list.mp4"}
    monkeypatch.setattr(videos, "MOST_PIXELS", 64 * 48 - 1)
    assert not list(open_source(tmp_path / "good.mp4").sets(0, 0))
