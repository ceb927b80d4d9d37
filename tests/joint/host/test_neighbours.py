"""A joint set next to the host's other model patches, and runs that no longer fit their set."""

from dataclasses import replace

import comfy.controlnet
import comfy.gligen
import comfy.hooks
import comfy.model_patcher
import pytest
import torch
from comfy.k_diffusion import sampling as k_sampling
from comfy.patcher_extension import WrappersMP
from comfy_extras.nodes_easycache import EasyCacheNode, LazyCacheNode
from comfy_extras.nodes_freelunch import FreeU_V2
from comfy_extras.nodes_hypertile import HyperTile
from comfy_extras.nodes_pag import PerturbedAttentionGuidance
from comfy_extras.nodes_rebatch import LatentRebatch
from comfy_extras.nodes_sag import SelfAttentionGuidance
from comfy_extras.nodes_tomesd import TomePatchModel
from same_subject.nodes.host import unet as unet_blocks
from same_subject.nodes.joint import layout, settings
from same_subject.nodes.joint.host.attention import KEY
from same_subject.nodes.joint.places import Words
from same_subject.tests.tiny import models, sets
from same_subject.tests.tiny.sets import apply, case, gap, made, sample

import nodes

ROUNDING = 1e-4
"""Of gaps: 8.4e-6 was seen."""
VISIBLE = 0.01
SHARE = 1e-4
"""Largest error, as a share of the effect."""
ORDER = "noisy, reference, mask"
MODES = ("joint", "text first", "text only")


@pytest.fixture(scope="module")
def unet():
    return models.model("sd15")


def lora(model, strength=1.0):
    """What the host's LoRA loader does with a weight, without a file."""
    key = "diffusion_model.middle_block.1.transformer_blocks.0.attn1.to_v.weight"
    model = model.clone()
    model.add_patches({key: ("diff", (torch.full((64, 64), 0.05),))}, strength)
    return model


PATCHES = {
    "LoRA": lora,
    "FreeU": lambda model: FreeU_V2.execute(model, 1.3, 1.4, 0.9, 0.2).result[0],
    "PAG": lambda model: PerturbedAttentionGuidance.execute(model, 3.0).result[0],
    "ToMe": lambda model: TomePatchModel.execute(model, 0.5).result[0],
}


@pytest.mark.parametrize("patch", PATCHES)
@pytest.mark.parametrize("mode", MODES)
def test_other_patches_work_before_and_after_jedi_alike(unet, patch, mode):
    one, plain = case(sets=2), None
    torch.manual_seed(0)
    before = sample(apply(PATCHES[patch](unet), one.joint_set, mode), one)
    after = sample(PATCHES[patch](apply(unet, one.joint_set, mode)), one)
    plain = sample(apply(unet, one.joint_set, mode), one)
    tolerance = 0.05 if patch == "ToMe" else ROUNDING  # it merges tokens at random places
    assert gap(made(before, one), made(after, one)) < tolerance
    assert gap(made(before, one), made(plain, one)) > VISIBLE
    assert torch.equal(before[one.layout.reference_rows], one.joint_set.reference_latents())


@pytest.mark.parametrize("mode", MODES)
def test_pag_perturbs_the_middle_block_and_leaves_the_others_coupled(unet, mode):
    a, b = (case(latents=sets.pictures(2, seed)) for seed in (0, 1))
    results = [made(sample(PATCHES["PAG"](apply(unet, one.joint_set, mode)), one), one) for one in (a, b)]
    assert gap(*results) > VISIBLE


