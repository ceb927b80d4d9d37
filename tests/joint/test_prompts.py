"""Prompts, captions and text states of one length."""

import pytest
import torch
from same_subject.nodes.joint import prompts
from same_subject.tests.tiny.sets import gap

ROUNDING = 4e-5
"""As a share of the spread: 3.3e-6 was seen."""
VISIBLE = 100 * ROUNDING


def test_a_line_is_a_prompt_and_blank_lines_are_none():
    assert prompts.split_prompts("a dog\n\n  a cat \n") == ["a dog", "a cat"]
    assert prompts.split_prompts("") == [""] and prompts.split_prompts(" \n") == [""]


def test_blocks_between_separators_are_prompts_of_several_lines():
    assert prompts.split_prompts("a dog\non a sofa\n---\na cat") == ["a dog\non a sofa", "a cat"]
    assert prompts.split_prompts("---\na dog\n---\n \n---\na cat") == ["", "a dog", "", "a cat"]


@pytest.mark.parametrize("end", ("\n---", "\n---\n", "\n --- \n\n"))
def test_a_separator_after_the_last_prompt_makes_no_further_picture(end):
    """It made one more, without a prompt."""
    assert prompts.split_prompts("a dog\non a sofa\n---\na cat" + end) == ["a dog\non a sofa", "a cat"]
    assert prompts.split_prompts("a dog" + end) == ["a dog"]
    assert prompts.split_prompts("a dog" + end + "\n---") == ["a dog", ""]
    assert prompts.split_prompts(end) == [""]


def test_one_prompt_serves_all_pictures_and_0_pictures_means_one_a_prompt():
    assert prompts.assign(["a"], 3) == ["a"] * 3
    assert prompts.assign(["a", "b"], 0) == ["a", "b"] == prompts.assign(["a", "b"], 2)
    with pytest.raises(ValueError, match="3 prompts were given for 5 pictures, but needs 1 or 5"):
        prompts.assign(["a", "b", "c"], 5)


def test_one_caption_serves_all_pictures_and_captions_may_be_empty():
    assert prompts.split_captions("a", 3) == ["a"] * 3
    assert prompts.split_captions("", 2) == ["", ""]
    assert prompts.split_captions("a\n\nc", 3) == ["a", "", "c"]
    with pytest.raises(ValueError, match="2 lines for 3 pictures"):
        prompts.split_captions("a\nb", 3)


def test_empty_captions_first_and_last_count_where_that_makes_one_a_picture():
    """The first two were refused, and the caption of the third served both pictures."""
    assert prompts.split_captions("a\nb\n", 3) == ["a", "b", ""]
    assert prompts.split_captions("\nb\nc", 3) == ["", "b", "c"]
    assert prompts.split_captions("a\n", 2) == ["a", ""]
    assert prompts.split_captions("\nb\n", 3) == ["", "b", ""]
    assert prompts.split_captions("a\r\nb\r\n", 3) == ["a", "b", ""]


@pytest.mark.parametrize("around", ("{}\n", "\n{}", "\n\n{}\n\n"))
def test_other_blank_lines_around_captions_are_ignored(around):
    assert prompts.split_captions(around.format("a"), 1) == ["a"]
    assert prompts.split_captions(around.format("a"), 7) == ["a"] * 7
    assert prompts.split_captions(around.format("a\nb"), 2) == ["a", "b"]
    with pytest.raises(ValueError, match="2 lines for 9 pictures"):
        prompts.split_captions(around.format("a\nb"), 9)


@pytest.mark.parametrize(
    "lengths, length",
    (([77], 77), ([77, 154], 154), ([77, 154, 231], 462), ([231, 308], 924), ([308, 385], 385), ([77, 1001], 1001)),
)
def test_lengths_meet_at_their_common_multiple_up_to_924_and_at_the_longest_beyond(lengths, length):
    assert prompts.common_length(lengths) == length


def attention(q, k, v):
    return torch.softmax(q @ k.transpose(-1, -2), -1) @ v


