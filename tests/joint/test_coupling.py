"""Coupled self-attention on bare tensors."""

import pytest
import torch
from same_subject.nodes.joint import coupling
from same_subject.tests.tiny.sets import gap

SETS, GENERATED, REFERENCES, TOKENS, WIDTH = 2, 2, 3, 5, 8
SIZE = GENERATED + REFERENCES
ROUNDING, SINGLE = 5e-14, 1e-5
"""In double and in single precision, as a share of the spread: 3.3e-15 and 7.8e-7 were seen."""
VISIBLE = 0.1


def attend(q, k, v):
    return torch.nn.functional.scaled_dot_product_attention(q * 3, k, v)


@pytest.fixture
def qkv():
    return torch.randn(3, SETS * SIZE, TOKENS, WIDTH, generator=torch.Generator().manual_seed(0), dtype=torch.float64).unbind()


def by_hand(q, k, v, sees):
    """One token set at a time: row i attends to the tokens of the rows sees(i), all in one set of its own."""
    rows = []
    for row in range(len(q)):
        first = row // SIZE * SIZE
        keys = [first + position for position in sees(row % SIZE)]
        scores = (q[row] * 3) @ k[keys].flatten(0, 1).T / WIDTH**0.5
        rows.append(scores.softmax(-1) @ v[keys].flatten(0, 1))
    return torch.stack(rows)


EVERY = range(SIZE)
MADE, KEPT = range(GENERATED), range(GENERATED, SIZE)


def test_every_row_attends_to_every_row_of_its_set(qkv):
    out = coupling.couple(*qkv, SIZE, attend)
    assert gap(out, by_hand(*qkv, lambda row: EVERY)) < ROUNDING
    assert gap(out, attend(*qkv)) > VISIBLE


def test_without_references_generated_rows_see_each_other_and_a_reference_sees_itself(qkv):
    out = coupling.couple_apart(*qkv, GENERATED, REFERENCES, attend)
    assert gap(out, by_hand(*qkv, lambda row: MADE if row < GENERATED else [row])) < ROUNDING
    assert gap(out, coupling.couple(*qkv, SIZE, attend)) > VISIBLE


def test_references_may_attend_to_references_only(qkv):
    out = coupling.couple_references_only(*qkv, GENERATED, REFERENCES, attend)
    assert gap(out, by_hand(*qkv, lambda row: EVERY if row < GENERATED else KEPT)) < ROUNDING
    assert gap(out, coupling.couple(*qkv, SIZE, attend)) > VISIBLE


def test_a_set_of_one_is_plain_attention_to_the_bit(qkv):
    assert torch.equal(coupling.couple(*qkv, 1, attend), attend(*qkv))


@pytest.mark.parametrize("form", (coupling.couple_apart, coupling.couple_references_only))
def test_without_any_reference_all_forms_are_the_same(qkv, form):
    assert torch.equal(form(*qkv, SIZE, 0, attend), coupling.couple(*qkv, SIZE, attend))


@pytest.mark.parametrize("form", ("couple", "couple_apart", "couple_references_only"))
def test_queries_may_have_fewer_tokens_than_keys(qkv, form):
    """Token merging shortens the queries only."""
    q, k, v = qkv
    shape = (SIZE,) if form == "couple" else (GENERATED, REFERENCES)
    function = getattr(coupling, form)
    whole = function(q, k, v, *shape, attend)
    assert gap(function(q[:, :3], k, v, *shape, attend), whole[:, :3]) < ROUNDING
    assert gap(whole[:, 1:4], whole[:, :3]) > VISIBLE, "tokens are told apart"


def test_reading_of_the_papers_listing_in_float64():
    """x = x.view(-1, ng * l, c); x = self.attn1(x); x = x.view(b, l, c), with projections and two heads."""
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(SETS * 3, TOKENS, WIDTH, generator=generator, dtype=torch.float64)
    weights = torch.randn(3, WIDTH, WIDTH, generator=generator, dtype=torch.float64)

    def attention(q, k, v):
        q, k, v = (y.unflatten(-1, (2, -1)).transpose(1, 2) for y in (q, k, v))
        scores = q @ k.transpose(-1, -2) / (WIDTH // 2) ** 0.5
        return (scores.softmax(-1) @ v).transpose(1, 2).flatten(2)

    joined = x.view(-1, 3 * TOKENS, WIDTH)
    listing = attention(*(joined @ weight for weight in weights)).view(x.shape)
    ours = coupling.couple(*((x @ weight).float() for weight in weights), 3, attention)
    assert gap(ours, listing) < SINGLE
    assert gap(attention(*(x @ weight for weight in weights)), listing) > VISIBLE