@pytest.mark.parametrize("order", ("before", "after"))
@pytest.mark.parametrize("mode", (*MODES, "image first"))
@torch.no_grad()
def test_sag_leaves_its_own_block_coupled_and_looks_at_each_picture_by_itself(unet, mode, order):
    one, maps = case(), []

    def guided(model, scale=0.0):
        return SelfAttentionGuidance.execute(model, scale, 2.0).result[0]

    def with_sag(scale):
        if order == "before":
            return apply(guided(unet, scale), one.joint_set, mode)
        return guided(apply(unet, one.joint_set, mode), scale)

    def watch(model):
        (function,) = model.model_options["sampler_post_cfg_function"]
        scores = function.__closure__[function.__code__.co_freevars.index("attn_scores")]
        model.set_model_sampler_post_cfg_function(lambda args: maps.append(scores.cell_contents.clone()) or args["denoised"])
        return model

    plain = sample(apply(unet, one.joint_set, mode), one)
    without = sample(apply(unet, one.joint_set, mode, levels=frozenset({"full"})), one)
    assert gap(made(without, one), made(plain, one)) > VISIBLE
    assert gap(sample(with_sag(0.0), one), plain) < SHARE * gap(without, plain)
    assert gap(made(sample(watch(with_sag(1.0)), one), one), made(plain, one)) > VISIBLE
    unconditional = []

    def keep(n, k, v, options):
        if options["block"] == ("middle", 0):
            unconditional.append(n[one.layout.rows * list(options[KEY].terms).index(1) :][: one.layout.rows])
        return n, k, v

    watched = apply(unet, one.joint_set, mode)
    watched.set_model_attn1_patch(keep)
    sample(watched, one, steps=1)
    layer = unet.model.diffusion_model.middle_block[1].transformer_blocks[0]
    q, k = (w(unconditional[0]).unflatten(-1, (layer.n_heads, -1)).transpose(1, 2) for w in (layer.attn1.to_q, layer.attn1.to_k))
    scores = (q @ k.transpose(-1, -2) * layer.d_head**-0.5).softmax(-1).flatten(0, 1)
    assert maps[0].shape == (4 * layer.n_heads, 16, 16) and gap(maps[0], scores) < ROUNDING


def test_sag_leaves_a_reference_free_term_free_of_references(unet):
    seen = []
    for seed in (0, 1):
        one = case(latents=sets.pictures(2, seed))
        model = SelfAttentionGuidance.execute(apply(unet, one.joint_set), 1.0, 2.0).result[0]
        calls = sets.Calls(model)
        sample(calls.model, one, steps=1)
        assert [len(x) for x in calls.inputs] == [8, 4]
        # SAG blurs the whole batch; the references are put back into what the UNet sees.
        reference = calls.inputs[0][:4][one.layout.reference_rows]
        assert torch.equal(calls.inputs[1][one.layout.reference_rows], reference)
        seen.append(reference)
    assert gap(*seen) > VISIBLE


@pytest.mark.parametrize("order", ("before", "after"))
@pytest.mark.parametrize("place", (("middle", 0), ("middle", 0, 0)))
def test_attention_that_another_node_replaced_becomes_the_kernel_of_the_coupling(unet, place, order):
    one, shapes = case(), []

    def sharper(q, k, v, options):
        shapes.append((options["block"], tuple(q.shape)))
        return torch.nn.functional.scaled_dot_product_attention(q * 1.5, k, v)

    def patched(model):
        model = model.clone()
        model.set_model_attn1_replace(sharper, *place)
        return model

    model = apply(patched(unet), one.joint_set) if order == "before" else patched(apply(unet, one.joint_set))
    result = sample(model, one, steps=1, cfg=1.0)
    assert shapes == [(("middle", 0), (1, 4 * 16, 64))]
    assert gap(result, sample(apply(unet, one.joint_set), one, steps=1, cfg=1.0)) > VISIBLE


@pytest.mark.parametrize("order", ("before", "after"))
@pytest.mark.parametrize("kind", ("sd15", "sdxl"))
def test_replacing_attention_with_itself_under_any_key_changes_nothing(kind, order):
    """SDXL's blocks have several transformers, so a key of a layer covers a part of its block."""
    model, one = models.model(kind), case(kind)
    blocks = unet_blocks.attention_blocks(model, "test")

    def itself(q, k, v, options):
        return comfy.ldm.modules.attention.optimized_attention(q, k, v, options["n_heads"])

    def patched(model):
        model = model.clone()
        for number, block in enumerate(blocks):
            model.set_model_attn1_replace(itself, *block, *((), (0,), (1,))[number % 3])
        return model

    result = sample(apply(patched(model), one.joint_set) if order == "before" else patched(apply(model, one.joint_set)), one)
    expected = sample(apply(model, one.joint_set), one)
    effect = gap(expected, sample(apply(model, one.joint_set, levels=frozenset()), one))
    assert effect > VISIBLE and gap(result, expected) < SHARE * effect


