"""What generated pictures see of references, against attention written out for one query at a time in float64."""

import math

import pytest
import torch
import torch.nn.functional as F
from same_subject.nodes.joint import coupling, sharing
from same_subject.nodes.joint.coupling import View
from same_subject.nodes.joint.layout import Layout

SHARP = 3
SETS, M, R, WIDE, D, HEADS = 2, 2, 3, 4, 8, 2
N, L = M + R, WIDE * WIDE
ALONE = View(generated=False, alone=True)
ROUNDING = 1e-13
"""Relative, in float64; 1e-14 is seen, and a token more or less moves 0.05 or more."""


@pytest.fixture
def qkv():
    return torch.randn(3, SETS * N, L, D, generator=torch.Generator().manual_seed(0), dtype=torch.float64).unbind()


def attend(q, k, v, bias=None):
    q, k, v = (x.unflatten(-1, (HEADS, -1)).transpose(1, 2) for x in (q, k, v))
    mask = None if bias is None else bias.expand(q.shape[2], -1)
    return F.scaled_dot_product_attention(SHARP * q, k, v, mask).transpose(1, 2).flatten(2)


def with_sums(q, k, v):
    heads = [x.unflatten(-1, (HEADS, -1)).transpose(1, 2) for x in (q, k)]
    return attend(q, k, v), (SHARP * heads[0] @ heads[1].mT / (D / HEADS) ** 0.5).logsumexp(dim=-1)


@pytest.fixture(autouse=True, params=("together", "apart"))
def way(request, monkeypatch):
    """Attention to own tokens and to references in one call of a kernel, or in two of one that says its sums."""
    asked = []
    if request.param == "apart":
        monkeypatch.setattr(attend, "with_sums", lambda *qkv: asked.append(1) or with_sums(*qkv), raising=False)
    yield
    if "strength_counts" in request.node.name:
        assert bool(asked) == (request.param == "apart")


def by_hand(qkv, times):
    """Generated rows [S, M, L, D]; times(s, m, l) is how often a query counts each reference token, [R, L]."""
    q, k, v = (x.unflatten(0, (SETS, N)) for x in qkv)
    out = torch.empty(SETS, M, L, D, dtype=q.dtype)
    for s in range(SETS):
        for m in range(M):
            for position in range(L):
                weights = torch.cat((torch.ones(M * L), times(s, m, position).flatten())).to(q)
                keys, values = (x[s].flatten(0, 1).unflatten(-1, (HEADS, -1)) for x in (k, v))
                query = q[s, m, position].view(HEADS, -1)
                scores = weights[:, None] * (SHARP * (keys * query).sum(-1) / (D / HEADS) ** 0.5).exp()  # [keys, heads]
                out[s, m, position] = (scores[..., None] * values).sum(0).div(scores.sum(0)[:, None]).flatten()
    return out


def made(out):
    return out.unflatten(0, (SETS, N))[:, :M]


def shared(qkv, one, view=ALONE):
    shown = one.at(WIDE, WIDE, torch.device("cpu"))
    return coupling.couple_shared(view, *qkv, Layout(SETS, M, R), HEADS, shown, attend)


def differ(a, b):
    return float((a - b).norm() / b.norm())


def halves(rows):
    """Masks of the left half for even rows, of the right half for odd ones, at twice the layer's size."""
    masks = torch.zeros(rows, 2 * WIDE, 2 * WIDE)
    for row in range(rows):
        masks[row, :, WIDE * (row % 2) : WIDE * (row % 2) + WIDE] = 1
    return masks


def test_all_of_every_reference_at_strength_one_is_coupling(qkv):
    one = sharing.Sharing(R)
    assert one.plain
    assert differ(shared(qkv, one, View()), coupling.couple(*qkv, N, attend)) < ROUNDING
    assert differ(shared(qkv, one, View(generated=False)), coupling.couple_references_only(*qkv, M, R, attend)) < ROUNDING


