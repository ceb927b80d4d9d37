"""Identity similarity of sets that were made (table 8), with networks of random weights in folders as published."""

import pytest
from PIL import Image
from same_subject.dev.setup.errors import SetupError
from same_subject.nodes.data import shards
from same_subject.nodes.data.examples import PictureSet
from same_subject.research import synthesize
from same_subject.tests.tiny import score_models


@pytest.fixture(scope="module")
def networks(tmp_path_factory):
    folder = score_models.save(tmp_path_factory.mktemp("scores"))
    return folder / "clip-vit-base-patch32", folder / "dino-vits16"


def a_set(name, *pictures):
    return PictureSet(name, pictures, ("",) * len(pictures))


def noise(seed, side=60):
    return Image.effect_noise((side, side), 80 + seed).convert("RGB")


def scored(folder, networks, *sets):
    folder.mkdir()
    shards.write(folder / "sets-000000.tar", sets)
    said = synthesize.similarity(folder, *networks, 10)
    return said, {line.split()[0]: float(line.split()[1]) for line in said.splitlines()[2:]}


def test_sets_of_one_picture_twice_score_1_beside_the_papers_figures_and_single_pictures_do_not_count(networks, tmp_path):
    said, scores = scored(
        tmp_path / "same", networks, a_set("a", *[noise(1)] * 3), a_set("b", *[noise(2)] * 2), a_set("c", noise(3))
    )
    assert "Identity similarity of 2 sets (table 8)" in said and scores == {"CLIP-I": 1.0, "DINO": 1.0}
    for line in ("CLIP-I 1.000 0.849 0.885", "DINO 1.000 0.751 0.774"):
        assert line in [" ".join(one.split()) for one in said.splitlines()]


def test_a_set_counts_once_however_many_pairs_it_has(networks, tmp_path):
    same, other = a_set("a", *[noise(1)] * 4), a_set("b", Image.new("RGB", (60, 60), "red"), noise(2))
    _, alone = scored(tmp_path / "alone", networks, other)
    _, both = scored(tmp_path / "both", networks, same, other)
    assert max(alone.values()) < 0.99, "two pictures that are not alike"
    assert both == {name: pytest.approx((1 + score) / 2, abs=1.1e-3) for name, score in alone.items()}


def test_what_cannot_be_scored_is_said(networks, tmp_path):
    with pytest.raises(SetupError, match="holds no set of 2 pictures or more"):
        scored(tmp_path / "single", networks, a_set("a", noise(1)))
    with pytest.raises(SetupError, match="synthesize: .*nowhere"):
        synthesize.similarity(tmp_path / "nowhere", *networks, 10)
