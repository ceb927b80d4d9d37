"""Kept keys and values of references: the same pictures, and never of something else."""

import gc
from contextlib import contextmanager, nullcontext
from dataclasses import replace

import comfy.hooks
import comfy.ldm.modules.attention
import comfy.model_management
import comfy.model_patcher
import comfy.model_sampling
import pytest
import torch
from same_subject.nodes.joint import settings
from same_subject.nodes.joint.host import bank
from same_subject.nodes.joint.host.sampling import JointSampling
from same_subject.tests.joint.host.test_checks import OutOfMemory, failing
from same_subject.tests.joint.host.test_rows import LONG, ORDER, OTHERS, counted
from same_subject.tests.tiny import models, sets
from same_subject.tests.tiny.sets import case, gap, made, sample

ROUNDING = 1e-4
"""Of gaps: 9e-6 was seen."""
VISIBLE = 0.01
"""A difference that a mistake would make, at least."""
ALONE = {"reference_attention": settings.ITSELF_ONLY}


@pytest.fixture(scope="module")
def unets():
    return {
        (kind, channels): models.model(kind, channels) for kind, channels in (("sd15", 4), ("sd15", 9), ("sd2", 4), ("sdxl", 4))
    }


@pytest.fixture
def unet():
    return models.model()


def applied(model, one, mode="joint", budget=64, order=None, **options):
    chosen = settings.Options(**{**ALONE, **options}, bank=budget)
    return JointSampling(one.joint_set, settings.Settings(mode, 3.0, options=chosen), order).install(model)


