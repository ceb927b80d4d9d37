"""What must always hold of a sampled joint set, on tiny models in the real layouts."""

import comfy.ldm.modules.attention as host_attention
import comfy.model_patcher
import pytest
import torch
from same_subject.nodes.joint import layout
from same_subject.tests.tiny import models, sets
from same_subject.tests.tiny.sets import apply, case, gap, made, sample

KINDS = ("sd15", "sd2", "sdxl")
ROUNDING = 1e-4
"""Of gaps: 8.4e-6 was seen."""
VISIBLE = 0.01
"""A difference that a mistake would make, at least; compared figures must differ by this much when something does change."""
ORDER = "noisy, reference, mask"
INPAINTING_ORDER = "noisy, mask, reference"


@pytest.fixture(scope="module")
def unets():
    return {(kind, channels): models.model(kind, channels) for kind in KINDS for channels in (4, 9)}


@pytest.fixture(scope="module")
def unet(unets):
    return unets["sd15", 4]


def order_for(channels):
    return ORDER if channels == 9 else None


@pytest.mark.parametrize("kind", KINDS)
def test_a_set_of_one_equals_the_unpatched_model_bit_for_bit(unets, kind):
    alone = case(kind, sets=3, generated=1, references=0)
    plain = sample(unets[kind, 4], alone)
    assert torch.equal(sample(apply(unets[kind, 4], alone.joint_set), alone), plain)

    together = case(kind, sets=1, generated=3, references=0, prompts=["prompt 0"] * 3)
    latent = {**together.latent, "batch_index": alone.layout.noise_index}
    assert gap(sample(apply(unets[kind, 4], together.joint_set), together, latent=latent), plain) > VISIBLE


@pytest.mark.parametrize("channels", (4, 9))
def test_permuting_references_with_their_captions_and_noise_leaves_the_pictures_unchanged(unets, channels):
    latents, captions = sets.pictures(3), ["red", "green", "blue"]
    noise = layout.draw_noise(0, 1, 3, latents.shape[1:])
    turned = [2, 0, 1]
    straight = case(references=3, latents=latents, noise=noise, captions=captions)
    moved = case(references=3, latents=latents[turned], noise=noise[:, turned], captions=[captions[i] for i in turned])
    wrong = case(references=3, latents=latents[turned], noise=noise, captions=captions)
    a, b, c = (
        made(sample(apply(unets["sd15", channels], one.joint_set, channel_order=order_for(channels)), one), one)
        for one in (straight, moved, wrong)
    )
    assert gap(a, b) < ROUNDING
    assert gap(a, c) > VISIBLE


@pytest.mark.parametrize("mode", ("joint", "text first", "image first", "text only"))
@pytest.mark.parametrize("channels", (4, 9))
def test_one_batch_equals_a_batch_split_for_memory(unets, monkeypatch, mode, channels):
    one = case(sets=2)
    model = sets.Calls(apply(unets["sd15", channels], one.joint_set, mode, channel_order=order_for(channels)))
    together = sample(model.model, one)
    terms = 2 if mode in ("joint", "text only") else 3
    assert [len(x) for x in model.inputs] == [terms * one.layout.rows] * 2
    monkeypatch.setattr(comfy.model_patcher.ModelPatcher, "get_free_memory", lambda self, device: 0)
    model.inputs.clear()
    split = sample(model.model, one)
    assert [len(x) for x in model.inputs] == [one.layout.rows] * terms * 2
    assert gap(together, split) < ROUNDING
    assert gap(together, sample(model.model, one, cfg=3.0)) > VISIBLE


def test_sets_in_one_batch_equal_the_same_sets_one_by_one(unet):
    both = case(sets=2)
    together = sample(apply(unet, both.joint_set), both).unflatten(0, (2, -1))
    for number in range(2):
        alone = case(sets=1, noise=both.joint_set.noise[number : number + 1])
        latent = {**alone.latent, "batch_index": both.layout.noise_index[number * 4 : number * 4 + 4]}
        assert gap(sample(apply(unet, alone.joint_set), alone, latent=latent), together[number]) < ROUNDING
    assert gap(together[0], together[1]) > VISIBLE


