"""What a concept of a scene can be, and what the sampler of a scene can be: next to a plain run of each branch."""

import importlib
import itertools
from itertools import pairwise

import comfy.controlnet
import comfy.sampler_helpers
import comfy.samplers
import pytest
import torch
from comfy_extras.nodes_custom_sampler import Guider_Basic, Guider_DualCFG, Noise_RandomNoise, SamplerCustomAdvanced
from same_subject.nodes.concepts import places as scene
from same_subject.nodes.identity import adapter as adapters
from same_subject.nodes.identity.host import face_control
from same_subject.nodes.identity.host import files as identity_files
from same_subject.nodes.identity.host.sampling import IdentitySampling, cross_attention_layers
from same_subject.nodes.identity.nodes import ApplyIdentity
from same_subject.nodes.identity.placement import Placement
from same_subject.nodes.scene.branch import Branch
from same_subject.nodes.scene.host.runs import Scene
from same_subject.nodes.scene.nodes import ConceptBranch, ConceptScene
from same_subject.tests.tiny import identities, models, scenes, sets
from same_subject.tests.tiny.scenes import branches, install, sample, text
from same_subject.tests.tiny.sets import gap

ROUNDING = 1e-4
VISIBLE = 100 * ROUNDING


@pytest.fixture(scope="module")
def unet():
    return models.model("sd15")


def with_model(branch, model, joint_set=None):
    return Branch(branch.positive, branch.negative, model, branch.mask, joint_set)


def loaded_adapter(unet):
    """An adapter of this UNet's own layers."""
    import comfy.model_patcher

    channels = [layer.channels for layer in cross_attention_layers(unet)]
    built = adapters.build(identities.adapter_state(2, identities.WIDTH, channels), "tiny.bin")
    patcher = comfy.model_patcher.ModelPatcher(built, load_device=torch.device("cpu"), offload_device=torch.device("cpu"))
    return identity_files.LoadedAdapter(patcher, "tiny.bin")


def placements(unet, count):
    """Identities on this UNet."""
    loaded = loaded_adapter(unet)
    return [Placement(identity_files.project(loaded, identities.identity(seed)), 0.8) for seed in range(count)]


@pytest.mark.parametrize("continue_from", ("blend", "own"))
def test_identities_of_one_model_go_to_their_concepts_in_one_call_each_step(unet, continue_from):
    people, chain = placements(unet, 2), branches(2)
    separate = tuple(
        with_model(one, IdentitySampling((person,)).install(unet)) for one, person in zip(chain, people, strict=True)
    )
    expected = sample(install(unet, separate, continue_from))
    calls = sets.Calls(install(IdentitySampling(tuple(people)).install(unet), chain, continue_from))
    assert gap(sample(calls.model), expected) < ROUNDING
    assert [len(x) for x in calls.inputs] == [6] * scenes.STEPS
    assert gap(sample(install(unet, chain, continue_from)), expected) > VISIBLE
    with pytest.raises(ValueError, match="has 1 identities, but 2 Concept Branch nodes.*one Apply Identity for each"):
        sample(install(IdentitySampling((people[0],)).install(unet), chain))


def test_an_identity_of_a_branch_has_the_window_and_the_mask_of_apply_identity(unet):
    adapter, chain = loaded_adapter(unet), branches(2)
    top = torch.zeros(1, 8, 8)
    top[:, :4] = 1
    how = {"start_percent": 0.0, "end_percent": 0.5}

    def in_branches(**more):
        made = ()
        for number, one in enumerate(chain):
            person = {"adapter": adapter, "identity": identities.identity(number), "weight": 0.8}
            made = ConceptBranch.execute(one.positive, one.negative, one.mask, previous=made, **person, **more).result[0]
        return sample(install(unet, made))

    model = unet
    for number in range(2):
        model = ApplyIdentity.execute(model, adapter, identities.identity(number), 0.8, *how.values(), top).result[0]
    assert torch.equal(in_branches(**how, identity_mask=top), sample(install(model, chain)))
    pictures = [in_branches(), in_branches(**how), in_branches(identity_mask=top), in_branches(**how, identity_mask=top)]
    assert not any(torch.equal(one, other) for one, other in itertools.combinations(pictures, 2))
    said = "`start_percent` is 0.8, after `end_percent` 0.2"
    assert said in ConceptBranch.validate_inputs(0.8, 0.2) and ConceptBranch.validate_inputs() is True


