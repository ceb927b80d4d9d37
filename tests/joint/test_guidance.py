"""Equations 3 and 4 on bare tensors."""

import pytest
import torch
from same_subject.nodes.joint import guidance
from same_subject.tests.tiny.sets import gap

ROUNDING = 5e-15
"""In double precision, as a share of the spread: 2.8e-16 was seen."""
VISIBLE = 0.1


@pytest.fixture
def terms():
    return torch.randn(3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64).unbind()


def test_equation_4_is_what_the_supplement_prints(terms):
    e0, e1, e = terms
    assert gap(guidance.guide(e0, e1, e, 2.0, 5.0), e0 + 2 * (e1 - e0) + 5 * (e - e1)) < ROUNDING
    assert gap(guidance.guide(e0, e1, e, 5.0, 2.0), e0 + 2 * (e1 - e0) + 5 * (e - e1)) > VISIBLE


def test_at_equal_scales_equation_4_is_equation_3_whatever_the_middle_term(terms):
    e0, e1, e = terms
    assert gap(guidance.guide(e0, e1, e, 3.0, 3.0), e0 + 3 * (e - e0)) < ROUNDING
    assert gap(guidance.guide(e0, e1, e, 3.0, 4.0), e0 + 3 * (e - e0)) > VISIBLE


def test_at_scale_1_it_is_the_conditional_prediction(terms):
    assert gap(guidance.guide(*terms, 1.0, 1.0), terms[-1]) < ROUNDING
    assert gap(guidance.guide(*terms, 1.0, 2.0), terms[-1]) > VISIBLE


def test_predictions_may_be_given_in_any_affine_form(terms):
    moved = guidance.guide(*(2 - 3 * term for term in terms), 2.0, 5.0)
    assert gap(moved, 2 - 3 * guidance.guide(*terms, 2.0, 5.0)) < ROUNDING
    assert gap(moved, -3 * guidance.guide(*terms, 2.0, 5.0)) > VISIBLE


def test_text_first_weighs_the_text_first_and_image_first_the_references():
    assert guidance.scales("text first", 3.0, 7.0) == (3.0, 7.0)
    assert guidance.scales("image first", 3.0, 7.0) == (7.0, 3.0)


@pytest.mark.parametrize("scale", (0.5, 1.0, 7.5))
def test_the_equivalent_conditional_gives_equation_4_through_plain_guidance(terms, scale):
    e0 = terms[0]
    conditional = guidance.as_conditional(*terms, 2.0, 5.0, scale)
    assert gap(e0 + scale * (conditional - e0), guidance.guide(*terms, 2.0, 5.0)) < ROUNDING
    assert gap(e0 + (scale + 1) * (conditional - e0), guidance.guide(*terms, 2.0, 5.0)) > VISIBLE


def test_the_middle_term_is_left_out_only_where_it_has_no_factor():
    assert guidance.needs_partial("text first", 3.0, 7.0) and guidance.needs_partial("image first", 1.0, 3.0)
    assert not guidance.needs_partial("text first", 3.0, 3.0)
    assert not guidance.needs_partial("joint", 3.0, 7.0) and not guidance.needs_partial("text only", 3.0, 7.0)
