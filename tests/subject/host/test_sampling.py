"""What must always hold of a run with subjects, on tiny models in the real layouts."""

from dataclasses import replace

import comfy.model_patcher
import comfy.sample
import comfy.samplers
import pytest
import torch
from same_subject.nodes.subject import settings
from same_subject.nodes.subject.chain import Subjects
from same_subject.nodes.subject.host import applying, prompting
from same_subject.tests.tiny import models, subject_adapters
from same_subject.tests.tiny.sets import Calls, gap

KINDS = ("sd15", "sd2", "sdxl")
LEFT, RIGHT = (0.0, 0.25, 0.5, 0.75), (0.5, 0.0, 1.0, 0.75)
ROUNDING = 1e-4
"""Of gaps: 1.1e-5 was seen."""
VISIBLE = 0.01
PLAIN = settings.Settings()


@pytest.fixture(scope="module")
def unets():
    return {kind: models.model(kind) for kind in KINDS}


@pytest.fixture(scope="module")
def unet(unets):
    return unets["sd15"]


def text(kind, said, **beside):
    ((states, others),) = models.Text(kind).encode_from_tokens_scheduled(said)
    return [[states, {**others, **beside}]]


def run(
    model, subjects=None, kind="sd15", cfg=3.0, rows=1, size=(8, 8), positive="a dog is sks", seed=5, steps=2, mask=None,
    sampler="euler", callback=None, **beside
):  # fmt: skip
    """Latents of a run whose texts stand for those of Subject Prompt. mask: of the noise, [1 or rows, h, w]."""
    own = {} if subjects is None else {prompting.SUBJECTS: subjects}
    latent = torch.zeros(rows, 4, *size)
    noise = comfy.sample.prepare_noise(latent, seed)
    texts = text(kind, positive, **own, **beside), text(kind, "", **beside)
    return comfy.sample.sample(
        model, noise, steps, cfg, sampler, "normal", *texts, latent, seed=seed, disable_pbar=True, noise_mask=mask,
        callback=callback,
    )  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_networks_that_change_nothing_give_the_base_model_to_the_bit(unets, kind):
    plain, untrained, trained = (
        subject_adapters.subject_adapter(unets[kind], trained=flag) if flag is not None else None for flag in (None, False, True)
    )
    base = run(unets[kind], kind=kind)
    for adapter, same in ((untrained, True), (trained, False)):
        one = subject_adapters.subjects(adapter, LEFT)
        found = run(applying.apply(unets[kind], one, PLAIN), one, kind)
        assert torch.equal(found, base) if same else gap(found, base) > VISIBLE
    assert plain is None and torch.equal(run(unets[kind], kind=kind), base)


def test_one_batch_equals_a_batch_split_for_memory(unet, monkeypatch):
    one = subject_adapters.subjects(subject_adapters.subject_adapter(unet), LEFT, RIGHT)
    model = Calls(applying.apply(unet, one, PLAIN))
    together = run(model.model, one, rows=2)
    assert [len(x) for x in model.inputs] == [6, 6]
    monkeypatch.setattr(comfy.model_patcher.ModelPatcher, "get_free_memory", lambda self, device: 0)
    model.inputs.clear()
    assert gap(run(model.model, one, rows=2), together) < ROUNDING
    assert [len(x) for x in model.inputs] == [2] * 6


def test_terms_are_the_three_of_the_authors_guidance(unet):
    """With the scales (a, b): e_u + a (e_text - e_img) + b (e_img - e_u). Each term alone is a run at other scales."""
    one = subject_adapters.subjects(subject_adapters.subject_adapter(unet), LEFT)

    def at(text_scale, image_scale):
        model = applying.apply(unet, one, replace(PLAIN, image_scale=image_scale))
        return run(model, one, cfg=text_scale, steps=1)

    full, image, null = at(1, 1), at(0, 1), at(0, 0)
    assert min(gap(full, image), gap(image, null)) > VISIBLE
    assert gap(at(3, 1.5), null + 3 * (full - image) + 1.5 * (image - null)) < ROUNDING


