"""What a user chose or painted by hand: read from text, applied where it was made for, refused elsewhere."""

import json

import pytest
import torch
from same_subject.nodes.concepts import by_hand, choosing, masks, places
from same_subject.nodes.concepts.boxes import Box
from same_subject.nodes.concepts.detection import Found, Thresholds

LEFT, MIDDLE, RIGHT = (Box(left, 10, left + 20, 60, score) for left, score in ((0, 0.5), (30, 0.9), (60, 0.7)))
BEST_FIRST = [MIDDLE, RIGHT, LEFT]


def chosen(*entries):
    return by_hand.read(json.dumps(list(entries)), by_hand.CHOSEN)


def choose(phrases, *entries, found=None, index=0):
    found = found or {"a man": Found(list(BEST_FIRST), 0.9, 0.9)}
    wanted = by_hand.at(chosen(*entries), 1)
    return choosing.choose(phrases, found, choosing.Rule(index=index), Thresholds(0.35, 0.25, 0.7), "picture 1", wanted)


def test_a_box_is_chosen_by_its_number_best_score_first_or_by_its_place():
    assert choose(["a man"]) == [MIDDLE]
    assert choose(["a man"], {"concept": 1, "number": 3}) == [LEFT]
    assert choose(["a man"], {"concept": 1, "box": [61, 10, 80, 60]}) == [RIGHT]
    assert choose(["a man"], {"concept": 1, "number": 1, "box": [61, 10, 80, 60]}) == [RIGHT], "scores move, places stay"
    assert choose(["a man"], {"concept": 1, "picture": 2, "number": 3}) == [MIDDLE], "that is another picture"


def test_equal_phrases_that_nobody_chose_for_share_the_rest():
    assert choose(["a man", "a man"]) == [MIDDLE, RIGHT]
    assert choose(["a man", "a man"], {"concept": 1, "number": 2}) == [RIGHT, MIDDLE]
    assert choose(["a man", "a man"], {"concept": 2, "number": 1}) == [RIGHT, MIDDLE]
    assert choose(["a man"], {"concept": 1, "number": 1}, index=7) == [MIDDLE]
    with pytest.raises(ValueError, match="3 boxes found for `a man` in picture 1, but 2 concepts with `index` 2 need 4"):
        choose(["a man", "a man"], {"concept": 1, "number": 1}, index=2)
    with pytest.raises(ValueError, match="at one and the same place"):
        choose(["a man", "a man"], {"concept": 1, "number": 1}, {"concept": 2, "number": 1})


def test_what_is_not_there_any_more_is_refused_with_the_remedy():
    remedy = r"Press Clear .*, run once and click the boxes again, or empty `chosen`\.$"
    with pytest.raises(
        ValueError, match=rf"^Find Concepts: `chosen` names box 4 of `a man` in picture 1, but 3 .* found\. {remedy}"
    ):
        choose(["a man"], {"concept": 1, "number": 4})
    with pytest.raises(ValueError, match=rf"at \(8, 10, 28, 60\), but no box is found there now.*{remedy}"):
        choose(["a man"], {"concept": 1, "number": 1, "box": [8, 10, 28, 60]})
    entries = chosen({"concept": 2, "phrase": "A  man", "number": 1})
    by_hand.check(entries, ["a dog", "a man"], by_hand.CHOSEN, 1)
    for phrases, pictures, problem in (
        (["a dog"], 1, "names concept 2, but there is 1 concept"),
        (["a man", "a dog"], 1, "was made for `A  man` as concept 2, but that is `a dog` now"),
    ):
        with pytest.raises(ValueError, match=f"^Find Concepts: `chosen` {problem}.*{remedy}"):
            by_hand.check(entries, phrases, by_hand.CHOSEN, pictures)
    with pytest.raises(ValueError, match="names picture 3, but there are 2 pictures"):
        by_hand.check(chosen({"concept": 1, "picture": 3, "number": 1}), ["a"], by_hand.CHOSEN, 2)


