"""Face ControlNets in a scene: every branch in one call of the UNet, and only chunks with a face in the ControlNet's."""

import comfy.controlnet
import pytest
import torch
from comfy.patcher_extension import WrappersMP
from same_subject.dev.benchmark import counting
from same_subject.nodes.identity.host import face_control
from same_subject.nodes.scene.branch import Branch
from same_subject.tests.tiny import identities, models, scenes, sets
from same_subject.tests.tiny.scenes import install
from same_subject.tests.tiny.sets import gap

import nodes as host_nodes

ROUNDING = 1e-4
VISIBLE = 100 * ROUNDING
FACE = face_control.KEY.format(0)
WHOLE = (0.8, 0.0, 1.0)
"""Strength, start and end of a face ControlNet."""


@pytest.fixture(scope="module")
def unet():
    return models.model("sdxl")


@pytest.fixture(scope="module")
def control():
    return identities.control(unet=models.unet_config("sdxl"))


@pytest.fixture
def control_rows(control):
    """How many rows the ControlNet's network is called with, call by call."""
    rows = []
    hook = control.control_model.register_forward_pre_hook(
        lambda net, args, named: rows.append(len(named["x"])), with_kwargs=True
    )
    yield rows
    hook.remove()


class Calls(sets.Calls):
    """Keeps the faces, residuals and outputs of the UNet's calls too."""

    def __init__(self, model):
        self.faces, self.outputs = [], []
        super().__init__(model)

    def _record(self, *args, **kwargs):
        self.faces.append(kwargs.get(FACE))
        self.outputs.append(super()._record(*args, **kwargs))
        return self.outputs[-1]

    def rows(self):
        return [len(x) for x in self.inputs]


def face(seed, mask=None):
    generator = torch.Generator().manual_seed(seed)
    return face_control.ControlFace(
        torch.randn(16, identities.WIDTH, generator=generator), torch.rand(1, 3, 64, 64, generator=generator), mask
    )


def words(number):
    return identities.conditioning(2 + 2 * number), identities.conditioning(3 + 2 * number)


def with_face(pair, control, number, settings=WHOLE, mask=None):
    return face_control.apply(pair, control, *settings, [face(10 * number, mask), face(10 * number + 1, mask)])


def people(control, settings, pairs=None):
    """Branches with a face ControlNet each, of these settings."""
    masks = scenes.soft_masks(len(settings))
    pairs = pairs or [with_face(words(number), control, number, one) for number, one in enumerate(settings)]
    return tuple(Branch(*pair, None, mask) for pair, mask in zip(pairs, masks, strict=True))


def bare(chain):
    """The same branches without ControlNets."""
    return tuple(Branch(*words(number), None, one.mask) for number, one in enumerate(chain))


def apart(unet, chain, *more, **options):
    """The picture with every branch in calls of its own."""
    chain = tuple(Branch(one.positive, one.negative, unet.clone(), one.mask) for one in chain)
    return identities.sample(install(unet, chain, *more), **options)


@pytest.mark.parametrize("continue_from", ("blend", "own"))
@pytest.mark.parametrize("count, rows", ((1, 1), (3, 1), (2, 2)))
def test_a_step_is_one_call_of_each_net(unet, control, control_rows, count, rows, continue_from):
    chain = people(control, [WHOLE] * count)
    calls = Calls(install(unet, chain, continue_from, 1))
    together = identities.sample(calls.model, rows=rows)
    assert calls.rows() == [2 * (count + 1) * rows] * 2
    assert control_rows == [2 * count * rows] * 2
    assert gap(apart(unet, chain, continue_from, 1, rows=rows), together) < ROUNDING
    assert control_rows[2:] == [2 * rows] * 2 * count
    assert gap(identities.sample(install(unet, bare(chain), continue_from, 1), rows=rows), together) > VISIBLE