def masked(one):
    """The left third of each reference is its subject."""
    masks = torch.zeros(one.layout.references, sets.SIZE, sets.SIZE)
    masks[:, :, : sets.SIZE // 3] = 1
    return replace(one, joint_set=replace(one.joint_set, masks=tuple(masks)))


def painted(model, one, **run):
    return made(sample(model, one, **run), one)


ROWS = {"joint": (2, 2), "text first": (2, 2, 2), "image first": (2, 2, 2), "text only": (2, 2)}
"""Of each term, with 2 generated pictures."""
SEEN = {"joint": 1, "text first": 1, "image first": 2, "text only": 2}
"""Terms that see references."""
FORMS = {
    "plain": {},
    "references only": {"reference_attention": settings.REFERENCES_ONLY},
    "masked": {"subject_masks": settings.GIVEN},
    "the form without training": {
        "subject_masks": settings.GIVEN, "reference_strength": 2.5, "reference_noise": 0.6, "color_match": 0.8,
    },
    "a part of the schedule and the layers": {"coupling_start": 0.2, "coupling_end": 0.8, "levels": frozenset(("half",))},
    "little style fidelity": {"style_fidelity": 0.5, "subject_masks": settings.GIVEN},
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind, channels", (("sd15", 4), ("sd15", 9), ("sd2", 4), ("sdxl", 4)))
def test_pictures_equal_those_without_a_bank(unets, kind, channels, form):
    one, network = masked(case(kind, sets=2, references=3, captions=["caption", LONG, "another"])), unets[kind, channels]
    order = ORDER if channels == 9 else None
    model, plain = (applied(network, one, "image first", budget, order, **FORMS[form]) for budget in (64, 0))
    expected, cold, warm = (painted(each, one, steps=4) for each in (plain, model, model))
    apart = painted(applied(network, one, "image first", 0, order, levels=frozenset()), one, steps=4)
    assert torch.equal(cold, warm)
    assert gap(warm, expected) < ROUNDING
    assert gap(apart, expected) > VISIBLE


@pytest.mark.parametrize("mode", ROWS)
def test_references_are_computed_once(unet, mode):
    one = case(sets=2, references=3)
    model = applied(unet, one, mode)
    first, second = (counted(model, one, seed=seed)[1] for seed in (1, 2))
    assert first == [*[2 * 3] * SEEN[mode], 2 * sum(ROWS[mode])] * 2
    assert second == [2 * sum(ROWS[mode])] * 2


@pytest.mark.parametrize("mode", ROWS)
def test_terms_in_calls_of_their_own_use_the_same_pages(unet, monkeypatch, mode):
    one = case(sets=2, references=3)
    model = applied(unet, one, mode)
    together = painted(model, one)
    monkeypatch.setattr(comfy.model_patcher.ModelPatcher, "get_free_memory", lambda self, device: 0)
    apart, rows = counted(model, one)
    assert rows == [4] * 2 * len(ROWS[mode])
    assert gap(made(apart, one), together) < ROUNDING


def test_another_prompt_uses_the_same_pages(unet):
    first, second = (case(references=3, prompts=[text, text + " again"]) for text in ("a hill", "a lake"))
    painted(applied(unet, first), first)
    ours, rows = counted(applied(unet, second), second)
    assert rows == [4, 4]
    assert gap(made(ours, second), painted(applied(models.model(), second), second)) < ROUNDING
    assert gap(made(ours, second), painted(applied(unet, first), first)) > VISIBLE


@pytest.mark.parametrize("sampler", ("euler_ancestral", "dpmpp_2m_sde", "heun", "dpm_adaptive"))
def test_samplers_that_go_elsewhere_get_their_own_noise_levels(unet, sampler):
    one = case(references=3)
    model, plain = applied(unet, one), applied(unet, one, budget=0)
    painted(model, one)
    ours, again, expected = (painted(each, one, sampler=sampler, steps=3) for each in (model, model, plain))
    assert torch.equal(ours, again)
    assert gap(ours, expected) < ROUNDING


@pytest.mark.parametrize("name", ("stock", "stock-3-references"))
def test_a_bank_is_no_part_of_what_a_trained_model_paints(name):
    """As a share of what the references change; 4e-6 was seen. In the form without training, whose colours follow a threshold."""
    from same_subject.research import measure
    from same_subject.research.evaluate import SETTINGS

    demo, setting = measure.Sampler("single", 4), SETTINGS[name]
    with torch.inference_mode():
        subject = [measure.held_out(1000)]
        plain, none = (demo.pictures(subject, replace(setting, strength=strength), 1) for strength in (1.0, 0.0))
        ours = demo.pictures(subject, replace(setting, bank=256), 1)
    assert (ours - plain).norm() < 4e-5 * (plain - none).norm()
    assert (plain - none).norm() > 0.1 * plain.norm() and bank.size(demo.model.model)


# -- never of something else ----------------------------------------------------------------------


def other_latents(one):
    latents = one.joint_set.references.clone()
    latents[1, 0, 0, 0] += 1e-3
    return with_set(one, references=latents)


def other_noise(one):
    noise = one.joint_set.noise.clone()
    noise[0, 1, 0, 0, 0] += 1e-3
    return with_set(one, noise=noise)


def with_set(one, **changes):
    return replace(one, joint_set=replace(one.joint_set, **changes))


def other_mask(one):
    masks = list(one.joint_set.masks)
    masks[1] = masks[1].roll(1, -1)
    return with_set(one, masks=tuple(masks))


def other_row(one, row, name="positive"):
    """A caption, or the null text of a reference, that says something else."""
    ((states, values),) = getattr(one, name)
    states = states.clone().expand(one.layout.rows, -1, -1).clone()
    states[row, 0, 0] += 1e-2
    return replace(one, **{name: [[states, values]]})


def other_size(one):
    ((states, values),) = one.positive
    return replace(one, positive=[[states, {**values, "width": 640}]])


CASES = {
    "a reference": other_latents,
    "the references' noise": other_noise,
    "a caption": lambda one: other_row(one, 3),
    "the null text": lambda one: other_row(one, 3, "negative"),
    "a mask": other_mask,
    "a reference that is left out": lambda one: with_set(one, strengths=(1.0, 0.0)),
    "the place where a reference acts": lambda one: with_set(one, where=torch.stack((torch.ones(2, 8, 8), torch.zeros(2, 8, 8)))),
}
OPTIONS = {
    "what references see": {"reference_attention": settings.REFERENCES_ONLY},
    "the references' noise level": {"reference_noise": 0.5},
    "whether masks act": {"subject_masks": settings.OFF},
    "the levels": {"levels": frozenset(("full",))},
}
RUNS = {"the schedule": {"scheduler": "karras"}, "the steps": {"steps": 3}, "the denoising": {"denoise": 0.6}}


def check_made_again(model, one, changed_model, changed):
    """After the first was painted, the changed is painted as if nothing were kept: a call of references alone comes first."""
    start = {"steps": 2}
    painted(model, one, **start)
    before = bank.size(model.model)
    assert before > 0
    ours, rows = counted(changed_model, changed, **start)
    bank.begin(changed_model.model, 0)
    fresh = sample(changed_model, changed, **start)
    assert rows[0] < rows[-1]
    assert torch.equal(ours, fresh)
    assert gap(ours, sample(model, one, **start)) > 1e-6


@pytest.mark.parametrize("what", CASES)
def test_another_set_is_never_painted_with_kept_pages(unet, what):
    one = masked(case())
    model, changed = (applied(unet, each, "image first", subject_masks=settings.GIVEN) for each in (one, CASES[what](one)))
    check_made_again(model, one, changed, CASES[what](one))


@pytest.mark.parametrize("what", OPTIONS)
def test_other_options_are_never_painted_with_kept_pages(unet, what):
    one = masked(case())
    model = applied(unet, one, subject_masks=settings.GIVEN)
    changed = applied(unet, one, **{"subject_masks": settings.GIVEN, **OPTIONS[what]})
    check_made_again(model, one, changed, one)


@pytest.mark.parametrize("what", RUNS)
def test_another_schedule_is_never_painted_with_kept_pages(unet, what):
    one = case()
    model = applied(unet, one)
    painted(model, one, steps=2)
    ours = painted(model, one, **{"steps": 2, **RUNS[what]})
    bank.begin(model.model, 0)
    assert torch.equal(ours, painted(model, one, **{"steps": 2, **RUNS[what]}))


def test_another_size_is_never_painted_with_kept_pages(unet):
    small, large = (case(latents=sets.pictures(2, size=size)) for size in (8, 16))
    models = [applied(unet, one) for one in (small, large)]
    painted(models[0], small)
    ours, rows = counted(models[1], large)
    assert rows == [2, 4] * 2
    bank.begin(unet.model, 0)
    assert torch.equal(ours, sample(models[1], large))


def test_other_sizes_in_the_text_of_sdxl_are_never_painted_with_kept_pages():
    one, unet = case("sdxl"), models.model("sdxl")
    check_made_again(applied(unet, one), one, applied(unet, one), other_size(one))


def test_other_channels_are_never_painted_with_kept_pages():
    """The order of the channels changes nothing but what the UNet gets beside its latents."""
    one, unet = case(), models.model("sd15", 9)
    first, second = (applied(unet, one, order=order) for order in settings.CHANNEL_ORDERS)
    check_made_again(first, one, second, one)


def lora(model):
    key = "diffusion_model.input_blocks.1.1.transformer_blocks.0.attn1.to_v.weight"
    model = model.clone()
    model.add_patches({key: ("diff", (torch.full((32, 32), 0.05),))}, 1.0)
    return model


def zero_terminal(model):
    from comfy_extras.nodes_model_advanced import ModelSamplingDiscrete

    return ModelSamplingDiscrete().patch(model, "v_prediction", True)[0]


def with_hooks(one):
    """Conditioning that patches weights for itself alone."""
    key = "diffusion_model.input_blocks.1.1.transformer_blocks.0.attn1.to_v.weight"
    hook = comfy.hooks.WeightHook()
    hook.weights, hook.need_weight_init = {key: ("diff", (torch.full((32, 32), 0.05),))}, False
    group = comfy.hooks.HookGroup()
    group.add(hook)
    return group


@pytest.mark.parametrize("change", (lora, zero_terminal))
def test_a_model_with_other_patches_is_never_painted_with_kept_pages(unet, change):
    one = case()
    check_made_again(applied(unet, one), one, change(applied(unet, one)), one)


def in_place(network):
    with torch.no_grad():
        network.input_blocks[1][1].transformer_blocks[0].attn1.to_v.weight *= 1.01


def seamless(network):
    """As packs for seamless tiling do it."""
    layer = network.input_blocks[1][0].in_layers[2]
    layer._conv_forward = lambda x, weight, bias: torch.nn.functional.conv2d(x.roll(1, -1), weight, bias, padding=1)


@pytest.mark.parametrize("change", (in_place, seamless))
def test_a_model_changed_in_place_is_never_painted_with_kept_pages(unet, change):
    one = case()
    model = applied(unet, one)
    before = painted(model, one)
    change(unet.model.diffusion_model)
    ours, rows = counted(model, one)
    assert rows == [2, 4] * 2
    bank.begin(unet.model, 0)
    assert torch.equal(made(ours, one), painted(model, one)) and gap(made(ours, one), before) > 1e-6


def test_another_kernel_is_never_painted_with_kept_pages(unet, monkeypatch):
    one = case()
    model = applied(unet, one)
    painted(model, one)
    assert counted(model, one)[1] == [4, 4]
    monkeypatch.setattr(comfy.ldm.modules.attention, "optimized_attention", comfy.ldm.modules.attention.attention_basic)
    assert counted(model, one)[1] == [2, 4] * 2


@pytest.mark.parametrize("name", OTHERS)
def test_beside_other_nodes_references_are_computed_as_without_a_bank(unet, name):
    one = case(references=3)
    model, plain = applied(unet, one), applied(unet, one, budget=0)
    painted(model, one)
    for each in (model, plain):
        OTHERS[name](each)
    ours, rows = counted(model, one)
    assert rows == [10, 10]
    assert torch.equal(ours, sample(plain, one))


def test_references_that_see_generated_pictures_are_not_kept(unet):
    one = case(references=3)
    model = applied(unet, one, reference_attention=settings.ALL_PICTURES)
    assert counted(model, one)[1] == [7, 7] and bank.size(unet.model) == 0


def test_weights_that_conditioning_changes_are_not_kept(unet):
    one = case(references=3)
    model = applied(unet, one)
    hooked = [[states, {**values, "hooks": with_hooks(one)}] for states, values in one.positive]
    rows = counted(model, replace(one, positive=hooked))[1]
    assert sorted(rows) == [2, 2, 5, 5] and bank.size(unet.model) == 0


# -- memory ---------------------------------------------------------------------------------------


def test_only_shown_tokens_are_kept(unet):
    one = case()
    painted(applied(unet, one), one)
    every = bank.size(unet.model)
    bank.begin(unet.model, 0)
    assert bank.size(unet.model) == 0
    left = torch.zeros(sets.SIZE, sets.SIZE)
    left[:, : sets.SIZE // 2] = 1
    half = with_set(one, masks=(left, left))
    painted(applied(unet, half, subject_masks=settings.GIVEN), half)
    layers = 2 * 2 * (64 * 32 * 3 + 16 * 64 * 4)
    assert every == 4 * layers * 2
    assert bank.size(unet.model) == every // 2


def test_what_does_not_fit_is_computed_again_and_an_earlier_subject_makes_room(unet, monkeypatch):
    from same_subject.nodes.joint.host import sampling

    monkeypatch.setattr(sampling, "MEBIBYTE", 1)
    one, other = case(), case(seed=5)
    whole = applied(unet, one, budget=10**9)
    expected = painted(whole, one, steps=4)
    page = bank.size(unet.model) // 4
    bank.begin(unet.model, 0)

    tight = applied(unet, one, budget=3 * page + 1)
    assert counted(tight, one, steps=4)[1] == [2, 4] * 4
    assert bank.size(unet.model) == 3 * page
    again, rows = counted(tight, one, steps=4)
    assert rows == [4, 4, 4, 2, 4]
    assert torch.equal(made(again, one), expected)

    painted(applied(unet, other, budget=3 * page), other, steps=4)
    assert bank.size(unet.model) == 3 * page
    assert counted(applied(unet, other, budget=3 * page), other, steps=4)[1] == [4, 4, 4, 2, 4]
    painted(applied(unet, other, budget=page), other, steps=4)
    assert bank.size(unet.model) == page
    painted(applied(unet, other, budget=0), other, steps=4)
    assert bank.size(unet.model) == 0


def test_references_at_two_noise_levels_take_two_pages(unet):
    one = case(references=3)
    model = applied(unet, one, reference_levels=2)
    noisy = []
    hook = unet.model.diffusion_model.register_forward_pre_hook(
        lambda module, given, named: noisy.append(given[1].clone()), with_kwargs=True
    )
    ours = sample(model, one, steps=8)
    hook.remove()
    alone = torch.stack([t for t in noisy if len(t) == 3])
    sampling = unet.model.model_sampling
    assert torch.equal(alone, sampling.timestep(torch.tensor([4.0, 0.5])).float()[:, None].expand(2, 3))
    plain = applied(unet, one, budget=0, reference_levels=2)
    assert gap(made(ours, one), painted(plain, one, steps=8)) < ROUNDING
    assert gap(made(ours, one), painted(applied(unet, one), one, steps=8)) > VISIBLE


def test_pages_go_with_their_model(unet):
    gc.collect()
    before = len(bank._kept)
    one, other = case(), models.model()
    painted(applied(other, one), one)
    assert len(bank._kept) == before + 1
    del other
    gc.collect()
    assert len(bank._kept) == before


class OnGpu:
    """A tensor as if on a GPU."""

    device = torch.device("cuda", 0)

    def __init__(self, x):
        self.x, self.nbytes = x, x.nbytes

    def to(self, like, non_blocking=False):
        return self.x.to(like)

    def cpu(self):
        return OnHost(self.x)


class OnHost:
    """The same, on its way to memory that a GPU reads fast."""

    def __init__(self, x):
        self.x = x

    def pin_memory(self):
        return self.x


@pytest.fixture
def gpu(monkeypatch):
    """Pages are made as if on a GPU: how many bytes are free there."""
    chosen, free_elsewhere, free = bank._chosen, comfy.model_management.get_free_memory, [10**15]
    monkeypatch.setattr(bank, "_chosen", lambda x, union: OnGpu(chosen(x, union)))
    monkeypatch.setattr(
        comfy.model_management,
        "get_free_memory",
        lambda device=None, *more: free[0] if device is not None and device.type == "cuda" else free_elsewhere(device, *more),
    )
    return free


def on_gpu(model):
    return bank.on_device(model.model, torch.device("cuda"))


@contextmanager
def watched(model, problem=None):
    """How many bytes of pages are on the GPU at each call of the UNet. problem: is raised at the fourth."""
    held = []

    def call(*_):
        held.append(on_gpu(model))
        if problem is not None and len(held) == 4:
            raise problem

    hook = model.model.diffusion_model.register_forward_pre_hook(call)
    try:
        yield held
    finally:
        hook.remove()


def test_a_page_stays_on_the_gpu_only_beside_all_that_its_call_needs(unet, gpu, monkeypatch):
    one, asked, plenty = case(), [], 2**40
    expected = painted(applied(unet, one, "image first"), one)
    page = bank.size(unet.model) // 4
    for beside, stays in ((page + 1, True), (page, False)):
        bank.begin(unet.model, 0)
        gpu[0] = plenty + beside
        with monkeypatch.context() as patch:
            patch.setattr(unet.model, "memory_required", lambda shape, **_: asked.append(shape) or plenty * (shape[0] == 12))
            patch.setattr(comfy.model_patcher.ModelPatcher, "get_free_memory", lambda self, device: 10**15)
            with watched(unet) as held:
                assert torch.equal(painted(applied(unet, one, "image first"), one), expected)
        assert held == ([0, page, 2 * page, 2 * page, 3 * page, 4 * page] if stays else [0] * 6)
    assert [12, 4, sets.SIZE, sets.SIZE] in asked


PROBLEMS = (None, OutOfMemory("CUDA out of memory"), comfy.model_management.InterruptProcessingException(), ValueError("other"))


@pytest.mark.parametrize("problem", PROBLEMS)
def test_no_page_is_on_the_gpu_after_a_run_whatever_became_of_it(unet, gpu, problem):
    one = case()
    plain = painted(applied(models.model(), one), one)
    with watched(unet, problem) as held, nullcontext() if problem is None else pytest.raises(type(problem)):
        assert torch.equal(painted(applied(unet, one), one), plain)
    assert held[-1] > 0 and on_gpu(unet) == 0 and bank.size(unet.model) == held[-1]
    again, rows = counted(applied(unet, one), one)
    assert rows == [4, 4] and torch.equal(made(again, one), plain)


def test_a_page_that_cannot_be_moved_is_not_kept(unet, gpu, monkeypatch):
    def full(self):
        raise RuntimeError("no memory can be pinned")

    monkeypatch.setattr(OnHost, "pin_memory", full)
    one = case()
    painted(applied(unet, one), one)
    assert bank.size(unet.model) == 0


def test_out_of_memory_names_a_bank_that_is_on_the_device(unet):
    one = case()
    model = applied(unet, one)
    painted(model, one)
    for budget, named in ((64, True), (0, False)):
        with pytest.raises(OutOfMemory) as caught:
            sample(failing(applied(unet, one, budget=budget), OutOfMemory("CUDA out of memory")), one)
        assert ("`bank` of JeDi Options held 1 MiB there: set it to 0." in str(caught.value)) == named
