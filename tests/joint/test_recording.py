"""What is recorded of coupled attention is what the layers pay, by an oracle that knows nothing of groups, cells or pages."""

import math

import pytest
import torch
from same_subject.nodes.joint import recording
from same_subject.nodes.joint.coupling import View
from same_subject.nodes.joint.layout import Layout
from same_subject.nodes.joint.recording import MEBIBYTE, Recording
from same_subject.nodes.joint.sharing import EVERYTHING, Sharing

HEADS, TOKENS = 2, (4, 4)
ROUNDING = 1e-5
LAYOUT = Layout(2, 2, 2)
PLAIN = View()


def queries_and_keys(layout=LAYOUT, tokens=TOKENS, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2, layout.rows, math.prod(tokens), 8, generator=generator) * 2


def begun(layout=LAYOUT, latents=(8, 8), levels=("half",), most=MEBIBYTE, start=0.0, end=1.0):
    return Recording(levels, start, end, most).begin(layout, latents)


def noted(q, k, view=PLAIN, shown=EVERYTHING, layout=LAYOUT, run=None, rows=None, of=None, tokens=TOKENS, **more):
    run = run or begun(layout)
    run.take((True,), of or layout, rows).note("half", tokens, range(1), q, k, HEADS, view, shown, **more)
    return run


def paid(q, k, layout, number, factors):
    """[N * L, N * L] of one set by plain softmax. factors: [N * L, N * L], how often each key counts for each query."""
    q, k = (x.unflatten(0, (layout.sets, -1))[number].flatten(0, 1).unflatten(-1, (HEADS, -1)).transpose(0, 1) for x in (q, k))
    weights = (q @ k.mT / q.shape[-1] ** 0.5).exp() * factors
    return (weights / weights.sum(dim=-1, keepdim=True)).mean(dim=0)


def matrix(run, number, level="half"):
    return run.sums[level].means(number).flatten(2, 3).flatten(0, 1)


@pytest.mark.parametrize("number", (0, 1))
def test_every_picture_of_a_set_is_recorded_with_every_other_of_its_own(number):
    q, k = queries_and_keys()
    assert (matrix(noted(q, k), number) - paid(q, k, LAYOUT, number, 1)).abs().max() < ROUNDING


def test_calls_and_layers_are_averaged():
    first, second = queries_and_keys(), queries_and_keys(seed=1)
    run = noted(*second, run=noted(*first))
    assert (matrix(run, 0) - (paid(*first, LAYOUT, 0, 1) + paid(*second, LAYOUT, 0, 1)) / 2).abs().max() < ROUNDING


def test_a_chunk_that_does_not_count_is_left_out_and_a_call_without_any_that_does_costs_nothing():
    q, k = queries_and_keys()
    run = begun()
    both = (torch.cat((x.flip(0), x)) for x in (q, k))
    run.take((False, True), LAYOUT, None).note("half", TOKENS, range(2), *both, HEADS, View(), EVERYTHING)
    assert torch.equal(matrix(run, 0), matrix(noted(q, k), 0))
    assert run.take((False, False), LAYOUT, None) is None


def test_references_that_do_not_see_generated_pictures_pay_nothing_to_them():
    q, k = queries_and_keys()
    means = noted(q, k, View(generated=False)).sums["half"].means(0)
    assert means[2:].isnan().all() and not means[:2].isnan().any()
    assert (means[:2].flatten(0, 1).flatten(1) - paid(q, k, LAYOUT, 0, 1)[:32]).abs().max() < ROUNDING


def sharing():
    masks = torch.ones(2, 4, 4)
    masks[0, :, :2] = 0
    where = torch.ones(2, 2, 4, 4)
    where[1, 0, 2:] = 0
    return Sharing(2, masks, (1.0, 3.0), where)


def factors_of_sharing():
    """The same as a table of how often each key counts for each query; references see everything."""
    given, tokens = sharing(), math.prod(TOKENS)
    factors = torch.ones(4, tokens, 4, tokens)
    for reference in range(2):
        shown = given.masks[reference].flatten() * given.strengths[reference]
        for picture in range(2):
            factors[picture, :, 2 + reference] = given.where[reference, picture].flatten()[:, None] * shown
    return factors.flatten(2, 3).flatten(0, 1)


