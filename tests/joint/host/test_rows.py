"""Which rows the UNet computes: in a reference-free term those of references are left out, unless something looks at them."""

import comfy.model_patcher
import pytest
import torch
from comfy.patcher_extension import PatcherInjection, WrappersMP
from comfy_extras.nodes_freelunch import FreeU
from comfy_extras.nodes_pag import PerturbedAttentionGuidance
from same_subject.nodes.joint import settings
from same_subject.tests.tiny import models
from same_subject.tests.tiny.sets import apply, case, gap, sample

ROUNDING = 1e-4
"""Of gaps: 9e-6 was seen."""
VISIBLE = 0.01
"""A difference that a mistake would make, at least."""
ORDER = "noisy, reference, mask"
LONG = " ".join(["word"] * 80)


@pytest.fixture(scope="module")
def unets():
    return {
        (kind, channels): models.model(kind, channels) for kind, channels in (("sd15", 4), ("sd15", 9), ("sd2", 4), ("sdxl", 4))
    }


@pytest.fixture(scope="module")
def unet(unets):
    return unets["sd15", 4]


def counted(model, one, **run):
    """What is sampled, and the rows of every call of the UNet."""
    counts = []
    network = model.model.diffusion_model
    hook = network.register_forward_pre_hook(lambda module, given, named: counts.append(len(given[0])), with_kwargs=True)
    try:
        return sample(model, one, **run), counts
    finally:
        hook.remove()


def looked_at(model):
    """A clone with a wrapper that does nothing, so that every row is computed."""
    model = model.clone()
    model.add_wrapper_with_key(WrappersMP.DIFFUSION_MODEL, "test", lambda executor, *given, **named: executor(*given, **named))
    return model


ROWS = {"joint": (2, 5), "text first": (2, 2, 5), "image first": (2, 5, 5), "text only": (5, 5)}
"""Of each term, with 2 generated pictures and 3 references."""


@pytest.mark.parametrize("mode", ROWS)
@pytest.mark.parametrize("kind, channels", (("sd15", 4), ("sd15", 9), ("sd2", 4), ("sdxl", 4)))
def test_a_reference_free_term_is_computed_without_references(unets, kind, channels, mode):
    one = case(kind, sets=2, references=3, captions=["caption", LONG, "another"])
    model = apply(unets[kind, channels], one.joint_set, mode, channel_order=ORDER if channels == 9 else None)
    ours, rows = counted(model, one)
    every, whole = counted(looked_at(model), one)
    assert rows == [2 * sum(ROWS[mode])] * 2
    assert whole == [2 * 5 * len(ROWS[mode])] * 2
    assert gap(ours, every) < ROUNDING
    assert gap(ours, sample(model, one, cfg=3.0)) > VISIBLE


@pytest.mark.parametrize("mode", ROWS)
def test_terms_in_calls_of_their_own_leave_the_same_rows_out(unet, monkeypatch, mode):
    one = case(sets=2, references=3)
    model = apply(unet, one.joint_set, mode)
    together = sample(model, one)
    monkeypatch.setattr(comfy.model_patcher.ModelPatcher, "get_free_memory", lambda self, device: 0)
    apart, rows = counted(model, one)
    assert sorted(rows) == sorted([2 * count for count in ROWS[mode]] * 2)
    assert gap(together, apart) < ROUNDING


def test_where_nothing_is_coupled_no_term_has_references(unet):
    one = case(references=3)
    model = apply(unet, one.joint_set, coupling_end=0.5)
    ours, rows = counted(model, one, steps=4)
    assert rows == [2 + 5, 2 + 5, 2 + 2, 2 + 2]
    assert gap(ours, sample(looked_at(model), one, steps=4)) < ROUNDING


def test_texts_of_any_length_stay_with_their_rows(unet):
    """Padded texts: 77 tokens, 385 and 231 have no short common multiple."""
    one = case(references=2, prompts=[" ".join(["long"] * 350), "short"], captions=[LONG * 2, "caption"])
    model = apply(unet, one.joint_set, "text first")
    ours, rows = counted(model, one, cfg=3.5)
    assert rows[0] == 2 + 2 + 4 or sum(rows) == 2 * (2 + 2 + 4)
    assert gap(ours, sample(looked_at(model), one, cfg=3.5)) < ROUNDING


def wrapped(model):
    model.set_model_unet_function_wrapper(lambda apply_model, args: apply_model(args["input"], args["timestep"], **args["c"]))


def injected(model):
    model.set_injections("test", [PatcherInjection(inject=lambda patcher: None, eject=lambda patcher: None)])


OTHERS = {
    "a patch": lambda model: model.set_model_attn2_patch(lambda q, k, v, extra_options: (q, k, v)),
    "another attention": lambda model: model.set_model_attn1_replace(
        lambda q, k, v, options: torch.nn.functional.scaled_dot_product_attention(q, k, v), "middle", 0
    ),
    "a wrapper of the UNet": lambda model: model.add_wrapper_with_key(
        WrappersMP.DIFFUSION_MODEL, "test", lambda executor, *given, **named: executor(*given, **named)
    ),
    "a wrapper of its calls": lambda model: model.add_wrapper_with_key(
        WrappersMP.APPLY_MODEL, "test", lambda executor, *given, **named: executor(*given, **named)
    ),
    "a function in place of its calls": wrapped,
    "another kernel": lambda model: model.model_options["transformer_options"].update(
        optimized_attention_override=lambda function, *given, **named: function(*given, **named)
    ),
    "an injection": injected,
    "another module": lambda model: model.add_object_patch("diffusion_model.out.1", model.model.diffusion_model.out[1]),
}


@pytest.mark.parametrize("name", OTHERS)
def test_beside_other_nodes_every_row_is_computed(unet, name):
    one = case(references=3)
    model = apply(unet, one.joint_set)
    assert counted(model, one)[1] == [7, 7]
    OTHERS[name](model := model.clone())
    assert counted(model, one)[1] == [10, 10]


def test_free_u_and_perturbed_attention_see_whole_sets_where_they_act(unet):
    one = case(references=3)
    model = apply(unet, one.joint_set)
    free = FreeU.execute(model, 1.1, 1.2, 0.9, 0.2).result[0]
    assert counted(free, one)[1] == [10, 10]
    perturbed = PerturbedAttentionGuidance.execute(model, 2.0).result[0]
    assert counted(perturbed, one)[1] == [7, 5] * 2
    assert gap(sample(perturbed, one), sample(looked_at(perturbed), one)) < ROUNDING


def test_conditioning_of_an_area_is_computed_whole(unet):
    one = case(references=3)
    area = [[states, {**values, "area": (4, 8, 0, 0)}] for states, values in one.negative]
    model = apply(unet, one.joint_set)
    assert counted(model, one)[1] == [7, 7]
    cropped = type(one)(one.joint_set, one.positive, one.negative + area)
    assert sorted(counted(model, cropped)[1]) == [7, 7, 10, 10]  # the host gives the positive that area, too


@pytest.mark.parametrize("sampler", ("euler_ancestral", "dpmpp_2m", "euler_cfg_pp", "dpm_adaptive"))
def test_samplers_see_clean_references_in_a_reference_free_term(unet, sampler):
    one = case(references=3)
    model = apply(unet, one.joint_set, reference_attention=settings.ITSELF_ONLY)
    ours, every = (sample(each, one, sampler=sampler) for each in (model, looked_at(model)))
    assert gap(ours[one.layout.generated_rows], every[one.layout.generated_rows]) < ROUNDING
    assert torch.equal(ours[one.layout.reference_rows], one.joint_set.references)
