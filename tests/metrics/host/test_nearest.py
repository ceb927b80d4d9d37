"""Nearest References: the nearest of a folder or batch, what is kept between runs, and what is left out."""

import os

import folder_paths
import pytest
import torch
from PIL import Image
from same_subject.nodes.data import pictures as reading
from same_subject.nodes.metrics import nodes
from same_subject.nodes.metrics.host import encoders, index
from same_subject.tests.tiny import score_models

PROMPT = "a ball in the snow"


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = score_models.save(tmp_path_factory.mktemp("scores"))
    return encoders.ScoreModels(encoders.load_clip(folder / "clip-vit-base-patch32"), None)


def pictures(count, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.rand(20 + number, 30, 3, generator=generator) ** (number + 1) for number in range(count)]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Eight pictures in `input/toy`, the third turned by its EXIF; the user's files go elsewhere."""
    monkeypatch.setattr(folder_paths, "get_input_directory", lambda: str(tmp_path / "input"))
    monkeypatch.setattr(folder_paths, "get_user_directory", lambda: str(tmp_path / "user"))
    place = tmp_path / "input" / "toy"
    place.mkdir(parents=True)
    for number, picture in enumerate(pictures(8), 1):
        reading.as_picture(picture).save(place / f"{number}.png")
    return place


def find(models, **more):
    given = {"folder": "toy", "prompt": PROMPT, "count": 3, "diversity": 0.0} | more
    return nodes.NearestReferences.execute(models=models, **given)


def by_hand(models, every):
    seen = models.clip.pictures(map(reading.as_picture, every), len(every)) @ models.clip.texts([PROMPT])[0][0]
    return [f"{place + 1}.png" for place in seen.argsort(descending=True).tolist()]


def test_the_nearest_of_a_folder_are_those_of_a_batch(models, folder):
    references, names, text = find(models).args
    assert names.splitlines() == by_hand(models, pictures(8))[:3] and text.startswith("3 of 8 pictures, with CLIP-T:")
    first = pictures(8)[int(names[0]) - 1]
    assert references[0].picture.shape == first.shape and (references[0].picture - first).abs().max() < 0.51 / 255
    same = [torch.nn.functional.interpolate(one.movedim(-1, 0)[None], (24, 24))[0].movedim(0, -1) for one in pictures(8)]
    _, numbers, _ = find(models, folder="none", image=torch.stack(same)).args
    assert [f"{line.split()[1]}.png" for line in numbers.splitlines()] == by_hand(models, same)[:3]


def test_a_second_run_reads_only_what_changed(models, folder):
    assert [index.index(folder, models.clip).read for _ in range(2)] == [8, 0]
    names = find(models).args[1]
    os.utime(folder / "2.png", (1, 1))
    reading.as_picture(pictures(9)[8]).save(folder / "9.png")
    (folder / "5.png").unlink()
    again = index.index(folder, models.clip)
    assert again.read == 2 and again.names == ("1.png", "2.png", "3.png", "4.png", "6.png", "7.png", "8.png", "9.png")
    fresh = models.clip.pictures((index.open_picture(folder / name) for name in again.names), 8)
    assert torch.allclose(again.embeddings, fresh, atol=1e-6)
    reading.as_picture(pictures(8)[4]).save(folder / "5.png")
    (folder / "9.png").unlink()
    assert find(models).args[1] == names


def test_another_network_and_a_spoilt_index_are_not_taken_for_this_one(models, folder, tmp_path):
    index.index(folder, models.clip)
    other = encoders.load_clip(score_models.save(tmp_path / "other") / "clip-vit-base-patch32")
    assert index.index(folder, other).read == 8
    (place,) = [path for path in (tmp_path / "user").rglob("*.safetensors") if path == index.kept_in(folder, models.clip)]
    place.write_bytes(b"spoilt")
    assert index.index(folder, models.clip).read == 8 and index.index(folder, models.clip).read == 0


def test_damaged_pictures_are_left_out_and_named_and_not_read_again(models, folder):
    (folder / "4.png").write_bytes(b"no picture")
    (folder / "6.png").write_bytes((folder / "6.png").read_bytes()[:60])
    text = find(models, count=9).args[2]
    assert text.startswith("6 of 6 pictures") and "2 left out as damaged: 4.png: it cannot be read" in text and "; 6.png:" in text
    assert "9 were wanted, but there are 6." in text
    assert index.index(folder, models.clip).read == 0


def test_a_picture_that_could_not_be_read_once_is_tried_again(models, folder, monkeypatch):
    (folder / "6.png").write_bytes(b"no picture")
    real = index.Path.read_bytes

    def away(path):
        if path.name == "4.png":
            raise OSError(5, "Input/output error")
        return real(path)

    with monkeypatch.context() as patched:
        patched.setattr(index.Path, "read_bytes", away)
        for read in (8, 1):  # the damaged one is known by then
            first = index.index(folder, models.clip)
            assert first.read == read and len(first.names) == 6
            assert first.skipped["4.png"] == "it cannot be read: Input/output error" and "6.png" in first.skipped
    again = index.index(folder, models.clip)
    assert again.read == 1 and "4.png" in again.names and list(again.skipped) == ["6.png"]
    assert index.index(folder, models.clip).read == 0


def test_a_caption_is_the_text_beside_the_picture(models, folder):
    (folder / "1.txt").write_text("a ball\nat night\n")
    found, names, _ = find(models, count=8, caption="a ball").args
    references = dict(zip(names.splitlines(), found, strict=True))
    assert references["1.png"].caption == "a ball at night" and references["2.png"].caption == "a ball"
    assert nodes.NearestReferences.fingerprint_inputs("toy") != (nodes.NearestReferences.fingerprint_inputs("none"))
    (folder / "1.txt").write_bytes("a café".encode("cp1252"))
    found, names, text = find(models, count=8, caption="a ball").args
    assert {one.caption for one in found} == {"a ball"} and "1 left out as damaged: 1.txt: its text cannot be read" in text
    before = nodes.NearestReferences.fingerprint_inputs("toy")
    (folder / "2.txt").write_text("a star")
    assert nodes.NearestReferences.fingerprint_inputs("toy") != before


def test_diversity_passes_over_a_picture_that_is_there_twice(models, folder):
    best = by_hand(models, pictures(8))[0]
    Image.open(folder / best).save(folder / "twin.png")
    assert {*find(models, count=2).args[1].splitlines()} == {best, "twin.png"}
    assert {*find(models, count=2, diversity=0.5).args[1].splitlines()} != {best, "twin.png"}


def test_what_is_wrong_is_refused(models, folder, tmp_path):
    (tmp_path / "input" / "empty").mkdir()
    (tmp_path / "outside").mkdir()
    with pytest.raises(ValueError, match="^Nearest References: .*empty holds no picture that can be read"):
        find(models, folder="empty")
    for name in ("../outside", "missing", str(tmp_path / "outside"), "a/" * 3000, "a" * 5000):
        assert "which is no folder in" in nodes.NearestReferences.validate_inputs(name, "")
        with pytest.raises(ValueError, match="which is no folder in"):
            find(models, folder=name)
    with pytest.raises(ValueError, match="`folder` and `image` are neither given"):
        find(models, folder="none")
    with pytest.raises(ValueError, match="`folder` and `image` are both given"):
        find(models, image=torch.rand(1, 8, 8, 3))
    with pytest.raises(ValueError, match="`models` has no CLIP.*Get it from https://huggingface.co/openai/"):
        find(encoders.ScoreModels(None, None))
