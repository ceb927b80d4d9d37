"""A subject as numbers and text: exact, small, and refused where it cannot have been written by us."""

import json
from dataclasses import replace

import pytest
import torch
from same_subject.nodes.joint import subjects
from same_subject.nodes.joint.references import Reference, Subject


def eighths(*shape, levels=256, seed=0):
    """Pictures as Load Image gives them: 255ths."""
    drawn = torch.randint(0, levels, shape, generator=torch.Generator().manual_seed(seed))
    return drawn.float() / (levels - 1)


def fractions(*shape, seed=0):
    """What resampling leaves: any fraction."""
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


GIVEN = (
    Reference(eighths(5, 7, 3), "a red toy", "crop", 0.5),
    Reference(fractions(4, 3, 3), "\u00e9\u4e2d\U0001f600\n", "pad", 1.0, eighths(4, 3, levels=2), "toy", 0.1 + 0.2),
    Reference(fractions(2, 2, 3).double() / 3, "", "stretch", 0.0, fractions(2, 2), "", 20.0, eighths(2, 3, 5)),
    Reference(torch.full((2, 2, 3), 0.5), "", "crop", 0.0, where=fractions(1, 9, 9) * 1.2 - 0.1),
)


def again(references, change=lambda said: said, **more):
    tensors, said = subjects.packed(references)
    tensors = {**tensors, **more}
    return subjects.unpacked(json.dumps(change(json.loads(said))), tensors, tensors.__getitem__)


def same(one, other):
    plain = all(getattr(one, name) == getattr(other, name) for name in subjects.CHECKS)
    parts = [(getattr(one, part), getattr(other, part)) for part in subjects.PARTS]
    equal = all(b is None if a is None else b is not None and a.dtype == b.dtype and torch.equal(a, b) for a, b in parts)
    return plain and equal


def test_references_come_back_bit_for_bit():
    back = again(GIVEN)
    assert len(back) == len(GIVEN) and all(map(same, GIVEN, back))
    assert not same(GIVEN[0], GIVEN[1])


def test_which_references_show_a_subject_that_is_found_by_its_word_comes_back():
    ball, star = Subject(), Subject()
    back = [one.by_word for one in again([replace(GIVEN[0], by_word=whose) for whose in (ball, None, star, ball)])]
    assert back[0] is back[3] is not None and back[1] is None and back[2] is not None and back[2] is not back[0]
    assert all(one.by_word is None for one in again(GIVEN)) and "by_word" not in subjects.packed(GIVEN)[1]
    for wrong in (-1, True, "0", 1e9):
        with pytest.raises(ValueError, match="by_word of reference 2"):
            again(GIVEN, lambda said, wrong=wrong: said["references"][1].update(by_word=wrong) or said)


def test_all_255ths_come_back_bit_for_bit_from_bytes():
    every = torch.arange(256).float()[:, None, None].expand(-1, 1, 3) / 255
    tensors, _ = subjects.packed([Reference(every, "", "crop", 0.5)])
    assert tensors["0.picture"].dtype == torch.uint8
    assert torch.equal(again([Reference(every, "", "crop", 0.5)])[0].picture, every)


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (eighths(2, 2, 3), torch.uint8),
        (torch.full((2, 2, 3), 0.5), torch.float16),
        (fractions(2, 2, 3), torch.float32),
        (fractions(2, 2, 3).double(), torch.float64),
        (eighths(2, 2, 3) * 2, torch.float32),
    ],
)
def test_numbers_are_stored_as_small_as_they_can_be(values, kind):
    tensors, _ = subjects.packed([Reference(values, "", "crop", 0.5)])
    assert {name: tensor.dtype for name, tensor in tensors.items()} == {"0.picture": kind}


def entry(**fields):
    """A change of the first reference's entry."""
    return lambda said: {**said, "references": [{**said["references"][0], **fields}, *said["references"][1:]]}


@pytest.mark.parametrize(
    "change",
    [
        entry(caption=5), entry(caption="a" * 10_001), entry(caption="\ud800"), entry(caption=None), entry(fit="no"),
        entry(fit=[]), entry(background=2), entry(background="grey"), entry(background=float("nan")), entry(background=True),
        entry(subject={}), entry(strength=-1), entry(strength=float("inf")), entry(strength="1"), entry(strength=10**400),
        lambda said: {**said, "references": [{}]}, lambda said: {**said, "references": ["a"]},
        lambda said: {**said, "references": []},
        lambda said: {**said, "references": said["references"] * 100}, lambda said: {**said, "references": {}},
        lambda said: {**said, "format": 2}, lambda said: {**said, "format": None}, lambda said: [], lambda said: None,
        lambda said: {"format": 1},
    ],
)  # fmt: skip
def test_what_we_never_say_is_refused_in_a_sentence(change):
    with pytest.raises(ValueError, match=r"reference|format|list"):
        again(GIVEN, change)


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, '"' + "a" * 2**24 + '"', "NaN"])
def test_text_that_says_nothing_is_refused(text):
    with pytest.raises(ValueError, match="cannot be read"):
        subjects.unpacked(text, {}, {}.__getitem__)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("0.picture", fractions(5, 7, 4)), ("0.picture", fractions(5, 7)), ("0.picture", torch.zeros(0, 7, 3)),
        ("0.picture", torch.full((5, 7, 3), float("nan"))), ("0.picture", torch.tensor(1.0)),
        ("0.picture", torch.ones(5, 7, 3, dtype=torch.int32)), ("0.picture", torch.ones(5, 7, 3, dtype=torch.complex64)),
        ("0.mask", fractions(7, 5)), ("0.mask", fractions(5, 7) * 9), ("0.mask", torch.full((5, 7), float("inf"))),
        ("0.where", fractions(65, 2, 2)), ("0.where", torch.zeros(1, 0, 2)), ("0.where", fractions(2, 2) - 1),
    ],
)  # fmt: skip
def test_numbers_that_cannot_be_a_reference_are_refused(name, values):
    with pytest.raises(ValueError, match=r"reference 1|numbers where"):
        again(GIVEN, **{name: values})


def test_a_missing_picture_is_refused_and_what_is_beside_it_is_not_read():
    tensors, said = subjects.packed(GIVEN)
    del tensors["1.picture"]
    with pytest.raises(ValueError, match="picture of reference 2 is missing"):
        subjects.unpacked(said, tensors, tensors.__getitem__)
    assert len(again(GIVEN, more=torch.tensor(float("nan")))) == len(GIVEN)


def test_what_could_not_be_read_again_is_known_before_it_is_written():
    assert all(map(subjects.is_kept, GIVEN))
    assert not subjects.is_kept(Reference(GIVEN[0].picture, "a" * 10_001, "crop", 0.5))