def test_a_reference_that_sees_only_itself_is_plain_attention_of_its_row(qkv):
    given = shared(qkv, sharing.Sharing(R)).unflatten(0, (SETS, N))[:, M:]
    assert differ(given, attend(*qkv).unflatten(0, (SETS, N))[:, M:]) < ROUNDING
    assert differ(given, coupling.couple(*qkv, N, attend).unflatten(0, (SETS, N))[:, M:]) > 0.1


@pytest.mark.parametrize("rows", (R, SETS * R), ids=("masks of all sets", "masks of each set"))
def test_only_tokens_of_the_subject_are_shown(qkv, rows):
    masks = halves(rows)
    tokens = F.avg_pool2d(masks[:, None], 2).view(-1, R, L)
    expected = by_hand(qkv, lambda s, m, position: tokens[s % len(tokens)])
    assert differ(made(shared(qkv, sharing.Sharing(R, masks))), expected) < ROUNDING
    assert differ(made(shared(qkv, sharing.Sharing(R))), expected) > 0.1


def test_a_strength_counts_a_reference_as_often(qkv):
    strengths = (0.5, 1.0, 3.0)
    times = torch.tensor(strengths)[:, None].expand(R, L)
    outcome = shared(qkv, sharing.Sharing(R, strengths=strengths))
    assert differ(made(outcome), by_hand(qkv, lambda s, m, position: times)) < 1e-7  # ln s is float32
    assert differ(made(outcome), made(shared(qkv, sharing.Sharing(R)))) > 0.05


def test_strength_zero_equals_the_set_without_that_reference(qkv):
    outcome = made(shared(qkv, sharing.Sharing(R, strengths=(0.0, 1.0, 1.0))))
    fewer = [x.unflatten(0, (SETS, N))[:, [0, 1, 3, 4]].flatten(0, 1) for x in qkv]
    expected = coupling.couple(*fewer, N - 1, attend).unflatten(0, (SETS, N - 1))[:, :M]
    assert differ(outcome, expected) < ROUNDING
    assert differ(made(coupling.couple(*qkv, N, attend)), expected) > 0.05


def test_all_strengths_zero_equals_no_reference(qkv):
    outcome = made(shared(qkv, sharing.Sharing(R, strengths=(0.0,) * R)))
    assert differ(outcome, made(coupling.couple_apart(*qkv, M, R, attend))) < ROUNDING


def test_each_part_of_a_picture_sees_the_references_that_act_there(qkv):
    where = halves(R)[:, None].expand(R, M, -1, -1)
    acts = F.avg_pool2d(halves(R)[:, None], 2).view(R, L)
    masks = halves(R)
    tokens = F.avg_pool2d(masks[:, None], 2).view(R, L)
    outcome = made(shared(qkv, sharing.Sharing(R, masks, (1.0, 2.0, 1.0), where)))
    counted = tokens * torch.tensor([1.0, 2.0, 1.0])[:, None]
    expected = by_hand(qkv, lambda s, m, position: counted * acts[:, position, None])
    assert differ(outcome, expected) < 1e-7
    assert differ(made(shared(qkv, sharing.Sharing(R, masks, (1.0, 2.0, 1.0)))), expected) > 0.1


def test_parts_of_pictures_may_differ_from_set_to_set(qkv):
    where = halves(R)[:, None].expand(R, M, -1, -1).repeat(SETS, 1, 1, 1)
    where[R:] = 1 - where[R:]
    acts = F.avg_pool2d(where[:, :1], 2).view(SETS, R, L)
    one = sharing.Sharing(R, where=where)
    ones = torch.ones(R, L)
    expected = by_hand(qkv, lambda s, m, position: ones * acts[s, :, position, None])
    assert differ(made(shared(qkv, one)), expected) < ROUNDING
    assert differ(made(shared(qkv, sharing.Sharing(R, where=where[:R]))), expected) > 0.1
    left = [{number for part, members in one.acting(s, 0) if part[0, 0] for number in members} for s in range(SETS)]
    assert left == [{0, 2}, {1}]


