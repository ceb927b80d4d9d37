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


def owners(words, box_threshold=0.35, text_threshold=0.25):
    """What each phrase finds on one box; words: the scores of the words of each phrase."""
    scores = [score for each in words.values() for score in each]
    spans, start = {}, 0
    for phrase, each in words.items():
        spans[phrase] = range(start, start + len(each))
        start += len(each)
    logits, box = torch.tensor([scores]).logit(), torch.full((1, 4), 0.5)
    return detection.boxes_by_phrase(logits, box, spans, 200, 100, detection.Thresholds(box_threshold, text_threshold))


@pytest.mark.parametrize(
    "words, owner",
    (
        ({"a man": (0.35, 0.70), "a woman in red": (0.34, 0.33, 0.33, 0.32)}, "a man"),  # sums of 1.05 and 1.32
        ({"a cat": (0.30, 0.65), "a big black dog": (0.40, 0.30, 0.45, 0.40)}, "a cat"),  # sums of 0.95 and 1.55
        ({"dog": (0.72,), "red dog": (0.30, 0.65)}, "dog"),
        ({"dog": (0.68,), "red dog": (0.55, 0.70)}, "red dog"),  # means of 0.68 and 0.625
        ({"a woman": (0.30, 0.62), "person": (0.55,)}, "a woman"),  # means of 0.46 and 0.55: articles say nothing
        ({"a red ball": (0.3, 0.6, 0.66), "a green ball": (0.3, 0.2, 0.58)}, "a red ball"),
    ),
)
def test_a_box_belongs_to_the_phrase_with_the_best_word_however_many_words_it_has(words, owner):
    for phrases_in_order in (words, dict(reversed(words.items()))):
        result = owners(phrases_in_order)
        assert [phrase for phrase, each in result.items() if each.boxes] == [owner]
        assert result[owner].boxes[0].score == pytest.approx(max(words[owner]))
        loser = next(each for phrase, each in result.items() if phrase != owner)
        assert loser.rival == (owner if loser.best_score > 0.35 else "")


def test_of_phrases_with_equally_good_words_the_one_that_is_seen_whole_gets_the_box():
    """Where words do not see each other, as in the demo's finder, `dog` scores the same in both phrases."""
    for words in ({"dog": (0.7,), "red dog": (0.6, 0.7)}, {"red dog": (0.6, 0.7), "dog": (0.7,)}):
        assert owners(words)["red dog"].boxes and not owners(words)["dog"].boxes, "on a red dog"
    for words in ({"dog": (0.7,), "red dog": (0.1, 0.7)}, {"red dog": (0.1, 0.7), "dog": (0.7,)}):
        assert owners(words)["dog"].boxes and not owners(words)["red dog"].boxes, "on a brown dog"
    assert owners({"red dog": (0.1, 0.7), "big dog": (0.2, 0.7)})["red dog"].boxes, "the first, where nothing tells them apart"


def test_no_box_with_a_phrase_over_the_thresholds_is_lost_to_all():
    """By sums 2 % were lost: to a phrase with more words, none of which is over `box_threshold`."""
    generator = torch.Generator().manual_seed(0)
    spans = {"a man": range(0, 2), "a woman in red": range(2, 6), "dog": range(6, 7)}
    logits = torch.randn(500, 7, generator=generator) - 1.5
    boxes = torch.full((500, 4), 0.5)
    above = logits.sigmoid().amax(1) > 0.35
    result = detection.boxes_by_phrase(logits, boxes, spans, 200, 100, detection.Thresholds(0.35, 0.25, overlap=1.0))
    counted = sum(len(each.boxes) for each in result.values())
    assert counted == int(above.sum()) and 200 < counted < 480


def test_a_box_counts_only_with_a_word_above_the_text_threshold():
    assert owners({"cat": (0.6,), "red dog": (0.5, 0.4)}, text_threshold=0.45)["cat"].boxes
    nobody = found([{1: 0.6}], text_threshold=0.7)
    assert not nobody["cat"].boxes and nobody["cat"].best_score == pytest.approx(0.6)


def test_a_phrase_that_finds_nothing_still_knows_its_best_score():
    result = found([{1: 0.2, 4: 0.1}])
    assert not result["cat"].boxes and result["cat"].best_score == pytest.approx(0.2)
    assert result["red dog"].best_score == pytest.approx(0.1) and not result["cat"].rival
