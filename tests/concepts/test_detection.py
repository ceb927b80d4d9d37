"""Phrases in the caption, and the boxes that the detector's outputs give each phrase."""

import pytest
import torch
from same_subject.nodes.concepts import detection, phrases

CAT, DOG, RED = 10, 11, 12
TOKENS = [101, CAT, 1012, RED, DOG, 1012, 102]
SPANS = {"cat": range(1, 2), "red dog": range(3, 5)}


def test_phrases_are_normalised_and_equal_ones_stand_in_the_caption_once():
    assert phrases.split("A  Cat.\n\n red DOG \na cat") == ["a cat", "red dog", "a cat"]
    assert phrases.caption(["a cat", "red dog", "a cat"]) == "a cat . red dog ."


@pytest.mark.parametrize(
    "text, message", (("", "is empty"), ("a cat. a dog", "full stop"), ("who?", "full stop"), ("x\n" * 65, "at most 64"))
)
def test_phrases_that_the_detector_cannot_keep_apart_are_refused(text, message):
    with pytest.raises(ValueError, match=message):
        phrases.split(text)


def test_spans_are_the_tokens_between_separators():
    assert phrases.spans(TOKENS, ["cat", "red dog", "cat"]) == SPANS
    with pytest.raises(ValueError, match="1 phrases .* became 2"):
        phrases.spans(TOKENS, ["cat"])
    with pytest.raises(ValueError, match="257 tokens, but the detector reads 256"):
        phrases.spans([101] + [CAT] * 256, ["cat"])


def outputs(rows):
    """Logits [Q, 7] from probabilities by token, everything else -inf; boxes side by side."""
    logits = torch.full((len(rows), len(TOKENS)), -torch.inf)
    for number, row in enumerate(rows):
        for token, value in row.items():
            logits[number, token] = torch.tensor(value).logit()
    boxes = torch.tensor([[0.1 + 0.2 * number, 0.5, 0.1, 0.5] for number in range(len(rows))])
    return logits, boxes


def found(rows, box_threshold=0.35, text_threshold=0.25, most_overlap=0.7):
    return detection.boxes_by_phrase(
        *outputs(rows), SPANS, 200, 100, detection.Thresholds(box_threshold, text_threshold, most_overlap)
    )


def test_a_phrase_gets_the_boxes_over_the_threshold_in_pixels_with_the_score_of_its_best_token():
    result = found([{1: 0.6}, {1: 0.34}, {3: 0.3, 4: 0.5}, {1: 0.8, 4: 0.1}])
    assert [round(box.score, 4) for box in result["cat"].boxes] == [0.8, 0.6]
    assert result["cat"].boxes[1].corners == pytest.approx((10, 25, 30, 75))
    assert [round(box.score, 4) for box in result["red dog"].boxes] == [0.5]
    assert result["red dog"].best_score == pytest.approx(0.5)


def test_a_box_belongs_to_the_phrase_whose_tokens_it_fits_best():
    result = found([{1: 0.6, 3: 0.5, 4: 0.4}])
    assert not result["cat"].boxes and result["cat"].rival == "red dog"
    assert len(result["red dog"].boxes) == 1 and not result["red dog"].rival


def test_tokens_below_the_text_threshold_do_not_count_for_a_phrase():
    result = found([{1: 0.6, 3: 0.5, 4: 0.4}], text_threshold=0.45)
    assert len(result["cat"].boxes) == 1 and result["red dog"].rival == "cat"
    nobody = found([{1: 0.6}], text_threshold=0.7)
    assert not nobody["cat"].boxes and nobody["cat"].best_score == pytest.approx(0.6)


def test_a_phrase_that_finds_nothing_still_knows_its_best_score():
    result = found([{1: 0.2, 4: 0.1}])
    assert not result["cat"].boxes and result["cat"].best_score == pytest.approx(0.2)
    assert result["red dog"].best_score == pytest.approx(0.1) and not result["cat"].rival