@pytest.mark.parametrize("place", (("middle", 0), ("middle", 0, 0)))
def test_attention_replaced_while_the_model_is_called_is_refused(unet, place):
    """By a wrapper closer to the UNet than JeDi's: the last moment at which a layer can be taken from it."""

    def wrapper(executor, x, timesteps, context, y, control, transformer_options, **kwargs):
        options = {**transformer_options, "patches_replace": {"attn1": dict(transformer_options["patches_replace"]["attn1"])}}
        options["patches_replace"]["attn1"][place] = lambda q, k, v, options: v
        return executor(x, timesteps, context, y, control, options, **kwargs)

    one = case()
    model = apply(unet, one.joint_set)
    model.add_wrapper_with_key(WrappersMP.DIFFUSION_MODEL, "test", wrapper)
    with pytest.raises(ValueError, match="self-attention of block middle 0 while the model was called.*before JeDi"):
        sample(model, one)
    uncoupled = apply(unet, one.joint_set, levels=frozenset())
    uncoupled.add_wrapper_with_key(WrappersMP.DIFFUSION_MODEL, "test", wrapper)
    assert sample(uncoupled, one).isfinite().all()


def test_a_patch_of_cross_attention_that_follows_cond_or_uncond_sees_whole_sets(unet):
    """What IPAdapter does: extra tokens for the conditional chunks only."""
    one, seen = case(sets=2), []

    def adapter(q, k, v, options):
        heads = options["n_heads"]
        out = comfy.ldm.modules.attention.optimized_attention(q, k, v, heads)
        chunks = list(out.chunk(len(options["cond_or_uncond"])))
        seen.append((options["cond_or_uncond"], [len(chunk) for chunk in chunks]))
        return torch.cat([chunk + (term == 0) for chunk, term in zip(chunks, options["cond_or_uncond"], strict=True)])

    for order in ("before", "after"):
        model = unet.clone() if order == "before" else apply(unet, one.joint_set)
        model.set_model_attn2_replace(adapter, "middle", 0)
        model = apply(model, one.joint_set) if order == "before" else model
        result = sample(model, one)
        assert gap(made(result, one), made(sample(apply(unet, one.joint_set), one), one)) > VISIBLE
    assert seen and all(terms == [1, 0] and rows == [8, 8] for terms, rows in seen)


def adapter(rows=slice(None)):
    """What IPAdapter does, for some ``rows`` of each chunk: attention to tokens of a picture, added to that to the text."""
    tokens = torch.randn(1, 4, 64, generator=torch.Generator().manual_seed(0))

    def patch(q, k, v, options):
        attend = comfy.ldm.modules.attention.optimized_attention
        out = attend(q, k, v, options["n_heads"])
        face = tokens.expand(len(q), -1, -1)
        added = 20 * attend(q, face, face, options["n_heads"]).unflatten(0, (len(options["cond_or_uncond"]), -1))
        kept = torch.zeros_like(added)
        kept[:, rows] = added[:, rows]
        return out + kept.flatten(0, 1)

    return patch


@pytest.mark.parametrize("place", (("middle", 0), ("middle", 0, 0)))
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("padded", (False, True))
def test_an_adapter_on_cross_attention_acts_on_pictures_to_generate_only(unet, place, mode, padded):
    """It also acted on references, which moved the pictures by about as much again as it may."""
    texts = {"prompts": ["a " * 200, "b"], "captions": ["c " * 300, "d"]} if padded else {}
    one = case(**texts)

    def adapted(model, patch):
        model = model.clone()
        model.set_model_attn2_replace(patch, *place)
        return model

    plain, expected = (
        sample(model, one, steps=1)
        for model in (
            apply(unet, one.joint_set, mode),
            apply(adapted(unet, adapter(one.layout.generated_rows)), one.joint_set, mode),
        )
    )
    effect = gap(made(expected, one), made(plain, one))
    assert effect > 0.05
    for model in (apply(adapted(unet, adapter()), one.joint_set, mode), adapted(apply(unet, one.joint_set, mode), adapter())):
        error = gap(sample(model, one, steps=1), expected)
        assert error < SHARE * effect, (error, effect)