def test_a_set_is_isolated_from_other_sets(unet):
    noise = layout.draw_noise(0, 2, 2, (4, sets.SIZE, sets.SIZE))
    other = noise.clone()
    other[1] = layout.draw_noise(7, 1, 2, (4, sets.SIZE, sets.SIZE))[0]
    a, b = (case(sets=2, noise=each) for each in (noise, other))
    a, b = (sample(apply(unet, each.joint_set), each).unflatten(0, (2, -1)) for each in (a, b))
    assert gap(a[0], b[0]) < ROUNDING
    assert gap(a[1, :2], b[1, :2]) > VISIBLE


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("channels", (4, 9))
def test_every_layout_sees_its_references_and_only_through_the_coupling(unets, kind, channels):
    a, b = case(kind, seed=0), case(kind, seed=1)
    order = order_for(channels)
    coupled = [made(sample(apply(unets[kind, channels], c.joint_set, channel_order=order), c), c) for c in (a, b)]
    assert gap(*coupled) > VISIBLE
    apart = [
        made(sample(apply(unets[kind, channels], c.joint_set, channel_order=order, levels=frozenset()), c), c) for c in (a, b)
    ]
    assert gap(*apart) < ROUNDING


BACKENDS = {**host_attention.REGISTERED_ATTENTION_FUNCTIONS, "basic": host_attention.attention_basic}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("references_only", (False, True))
def test_every_attention_backend_gives_the_same_pictures(unet, monkeypatch, backend, references_only):
    one = case()
    options = {"reference_attention": "references only"} if references_only else {}
    expected = sample(apply(unet, one.joint_set, **options), one)
    used = []

    def counted(*args, **kwargs):
        used.append(backend)
        return BACKENDS[backend](*args, **kwargs)

    monkeypatch.setattr(host_attention, "optimized_attention", counted)
    assert gap(sample(apply(unet, one.joint_set, **options), one), expected) < ROUNDING
    assert used
    assert gap(sample(apply(unet, one.joint_set, levels=frozenset()), one), expected) > VISIBLE


def test_references_that_attend_only_to_references_do_not_move_with_the_prompts(unet):
    """Their rows come back clean anyway, so the attention layers' own outputs are watched."""
    seen = {}
    for name in ("a", "b"):
        one = case(prompts=[f"{name} 0", f"{name} 1"])
        for kind in ("all pictures", "references only"):
            outputs = []
            model = apply(unet, one.joint_set, reference_attention=kind)
            model.set_model_attn1_output_patch(lambda out, options, outputs=outputs: outputs.append(out.clone()) or out)
            sample(model, one, steps=1, cfg=1.0)
            seen[name, kind] = [out[one.layout.reference_rows] for out in outputs]
    assert all(gap(a, b) < ROUNDING for a, b in zip(seen["a", "references only"], seen["b", "references only"], strict=True))
    assert gap(seen["a", "all pictures"][-1], seen["b", "all pictures"][-1]) > VISIBLE


@torch.no_grad()
def test_a_coupled_layer_equals_a_float64_reading_of_the_papers_listing(unet):
    one = case(generated=3, references=1)
    block = unet.model.diffusion_model.middle_block[1].transformer_blocks[0]
    seen = {}
    model = apply(unet, one.joint_set)
    model.set_model_attn1_patch(lambda n, k, v, options: seen.update({options["block"]: n.double()}) or (n, k, v))
    model.set_model_attn1_output_patch(lambda out, options: seen.update({(*options["block"], "out"): out.double()}) or out)
    sample(model, one, steps=1, cfg=1.0)
    x, out = seen["middle", 0], seen["middle", 0, "out"]

    def listing(x, ng):
        b, length, c = x.shape
        x = x.view(-1, ng * length, c)
        q, k, v = (
            (x @ w.weight.double().T).unflatten(-1, (block.n_heads, -1)).transpose(1, 2)
            for w in (block.attn1.to_q, block.attn1.to_k, block.attn1.to_v)
        )
        scores = (q @ k.transpose(-1, -2) / block.d_head**0.5).softmax(-1)
        x = (scores @ v).transpose(1, 2).flatten(2) @ block.attn1.to_out[0].weight.double().T + block.attn1.to_out[
            0
        ].bias.double()
        return x.view(b, length, c)

    assert gap(out, listing(x, 4)) < 3e-5  # 2.3e-6 was seen
    assert gap(out, listing(x, 1)) > VISIBLE


@pytest.mark.parametrize(
    "sampler",
    ("euler", "ddim", "dpmpp_2m", "euler_ancestral", "dpmpp_2m_sde", "uni_pc", "heun", "lcm", "euler_cfg_pp", "dpm_adaptive"),
)
def test_reference_rows_come_back_exactly(unet, sampler):
    one = case(sets=2)
    samples = sample(apply(unet, one.joint_set), one, sampler=sampler, steps=3)
    assert torch.equal(samples[one.layout.reference_rows], one.joint_set.reference_latents())
    assert gap(samples[: one.layout.pictures], samples[one.layout.size : one.layout.size + one.layout.pictures]) > VISIBLE


