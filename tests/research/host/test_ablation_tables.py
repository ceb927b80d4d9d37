"""The ablations as tables and as a figure."""

import pytest
import torch
from PIL import Image
from same_subject.research.ablations import curve, tables
from same_subject.research.ablations.arms import ARMS, JEDI, MODES, TABLES, Row, Setting, Table
from same_subject.research.evaluate import LAMBDAS


def figures(count=30, **changed):
    """``count`` subjects whose figures differ a little from one to the next; ``changed`` are added to each."""
    of_subject = torch.rand(count, generator=torch.Generator().manual_seed(3)).tolist()
    plain = {name: 0.0 for name in tables.FIGURES}
    return [{name: value + own + changed.get(name, 0.0) for name, value in plain.items()} for own in of_subject]


def test_every_row_of_a_table_has_an_arm_and_a_row_to_stand_against():
    for table in TABLES.values():
        names = [row.name for row in table.rows]
        assert len(set(names)) == len(names) and set(table.arms) <= set(ARMS)
        assert {row.against for row in table.rows} - {None} <= set(names)


def test_a_difference_is_paired_so_that_what_subjects_have_in_common_does_not_hide_it():
    line = tables.difference("", figures(top1=0.02), figures(), "top1")
    assert line["difference"] == pytest.approx(0.02, abs=1e-6) and line["low"] > 0.019 and not tables.told(line)
    shuffled = figures()[::-1]
    assert tables.told(tables.difference("", figures(top1=0.02), shuffled, "top1"))


def test_a_row_that_was_not_run_is_marked_and_compared_with_nothing():
    table = Table("a table", (Row("one", JEDI), Row("two", "CLIP encoder"), Row("three", JEDI, Setting("text only"))))
    found = {"one": figures(), "three": figures(top1=0.1)}
    differences = tables.compared(table, found)
    assert {line["rows"] for line in differences} == {"three - one"}
    text = tables.lines(4, table, found, differences, {"two": "'CLIP encoder' has 3 of 10 steps"})
    assert [line for line in text if line.startswith("two")][0].endswith("not run: 'CLIP encoder' has 3 of 10 steps")


def modes(**of_mode):
    return {
        f"{mode}@{scale:g}": figures(masked_similarity=of_mode[mode.replace(" ", "_")]) for mode in MODES for scale in LAMBDAS
    }


def test_the_order_of_modes_is_compared_between_neighbours_once_all_were_run():
    found = modes(text_first=0.3, joint=0.2, image_first=0.2, text_only=0.0)
    looks = [line for line in tables.of_modes(found) if line["figure"] == tables.LOOKS]
    assert [line["rows"] for line in looks] == ["text first - joint", "joint - image first", "image first - text only"]
    assert [line["difference"] for line in looks] == pytest.approx([0.1, 0, 0.2], abs=1e-6)
    assert [bool(tables.told(line)) for line in looks] == [False, True, False]
    del found["joint@3"]
    assert tables.of_modes(found) == []


def test_figure_11_has_a_point_for_each_scale_and_is_refused_without_one(tmp_path):
    found = {"joint@1.5": figures(masked_similarity=0.2), "joint@3": figures(caption_probability=0.3)}
    curves = curve.points(found)
    assert [scale for scale, _ in curves["joint"]] == [1.5, 3.0] and list(curves) == ["joint"]
    curve.draw(curves, tmp_path / "figure.png")
    with Image.open(tmp_path / "figure.png") as picture:
        assert picture.size == curve.SIZE and picture.convert("RGB").getcolors(1 << 20)[0]
        ink = [colour for _, colour in picture.getcolors(1 << 20)]
    assert tuple(bytes.fromhex(curve.COLOURS["joint"][1:])) in ink
    with pytest.raises(ValueError, match="no point"):
        curve.draw({}, tmp_path / "none.png")