def test_repetition_does_not_change_what_cross_attention_returns():
    generator = torch.Generator().manual_seed(0)
    states, query = torch.randn(1, 77, 8, generator=generator), torch.randn(1, 5, 8, generator=generator)
    repeated, cut = prompts.lengthen(states, 924), prompts.lengthen(states, 1001 + 33)
    assert gap(attention(query, repeated, repeated), attention(query, states, states)) < ROUNDING
    assert gap(attention(query, cut, cut), attention(query, states, states)) > VISIBLE
    assert cut.shape == (1, 1034, 8) and torch.equal(cut[:, -33:], states[:, :33])


def test_texts_are_padded_only_where_repetition_does_not_end_at_the_common_length():
    assert prompts.Tokens.of([77, 231, 462], 462) is None and prompts.Tokens.of([77, 1155], 1155) is None
    assert prompts.Tokens.of([231, 77, 385], 385) == prompts.Tokens(385, (231, 385, 385))


@pytest.mark.parametrize("whole", (False, True))
def test_of_any_mix_of_1_to_15_chunks_each_row_attends_to_its_own_text(whole):
    """Against float64 attention to the texts as they were; two tokens after them are another node's, for all to see."""
    generator = torch.Generator().manual_seed(0)
    worst, effects, padded = 0.0, [], 0
    for _ in range(100):
        chunks = torch.randint(1, 16, (4,), generator=generator).tolist()
        texts = [torch.randn(1, 77 * n, 8, generator=generator) for n in chunks]
        q, extra = (torch.randn(4, length, 8, generator=generator) for length in (5, 2))
        total = prompts.common_length([states.shape[1] for states in texts])
        tokens = prompts.Tokens.of([states.shape[1] for states in texts], total)
        own = tokens.own if tokens else (total,) * 4
        padded += tokens is not None
        groups = {n: torch.tensor([row for row in range(4) if own[row] == n]) for n in set(own)}
        states = torch.cat([torch.cat([prompts.lengthen(text, total) for text in texts]), extra], dim=1)
        kernel = RowsInPlace(q) if whole else attention
        out = prompts.attend_to_own(q, states, states, total, groups, kernel, whole)
        for row, text in enumerate(texts):
            copies = own[row] // text.shape[1]  # of its own text, which the other node's tokens are weighed against
            meant = torch.cat([text.repeat(1, copies, 1), extra[row : row + 1]], dim=1).double()
            expected = attention(q[row : row + 1].double(), meant, meant)
            diluted = attention(q[row : row + 1], states[row : row + 1], states[row : row + 1])
            worst = max(worst, float((out[row] - expected).abs().max()))
            effects.append(float((diluted - expected).abs().max()))
    assert padded > 50 and worst < 1e-4 * max(effects) and max(effects) > 0.1


class RowsInPlace:
    """A kernel that only works on the whole batch, as adapters of other packs do."""

    def __init__(self, q):
        self.q = q

    def __call__(self, q, k, v):
        assert torch.equal(q, self.q) and len(k) == len(q)
        return attention(q, k, v)


CAPTIONS = {
    "a photo of a small red ball on the beach": "ball",
    "a photo of my dog": "dog",
    "two cats sitting on a sofa": "cats",
    "A close-up portrait of the old wizard, oil painting": "wizard",
    "teddy-bear": "teddy-bear",
    "a painting": "painting",
    "a king": "king",
    "in the snow": "",
    "": "",
}


@pytest.mark.parametrize("caption", CAPTIONS)
def test_a_caption_is_about_the_last_word_of_its_first_phrase(caption):
    assert prompts.subject_of(caption) == CAPTIONS[caption]


def test_tokens_of_a_word_are_found_wherever_they_stand():
    assert prompts.positions_of([5, 6], [1, 5, 6, 2, 5, 6, 5]) == [1, 2, 4, 5]
    assert prompts.positions_of([7], [1, 2]) == prompts.positions_of([], [1, 2]) == []