@pytest.mark.parametrize(
    "text",
    ["x", "{}", "[1]", "[" * 5000, '[{"concept": 0, "number": 1}]', '[{"concept": 1, "number": 0}]', '[{"concept": 1}]',
     '[{"concept": 1, "number": true}]', '[{"concept": 1, "box": [1, 2, 3]}]', '[{"concept": 1, "box": [1, 2, 3, NaN]}]',
     '[{"concept": 1, "box": [1, 2, 3, 1' + "0" * 400 + ']}]', '[{"concept": 1, "number": 1, "file": "a.png"}]',
     '[{"concept": 1, "number": 1, "more": 1}]', '[{"concept": 1, "phrase": 1, "number": 1}]', '[{"concept": 1.5, "number": 1}]'],
    ids=lambda text: text[:40],
)  # fmt: skip
def test_a_text_of_another_form_is_refused(text):
    with pytest.raises(ValueError, match="(?s)^Find Concepts: `chosen` is .*but needs a JSON list such as"):
        by_hand.read(text, by_hand.CHOSEN)
    with pytest.raises(ValueError, match="(?s)^Concept Masks: `corrections` is .*but needs a JSON list such as"):
        by_hand.read(text, by_hand.CORRECTIONS)


def test_nothing_is_said_by_an_empty_text_and_nothing_may_be_said_twice():
    assert by_hand.read(" \n", by_hand.CHOSEN) == () == by_hand.read("[]", by_hand.CORRECTIONS)
    with pytest.raises(ValueError, match="names concept 1 of picture 1 twice"):
        chosen({"concept": 1, "number": 1}, {"concept": 1, "picture": 1, "number": 2})


def test_what_was_painted_for_a_concept_at_another_place_is_refused():
    (entry,) = by_hand.read('[{"concept": 1, "box": [0, 10, 20, 60], "file": "a.png"}]', by_hand.CORRECTIONS)
    by_hand.check_place(entry, LEFT, "a man")
    with pytest.raises(ValueError, match=r"painted for `a man` in picture 1 at \(0, 10, 20, 60\), but its box is at \(30, 10"):
        by_hand.check_place(entry, MIDDLE, "a man")
    with pytest.raises(ValueError, match="which is an empty concept there"):
        by_hand.check_place(entry, None, "a man")


def half(left, right):
    mask = torch.zeros(8, 16)
    mask[:, left:right] = 1
    return mask


def test_a_corrected_mask_is_the_one_made_by_hand():
    given, nothing = torch.stack([half(0, 8), half(6, 12)]), torch.zeros(8, 16)
    painted = {0: masks.Painted(half(10, 14), half(0, 3))}
    expected = torch.stack([half(3, 8) + half(10, 14), half(6, 10)])
    before = given.clone()
    assert torch.equal(masks.corrected(given, painted), expected) and torch.equal(given, before)
    assert masks.corrected(given, {}) is given
    both = {0: masks.Painted(half(7, 9), nothing), 1: masks.Painted(half(7, 9), half(6, 9))}
    assert torch.equal(masks.corrected(given, both), torch.stack([half(0, 9), half(7, 12)])), "added last, to both"


@pytest.mark.parametrize("overlaps", masks.SHARE_OUTS)
def test_what_was_added_stays_added_whatever_the_scores_and_grow_does_not_touch_it(overlaps):
    row = (Box(0, 0, 8, 8, 0.3), Box(6, 0, 12, 8, 0.9))
    raw, finish = torch.stack([half(1, 7), half(7, 11)]), places.Finish(1, overlaps, 0.0)
    painted = {0: masks.Painted(half(9, 12), half(0, 2))}
    placed = places.place(raw, row, ("a", "b"), finish, "Concept Masks:", painted)
    taken = half(9, 12).bool()
    assert placed[0][taken].min() == 1 and placed[1][taken].max() == 0 and placed[0][:, :2].max() == 0
    with pytest.raises(ValueError, match="the mask of `a` is black everywhere. Erase less of it"):
        places.place(raw, row, ("a", "b"), finish, "Concept Masks:", {0: masks.Painted(half(0, 0), half(0, 16))})
