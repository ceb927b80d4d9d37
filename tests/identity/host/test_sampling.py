"""Identities on a model: what a layer computes, which layers, which rows, where and when; on an SDXL UNet of 70 layers."""

import contextlib

import comfy.ldm.modules.attention as host_attention
import comfy.model_patcher
import pytest
import torch
from same_subject.dev.benchmark.counting import PROJECTIONS, READ_BACKS, RESIZES, Watch
from same_subject.nodes.identity.host import files as identity_files
from same_subject.nodes.identity.host import sampling as identity_sampling
from same_subject.nodes.identity.host.sampling import IdentitySampling
from same_subject.nodes.identity.placement import Placement
from same_subject.tests.tiny import identities
from same_subject.tests.tiny.identities import conditioning, identity, sample
from same_subject.tests.tiny.sets import gap

ROUNDING = 2e-4
"""Of gaps: 2.1e-5 was seen."""
VISIBLE = 100 * ROUNDING


@pytest.fixture(scope="module")
def projections(adapter):
    return [identity_files.project(adapter, identity(seed)) for seed in (0, 1)]


@pytest.fixture(scope="module")
def plain(unet):
    return sample(unet)


def on(unet, *placements):
    return IdentitySampling(placements).install(unet)


@contextlib.contextmanager
def by_the_formula(unet, tokens, null_tokens, scale):
    """Cross-attention replaced by the published formula, on the file's tensors, in the order of diffusers' modules."""
    state = identities.adapter_state()["ip_adapter"]
    network = unet.model.diffusion_model
    modules = [*network.input_blocks, *network.output_blocks, network.middle_block]
    layers = [layer for module in modules for name, layer in module.named_modules() if name.endswith("attn2")]
    assert len(layers) == 70

    def attend(q, k, v, heads):
        q, k, v = (part.unflatten(-1, (heads, -1)).transpose(1, 2) for part in (q, k, v))
        return ((q @ k.mT / q.shape[-1] ** 0.5).softmax(-1) @ v).transpose(1, 2).flatten(2)

    def forward(layer, number):
        to_k, to_v = (state[f"{2 * number + 1}.to_{part}_ip.weight"] for part in "kv")

        def formula(x, context=None, value=None, mask=None, transformer_options=None):
            chunks = transformer_options["cond_or_uncond"]
            rows = len(x) // len(chunks)
            faces = torch.cat([(null_tokens if chunk else tokens)[None].expand(rows, -1, -1) for chunk in chunks])
            q = layer.to_q(x)
            out = attend(q, layer.to_k(context), layer.to_v(context), layer.heads)
            return layer.to_out(out + scale * attend(q, faces @ to_k.T, faces @ to_v.T, layer.heads))

        return formula

    for number, layer in enumerate(layers):
        layer.forward = forward(layer, number)
    try:
        yield
    finally:
        for layer in layers:
            del layer.forward


def test_the_layers_are_those_of_the_published_table(unet):
    layers = identity_sampling.cross_attention_layers(unet)
    blocks = [(layer.block, layer.channels) for layer in layers]
    expected = []
    for block, count, channels in [
        (("input", 4), 2, 64),
        (("input", 5), 2, 64),
        (("input", 7), 10, 128),
        (("input", 8), 10, 128),
        (("output", 0), 10, 128),
        (("output", 1), 10, 128),
        (("output", 2), 10, 128),
        (("output", 3), 2, 64),
        (("output", 4), 2, 64),
        (("output", 5), 2, 64),
        (("middle", 0), 10, 128),
    ]:
        expected += [(block, channels)] * count
    assert blocks == expected and len(blocks) == 70


