"""Subjects beside other nodes on the same model: each either works, or is refused with the reason."""

import comfy.controlnet
import comfy.sample
import pytest
import torch
from same_subject.nodes.identity.adapter import KeysValues
from same_subject.nodes.identity.host.sampling import IdentitySampling, cross_attention_layers
from same_subject.nodes.identity.placement import Placement, Projection
from same_subject.nodes.scene.branch import Branch
from same_subject.nodes.subject import settings
from same_subject.nodes.subject.host import applying, prompting
from same_subject.tests.tiny import models, scenes, sets, subject_adapters
from same_subject.tests.tiny.sets import Calls, gap

LEFT = (0.0, 0.25, 0.5, 0.75)
ROUNDING = 1e-4
VISIBLE = 0.01
PLAIN = settings.Settings()


@pytest.fixture(scope="module")
def unet():
    return models.model("sd15")


@pytest.fixture(scope="module")
def one(unet):
    return subject_adapters.subjects(subject_adapters.subject_adapter(unet), LEFT)


def with_subjects(one, said="a dog is sks", **beside):
    return [[states, {**others, **beside, prompting.SUBJECTS: one}] for states, others in scenes.text(said)]


def sample(model, one, **more):
    return scenes.sample(model, positive=with_subjects(one), **more)


class Control(comfy.controlnet.ControlBase):
    """A ControlNet that adds a constant to the middle block."""

    def get_control(self, x_noisy, t, cond, batched_number, transformer_options):
        return {"input": [], "middle": [torch.full((len(x_noisy), 64, 4, 4), 3.0)], "output": []}

    def get_models(self):
        return []

    def copy(self):
        return self


def test_a_controlnet_acts_on_every_term(unet, one):
    control = Control()
    said = with_subjects(one, control=control, control_apply_to_uncond=False)
    negative = [
        [states, {**others, "control": control, "control_apply_to_uncond": False}] for states, others in scenes.text("not")
    ]
    calls = Calls(applying.apply(unet, one, PLAIN))
    result = scenes.sample(calls.model, positive=said, negative=negative)
    (middle,) = calls.controls[0]["middle"]
    assert len(middle) == 3 and bool((middle == 3).all())
    plain = scenes.sample(applying.apply(unet, one, PLAIN), positive=with_subjects(one), negative=scenes.text("not"))
    assert gap(result, plain) > VISIBLE


def test_identities_are_added_before_and_after_alike(unet, one):
    generator = torch.Generator().manual_seed(2)
    layers = cross_attention_layers(unet)

    def faces() -> KeysValues:
        keys, values = (tuple(torch.randn(4, layer.channels, generator=generator) for layer in layers) for _ in range(2))
        return KeysValues(keys, values)

    identity = IdentitySampling((Placement(Projection(torch.zeros(1), torch.zeros(1), faces(), faces()), 0.8),))
    before = applying.apply(identity.install(unet), one, PLAIN)
    after = identity.install(applying.apply(unet, one, PLAIN))
    first, second, alone = (sample(model, one) for model in (before, after, applying.apply(unet, one, PLAIN)))
    assert gap(first, second) < ROUNDING and gap(first, alone) > VISIBLE


def test_jedi_and_subjects_refuse_each_other(unet, one):
    case = sets.case()
    with pytest.raises(ValueError, match="Apply Subjects: the model went through JeDi"):
        applying.apply(sets.apply(unet, case.joint_set), one, PLAIN)
    with pytest.raises(ValueError, match="JeDi: the model went through Apply Subjects"):
        sets.apply(applying.apply(unet, one, PLAIN), case.joint_set)


def test_a_branch_of_a_scene_may_paint_subjects(unet, one):
    """Inside a mask of the whole picture it is the run with subjects alone."""
    everywhere = torch.ones(1, scenes.SIZE, scenes.SIZE)
    chain = (Branch(with_subjects(one), scenes.text("not the scene"), applying.apply(unet, one, PLAIN), everywhere),)
    painted = scenes.sample(scenes.install(unet, chain))
    alone = sample(applying.apply(unet, one, PLAIN), one)
    assert gap(painted, alone) < ROUNDING and gap(painted, scenes.sample(unet)) > VISIBLE


def test_a_scene_on_a_model_with_subjects_needs_their_text(unet, one):
    chain = scenes.branches(1)
    with pytest.raises(ValueError, match="no subjects in its text"):
        scenes.sample(scenes.install(applying.apply(unet, one, PLAIN), chain), positive=with_subjects(one))


def test_patches_of_other_nodes_on_the_same_model_work_before_and_after(unet, one):
    """FreeU and self-attention patches are on other places of the UNet."""
    from comfy_extras.nodes_freelunch import FreeU

    def freed(model):
        return FreeU.execute(model, 1.1, 1.2, 0.9, 0.2).result[0]

    before, after = applying.apply(freed(unet), one, PLAIN), freed(applying.apply(unet, one, PLAIN))
    first, second, alone = (sample(model, one) for model in (before, after, applying.apply(unet, one, PLAIN)))
    assert torch.equal(first, second) and gap(first, alone) > 1e-4


def test_area_conditioning_is_refused_and_masks_work(unet, one):
    model = applying.apply(unet, one, PLAIN)
    area = with_subjects(one, area=(4, 4, 0, 0), strength=1.0)
    with pytest.raises(ValueError, match="by area conditioning or tiles"):
        scenes.sample(model, positive=area)
    mask = torch.zeros(1, scenes.SIZE, scenes.SIZE)
    mask[..., :4] = 1
    masked = with_subjects(one, mask=mask, mask_strength=1.0)
    assert gap(scenes.sample(model, positive=masked), sample(model, one)) > 1e-4


def test_guiders_that_combine_terms_themselves_are_refused(unet, one):
    from comfy_extras.nodes_custom_sampler import Guider_DualCFG

    guider = Guider_DualCFG(applying.apply(unet, one, PLAIN))
    guider.set_conds(with_subjects(one), scenes.text("two"), scenes.text("three"))
    guider.set_cfg(2.0, 1.0)
    with pytest.raises(ValueError, match="Guider_DualCFG"):
        sets.guide(guider, sets.case())
