"""Picture files are read whole and upright, or said to be damaged."""

import io

import pytest
import torch
from PIL import Image
from same_subject.nodes.data import pictures
from same_subject.tests.data import given


def saved(picture, kind, **more):
    written = io.BytesIO()
    picture.save(written, kind, **more)
    return written.getvalue()


def two_halves():
    """A picture with a red upper and a blue lower half, 20 x 12."""
    picture = Image.new("RGB", (20, 12), (255, 0, 0))
    picture.paste((0, 0, 255), (0, 6, 20, 12))
    return picture


@pytest.mark.parametrize(("kind", "suffix"), [("PNG", ".png"), ("JPEG", ".jpg"), ("WEBP", ".webp")])
def test_a_plain_picture_goes_into_a_shard_byte_by_byte(kind, suffix):
    data = given.picture(kind)
    assert pictures.decode(data).size == (20, 12)
    assert pictures.as_shown(data) == (suffix, data)


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_a_turned_picture_is_upright_for_the_labeller_and_for_whoever_reads_the_shard(kind):
    exif = Image.Exif()
    exif[pictures.ORIENTATION] = 6
    data = saved(two_halves(), kind, exif=exif)
    upright = pictures.decode(data)
    assert upright.size == (12, 20) and upright.getpixel((1, 10))[2] > 200 and upright.getpixel((10, 10))[0] > 200
    suffix, written = pictures.as_shown(data)
    with Image.open(io.BytesIO(written)) as shown:
        assert suffix == ".png" and not shown.getexif()
        assert torch.equal(pictures.tensor(shown), pictures.tensor(upright))


def test_what_is_transparent_is_white_in_both():
    picture = Image.new("RGBA", (20, 12), (255, 0, 0, 0))
    data = saved(picture, "PNG")
    assert pictures.decode(data).getpixel((3, 3)) == (255, 255, 255)
    with Image.open(io.BytesIO(pictures.as_shown(data)[1])) as shown:
        assert shown.mode == "RGB" and shown.getpixel((3, 3)) == (255, 255, 255)


def test_damaged_pictures_and_other_kinds_of_files_are_refused():
    noise = Image.frombytes("RGB", (64, 64), bytes(torch.randint(256, (64 * 64 * 3,), dtype=torch.uint8).tolist()))
    for kind in ("PNG", "JPEG", "WEBP"):
        whole = saved(noise, kind)
        pictures.decode(whole)
        for end in (len(whole) // 2, 30, 3, 0):
            with pytest.raises(pictures.Damaged):
                pictures.decode(whole[:end])
    for kind in ("EPS", "TIFF", "GIF", "BMP"):
        with pytest.raises(pictures.Damaged, match="cannot be read"):
            pictures.decode(saved(two_halves(), kind))


def test_colours_of_16_bits_and_too_many_pixels_are_refused(monkeypatch):
    with pytest.raises(pictures.Damaged, match="kind I;16"):
        pictures.decode(saved(Image.new("I;16", (4, 4)), "PNG"))
    monkeypatch.setattr(pictures, "MOST_PIXELS", 239)
    with pytest.raises(pictures.Damaged, match="20 x 12 pixels"):
        pictures.decode(given.picture())