def test_face_controlnets_of_all_concepts_are_one_call(monkeypatch):
    unet, control = identities.unet(), identities.control()
    words, null = identities.conditioning(0), identities.conditioning(1)
    counted = []
    original = face_control.FaceControlNet.get_control

    def count(self, x_noisy, *args):
        counted.append(len(x_noisy))
        return original(self, x_noisy, *args)

    monkeypatch.setattr(face_control.FaceControlNet, "get_control", count)
    chain, masks = [], scenes.soft_masks(2)
    for seed, mask in enumerate(masks):
        generator = torch.Generator().manual_seed(seed)
        hint = torch.rand(1, 3, 64, 64, generator=generator)
        faces = [face_control.ControlFace(torch.randn(16, identities.WIDTH, generator=generator), hint) for _ in range(2)]
        positive, negative = face_control.apply((words, null), control, 2.0, 0.0, 1.0, faces)
        chain.append(Branch(positive, negative, None, mask))
    together = identities.sample(install(unet, chain, "own"), words, null)
    assert counted == [4, 4]
    counted.clear()
    apart = tuple(with_model(one, unet.clone()) for one in chain)
    assert gap(identities.sample(install(unet, apart, "own"), words, null), together) < ROUNDING
    assert counted == [2, 2] * 2
    bare = [Branch(words, null, None, mask) for mask in masks]
    assert gap(identities.sample(install(unet, bare, "own"), words, null), together) > VISIBLE


@pytest.mark.parametrize("own_model", (False, True))
@pytest.mark.parametrize("guidance, others, rows", (("joint", 1, 7), ("text first", 1, 11), ("joint", 7, 8)))
def test_the_last_load_has_memory_for_the_largest_batch_of_branches(unet, monkeypatch, own_model, guidance, others, rows):
    """Rows of a term: those of a joint set, 1.5 times with three terms, or those of all who share the scene's model."""
    counted, estimate = [], comfy.sampler_helpers.estimate_memory

    def noted(model, noise_shape, conds):
        counted.append(noise_shape[0])
        return estimate(model, noise_shape, conds)

    monkeypatch.setattr(comfy.sampler_helpers, "estimate_memory", noted)
    case, chain = sets.case(generated=1, references=6), branches(others)
    jedi = sets.apply(models.model("sd15", seed=7) if own_model else unet, case.joint_set, guidance)
    subject = Branch(case.positive, case.negative, jedi, chain[0].mask, case.joint_set)
    sample(install(unet, (subject, *chain[1:], chain[0])))
    assert counted[-1] == rows and len(counted) == 2 + others


@pytest.mark.parametrize("guidance", ("joint", "text first"))
def test_a_joint_set_can_be_a_concept(unet, guidance):
    """One subject from two references beside a concept of the scene's own model, in both modes."""
    case, chain = sets.case(generated=1, references=2), branches(2)
    jedi = sets.apply(models.model("sd15", seed=7), case.joint_set, guidance)
    subject = Branch(case.positive, case.negative, jedi, chain[0].mask, case.joint_set)
    share, levels = scenes.blend_weights(chain), scenes.sigmas(unet)

    def denoise_all(latents, sigma):
        wide = torch.cat((latents[1], torch.zeros(2, *latents[1].shape[1:])))
        dog = scenes.denoise(jedi, case.positive, case.negative, wide, sigma, latent=case.joint_set.latent())[:1]
        others = scenes.denoise_all(unet, chain, latents, sigma)
        return [others[0], dog, others[2]]

    blended = x = scenes.start(unet)
    own = [x] * 3
    for now, after in pairwise(levels):
        blended = sum(
            w * (blended + (blended - x0) / now * (after - now))
            for w, x0 in zip(share, denoise_all([blended] * 3, now), strict=True)
        )
        own = [z + (z - x0) / now * (after - now) for z, x0 in zip(own, denoise_all(own, now), strict=True)]
        x = sum(w * z for w, z in zip(share, own, strict=True))
        own[0] = x
    for continue_from, expected in (("blend", blended), ("own", x)):
        result = sample(install(unet, (subject, chain[1]), continue_from))
        assert gap(result, scenes.finish(unet, expected)) < ROUNDING
        assert gap(sample(install(unet, chain, continue_from)), result) > VISIBLE


class Control(comfy.controlnet.ControlBase):
    """Residuals that depend on the latents it sees, in the middle block."""

    def get_control(self, x_noisy, t, cond, batched_number, transformer_options):
        middle = 3 * torch.tanh(x_noisy.mean(1, keepdim=True)[..., ::2, ::2]).expand(-1, 64, -1, -1)
        return {"input": [], "middle": [middle], "output": []}

    def get_models(self):
        return []

    def copy(self):
        return self