@pytest.mark.parametrize("rows", (1, 2))
def test_a_run_equals_the_published_formula_in_every_layer(unet, projections, rows):
    one = projections[0]
    with by_the_formula(unet, one.tokens, one.null_tokens, 0.8):
        expected = sample(unet, rows=rows)
    assert gap(sample(on(unet, Placement(one, 0.8)), rows=rows), expected) < ROUNDING
    assert gap(expected, sample(unet, rows=rows)) > VISIBLE
    with by_the_formula(unet, one.tokens, one.tokens, 0.8):
        assert gap(expected, sample(unet, rows=rows)) > VISIBLE, "the negative conditioning gets the tokens of nobody"


def test_the_middle_block_takes_part(unet, projections, plain):
    def only(numbers):
        def cut(kv):
            values = (value if number in numbers else torch.zeros_like(value) for number, value in enumerate(kv.values))
            return type(kv)(kv.keys, tuple(values))

        one = projections[0]
        return Placement(type(one)(one.tokens, one.null_tokens, cut(one.present), cut(one.absent)), 0.8)

    assert gap(sample(on(unet, only(range(60, 70)))), plain) > VISIBLE
    assert gap(sample(on(unet, only(()))), plain) < ROUNDING


def test_weight_zero_and_a_model_without_identities_give_the_plain_picture(unet, projections, plain):
    assert torch.equal(sample(on(unet, Placement(projections[0], 0.0))), plain)
    assert torch.equal(sample(on(unet)), plain)


def test_one_batch_equals_a_batch_split_for_memory(unet, projections, monkeypatch):
    model = on(unet, Placement(projections[0], 0.8))
    together = sample(model)
    monkeypatch.setattr(comfy.model_patcher.ModelPatcher, "get_free_memory", lambda self, device: 0)
    assert gap(sample(model), together) < ROUNDING
    assert gap(together, sample(model, cfg=2.5)) > VISIBLE


def test_at_cfg_1_only_the_present_identity_counts(unet, projections):
    one = projections[0]
    with by_the_formula(unet, one.tokens, one.null_tokens, 0.8):
        expected = sample(unet, cfg=1.0)
    assert gap(sample(on(unet, Placement(one, 0.8)), cfg=1.0), expected) < ROUNDING
    assert gap(expected, sample(unet, cfg=1.0)) > VISIBLE


def test_the_model_that_came_in_stays_as_it_was_and_running_again_changes_nothing(unet, projections, plain):
    first = on(unet, Placement(projections[0], 0.8))
    expected = sample(first)
    for _ in range(3):
        more = IdentitySampling((*IdentitySampling.on(first).identities, Placement(projections[1], 0.8))).install(first)
    assert gap(sample(more), expected) > VISIBLE
    assert torch.equal(sample(first), expected)
    assert torch.equal(sample(unet), plain)
    assert gap(plain, expected) > VISIBLE
    assert len(IdentitySampling.on(more).identities) == 2 and IdentitySampling.on(unet).identities == ()


def mask(left):
    half = torch.zeros(1, 64, 64)
    half[:, :, :32] = 1
    return half if left else 1 - half


def test_masks_that_sum_to_one_give_the_identity_without_a_mask(unet, projections):
    one = projections[0]
    whole = sample(on(unet, Placement(one, 0.8)))
    halves = sample(on(unet, Placement(one, 0.8, mask(True)), Placement(one, 0.8, mask(False))))
    assert gap(halves, whole) < ROUNDING
    assert gap(sample(on(unet, Placement(one, 0.8, mask(True)))), whole) > VISIBLE


def test_each_row_of_a_batch_has_its_own_mask(unet, projections):
    one = projections[0]
    both = sample(on(unet, Placement(one, 0.8, torch.cat((mask(True), mask(False))))), rows=2)
    left, right = (sample(on(unet, Placement(one, 0.8, mask(side))), rows=2) for side in (True, False))
    assert gap(both[:1], left[:1]) < ROUNDING and gap(both[1:], right[1:]) < ROUNDING
    assert gap(left, right) > VISIBLE


WINDOWS = ({}, {"causal_window_fix": False}, {"context_overlap": 1}, {"context_schedule": "batched", "context_length": 3})
"""Settings of Context Windows: two rows at a time and the row before them by default."""