def gligen(one, rows=slice(None)):
    """The case with a box on the left for its prompts, from a GLIGEN of random weights that acts on some ``rows``."""

    class Some(comfy.gligen.Gligen):
        def _set_position(self, boxes, masks, positive_embeddings):
            every = super()._set_position(boxes, masks, positive_embeddings)

            def patch(x, options):
                out = x.clone()
                out[rows] = every(x, options)[rows]
                return out

            return patch

    layers = [comfy.gligen.GatedSelfAttentionDense(width, 32, 4, width // 4) for width in (32, 64, 64, 64, 64, 32, 32)]
    network = models.randomise(Some(layers, comfy.gligen.PositionNet(32, 32), 32), 0)
    with torch.no_grad():
        for layer in layers:
            layer.alpha_attn.fill_(1), layer.alpha_dense.fill_(1)
    device = torch.device("cpu")
    patcher = comfy.model_patcher.ModelPatcher(network, load_device=device, offload_device=device)
    box = (torch.randn(1, 32, generator=torch.Generator().manual_seed(1)), 8, 4, 0, 0)
    positive = [[states, {**values, "gligen": ("position", patcher, [box])}] for states, values in one.positive]
    return sets.Case(one.joint_set, positive, one.negative)


@pytest.mark.parametrize("mode", MODES)
def test_gligen_acts_on_pictures_to_generate_only(unet, mode):
    """Its boxes also acted on references, which moved the pictures by about as much again as they may."""
    one = case()
    model = apply(unet, one.joint_set, mode)
    expected = sample(model, gligen(one, one.layout.generated_rows), steps=1)
    effect = gap(made(expected, one), made(sample(model, one, steps=1), one))
    error = gap(sample(model, gligen(one), steps=1), expected)
    assert effect > 0.05
    assert error < SHARE * effect, (error, effect)


class Control(comfy.controlnet.ControlBase):
    """A ControlNet that adds a constant to the middle block, and keeps the batches it was asked about."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def get_control(self, x_noisy, t, cond, batched_number, transformer_options):
        self.seen.append(x_noisy.clone())
        return {"input": [], "middle": [torch.full((len(x_noisy), 64, 4, 4), 3.0)], "output": []}

    def get_models(self):
        return []

    def copy(self):
        return self


@pytest.mark.parametrize("mode", MODES)
def test_controlnet_steers_generated_rows_and_leaves_references_alone(unet, mode):
    one, control = case(), Control()

    def controlled(conditioning):
        return [[states, {**values, "control": control, "control_apply_to_uncond": False}] for states, values in conditioning]

    steered = sets.Case(one.joint_set, controlled(one.positive), controlled(one.negative))
    calls = sets.Calls(apply(unet, one.joint_set, mode))
    result = sample(calls.model, steered)
    assert gap(made(result, one), made(sample(apply(unet, one.joint_set, mode), one), one)) > VISIBLE
    (middle,) = calls.controls[0]["middle"]
    assert len(middle) == (3 if mode == "text first" else 2) * one.layout.rows
    rows = one.layout.reference_rows
    assert middle[rows].abs().max() == 0 and middle[one.layout.generated_rows].min() == 3
    clean = unet.model.process_latent_in(one.joint_set.references)
    assert gap(control.seen[0][rows], clean + 14.6146 * one.joint_set.noise[0]) < ROUNDING


CACHES = {"EasyCache": EasyCacheNode, "LazyCache": LazyCacheNode}


@pytest.mark.parametrize("cache", CACHES)
def test_caches_skip_steps_before_and_after_jedi_and_the_references_come_back(unet, cache):
    """How far the pictures move was measured on the demo model and stands on the help page of JeDi."""
    one = case()

    def cached(model):
        return CACHES[cache].execute(model, 0.3, 0.15, 0.95, False).result[0]

    plain = sample(apply(unet, one.joint_set), one, steps=8)
    results = [sample(model, one, steps=8) for model in (apply(cached(unet), one.joint_set), cached(apply(unet, one.joint_set)))]
    assert all(gap(made(result, one), made(plain, one)) > VISIBLE for result in results)
    assert all(torch.equal(result[one.layout.reference_rows], one.joint_set.references) for result in results)
    assert torch.equal(*results) == (cache == "EasyCache")


@pytest.mark.parametrize("asked", ("colours", "places"))
def test_a_step_that_a_cache_answers_goes_on_without_what_no_layer_says(unet, asked):
    """EasyCache answers inside the host's DIFFUSION_MODEL wrapper, before JeDi and after it alike."""
    one, options = case(), {"reference_attention": settings.ITSELF_ONLY, "reference_strength": 3.0, "reference_noise": 0.6}
    if asked == "colours":
        options["color_match"] = 0.8
    else:
        words = Words((0, 1), (((1,), (2, 3), (5, 6)), ((4,), (1,), (7,))), (77, 77))
        one = replace(one, joint_set=replace(one.joint_set, words=words))

    def cached(model):
        return EasyCacheNode.execute(model, 3.0, 0.15, 0.95, False).result[0]

    ran, inside = [], unet.clone()
    inside.set_model_input_block_patch(lambda h, given: (ran.append(given["block"] == ("input", 0)), h)[1])
    for model in (apply(cached(inside), one.joint_set, **options), cached(apply(inside, one.joint_set, **options))):
        ran.clear()
        result = sample(model, one, steps=8)
        assert 0 < sum(ran) < 8
        assert result.isfinite().all() and torch.equal(result[one.layout.reference_rows], one.joint_set.references)
    plain = {name: value for name, value in options.items() if name != "color_match"}
    assert gap(made(result, one), made(sample(cached(apply(unet, case().joint_set, **plain)), case(), steps=8), one)) > VISIBLE


def test_references_are_without_error_to_a_sampler_that_measures_it(unet):
    """So dpm_adaptive, which takes the mean over all rows, reads sqrt(4 / 2) too little of two pictures with two references."""
    one, errors = case(), []
    solver = k_sampling.DPMSolver.dpm_solver_3_step

    def high(self, x, *args, **kwargs):
        result = solver(self, x, *args, **kwargs)
        low = self.dpm_solver_2_step(x, *args, r1=1 / 3, **kwargs)[0]
        errors.append((result[0] - low).abs().amax(dim=(1, 2, 3)))
        return result

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(k_sampling.DPMSolver, "dpm_solver_3_step", high)
        sample(apply(unet, one.joint_set), one, sampler="dpm_adaptive")
    of_rows = torch.stack(errors).amax(dim=0)
    assert of_rows[one.layout.reference_rows].max() < 1e-4 * of_rows[one.layout.generated_rows].min()


def test_hypertile_is_refused(unet):
    one = case(latents=sets.pictures(2, size=16))
    with pytest.raises(ValueError, match="HyperTile"):
        sample(HyperTile.execute(apply(unet, one.joint_set), 1, 2, 0, False)[0], one)


def test_two_jedi_nodes_in_a_row_are_refused(unet):
    one = case()
    with pytest.raises(ValueError, match="already went through JeDi"):
        apply(apply(unet, one.joint_set), one.joint_set)


def test_conditioning_areas_and_masks_work(unet):
    from nodes import ConditioningSetArea

    one = case()
    (area,) = ConditioningSetArea().append(one.positive, 32, 64, 0, 0, 1.0)
    areas = sets.Case(one.joint_set, one.positive + area, one.negative)
    result = sample(apply(unet, one.joint_set), areas)
    assert gap(made(result, one), made(sample(apply(unet, one.joint_set), one), one)) > VISIBLE
    nine = models.model("sd15", 9)
    assert sample(apply(nine, one.joint_set, channel_order=ORDER), areas).isfinite().all()


def test_an_area_shows_its_crop_of_the_references_and_a_mask_shows_them_whole_and_the_log_says_so(unet, caplog):
    """Steered by the area or mask on the left alone, with references that differ on the right half."""
    left = torch.zeros(1, 128, 128)
    left[..., :64] = 1
    pair = [sets.pictures(2, seed=0, size=16), sets.pictures(2, seed=0, size=16)]
    pair[1][..., 8:] = sets.pictures(2, seed=1, size=16)[..., 8:]
    noise = layout.draw_noise(0, 1, 2, (4, 16, 16))
    limits = {
        "area": lambda entry: nodes.ConditioningSetArea().append(entry, 64, 128, 0, 0, 1.0)[0],
        "bounds": lambda entry: nodes.ConditioningSetMask().append(entry, left, "mask bounds", 1.0)[0],
        "mask": lambda entry: nodes.ConditioningSetMask().append(entry, left, "default", 1.0)[0],
    }
    seen = {}
    for name, limit in limits.items():
        caplog.clear()
        results = []
        for latents in pair:
            one = case(latents=latents, noise=noise)
            steered = sets.Case(one.joint_set, limit(one.positive), limit(one.negative))
            results.append(made(sample(apply(unet, one.joint_set), steered, steps=1), one)[..., :8])
        seen[name] = gap(*results)
        said = "only the same crop of the references. Use Conditioning (Set Mask) with `default`" in caplog.text
        assert said == (name != "mask")
    assert seen["mask"] > VISIBLE and max(seen["area"], seen["bounds"]) < SHARE * seen["mask"], seen


LATENTS = {
    "LatentFromBatch": lambda latent: nodes.LatentFromBatch().frombatch(latent, 0, 3)[0],
    "RepeatLatentBatch": lambda latent: nodes.RepeatLatentBatch().repeat(latent, 2)[0],
    "LatentUpscale": lambda latent: nodes.LatentUpscale().upscale(latent, "nearest-exact", 128, 128, "disabled")[0],
    "RebatchLatents": lambda latent: LatentRebatch.execute([latent], [2]).result[0][0],
    "EmptyLatentImage": lambda latent: nodes.EmptyLatentImage().generate(64, 64, 4)[0],
    "rows moved": lambda latent: {**latent, "samples": latent["samples"].flip(0)},
    "another set": lambda latent: case(latents=sets.pictures(2, seed=5)).latent,
}


@pytest.mark.parametrize("change", LATENTS)
def test_a_latent_batch_that_no_longer_fits_its_set_is_refused(unet, change):
    one = case()
    with pytest.raises(ValueError, match="^JeDi: .*Connect `latent` of Joint Set"):
        sample(apply(unet, one.joint_set), one, latent=LATENTS[change](one.latent))


@pytest.mark.parametrize("row", (0, 2), ids=("generated", "reference"))
@pytest.mark.parametrize("value", (float("nan"), float("inf")))
def test_latents_that_are_not_finite_are_refused(unet, row, value):
    """One NaN in one picture to generate, or in the noise mask, made every number of its set's pictures NaN."""
    one = case()
    latent = one.latent
    latent["samples"][row, 0, 3, 3] = value
    with pytest.raises(ValueError, match="^JeDi: the latent batch holds NaN or infinity"):
        sample(apply(unet, one.joint_set), one, latent=latent)
    mask = torch.ones(1, 1, 8, 8)
    mask[..., 2, 2] = value
    with pytest.raises(ValueError, match="^JeDi: the noise mask of the latents holds NaN or infinity"):
        sample(apply(unet, one.joint_set), one, latent={**one.latent, "noise_mask": mask})


def test_rounding_to_half_precision_is_not_refused(unet):
    one = case()
    half = {**one.latent, "samples": one.latent["samples"].half().float()}
    assert gap(sample(apply(unet, one.joint_set), one, latent=half), sample(apply(unet, one.joint_set), one)) < ROUNDING
    assert gap(half["samples"], one.latent["samples"]) > 10 * ROUNDING, "the set's own references are used"


def test_conditioning_of_another_set_or_size_is_refused(unet):
    one, other, small = case(), case(seed=3), case(references=1)
    with pytest.raises(ValueError, match="positive conditioning was made by another Joint Set"):
        sample(apply(unet, one.joint_set), sets.Case(one.joint_set, other.positive, one.negative))
    stripped = [[states, {}] for states, _ in small.positive]
    with pytest.raises(ValueError, match="positive conditioning has 3 rows.*needs 1 or 4 rows"):
        sample(apply(unet, one.joint_set), sets.Case(one.joint_set, stripped, one.negative))


def test_a_stock_text_encode_is_accepted_for_the_negative(unet):
    one = case()
    stock = [[states, {}] for states, _ in one.negative]
    expected = sample(apply(unet, one.joint_set), one)
    assert torch.equal(sample(apply(unet, one.joint_set), sets.Case(one.joint_set, one.positive, stock)), expected)


def test_a_model_that_is_no_picture_unet_is_refused():
    from same_subject.nodes.joint.host import channels

    class Other:
        class model:
            diffusion_model = torch.nn.Linear(1, 1)

    with pytest.raises(ValueError, match="needs a UNet for pictures"):
        channels.channel_order(Other, "auto")


def test_references_from_another_kind_of_vae_are_refused(unet):
    from same_subject.nodes.joint.host import channels

    channels.check_latents(unet, case().joint_set)
    with pytest.raises(ValueError, match="16 latent channels, but the model needs 4. Connect the VAE"):
        channels.check_latents(unet, case(latents=torch.zeros(2, 16, 8, 8)).joint_set)


def test_inpainting_a_generated_picture_keeps_the_rest_of_it(unet):
    one = case()
    start = one.latent
    start["samples"][:2] = sets.pictures(2, seed=9)
    mask = torch.zeros(1, 1, 8, 8)
    mask[..., 4:] = 1
    result = sample(apply(unet, one.joint_set), one, latent={**start, "noise_mask": mask})
    assert gap(result[:2, ..., :4], start["samples"][:2, ..., :4]) < ROUNDING
    assert gap(result[:2, ..., 4:], start["samples"][:2, ..., 4:]) > VISIBLE
    assert torch.equal(result[2:], one.joint_set.references)