@pytest.mark.parametrize("continue_from", ("blend", "own"))
def test_a_controlnet_of_a_concept_sees_that_concepts_latents(unet, continue_from):
    control, chain = Control(), branches(2)

    def controlled(conditioning):
        return [[states, {**values, "control": control, "control_apply_to_uncond": False}] for states, values in conditioning]

    steered = [Branch(controlled(one.positive), controlled(one.negative), None, one.mask) for one in chain]
    apart = [with_model(one, unet.clone()) for one in steered]
    result = sample(install(unet, steered, continue_from))
    assert gap(result, sample(install(unet, apart, continue_from))) < ROUNDING
    assert gap(result, sample(install(unet, chain, continue_from))) > VISIBLE


def custom(guider, sampler="euler"):
    """What SamplerCustomAdvanced gives."""
    with torch.inference_mode():
        out, _ = SamplerCustomAdvanced.execute(
            Noise_RandomNoise(1), guider, comfy.samplers.sampler_object(sampler), scenes.sigmas(guider.model_patcher),
            {"samples": torch.zeros(1, 4, scenes.SIZE, scenes.SIZE)},
        ).result  # fmt: skip
    return sets._unloaded(out)


@pytest.mark.parametrize("continue_from", ("blend", "own"))
def test_guiders_of_the_host_paint_a_scene_and_others_are_refused(unet, continue_from):
    model = install(unet, branches(2), continue_from)
    guider = comfy.samplers.CFGGuider(model)
    guider.set_conds(text("the scene"), text("not the scene"))
    guider.set_cfg(scenes.CFG)
    assert gap(custom(guider), sample(model)) < ROUNDING
    basic = Guider_Basic(model)
    basic.set_conds(text("the scene"))
    assert gap(custom(basic), sample(model, cfg=1.0)) < ROUNDING
    assert gap(custom(basic), sample(model)) > VISIBLE
    dual = Guider_DualCFG(model)
    dual.set_conds(text("a"), text("b"), text("c"))
    dual.set_cfg(2.0, 2.0)
    with pytest.raises(ValueError, match="guider Guider_DualCFG combines its terms itself. Use KSampler"):
        custom(dual)


@pytest.mark.parametrize("continue_from", ("blend", "own"))
def test_an_inpainting_mask_and_a_base_picture_count_for_every_branch(unet, continue_from):
    """With all of the picture kept but for one corner, only the corner is painted; a full concept equals its plain run."""
    keep = torch.zeros(1, 64, 64)
    keep[:, :32, :32] = 1
    latent = {"samples": sets.pictures(1), "noise_mask": keep}
    chain = branches(1, masks=[torch.ones(1, 64, 64)])
    plain = sample(unet, positive=chain[0].positive, negative=chain[0].negative, latent=latent)
    result = sample(install(unet, chain, continue_from), latent=latent)
    assert gap(result, plain) < ROUNDING
    assert gap(result[..., 4:, :], latent["samples"][..., 4:, :]) < ROUNDING
    assert gap(result, latent["samples"]) > VISIBLE
    half = {"latent": {"samples": sets.pictures(1)}, "denoise": 0.5}
    part = sample(install(unet, chain, continue_from), **half)
    assert gap(part, sample(unet, positive=chain[0].positive, negative=chain[0].negative, **half)) < ROUNDING
    assert gap(part, sample(unet, **half)) > VISIBLE


def test_own_refuses_samplers_that_keep_a_history_or_draw_noise(unet):
    model = install(unet, branches(1), "own")
    for sampler in ("dpmpp_2m", "euler_ancestral", "uni_pc"):
        with pytest.raises(ValueError, match="Use euler or ddim without churn, or set `continue_from` to `blend`"):
            sample(model, sampler=sampler)
    assert sample(model).isfinite().all()


@pytest.mark.parametrize("settings", ({"context_length": 2}, {"context_length": 3, "context_schedule": "looped_uniform"}))
def test_context_windows_cut_the_rows_of_blend_and_are_refused_with_own(unet, settings):
    """A looped window of all rows but one, with the one before it, has as many rows as the batch, in another order."""
    chain = branches(2, rows=4)
    settings = {"closed_loop": True, **settings}
    windowed = identities.in_context_windows(install(unet, chain), **settings)
    whole = sample(install(unet, chain), rows=4)
    assert gap(sample(windowed, rows=4), whole) < ROUNDING and gap(whole, sample(unet, rows=4)) > VISIBLE
    with pytest.raises(ValueError, match="by area conditioning or context windows. Use masks instead of areas, or set `continue"):
        sample(identities.in_context_windows(install(unet, chain, "own"), **settings), rows=4)