def test_masks_strengths_and_places_of_references_are_in_what_is_recorded():
    q, k = queries_and_keys()
    shown = sharing().at(*TOKENS, q.device)
    means = matrix(noted(q, k, shown=shown), 0)
    assert (means - paid(q, k, LAYOUT, 0, factors_of_sharing())).abs().max() < ROUNDING


def test_references_out_of_a_bank_are_recorded_where_they_stand():
    q, k = queries_and_keys()
    shown = sharing().at(*TOKENS, q.device)
    unions, _ = shown.kept
    given = [
        keys if union is None else keys[:, union] for union, keys in zip(unions, shown.parts(part(k, False), 2), strict=True)
    ]
    run = noted(part(q, True), part(k, True), View(generated=False), shown, seen=[(keys, keys) for keys in given])
    assert (matrix(run, 1)[:32] - matrix(noted(q, k, shown=shown), 1)[:32]).abs().max() < ROUNDING


def part(x, made):
    rows = x.unflatten(0, (LAYOUT.sets, -1))
    return (rows[:, : LAYOUT.pictures] if made else rows[:, LAYOUT.pictures :]).flatten(0, 1)


def test_a_window_says_something_of_the_pictures_in_it_alone():
    q, k = queries_and_keys()
    rows = [5, 6, 7]  # of the second set the second picture, and both references
    run = noted(q[rows], k[rows], of=Layout(1, 1, 2), rows=rows)
    means = run.sums["half"].means(1)
    assert means[0].isnan().all() and means[:, :, 0].isnan().all() and not means[1:, :, 1:].isnan().any()
    assert (means[1:, :, 1:].flatten(2, 3).flatten(0, 1) - paid(q[rows], k[rows], Layout(1, 1, 2), 0, 1)).abs().max() < ROUNDING
    assert not run.sums["half"].counts[0].any()


def test_what_does_not_fit_is_kept_for_cells_whose_attention_is_the_sum_of_their_keys_and_the_mean_of_their_queries():
    q, k = queries_and_keys(tokens=(8, 8))
    fine = begun(latents=(16, 16), most=MEBIBYTE)
    coarse = begun(latents=(16, 16), most=2 * (4 * 16) ** 2 * 4)
    for run in (fine, coarse):
        noted(q, k, run=run, tokens=(8, 8))
    assert coarse.sums["half"].grid.side == 2 and fine.sums["half"].grid.side == 1
    blocks = fine.sums["half"].means(1).unflatten(-1, (4, 2, 4, 2)).sum(dim=(-3, -1)).flatten(-2)
    blocks = blocks.unflatten(1, (4, 2, 4, 2)).mean(dim=(2, 4)).flatten(1, 2)
    assert (blocks - coarse.sums["half"].means(1)).abs().max() < ROUNDING


def test_cells_at_the_edge_may_be_smaller():
    grid = recording.Grid((5, 3), 2)
    assert grid.shape == (3, 2) and grid.cells().bincount().tolist() == [4, 2, 4, 2, 2, 1]


def test_a_set_that_fits_in_no_cells_is_refused_before_it_is_painted():
    with pytest.raises(
        ValueError, match=r"`memory` is 1 MiB, but 80 rows \(1 set of 60 generated \+ 20 .* need 7, even in coarse"
    ):
        begun(Layout(1, 60, 20), (64, 64))


def test_tokens_that_another_node_merged_are_left_out():
    q, k = queries_and_keys()
    assert not noted(q[:, :12], k[:, :12]).sums["half"].counts.any()


def test_a_recording_is_of_one_run_and_of_none_while_one_goes_on():
    one, latents = Recording(("half",), 0.0, 1.0, MEBIBYTE), torch.randn(8, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    first = one.begin(LAYOUT, (8, 8))
    noted(*queries_and_keys(), run=first)
    assert one.taken is None
    one.finish(first, latents)
    assert one.taken.is_of(latents.half()) and not one.taken.is_of(latents.flip(0)) and not one.taken.is_of(latents[:4])
    second = one.begin(LAYOUT, (8, 8))
    assert one.taken is None and not second.sums["half"].counts.any()