def test_the_unet_sees_the_forward_diffused_references_at_every_step(unet):
    one = case()
    model = sets.Calls(apply(unet, one.joint_set))
    sample(model.model, one, steps=3, sampler="euler_ancestral")
    clean = unet.model.process_latent_in(one.joint_set.references)
    sigmas = []
    for x, options in zip(model.inputs, model.options, strict=True):
        sigma = options["sigmas"][0]
        expected = (clean + sigma * one.joint_set.noise[0]) / (sigma**2 + 1) ** 0.5
        for chunk in x.chunk(2):
            assert gap(chunk[one.layout.reference_rows], expected) < ROUNDING
        sigmas.append(float(sigma))
    assert len(set(sigmas)) == 3


def test_the_noise_of_a_picture_does_not_change_with_the_number_of_pictures_or_sets():
    import comfy.sample

    def noise(sets_, pictures, references=1):
        where = layout.Layout(sets_, pictures, references)
        drawn = comfy.sample.prepare_noise(torch.zeros(where.rows, 4, 4, 4), 5, where.noise_index)
        return {(row // where.size, row % where.size): drawn[row] for row in where.generated_rows}

    large = noise(3, 5)
    for small in (noise(1, 1), noise(2, 3, references=4), noise(3, 2)):
        assert all(torch.equal(small[key], large[key]) for key in small)
    assert not torch.equal(large[0, 0], large[0, 1]) and not torch.equal(large[0, 0], large[1, 0])


@pytest.mark.parametrize("tokens, length", (((10, 77, 154, 300), 308), ((10, 77, 231, 300), 924), ((10, 154, 300, 380), 385)))
def test_prompts_of_any_length_run_in_one_call(tmp_path, tokens, length):
    from same_subject.nodes.demo.host import model as demo_model
    from same_subject.nodes.joint.host import encoding

    model, clip, _ = demo_model.load(models.save_demo(tmp_path / "tiny.safetensors"))
    texts = [" ".join(["star"] * (count - 2 * -(-count // 77))) for count in tokens]
    joint_set = case(generated=3, references=1).joint_set
    with torch.inference_mode():
        positive, negative = encoding.encode_texts(clip, texts, "", {})
    assert positive[0][0].shape == (4, length, 32) and negative[0][0].shape[1] == length
    one = sets.Case(joint_set, positive, negative)
    for mode in ("joint", "text first", "image first"):
        calls = sets.Calls(apply(model, joint_set, mode, channel_order=ORDER))
        sample(calls.model, one, steps=2)
        assert len(calls) == 2, mode


def test_a_model_is_unchanged_after_any_number_of_downstream_runs(unet):
    plain, one = case(references=0), case()
    before, options = sample(unet, plain, unload=False), repr(unet.model_options)
    first = sample(apply(unet, one.joint_set, "text first"), one, unload=False)
    for mode in ("joint", "image first"):
        sample(apply(unet, one.joint_set, mode), one, unload=False)
    assert torch.equal(sample(unet, plain, unload=False), before)
    assert repr(unet.model_options) == options and not unet.wrappers
    assert torch.equal(sample(apply(unet, one.joint_set, "text first"), one, unload=False), first)
    assert gap(made(first, one), before) > VISIBLE


def test_inputs_are_not_modified_by_a_run(unet):
    one = case()
    latent, texts = one.latent["samples"].clone(), one.positive[0][0].clone()
    references, noise, keys = one.joint_set.references.clone(), one.joint_set.noise.clone(), set(one.positive[0][1])
    given = one.latent
    sample(apply(unet, one.joint_set, "text first"), one, latent=given)
    assert torch.equal(given["samples"], latent) and torch.equal(one.positive[0][0], texts)
    assert torch.equal(one.joint_set.references, references) and torch.equal(one.joint_set.noise, noise)
    assert set(one.positive[0][1]) == keys


def test_a_run_can_be_interrupted_within_a_step(unet):
    import comfy.model_management as management

    one, layers = case(), []

    def interrupt(q, k, v, options):
        layers.append(options["block"])
        if len(layers) == 2:
            management.interrupt_current_processing(True)
        return q, k, v

    model = apply(unet, one.joint_set)
    model.set_model_attn2_patch(interrupt)
    try:
        with pytest.raises(management.InterruptProcessingException):
            sample(model, one)
    finally:
        management.interrupt_current_processing(False)
    assert len(layers) == 2
