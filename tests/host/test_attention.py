"""Attention that says its sums, against attention written out."""

import pytest
import torch
from same_subject.nodes.host import attention

ROUNDING = {torch.float32: 1e-5, torch.bfloat16: 0.02}
"""Relative: 3e-7 and 3e-3 were seen; another scale or order of heads moves 0.5 or more."""


@pytest.mark.parametrize("width", (8, 40, 64, 160))
@pytest.mark.parametrize("dtype", ROUNDING, ids=str)
def test_attention_and_the_sums_that_it_says_are_those_written_out(dtype, width):
    heads, generator = 3, torch.Generator().manual_seed(0)
    q, k, v = (3 * torch.randn(2, length, heads * width, generator=generator).to(dtype) for length in (70, 33, 33))
    out, sums = attention.attend_with_sums(q, k, v, heads)
    split = [x.double().unflatten(-1, (heads, width)).transpose(1, 2) for x in (q, k, v)]
    scores = split[0] @ split[1].mT / width**0.5
    expected = (scores.softmax(dim=-1) @ split[2]).transpose(1, 2).flatten(2)
    assert out.dtype == dtype and (out - expected).norm() < ROUNDING[dtype] * expected.norm()
    assert (sums - scores.logsumexp(dim=-1)).norm() < ROUNDING[dtype] * scores.logsumexp(dim=-1).norm()


def test_where_torch_has_no_such_kernel_there_are_no_sums(monkeypatch):
    attention._says_sums.cache_clear()
    monkeypatch.setattr(attention, "_with_sums", lambda q, k, v: (q, q[..., 0]))
    qkv = torch.randn(3, 1, 4, 8, generator=torch.Generator().manual_seed(0)).unbind()
    assert attention.attend_with_sums(*qkv, 2) is None
    attention._says_sums.cache_clear()