def test_places_come_from_concepts_or_from_masks(unet):
    masks = torch.zeros(1, 2, 64, 64)
    masks[:, 0, :, :32], masks[:, 1, :, 40:] = 1, 1
    concepts = scene.Concepts(("a dog", "a mug"), ((None, None),), masks, 0.0)
    bare = [Branch(one.positive, one.negative) for one in branches(2)]
    by_concepts = sample(Scene(tuple(bare), concepts, "blend", 0, 0.0).install(unet))
    own = branches(2, masks=list(masks[0][:, None]))
    assert gap(by_concepts, sample(install(unet, own))) < ROUNDING
    assert gap(by_concepts, sample(unet)) > VISIBLE


def test_a_mask_that_is_the_same_everywhere_has_no_shape(unet):
    chain = branches(1, masks=[torch.full((1, 8, 24), 0.5)])
    assert gap(sample(install(unet, chain)), sample(install(unet, branches(1, masks=[torch.full((1, 8, 8), 0.5)])))) < ROUNDING
    assert gap(sample(install(unet, chain)), sample(unet)) > VISIBLE


def test_a_concept_that_is_nowhere_costs_nothing(unet):
    masks = torch.zeros(1, 2, 64, 64)
    masks[:, 1, :, 40:] = 1
    concepts = scene.Concepts(("a dog", "a mug"), ((None, None),), masks, 0.0)
    bare = tuple(Branch(one.positive, one.negative) for one in branches(2))
    calls = sets.Calls(Scene(bare, concepts, "blend", 0, 0.0).install(unet))
    sample(calls.model)
    assert [len(x) for x in calls.inputs] == [4] * scenes.STEPS


def test_the_nodes_chain_branches_into_a_model(unet):
    chain = branches(2)
    first = ConceptBranch.execute(chain[0].positive, chain[0].negative, mask=chain[0].mask).result[0]
    both = ConceptBranch.execute(chain[1].positive, chain[1].negative, mask=chain[1].mask, model=unet, previous=first).result[0]
    assert len(first) == 1 and both[0] is first[0]
    calls = sets.Calls(ConceptScene.execute(unet, both, "blend", 0, 0.0).result[0])
    assert gap(sample(calls.model), sample(install(unet, chain))) < ROUNDING
    assert [len(x) for x in calls.inputs] == [6] * scenes.STEPS, "the scene's own model shares the batch"


PATCHES = {
    "nag": ("nag", "NAGuidance", (5.0, 0.5, 1.5)),
    "pag": ("pag", "PerturbedAttentionGuidance", (3.0,)),
    "apg": ("apg", "APG", (1.0, 5.0, 0.0)),
    "momentum": ("apg", "APG", (1.0, 5.0, 0.5)),
    "sag": ("sag", "SelfAttentionGuidance", (0.5, 2.0)),
}
"""Nodes of the host that patch a model: the module, the class and its values."""


def patched(name, model):
    module, node, values = PATCHES[name]
    return getattr(importlib.import_module(f"comfy_extras.nodes_{module}"), node).execute(model, *values).result[0]


@pytest.mark.parametrize("continue_from", ("blend", "own"))
@pytest.mark.parametrize("name", ("nag", "pag", "apg"))
def test_patches_of_the_host_act_on_each_branch_as_on_a_plain_run(unet, name, continue_from):
    chain = branches(2)
    together = sample(install(patched(name, unet), chain, continue_from))
    apart = tuple(with_model(one, patched(name, unet)) for one in chain)
    assert gap(together, sample(install(patched(name, unet), apart, continue_from))) < ROUNDING
    assert gap(together, sample(install(unet, chain, continue_from))) > VISIBLE


