"""Strengths over the schedule and the levels."""

import pytest
from same_subject.nodes.joint.settings import CURVES, EARLY, LATE, LEVELS, LINEAR, Options


@pytest.mark.parametrize(("curve", "half"), [(LINEAR, 2.0), (EARLY, 2.5), (LATE, 1.5)])
def test_a_strength_goes_from_its_start_to_its_end(curve, half):
    chosen = Options(strength_start=1.0, strength_end=3.0, strength_curve=curve, level_strengths=(1.0, 0.5, 2.0, 0.0))
    for share, factor in ((0.0, 1.0), (0.5, half), (1.0, 3.0)):
        assert chosen.strengths_at(share) == dict(zip(LEVELS, (factor, factor / 2, factor * 2, 0.0), strict=True))
    assert set(CURVES) == {LINEAR, EARLY, LATE}


def test_only_strengths_that_are_one_everywhere_are_steady():
    assert Options().steady and Options(strength_curve=LATE).steady
    assert not any(one.steady for one in (Options(strength_start=0.0), Options(strength_end=2.0)))
    assert not Options(level_strengths=(1.0, 1.0, 1.0, 0.5)).steady