def test_how_much_each_token_attends_to_what_it_is_shown_is_told_and_changes_nothing(qkv):
    tokens, told = F.avg_pool2d(halves(R)[:, None], 2).view(R, L), []
    shown = sharing.Sharing(R, halves(R), weighed=True).at(WIDE, WIDE, torch.device("cpu"))
    outcome = made(coupling.couple_shared(ALONE, *qkv, Layout(SETS, M, R), HEADS, shown, attend, told.append))
    assert differ(outcome, made(shared(qkv, sharing.Sharing(R, halves(R))))) < ROUNDING
    q, k, _ = (x.unflatten(0, (SETS, N)).unflatten(-1, (HEADS, -1)) for x in qkv)
    logits = torch.einsum("smqhd,snkhd->smqhnk", q[:, :M], k) * SHARP / (D / HEADS) ** 0.5
    weights = logits.exp() * torch.cat((torch.ones(M, L), tokens))
    mass = (weights[..., M:, :].sum((-1, -2)) / weights.sum((-1, -2))).mean(-1).flatten(0, 1)  # [S * M, L]
    assert differ(told[0], mass) < ROUNDING and mass.std() > 0.05


def test_places_are_weighed_in_half_precision_too(qkv):
    q, k, v = (x.bfloat16() for x in qkv)
    where, told = halves(R)[:, None].expand(R, M, -1, -1), []
    shown = sharing.Sharing(R, halves(R), (1.0, 2.0, 1.0), where, weighed=True).at(WIDE, WIDE, torch.device("cpu"))
    out = coupling.couple_shared(ALONE, q, k, v, Layout(SETS, M, R), HEADS, shown, attend, told.append)
    assert out.dtype == torch.bfloat16 and told[0].dtype == torch.float32
    assert differ(made(out).double(), made(shared(qkv, sharing.Sharing(R, halves(R), (1.0, 2.0, 1.0), where)))) < 0.1


def test_a_token_is_inside_by_area_and_a_small_subject_keeps_its_strongest():
    mask = torch.zeros(3, 8, 8)
    mask[0, :, :3] = 1  # the second column of tokens is covered by half
    mask[1, 0, 0] = 1  # a quarter of the first token
    inside = sharing.inside(mask, 4, 4).view(3, 4, 4)
    assert inside[0, :, :2].all() and not inside[0, :, 2:].any()
    assert inside[1].nonzero().tolist() == [[0, 0]]
    assert not inside[2].any()


def test_the_bias_is_the_logarithm_of_strength():
    (group,) = sharing.Sharing(2, strengths=(2.0, 1.0)).at(1, 2, torch.device("cpu")).groups[0]
    assert group.bias.tolist() == pytest.approx([math.log(2)] * 2 + [0.0] * 2)


def test_otsu_parts_two_heaps_whatever_their_sizes():
    generator = torch.Generator().manual_seed(0)
    values = torch.cat((torch.randn(90, generator=generator), 20 + torch.randn(10, generator=generator)))
    values = torch.stack((values, -values))[:, torch.randperm(100, generator=generator)]
    assert (values > sharing.otsu(values)).sum(dim=1).tolist() == [10, 90]


def test_noise_levels_are_brought_to_the_nearest_of_a_few():
    levels = torch.tensor([14.6, 4.1, 1.5, 1.4, 0.5, 0.03])
    assert torch.equal(sharing.at_levels(levels, 0), levels)
    assert torch.equal(sharing.at_levels(levels, 2), torch.tensor([4.0, 4, 4, 0.5, 0.5, 0.5]))
    assert torch.allclose(sharing.at_levels(levels, 1), torch.full((6,), 2**0.5))
    evenly = sharing.at_levels(2 ** torch.linspace(-2.4, 3.4, 50), 6).unique()
    assert torch.allclose(evenly, 2 ** torch.arange(-2.0, 4))
