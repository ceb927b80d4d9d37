"""What is read from a recording: the table of cells, the heat of a point, and its strongest matches."""

import pytest
import torch
from same_subject.nodes.joint import correspondence, heat_maps
from same_subject.nodes.joint.correspondence import Table
from same_subject.nodes.joint.layout import Layout
from same_subject.nodes.joint.recording import Grid, Sums, Taken

LAYOUT = Layout(1, 1, 2)
SIDE = 8


def taken(*, seen=((0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2), (2, 0), (2, 1), (2, 2)), side=SIDE, level="half", planted=()):
    """A recording of one set. seen: which picture sees which. planted: (picture, cell, other, cell, how much is paid)."""
    generator = torch.Generator().manual_seed(0)
    sums = Sums(Grid((side, side)), LAYOUT)
    paid = torch.rand(3, side * side, 3, side * side, generator=generator) * 0.01
    for picture, cell, other, there, much in planted:
        paid[picture, cell, other, there] = much
    for picture, other in seen:
        sums.counts[0, picture, other] = 2
    paid *= sums.counts[0][:, None, :, None]
    sums.attention[0] = paid.flatten(2, 3).flatten(0, 1)
    return Taken(LAYOUT, {level: sums}, torch.zeros(3, 4, 16, 16))


def at(cell, side=SIDE):
    return (cell % side + 0.5) / side, (cell // side + 0.5) / side


def test_two_cells_match_if_both_look_at_each_other():
    one = taken(planted=[(0, 10, 1, 20, 0.5), (1, 20, 0, 10, 0.5), (0, 10, 1, 40, 0.6), (0, 10, 2, 7, 0.5), (2, 7, 0, 10, 0.5)])
    table = correspondence.table(one, 0)
    assert table.matches(0, 1, *at(10))[0] == at(20), "40 is looked at, but does not look back"
    assert table.matches(0, 2, *at(10))[0] == at(7) and table.matches(1, 0, *at(20))[0] == at(10)
    heat = table.heat(0, *at(10))
    assert heat[1].max() == heat[2].max() == 1 and not heat[0].any()


def test_where_only_one_of_two_looks_that_decides_and_where_none_does_there_is_no_match():
    one = taken(seen=[(0, 0), (0, 1), (0, 2)], planted=[(0, 10, 1, 20, 0.5)])
    table = correspondence.table(one, 0)
    assert table.matches(0, 1, *at(10))[0] == at(20) and table.matches(1, 0, *at(20))[0] == at(10)
    assert table.matches(1, 2, *at(20)) == [] and not table.heat(1, *at(20))[2].any()


def test_matches_are_apart_and_at_least_half_as_strong_as_the_best():
    values = torch.zeros(2, 64, 2, 64, dtype=torch.uint8)
    for cell, heat in ((9, 255), (10, 250), (30, 200), (60, 130), (36, 180), (5, 127)):
        values[0, 0, 1, cell] = heat
    assert Table(values, (8, 8)).matches(0, 1, 0.0, 0.0) == [at(9), at(30), at(36)]


def test_all_levels_together_stand_on_the_finest_and_a_level_that_was_not_recorded_is_refused():
    fine = taken(planted=[(0, 9, 1, 20, 0.5), (1, 20, 0, 9, 0.5)])
    coarse = taken(side=4, level="quarter", planted=[(0, 0, 1, 15, 0.9), (1, 15, 0, 0, 0.9)])
    both = Taken(LAYOUT, {**fine.sums, **coarse.sums}, fine.latents)
    heat = correspondence.table(both, 0).heat(0, *at(9))[1]
    assert heat.shape == (8, 8) and heat.flatten()[20] == 1 and heat[6:, 6:].mean() > 2 * heat[:2, :2].mean()
    assert correspondence.table(both, 0, "quarter").shape == (4, 4)
    with pytest.raises(ValueError, match="`level` is `full`, but the recording has `half`, `quarter`"):
        correspondence.table(both, 0, "full")


def test_points_on_the_far_edges_are_in_the_last_cells():
    assert [correspondence.cell_of(*point, (2, 3)) for point in ((0, 0), (1, 0), (0.5, 1), (1, 1))] == [0, 2, 4, 5]


def test_a_drawing_marks_the_point_and_is_bright_where_a_picture_matches():
    table = correspondence.table(taken(planted=[(0, 9, 1, 54, 0.5), (1, 54, 0, 9, 0.5)]), 0)
    pictures = torch.full((3, 64, 64, 3), 0.5)
    shown = heat_maps.drawn(pictures, table, 0, *at(9))
    assert shown.shape == (1, 320, 3 * 320 + 2 * heat_maps.GAP, 3) and 0 <= shown.min() and shown.max() <= 1
    first, second = shown[0, :, :320], shown[0, :, 328:648]
    assert torch.equal(first[200:, 200:], torch.full((120, 120, 3), 0.5))
    assert second[260, 260].sum() > 2 * second[60, 60].sum(), "hot and cold"
    large = heat_maps.drawn(torch.rand(3, 512, 768, 3), table, 1, 0.5, 0.5)
    assert large.shape == (1, 213, 3 * 320 + 2 * heat_maps.GAP, 3)
