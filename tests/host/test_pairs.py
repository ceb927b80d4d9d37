"""Which patches need a batch of one positive and one negative chunk."""

from functools import partial

import pytest
from comfy_extras.nodes_nag import NAGuidance
from same_subject.nodes.host import pairs
from same_subject.tests.tiny import models


def by_position(out, extra_options):
    return out[extra_options["cond_or_uncond"].index(0)]


class ByPosition:
    def __call__(self, out, extra_options):
        return out[extra_options.get("cond_or_uncond").index(0)]

    def method(self, out, extra_options):
        return self(out, extra_options) if extra_options["cond_or_uncond"].index(0) else out


def through_all(out, extra_options):
    return [out for _ in extra_options["cond_or_uncond"]]


@pytest.mark.parametrize(
    ("function", "expected"),
    (
        (by_position, True),
        (ByPosition(), True),
        (ByPosition().method, True),
        (partial(partial(by_position), extra_options={}), True),
        (through_all, False),
        (partial(through_all), False),
        (len, False),
    ),
)
def test_patches_that_look_for_a_position_are_found_however_they_are_wrapped(function, expected):
    assert pairs.wanted({"patches": {"attn1_patch": [through_all], "attn1_output_patch": [function]}}) is expected


def test_the_hosts_own_is_found_and_a_plain_model_needs_no_pairs():
    plain = models.model("sd15")
    patched = NAGuidance.execute(plain, 5.0, 0.5, 1.5).result[0]
    assert pairs.wanted(patched.model_options["transformer_options"])
    assert not pairs.wanted(plain.model_options["transformer_options"])