def test_wrong_inputs_are_refused_with_the_node_and_the_remedy(unet):
    chain, case = branches(2), sets.case(generated=1)
    bare = tuple(Branch(one.positive, one.negative) for one in chain)
    concepts = scene.Concepts(("a dog",), ((None,),), torch.ones(1, 1, 8, 8), 0.0)
    jedi = sets.apply(unet, case.joint_set)
    lora = unet.clone()
    lora.add_patches({"diffusion_model.middle_block.1.transformer_blocks.0.attn1.to_v.weight": ("diff", (torch.ones(64, 64),))})
    scene_model = install(unet, chain)
    with_clone = install(unet, (with_model(chain[0], unet.clone()),))
    behind = with_clone.clone()
    behind.patches, behind.patches_uuid = lora.patches, lora.patches_uuid
    person = identities.adapter(), identities.identity()
    wide = scene.Concepts(("a dog", "a cat"), ((None, None),), torch.eye(8, 16).expand(1, 2, 8, 16) / 2, 0.0)
    wrong = {
        "concept 1 has no place. Connect a `mask`": lambda: ConceptScene.execute(unet, bare, "blend", 0, 0.0),
        "concept 1 has a mask too. Disconnect one": lambda: ConceptScene.execute(unet, chain, "blend", 0, 0.0, concepts),
        "holds 1 .a dog., but 2 Concept Branch": lambda: ConceptScene.execute(unet, bare, "blend", 0, 0.0, concepts),
        "already went through a Concept Scene": lambda: install(scene_model, chain),
        "concept 1 is a Concept Scene itself": lambda: install(unet, (with_model(chain[0], scene_model),)),
        "`model` went through JeDi": lambda: install(jedi, chain),
        "with other weights .a LoRA.*Load the checkpoint a second time": lambda: install(unet, (with_model(chain[0], lora),)),
        "`model` from JeDi but no `joint_set`": lambda: ConceptBranch.execute([], [], model=jedi),
        "`joint_set` but no `model` from JeDi": lambda: ConceptBranch.execute([], [], joint_set=case.joint_set),
        "concept 1 has an `identity` but no `adapter`. Connect both": lambda: ConceptBranch.execute([], [], identity=object()),
        "concept 1 has an `identity_mask` but no `identity`": lambda: ConceptBranch.execute(
            [], [], identity_mask=torch.ones(1, 8, 8)
        ),
        "`identity_mask` of concept 1 is black everywhere": lambda: ConceptBranch.execute(
            [], [], adapter=person[0], identity=person[1], identity_mask=torch.zeros(1, 8, 8)
        ),
        "concept 1 has an `adapter` but no `identity`. Connect both": lambda: ConceptBranch.execute([], [], adapter=object()),
        "Concept Scene: the model has .* but the adapter needs 70 cross-attention layers": lambda: ConceptScene.execute(
            unet, ConceptBranch.execute([], [], chain[0].mask, None, None, (), *person).result[0], "blend", 0, 0.0
        ),
        "the mask of concept 2 has 16x8 pixels, but the latents have another shape, 8x8": lambda: sample(
            install(unet, branches(2, masks=[chain[0].mask, torch.eye(8, 16)[None]]))
        ),
        "the mask of concept 1 holds NaN or infinity": lambda: ConceptBranch.execute([], [], mask=torch.ones(1, 8, 8) / 0 * 0),
        "Concept Branch: `weight` is nan, but needs a number": lambda: ConceptBranch.execute(
            [], [], adapter=person[0], identity=person[1], weight=float("nan")
        ),
        "mask of concept 1 is black everywhere": lambda: ConceptBranch.execute([], [], mask=torch.zeros(1, 8, 8)),
        "at most 16": lambda: ConceptBranch.execute([], [], previous=chain * 8),
        "the joint set of concept 1 has 1 pictures": lambda: sample(
            install(unet, (with_model(branches(1, rows=2)[0], jedi, case.joint_set),)), rows=2
        ),
        "the joint set of concept 1 has a `start`, but all concepts begin from the scene's own": lambda: sample(
            install(unet, (with_model(chain[0], jedi, sets.again(case, torch.zeros(1, 4, 8, 8)).joint_set),))
        ),
        "mask of concept 1 has 2 pictures, but the latent batch has 1": lambda: sample(install(unet, branches(1, rows=2))),
        "concept 1 is another concept's or the scene's with other weights": lambda: sample(behind),
        "found on a picture of 16x8 pixels, but the latents have another shape, 8x8": lambda: sample(
            ConceptScene.execute(unet, bare, "blend", 0, 0.0, wide).result[0]
        ),
        "`continue_from` is `theirs`, but needs to be `blend`, `own` or `auto`": lambda: ConceptScene.execute(
            unet, chain, "theirs", 0, 0.0
        ),
        "Self-Attention Guidance is on a model of several branches": lambda: sample(patched("sag", install(unet, chain))),
        "Adaptive Projected Guidance with momentum is on a model of several": lambda: sample(
            install(patched("momentum", unet), chain)
        ),
        "a conditioning has hooks": lambda: sample(
            install(unet, (Branch([[None, {"hooks": comfy.hooks.HookGroup()}]], chain[0].negative, None, chain[0].mask),))
        ),
    }
    for message, run in wrong.items():
        with pytest.raises(ValueError, match=message):
            run()
    assert (
        "needs to be `blend`, `own` or `auto`" in ConceptScene.validate_inputs("theirs")
        and ConceptScene.validate_inputs("own") is True
    )
