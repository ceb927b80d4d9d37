"""A click on a toy's eye finds that eye in another picture of its set, on subjects that the demo model never saw."""

import pytest
import torch
from same_subject.research import finding_eyes

pytestmark = pytest.mark.slow
SUBJECTS = 20
STEPS = 8


@pytest.fixture(scope="module")
def drawn():
    *_, (drawn, _) = finding_eyes.measured(finding_eyes.Viewer(STEPS), SUBJECTS)
    return drawn


def test_an_eye_is_found_far_more_often_than_by_chance(drawn):
    ratio, low, _ = drawn.ratio()
    assert len(drawn.found) == SUBJECTS and ratio >= 10 and low >= 5


def test_chance_is_the_share_of_cells_on_an_eye(drawn):
    area = torch.pi * (finding_eyes.EYE * 0.29) ** 2
    assert 0.6 * area < sum(drawn.chance) / len(drawn.chance) < 1.4 * area


def test_eyes_are_found_where_they_were_drawn_and_nowhere_else():
    for number in range(10):
        one = finding_eyes.case(number)
        for view in (0, 1):
            found, drawn = sorted(finding_eyes.eyes_in(one.views[view])), finding_eyes.drawn_eyes(one, view)
            assert len(found) == len(drawn)
            for (x, y, _), (across, down, radius) in zip(found, drawn, strict=True):
                assert ((x - across) ** 2 + (y - down) ** 2) ** 0.5 < 0.5 * radius