def test_the_null_term_has_no_subjects(unet):
    adapter = subject_adapters.subject_adapter(unet)
    one, other = (subject_adapters.subjects(adapter, place, seed=seed) for place, seed in ((LEFT, 1), (RIGHT, 2)))
    first, second = (run(applying.apply(unet, s, replace(PLAIN, image_scale=0)), s, cfg=0.0) for s in (one, other))
    assert torch.equal(first, second)
    with_subjects = [run(applying.apply(unet, s, replace(PLAIN, image_scale=1)), s, cfg=0.0) for s in (one, other)]
    assert gap(*with_subjects) > VISIBLE


def test_rows_of_a_batch_equal_one_by_one(unet):
    one = subject_adapters.subjects(subject_adapters.subject_adapter(unet), LEFT, RIGHT)
    model = applying.apply(unet, one, PLAIN)
    both = run(model, one, rows=2)
    assert gap(both[:1], run(model, one, rows=1)) < ROUNDING and gap(both[:1], both[1:]) > VISIBLE


def test_the_order_of_subjects_changes_nothing_but_rounding_at_one_text(unet):
    adapter = subject_adapters.subject_adapter(unet)
    one = subject_adapters.subjects(adapter, LEFT, RIGHT)
    turned = Subjects(adapter, one.each[::-1])
    swapped = Subjects(adapter, tuple(replace(a, place=b.place) for a, b in zip(one.each, turned.each, strict=True)))
    straight, back, wrong = (run(applying.apply(unet, s, PLAIN), s) for s in (one, turned, swapped))
    assert gap(straight, back) < ROUNDING and gap(straight, wrong) > VISIBLE


def test_interpolation_ends_in_the_plain_runs_to_the_bit(unet):
    adapter = subject_adapters.subject_adapter(unet)
    adapter.plain_clip = object()
    one = subject_adapters.subjects(adapter, LEFT)
    ((states, others),) = text("sd15", "a man in the rain")
    beside = {prompting.PLAIN: (states, others)}

    def at(alpha):
        return run(applying.apply(unet, one, replace(PLAIN, interpolation=alpha)), one, steps=4, **beside)

    latent = torch.zeros(1, 4, 8, 8)
    noise = comfy.sample.prepare_noise(latent, 5)
    plain = [[states, dict(others)]]
    original = comfy.sample.sample(unet, noise, 4, 3.0, "euler", "normal", plain, plain, latent, seed=5, disable_pbar=True)
    every = run(applying.apply(unet, one, PLAIN), one, steps=4)
    assert torch.equal(at(0.0), every) and torch.equal(at(1.0), original)
    half = at(0.5)
    assert gap(half, every) > VISIBLE and gap(half, original) > VISIBLE


@pytest.mark.parametrize("size", ((8, 8), (6, 14), (5, 9)))
def test_any_latent_size(unet, size):
    one = subject_adapters.subjects(subject_adapters.subject_adapter(unet), LEFT)
    found = run(applying.apply(unet, one, PLAIN), one, size=size)
    assert found.shape[-2:] == size and found.isfinite().all()
    assert gap(found, run(unet, size=size)) > VISIBLE


def test_layers_work_in_their_window_and_levels_only(unet):
    one = subject_adapters.subjects(subject_adapters.subject_adapter(unet), LEFT)
    found = [
        run(applying.apply(unet, one, chosen), one, steps=4)
        for chosen in (
            replace(PLAIN, strength=0.0),
            replace(PLAIN, levels=frozenset()),
            PLAIN,
            replace(PLAIN, end=0.5),
            replace(PLAIN, levels=frozenset({"half"})),
        )
    ]
    assert torch.equal(found[0], found[1])
    assert all(gap(a, b) > 1e-4 for n, a in enumerate(found[1:]) for b in found[1:][:n])