@pytest.mark.parametrize("continue_from", ("blend", "own"))
def test_a_chunk_without_a_face_gets_nothing_of_it(unet, control, continue_from):
    calls, plain = Calls(install(unet, people(control, [WHOLE] * 2), continue_from)), Calls(unet)
    identities.sample(calls.model, rows=2, steps=1)
    identities.sample(plain.model, rows=2, steps=1)
    ((faces, residuals, out),) = zip(calls.faces, calls.controls, calls.outputs, strict=True)
    background = [number for number, one in enumerate(faces) if one is None]
    assert len(faces) == 6 and len(background) == 2
    every = [residual.chunk(6) for group in residuals.values() for residual in group]
    assert every and all(rows[number].any() == (number not in background) for rows in every for number in range(6))
    alone = plain.outputs[0].chunk(2)
    own = [out.chunk(6)[number] for number in background]
    assert all(gap(one, other) < ROUNDING for one, other in zip(own, alone, strict=True))
    assert gap(own[0], alone[1]) > VISIBLE and gap(out.chunk(6)[faces.index(None) - 1], own[0]) > VISIBLE


def test_windows_open_and_close_person_by_person(unet, control, control_rows):
    """In the first step that of one person is open, in the second the other's, in the last none."""
    first, second = (0.8, 0.0, 0.3), (0.8, 0.4, 0.6)
    chain = people(control, [first, second])
    calls = Calls(install(unet, chain, "own", 1))
    together = identities.sample(calls.model, steps=3)
    assert calls.rows() == [6] * 3 and control_rows == [2, 2]
    assert [bool(residuals) for residuals in calls.controls] == [True, True, False]
    assert gap(apart(unet, chain, "own", 1, steps=3), together) < ROUNDING
    for others in (people(control, [WHOLE] * 2), people(control, [first, first]), people(control, [second, second]), bare(chain)):
        assert gap(identities.sample(install(unet, others, "own", 1), steps=3), together) > VISIBLE


def test_people_with_their_own_strengths_masks_and_chains_share_the_unets_call(unet, control, control_rows):
    half = torch.zeros(1, 64, 64)
    half[..., :32] = 1
    settings = [WHOLE, (0.4, 0.0, 1.0), WHOLE, WHOLE]

    def pairs(settings, mask, again):
        given = [with_face(words(number), control, number, one) for number, one in enumerate(settings)]
        given[2] = with_face(words(2), control, 2, settings[2], mask)
        given[3] = with_face(given[3], control, again)
        return given

    chain = people(control, settings, pairs(settings, half, 7))
    calls = Calls(install(unet, chain, "own"))
    together = identities.sample(calls.model)
    assert calls.rows() == [10] * 2
    assert sorted(control_rows) == sorted([2, 4, 2, 2] * 2), "one call for equal settings, two for the chain of two"
    assert gap(apart(unet, chain, "own"), together) < ROUNDING
    for given in (pairs([WHOLE] * 4, half, 7), pairs(settings, None, 7), pairs(settings, half, 8)):
        assert gap(identities.sample(install(unet, people(control, settings, given), "own")), together) > VISIBLE


def test_other_controlnets_stay_as_they_are(unet, control, control_rows):
    """A face on top of a picture's ControlNet, a picture's ControlNet alone, a face alone, and the background."""
    stock, hint = host_nodes.ControlNetApplyAdvanced().apply_controlnet, face(50).hint.movedim(1, -1)
    both, other, alone = words(0), stock(*words(1), control, hint, 0.5, 0.0, 1.0), with_face(words(2), control, 2)
    both = with_face(stock(*both, control, hint, 0.5, 0.0, 1.0), control, 0)
    chain = people(control, [WHOLE] * 3, [both, other, alone])
    calls = Calls(install(unet, chain, "own"))
    together = identities.sample(calls.model)
    assert sorted(calls.rows()) == [2] * 4 + [4] * 2 and control_rows == [2] * 8
    assert gap(apart(unet, chain, "own"), together) < ROUNDING
    fewer = people(control, [WHOLE] * 3, [with_face(words(0), control, 0), other, alone])
    assert gap(identities.sample(install(unet, fewer, "own")), together) > VISIBLE
    steered = stock(identities.conditioning(0), identities.conditioning(1), control, hint, 0.5, 0.0, 1.0)
    calls.inputs.clear()
    scene = identities.sample(calls.model, *steered)
    assert [len(x) for x in calls.inputs] == [2] * 8
    parted = tuple(Branch(one.positive, one.negative, unet.clone(), one.mask) for one in chain)
    assert gap(identities.sample(install(unet, parted, "own"), *steered), scene) < ROUNDING
    assert gap(scene, together) > VISIBLE


