"""The scores as the papers define them."""

import pytest
import torch
from same_subject.nodes.metrics import similarity
from same_subject.nodes.metrics.similarity import Scores


def rows(count, seed):
    return torch.randn(count, 8, generator=torch.Generator().manual_seed(seed)) * 3


def test_a_picture_is_compared_with_every_real_one_by_its_angle():
    made, real = rows(3, 0), rows(5, 1)
    angles = torch.nn.functional.cosine_similarity(made[:, None], real[None], dim=-1)
    assert torch.allclose(similarity.pairwise(made, real), angles.mean(dim=1), atol=1e-6)
    assert similarity.pairwise(made, made[:1])[0] == pytest.approx(1)
    with pytest.raises(ValueError, match="nothing to compare with"):
        similarity.pairwise(made, made[:0])


def test_a_picture_is_compared_with_its_own_text_unscaled_and_below_0_too():
    made, texts = rows(3, 0), rows(3, 1)
    texts[1] = -made[1]
    expected = torch.nn.functional.cosine_similarity(made, texts)
    assert torch.allclose(similarity.to_own_text(made, texts), expected, atol=1e-6) and expected[1] == pytest.approx(-1)
    assert torch.allclose(
        similarity.to_own_text(made, texts[:1]), torch.nn.functional.cosine_similarity(made, texts[:1]), atol=1e-6
    )


def test_a_mean_leaves_out_what_was_not_measured():
    mean = similarity.mean([Scores(clip_t=0.2, dino=0.5), Scores(clip_t=0.4), Scores()])
    assert mean == Scores(clip_t=pytest.approx(0.3), dino=0.5)
    assert similarity.line(mean) == "CLIP-T 0.3000  DINO 0.5000"