def test_a_lora_on_the_same_model_still_counts(unet):
    """Also on the keys that the adapter exchanges: what is added to them is added to the new ones."""
    adapter = subject_adapters.subject_adapter(unet)
    one = subject_adapters.subjects(adapter, LEFT)
    key = next(name for name in unet.model.state_dict() if name.endswith("attn2.to_k.weight"))
    patched, weight = unet.clone(), unet.model.state_dict()[key]
    generator = torch.Generator().manual_seed(1)
    difference = torch.randn(weight.shape, generator=generator) * weight.std() * 2
    patched.add_patches({key: ("diff", (difference,))}, 1.0)
    with_lora = run(applying.apply(patched, one, PLAIN), one)
    layer = [name for name in unet.model.state_dict() if name.endswith("attn2.to_k.weight")].index(key)
    texts = adapter.networks.attn2[layer].to_k.weight
    texts += difference
    try:
        assert gap(run(applying.apply(unet, one, PLAIN), one), with_lora) < ROUNDING
    finally:
        texts -= difference
    assert gap(run(applying.apply(unet, one, PLAIN), one), with_lora) > 1e-4


@pytest.mark.parametrize(
    ("said", "problem"),
    (
        ("the positive conditioning has no subjects", lambda one, other: (one, None)),
        ("the positive conditioning has other subjects", lambda one, other: (one, other)),
    ),
)
def test_texts_of_other_subjects_are_refused(unet, said, problem):
    adapter = subject_adapters.subject_adapter(unet)
    on_model, in_text = problem(*(subject_adapters.subjects(adapter, LEFT, seed=seed) for seed in (1, 2)))
    with pytest.raises(ValueError, match=said):
        run(applying.apply(unet, on_model, PLAIN), in_text)


def test_what_does_not_fit_is_refused(unets, unet):
    adapter = subject_adapters.subject_adapter(unet)
    one = subject_adapters.subjects(adapter, LEFT)
    with pytest.raises(ValueError, match="adapter is for tiny, with"):
        applying.apply(unets["sdxl"], one, PLAIN)
    with pytest.raises(ValueError, match="takes 9 channels"):
        applying.apply(models.model("sd15", 9), one, PLAIN)
    with pytest.raises(ValueError, match="already went through Apply Subjects"):
        applying.apply(applying.apply(unet, one, PLAIN), one, PLAIN)
    with pytest.raises(ValueError, match="`subjects` is empty"):
        applying.apply(unet, Subjects(adapter, ()), PLAIN)
    outside = subject_adapters.subjects(adapter, (0.5, 0.5, 1.2, 0.8))
    with pytest.raises(ValueError, match="box of subject 1"):
        run(applying.apply(unet, outside, PLAIN), outside)
    with pytest.raises(ValueError, match="`interpolation` is 0.5"):
        run(applying.apply(unet, one, replace(PLAIN, interpolation=0.5)), one)


def prompt(model, adapter, one, **chosen):
    """Latents of a run as `run`, but with what Subject Prompt says of its words."""
    return run(applying.apply(model, one, replace(PLAIN, **chosen)), one, rows=2, steps=3, **words(one))


def words(one):
    return {prompting.WORDS: tuple((2 + 4 * n, 4 + 4 * n) for n in range(len(one.each)))}


class Steered:
    """Runs of a model with attention control."""

    def __init__(self, unet, steps=3):
        self.one = subject_adapters.subjects(subject_adapters.subject_adapter(unet), LEFT, RIGHT)
        self.model = applying.apply(unet, self.one, replace(PLAIN, steering=settings.Steering(steps, 2000.0)))

    def __call__(self, mask=None, model=None, **more):
        return run(model or self.model, self.one, rows=2, steps=4, mask=mask, **words(self.one), **more)


def test_attention_control_moves_latents_along_the_gradient(unet, monkeypatch):
    """Under the host's inference mode, with weights made in it, which autograd takes for nothing that it may keep."""
    with torch.inference_mode():
        inferring = models.model("sd15")
        adapter = subject_adapters.subject_adapter(inferring)
        one = subject_adapters.subjects(adapter, LEFT, RIGHT)
        plain = prompt(inferring, adapter, one)
        never = prompt(inferring, adapter, one, steering=settings.Steering(3, 200.0, stop=1.0))
        moved = prompt(inferring, adapter, one, steering=settings.Steering(3, 200.0))
        further = prompt(inferring, adapter, one, steering=settings.Steering(3, 2000.0))
        assert all(weight.is_inference() for weight in inferring.model.diffusion_model.parameters())
    assert torch.equal(plain, never)
    assert gap(moved, plain) > 1e-4 and gap(further, plain) > gap(moved, plain)


