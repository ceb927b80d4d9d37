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


def test_pictures_of_one_subject_are_compared_with_each_other_and_not_with_themselves():
    each = rows(4, 2)
    angles = [torch.cosine_similarity(each[a], each[b], dim=0) for a in range(4) for b in range(4) if a != b]
    assert similarity.among(each) == pytest.approx(float(sum(angles)) / 12, abs=1e-6)
    assert similarity.among(each[:1].expand(3, -1)) == pytest.approx(1)
    with pytest.raises(ValueError, match="1 picture was given, but pairs need at least 2"):
        similarity.among(each[:1])
