"""Example Pictures: what each name gives, small and large."""

import re
import shutil

import numpy
import pytest
import torch
from PIL import Image
from same_subject.dev import pack
from same_subject.nodes.demo import examples
from same_subject.nodes.demo.host import pictures
from same_subject.nodes.demo.nodes import ExamplePictures


def pixels(path, mode="RGB"):
    with Image.open(path) as file:
        return torch.from_numpy(numpy.array(file.convert(mode)))


def test_small_pictures_are_those_of_the_demo_bit_for_bit_and_large_ones_show_the_same():
    for name, small in examples.PICTURES.items():
        given, masks, caption = ExamplePictures.execute(name, "64").args
        assert torch.equal((given[0] * 255).round().byte(), pixels(pack.ROOT / "demo" / f"{small}.png"))
        assert caption == f"a photo of a {name}" and masks.shape == given.shape[:3]
        large, clear, _ = ExamplePictures.execute(name).args
        assert large.shape == (1, 512, 512, 3) and clear.shape == (1, 512, 512)
        shrunk = torch.nn.functional.interpolate(large.movedim(-1, 1), 64, mode="area").movedim(1, -1)
        assert (shrunk - given).abs().mean() < 0.02


def test_a_mask_is_white_on_the_toy_and_black_around_it():
    pictured, masks, _ = ExamplePictures.execute("box at night", "512").args
    red = (pictured[0, ..., 0] > 0.8) & (pictured[0, ..., 1] < 0.2)
    assert red.sum() > 5000 and masks[0][red].min() > 0.99, "the toy is red, the night is not"
    assert 0.05 < masks.mean() < 0.4 and masks[0, 0].max() == 0


def test_a_set_gives_its_pictures_in_order_with_a_caption_each():
    three, masks, captions = ExamplePictures.execute("box in all three places", "512").args
    assert three.shape[0] == masks.shape[0] == 3
    for picture, caption in zip(three, captions.splitlines(), strict=True):
        alone, _, said = ExamplePictures.execute(caption.removeprefix("a photo of a ")).args
        assert torch.equal(alone[0], picture) and said == caption


def test_the_widget_knows_the_same_names_and_finds_a_picture_for_each():
    source = (pack.ROOT / "js" / "example_pictures.js").read_text(encoding="utf-8")
    listed = re.search(r"SETS = (\{.*\});", source)[1]
    for name, members in examples.SETS.items():
        assert f'"{name}": [{", ".join(chr(34) + one + chr(34) for one in members)}]' in listed
    for folder in (pictures.LARGE, pictures.MASKS):
        assert {path.stem for path in folder.glob("*.png")} == set(examples.PICTURES)


def test_a_missing_picture_and_an_unknown_name_are_said_with_the_remedy(monkeypatch, tmp_path):
    with pytest.raises(
        ValueError, match="Example Pictures: `pictures` is `cat`, but needs to be `box in the desert`, .*Choose one"
    ):
        ExamplePictures.execute("cat")
    with pytest.raises(ValueError, match="Example Pictures: `size` is `65`, but needs to be `64` or `512`"):
        ExamplePictures.execute("box at night", "65")
    shutil.copy(pictures.LARGE / "box at night.png", tmp_path)
    monkeypatch.setattr(pictures, "LARGE", tmp_path)
    assert ExamplePictures.execute("box at night").args[0].shape[1] == 512
    with pytest.raises(ValueError, match="Example Pictures: .*star under the sea.png cannot be read as a picture.*Reinstall"):
        ExamplePictures.execute("star under the sea")