@pytest.mark.parametrize("settings", WINDOWS)
def test_under_context_windows_each_row_keeps_its_own_mask(unet, projections, settings):
    """Rows of a batch do not see each other, so cutting the batch may change nothing."""
    masks = torch.stack([torch.roll(mask(True)[0], 16 * number, dims=-1) for number in range(4)])
    whole = on(unet, Placement(projections[0], 0.8, masks))
    expected = sample(whole, rows=4, steps=1)
    assert gap(sample(identities.in_context_windows(whole, **settings), rows=4, steps=1), expected) < ROUNDING
    turned = on(unet, Placement(projections[0], 0.8, masks.roll(2, dims=0)))
    assert gap(sample(turned, rows=4, steps=1), expected) > VISIBLE, "which mask a row has shows"


def test_a_masked_identity_and_context_windows_across_the_picture_are_refused_together(unet, projections):
    """Every window has the picture's own height here: the row above comes with the lower one."""
    model = identities.in_context_windows(on(unet, Placement(projections[0], 0.8, mask(True))), context_length=7, dim=2)
    with pytest.raises(
        ValueError, match="Context Windows cut the picture, along dimension 2. Set their `dim` to 0, or disconnect"
    ):
        sample(model)
    plain = on(unet, Placement(projections[0], 0.8))
    assert sample(identities.in_context_windows(plain, context_length=7, dim=2)).isfinite().all()


def test_a_mask_of_another_shape_than_the_picture_is_refused(unet, projections):
    """It would be stretched. Within a tenth, as sizes in whole latents bring it about, it is taken."""
    half = torch.zeros(1, 32, 64)
    half[:, :, :32] = 1
    with pytest.raises(ValueError, match="the mask of identity 2 has 64x32 pixels, but the latents have another shape, 8x8"):
        sample(on(unet, Placement(projections[0], 0.8, mask(True)), Placement(projections[1], 0.8, half)))
    even = sample(on(unet, Placement(projections[0], 0.8, torch.ones(1, 32, 64) / 2)))
    assert gap(even, sample(on(unet, Placement(projections[0], 0.8, torch.ones(1, 8, 8) / 2)))) < ROUNDING, "the same everywhere"
    assert gap(sample(on(unet, Placement(projections[0], 0.8, mask(True)[:, 2:-2]))), even) > VISIBLE


def test_a_mask_a_row_is_refused_where_a_batch_is_cut_in_an_unknown_way(unet, projections):
    def halves(apply_model, args):
        parts = []
        for start in (0, 1):
            c = {
                key: value[start::2] if torch.is_tensor(value) and len(value) == 4 else value for key, value in args["c"].items()
            }
            parts.append(apply_model(args["input"][start::2], args["timestep"][start::2], **c))
        return torch.stack(parts, dim=1).flatten(0, 1)

    model = on(unet, Placement(projections[0], 0.8, torch.cat((mask(True), mask(False)))))
    model.set_model_unet_function_wrapper(halves)
    with pytest.raises(ValueError, match="has 2 masks, one a row, but the UNet was called on 1 of 2 rows"):
        sample(model, rows=2)


def test_windows_that_share_the_schedule_give_the_identity_without_a_window(unet, projections):
    one = projections[0]
    model = on(unet, Placement(one, 0.8, None, 0.0, 0.45), Placement(one, 0.8, None, 0.45, 1.0))
    whole = sample(on(unet, Placement(one, 0.8)), steps=3)
    assert gap(sample(model, steps=3), whole) < ROUNDING
    early = sample(on(unet, Placement(one, 0.8, None, 0.0, 0.45)), steps=3)
    late = sample(on(unet, Placement(one, 0.8, None, 0.45, 1.0)), steps=3)
    assert min(gap(early, whole), gap(late, whole), gap(early, late)) > VISIBLE


