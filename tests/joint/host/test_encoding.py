"""Texts of a joint set: no prompt's length changes what another row's prompt means."""

import math

import comfy.controlnet
import comfy.ldm.modules.attention as host_attention
import pytest
import torch
from same_subject.tests.tiny import models, sets
from same_subject.tests.tiny.sets import apply, case, gap, sample

SHARE = 1e-4
"""Largest error, as a share of what another prompt changes."""


def text(chunks: int, name: str = "a") -> str:
    """A prompt of 77 tokens times ``chunks``, of `models.Text`."""
    return " ".join([name] * (75 * chunks))


def texts(lengths, name: str = "a") -> dict:
    """Keywords of `case`: two prompts and two captions with these numbers of chunks."""
    first, second, third, fourth = (text(chunks, f"{name}{number}") for number, chunks in enumerate(lengths))
    return {"prompts": [first, second], "captions": [third, fourth]}


def repeated(lengths, name: str = "a") -> sets.Case:
    """Such texts on the set of `texts(lengths)`, all repeated up to their true common multiple: exact, whatever its length."""
    one, encoder = case(**texts(lengths)), models.Text()
    length = 77 * math.lcm(*lengths)

    def encoded(rows):
        states = [encoder.encode_from_tokens_scheduled(row)[0][0] for row in rows]
        return torch.cat([row.repeat(1, length // row.shape[1], 1) for row in states])

    every = texts(lengths, name)
    positive = [[encoded([*every["prompts"], *every["captions"]]), {}]]
    return sets.Case(one.joint_set, positive, [[encoded(["null"]), {}]])


@pytest.fixture(scope="module")
def unet():
    """Its cross-attention is made strong, so that what a prompt changes is far above rounding."""
    model = models.model("sd15")
    with torch.no_grad():
        for name, weight in model.model.diffusion_model.named_parameters():
            if "attn2.to_out" in name:
                weight.mul_(16)
    return model


@pytest.mark.parametrize("mode", ("joint", "text first"))
@pytest.mark.parametrize("lengths", ((3, 5, 1, 1), (15, 1, 1, 1), (13, 2, 1, 3), (7, 11, 1, 1)))
def test_a_row_of_any_length_paints_what_it_paints_under_repetition(unet, lengths, mode):
    one = case(**texts(lengths))
    result = sample(apply(unet, one.joint_set, mode), one)
    expected = sample(apply(unet, one.joint_set, mode), repeated(lengths))
    effect = gap(sample(apply(unet, one.joint_set, mode), repeated(lengths, "b")), expected)
    assert effect > 0.3
    assert gap(result, expected) < SHARE * effect, (gap(result, expected), effect)


def test_an_adapter_on_cross_attention_finds_whole_sets_and_its_tokens_stay(unet):
    """In every place before JeDi and after it; what it makes of each row is as under exact repetition."""
    one = case(**texts((3, 5, 1, 1)))

    def adapter(q, k, v, options):
        assert len(q) == len(k) == one.layout.rows * len(options["cond_or_uncond"])
        out = host_attention.optimized_attention(q, k, v, options["n_heads"])
        return out + torch.arange(len(q))[:, None, None] * out.roll(1, -1)

    def adapted(model, *place):
        model = model.clone()
        model.set_model_attn2_replace(adapter, *place)
        return model

    for place in (("middle", 0), ("middle", 0, 0)):
        expected = sample(adapted(apply(unet, one.joint_set), *place), repeated((3, 5, 1, 1)), steps=1)
        other = sample(adapted(apply(unet, one.joint_set), *place), repeated((3, 5, 1, 1), "b"), steps=1)
        effect = min(gap(expected, other), gap(expected, sample(apply(unet, one.joint_set), one, steps=1)))
        assert effect > 0.1
        for model in (apply(adapted(unet, *place), one.joint_set), adapted(apply(unet, one.joint_set), *place)):
            assert gap(sample(model, one, steps=1), expected) < SHARE * effect


def test_a_set_whose_texts_another_node_lengthened_is_refused_only_if_they_are_padded(unet):
    for lengths, fine in (((3, 5, 1, 1), False), ((2, 3, 1, 1), True)):
        one = case(**texts(lengths))
        longer = [[torch.cat((states, states[:, :77]), dim=1), values] for states, values in one.positive]
        changed = sets.Case(one.joint_set, longer, one.negative)
        if fine:
            assert sample(apply(unet, one.joint_set), changed).isfinite().all()
        else:
            with pytest.raises(ValueError, match="462 tokens, but Joint Set gave it 385.* texts of 231, 385 tokens"):
                sample(apply(unet, one.joint_set), changed)


class Reading(comfy.controlnet.ControlBase):
    """A ControlNet that keeps the texts that it is given and does nothing."""

    def __init__(self):
        super().__init__()
        self.read = []

    def get_control(self, x_noisy, t, cond, batched_number, transformer_options):
        self.read.append(cond.get("crossattn_controlnet", cond["c_crossattn"]))
        return {"input": [], "middle": [], "output": []}

    def get_models(self):
        return []

    def copy(self):
        return self


def controlled(one, control) -> sets.Case:
    def given(conditioning):
        return [[states, {**values, "control": control, "control_apply_to_uncond": False}] for states, values in conditioning]

    return sets.Case(one.joint_set, given(one.positive), given(one.negative))


def test_a_controlnet_reads_texts_without_padding(unet):
    one, control = case(**texts((3, 5, 1, 1))), Reading()
    calls = sets.Calls(apply(unet, one.joint_set))
    sample(calls.model, controlled(one, control), steps=1)
    assert len(calls) == 1
    (read,) = control.read
    encoder = models.Text()
    every = texts((3, 5, 1, 1))
    for row, prompt in enumerate([*["null"] * 4, *every["prompts"], *every["captions"]]):
        states = encoder.encode_from_tokens_scheduled(prompt)[0][0]
        assert torch.equal(read[row], states.repeat(1, read.shape[1] // states.shape[1], 1)[0])


def test_a_controlnet_with_texts_that_meet_nowhere_is_refused(unet):
    one = case(**texts((13, 15, 1, 1)))
    with pytest.raises(ValueError, match="ControlNet would read texts of 1001, 1155 tokens.*Shorten the longest prompts"):
        sample(apply(unet, one.joint_set), controlled(one, Reading()))
    assert sample(apply(unet, one.joint_set), one).isfinite().all()
