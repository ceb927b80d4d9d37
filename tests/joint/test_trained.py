"""What files say of training on sets, in metadata and in rows of a factor."""

import pytest
import torch
from same_subject.nodes.joint import trained
from same_subject.nodes.joint.trained import Trained

SAID = Trained("noisy, reference, mask", "v", (1, 2, 3, 4), 1200, "folder:toys – 40 sets", 4)


def test_what_is_said_comes_back_from_metadata_and_from_a_factor_in_every_precision():
    assert trained.said(SAID.metadata()) == SAID
    for width in (36, 81):
        for dtype in (torch.float32, torch.float16, torch.bfloat16):
            rows = trained.written(SAID, width).to(dtype)
            assert rows.shape[1] == width
            assert trained.read(torch.cat((torch.eye(width, dtype=dtype), rows))) == SAID
            assert trained.read(rows.view(*rows.shape, 1, 1)) == SAID


def test_files_of_others_and_factors_without_words_say_nothing():
    assert trained.said({"modelspec.title": "x"}) is None
    assert trained.read(torch.randn(8, 81)) is None and trained.read(torch.zeros(4, 3)) is None


def test_a_file_that_only_says_its_order_says_no_more():
    assert trained.said({"jedi.channel_order": "noisy, reference, mask"}) == Trained("noisy, reference, mask")


def test_damaged_words_are_refused():
    with pytest.raises(ValueError, match="`jedi.prediction` is `x0`, but needs to be `eps` or `v`"):
        trained.said({**SAID.metadata(), "jedi.prediction": "x0"})
    with pytest.raises(ValueError, match="cannot be read: invalid literal"):
        trained.said({**SAID.metadata(), "jedi.set_sizes": "two"})
    rows = trained.written(SAID, 81)
    rows[0, 20] = 0
    with pytest.raises(ValueError, match="words about its training in its weights cannot be read"):
        trained.read(rows)


def test_a_lora_repeats_the_beginning_of_long_words():
    long = Trained("noisy, reference, mask", data="x" * 5000)
    assert trained.read(trained.written(long, 81)).data == "x" * trained.LONGEST