def test_an_entry_can_choose_among_the_identities_and_entries_share_a_batch(unet, projections):
    placements = [Placement(one, 0.8) for one in projections]
    model = on(unet, *placements)
    for number in (0, 1):
        chosen = {identity_sampling.CHOSEN: (number,)}
        alone = sample(on(unet, placements[number]))
        assert gap(sample(model, conditioning(0, **chosen), conditioning(1, **chosen)), alone) < ROUNDING
    assert gap(sample(model), alone) > VISIBLE

    entries = [conditioning(0, **{identity_sampling.CHOSEN: (number,)})[0] for number in (0, 1)]
    mixed = sample(model, entries, conditioning(1, **{identity_sampling.CHOSEN: ()}))
    nobody = conditioning(1, **{identity_sampling.CHOSEN: ()})
    apart = [sample(model, [entry], nobody, steps=1) for entry in entries]
    assert gap(sample(model, entries, nobody, steps=1), sum(apart) / 2) < ROUNDING, "entries are averaged by the host"
    assert gap(*apart) > VISIBLE and gap(mixed, alone) > VISIBLE


def test_an_identity_that_is_not_on_the_model_is_refused(unet, projections):
    model = on(unet, Placement(projections[0], 0.8))
    with pytest.raises(ValueError, match="asks for the identities 2 .counted from 1., but the model has 1"):
        sample(model, conditioning(0, **{identity_sampling.CHOSEN: (1,)}))


def test_a_step_reads_nothing_back_projects_nothing_and_resizes_no_mask_again(unet, projections):
    model = on(unet, Placement(projections[0], 0.8, mask(True), 0.0, 0.9), Placement(projections[1], 0.8, mask(False)))
    watched = {}
    for steps in (1, 3):
        with Watch() as watched[steps]:
            sample(model, steps=steps)
    few, many = watched[1], watched[3]
    assert many.ours[PROJECTIONS] == 0 and many.ours == few.ours, "masks are resized once a run"
    assert many.ours[RESIZES] > 0, "the watch sees this pack's calls"
    assert many.total[PROJECTIONS] == 3 * few.total[PROJECTIONS] > 0 and many.total[READ_BACKS] > 0, "and the host's"


def test_an_adapter_of_another_pack_found_before_is_kept_and_one_after_is_refused(unet, projections):
    def stronger(q, k, v, extra_options):
        return 30 * host_attention.optimized_attention(q, k, v, extra_options["n_heads"])

    before = unet.clone()
    before.set_model_attn2_replace(stronger, "middle", 0, 3)
    both = sample(on(before, Placement(projections[0], 0.8)))
    assert gap(both, sample(on(unet, Placement(projections[0], 0.8)))) > VISIBLE
    assert gap(both, sample(before)) > VISIBLE
    patch = on(unet, Placement(projections[0], 0.8)).model_options["transformer_options"]["patches_replace"]["attn2"]
    with pytest.raises(ValueError, match="Put that node before Apply Identity"):
        patch["middle", 0, 3].add(print)


def test_a_masked_identity_and_area_conditioning_are_refused_together(unet, projections):
    model = on(unet, Placement(projections[0], 0.8, mask(True)))
    with pytest.raises(ValueError, match="an identity has a mask, but the UNet was called on 4x8 of 8x8 latents"):
        sample(model, conditioning(0, area=(8, 4, 0, 0)))


@pytest.mark.parametrize("first", ("identity", "neighbour"))
def test_perturbed_attention_guidance_works_before_and_after(unet, projections, first):
    from comfy_extras.nodes_pag import PerturbedAttentionGuidance

    def guided(model):
        return PerturbedAttentionGuidance.execute(model, 3.0).result[0]

    one = Placement(projections[0], 0.8)
    model = guided(on(unet, one)) if first == "identity" else on(guided(unet), one)
    together = sample(model, steps=1)
    assert gap(together, sample(on(guided(unet), one), steps=1)) < ROUNDING
    without_face, without_guidance = sample(guided(unet), steps=1), sample(on(unet, one), steps=1)
    assert min(gap(together, without_face), gap(together, without_guidance)) > VISIBLE