def test_attention_control_lowers_its_loss(unet):
    from same_subject.nodes.subject.host import steering

    adapter = subject_adapters.subject_adapter(unet)
    one, seen, moves = subject_adapters.subjects(adapter, LEFT, RIGHT), [], steering.moves

    def losses(scale):
        seen.clear()
        prompt(unet, adapter, one, steering=settings.Steering(3, scale))
        return [sum(step) for step in seen]

    def recorded(*args):
        found = moves(*args)
        seen.append(found[1])
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(steering, "moves", recorded)
        still, pulled = losses(0.0), losses(2000.0)
    assert pulled[0] == still[0] and pulled[1] < still[1] and pulled[2] < still[2]


@pytest.mark.parametrize("sampler", ("euler", "dpmpp_2m"))
def test_attention_control_moves_the_samplers_latents_under_a_noise_mask(unet, sampler):
    steered, mask = Steered(unet), torch.ones(1, 8, 8)
    plain = steered(sampler=sampler)
    assert torch.equal(steered(mask, sampler=sampler), plain), "a mask of ones masks nothing"
    assert gap(Steered(unet, steps=0)(mask, sampler=sampler), plain) > VISIBLE


def test_attention_control_moves_what_is_not_masked(unet, monkeypatch):
    from same_subject.nodes.subject.host import steering

    monkeypatch.setattr(steering, "moves", lambda x, *_: (torch.full_like(x, 0.01), [1.0] * len(x), 1))
    mask = torch.linspace(0, 1, 8).expand(1, 8, 8)
    still, moved = (begun(Steered(unet, steps), mask) for steps in (0, 1))
    assert torch.allclose(still - moved, (20 * mask).expand(2, 4, 8, 8), atol=1e-4)


def begun(steered, mask):
    """The sampler's latents when its first step was computed."""
    seen = []
    steered(mask, callback=lambda number, denoised, x, steps: seen.append(x.clone()))
    return seen[0]


def test_attention_control_asks_for_the_mask_that_acts(unet):
    """A node's function of the mask, as of Differential Diffusion: here, it takes the mask away."""
    steered = Steered(unet)
    model = steered.model.clone()
    model.set_model_denoise_mask_function(lambda sigma, mask, extra_options: torch.ones_like(mask))
    plain = steered(sampler="euler")
    half = torch.ones(1, 8, 8)
    half[:, :, 4:] = 0
    assert torch.equal(steered(half, model), plain) and not torch.equal(steered(half), plain)


class Alone(comfy.samplers.Sampler):
    """A sampler that is no function of the host's."""

    def sample(self, *args, **kwargs):
        return comfy.samplers.sampler_object("euler").sample(*args, **kwargs)


@pytest.mark.parametrize("sampler", ("uni_pc", "uni_pc_bh2"))
def test_attention_control_refuses_a_sampler_that_keeps_its_latents_to_itself(unet, sampler):
    with pytest.raises(ValueError, match="^Apply Subjects: attention control moves .* but uni_pc keeps its own to itself"):
        Steered(unet)(sampler=sampler)
    assert torch.isfinite(Steered(unet, steps=0)(sampler=sampler)).all()


def test_attention_control_refuses_a_mask_where_it_does_not_see_the_samplers_latents(unet, monkeypatch):
    steered, mask = Steered(unet), torch.ones(1, 8, 8)
    plain = steered()
    monkeypatch.setattr(comfy.samplers.KSampler, "sample", with_sampler(Alone()))
    assert torch.equal(steered(), plain)
    with pytest.raises(ValueError, match="^Apply Subjects: attention control .* noise mask"):
        steered(mask)
    assert torch.isfinite(Steered(unet, steps=0)(mask)).all()


def with_sampler(sampler):
    """A `KSampler.sample` of the host with another sampler."""

    def sample(self, noise, positive, negative, cfg, latent_image=None, denoise_mask=None, disable_pbar=False, seed=None, **_):
        return comfy.samplers.sample(
            self.model, noise, positive, negative, cfg, self.device, sampler, self.sigmas, self.model_options,
            latent_image, denoise_mask, None, disable_pbar, seed,
        )  # fmt: skip

    return sample
