"""Measuring subjects, on one picture and few steps of the adapter that ships."""

import json

import pytest
from same_subject.research import measure_subjects, subjects

CHOSEN = ("shipped", "captions alone", "attention control", "interpolation")


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    folder = tmp_path_factory.mktemp("measured")
    painter = measure_subjects.Painter(folder, steps=2)
    chosen = {name: subjects.SETTINGS[name] for name in CHOSEN}
    measure_subjects.run(chosen, (2,), range(1), painter, folder / "figures.json", folder)
    assert {path.name for path in folder.glob("*.png")} == {f"2_000_{name}.png" for name in CHOSEN[:3]}
    return json.loads((folder / "figures.json").read_text())


def test_each_setting_has_a_row_and_only_the_shipped_one_is_full(rows):
    assert [row["setting"] for row in rows[:3]] == list(CHOSEN[:3])
    assert [row["full"] for row in rows[:3]] == [True, False, False]
    assert all(row["subjects"] == 2 and row["pictures"] == 1 for row in rows[:3])


def test_attention_is_looked_at_where_there_are_words_of_subjects(rows):
    shipped, captions, control = (row["attention_inside"] for row in rows[:3])
    assert 0 < shipped < 1 and captions == 0 and 0 < control < 1 and control != shipped


def test_the_picture_gives_way_to_the_word_over_the_interpolation(rows):
    alphas = rows[3:]
    assert [row["alpha"] for row in alphas] == [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    assert alphas[0]["similarity"] > alphas[-1]["similarity"] + 0.1 and alphas[0]["word"] < alphas[-1]["word"]


def test_the_interpolation_can_be_measured_alone(tmp_path):
    setting = subjects.Setting(alphas=(1.0,))
    measure_subjects.run({"late": setting}, (1,), range(1), measure_subjects.Painter(tmp_path, 1), tmp_path / "a.json", None)
    assert [row["alpha"] for row in json.loads((tmp_path / "a.json").read_text())] == [1.0]
