"""Prompts, captions and text states of one length."""

import pytest
import torch
from same_subject.nodes.joint import prompts


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


def attention(query, states):
    return torch.softmax(query @ states.transpose(-1, -2), -1) @ states


def test_repetition_does_not_change_what_cross_attention_returns():
    generator = torch.Generator().manual_seed(0)
    states, query = torch.randn(1, 77, 8, generator=generator), torch.randn(1, 5, 8, generator=generator)
    empty = torch.randn(1, 77, 8, generator=generator)
    assert torch.allclose(attention(query, prompts.lengthen(states, 924, empty)), attention(query, states), atol=1e-5)
    padded = prompts.lengthen(states, 1001, empty)
    assert padded.shape == (1, 1001, 8) and torch.equal(padded[:, :77], states) and torch.equal(padded[:, 77:154], empty)
    assert (attention(query, padded) - attention(query, states)).abs().max() > 0.01