def test_one_branch_with_a_face_on_its_positive_alone(unet, control, control_rows):
    """The host never puts the face on the negative, whose chunk stays beside it in the call."""
    positive, negative = words(0)
    ((positive, _),) = [with_face((positive, negative), control, 0)]
    chain = people(control, [WHOLE], [(positive, negative)])
    calls = Calls(install(unet, chain, "own"))
    together = identities.sample(calls.model)
    assert calls.rows() == [4] * 2 and control_rows == [1] * 2
    assert gap(apart(unet, chain, "own"), together) < ROUNDING
    both = people(control, [WHOLE])
    assert gap(identities.sample(install(unet, both, "own")), together) > VISIBLE


@pytest.mark.parametrize("most", (1, 3, 5))
def test_fewer_at_a_time_where_memory_is_short_give_the_same(unet, control, control_rows, most, monkeypatch):
    chain = people(control, [WHOLE, WHOLE, (0.4, 0.0, 1.0)])
    calls = Calls(install(unet, chain, "own", 1))
    together = identities.sample(calls.model)
    calls.inputs.clear()
    control_rows.clear()
    monkeypatch.setattr(unet.model, "memory_required", lambda shape, **_: 0 if shape[0] <= most else float("inf"))
    assert gap(identities.sample(calls.model), together) < ROUNDING
    assert max(calls.rows()) <= most and sum(calls.rows()) == 16
    assert max(control_rows) <= most and sum(control_rows) == 12
    assert gap(identities.sample(install(unet, bare(chain), "own", 1)), together) > VISIBLE


def test_nothing_is_read_back(unet, control):
    """People with settings of their own, whose residuals are put together."""
    watch = counting.Watch()
    model = install(unet, people(control, [WHOLE, (0.4, 0.0, 1.0)]), "own")

    class After(Calls):
        """Begins to count when a run is on its way."""

        def _record(self, *args, **kwargs):
            if not self.inputs:
                watch.clear()
            return super()._record(*args, **kwargs)

    calls = After(model)
    with watch:
        identities.sample(calls.model, steps=3)
    assert calls.rows() == [6] * 3 and watch.total[counting.PROJECTIONS] > 0
    assert watch.ours[counting.READ_BACKS] == 0


def test_a_controlnet_without_its_face_is_refused_beside_others_with_theirs(unet, control):
    pairs = [with_face(words(number), control, number) for number in range(2)]
    lost = [[states, {key: value for key, value in values.items() if key != "model_conds"}] for states, values in pairs[1][0]]
    with pytest.raises(ValueError, match="has the face ControlNet, but no face. Connect both"):
        identities.sample(install(unet, people(control, [WHOLE] * 2, [pairs[0], (lost, pairs[1][1])])))


def test_the_hosts_way_for_several_devices_gives_the_same(unet, control, control_rows):
    """That way asks a ControlNet for its copy on the device at work; here that is the CPU, whose copy has other weights."""
    if not hasattr(comfy.controlnet.ControlBase, "get_instance_for_device"):
        pytest.skip("this ComfyUI knows no several devices")
    chain = people(control, [WHOLE] * 2)
    model = install(unet, chain, "own")
    together = identities.sample(model)
    control_rows.clear()

    def on_devices(executor, network, conds, x, sigma, options):
        return executor(network, conds, x, sigma, {**options, "multigpu_clones": {torch.device("cpu"): unet}})

    several = model.clone()
    several.add_wrapper_with_key(WrappersMP.CALC_COND_BATCH, "test", on_devices)
    assert gap(identities.sample(several), together) < ROUNDING
    assert control_rows == [4] * 2
    other = identities.control(seed=9, unet=models.unet_config("sdxl"))
    copies = people(other, [WHOLE] * 2)
    expected = identities.sample(install(unet, copies, "own"))
    for branch, copy in zip(chain, copies, strict=True):
        branch.positive[0][1]["control"].multigpu_clones[torch.device("cpu")] = copy.positive[0][1]["control"]
    assert gap(identities.sample(several), expected) < ROUNDING and gap(expected, together) > VISIBLE
