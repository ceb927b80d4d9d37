"""Nodes in the shape of ComfyUI_InstantID's: each paints what our own nodes paint with the same numbers, to the bit."""

import pytest
import torch
from same_subject.nodes.identity import keypoints
from same_subject.nodes.identity import nodes as ours
from same_subject.nodes.identity.faces import Face
from same_subject.nodes.identity.instantid import nodes as theirs
from same_subject.tests.tiny.identities import conditioning, sample

import nodes as host_nodes

LEFT = torch.zeros(1, 64, 64)
LEFT[:, :, :32] = 1


class Analysis:
    """Stands in for face analysis: a picture's first pixel says who is on it and where; black is nobody."""

    def faces(self, picture):
        who = int(picture[0, 0, 0] * 100)
        embedding = 8 * torch.randn(512, generator=torch.Generator().manual_seed(who))
        place = torch.tensor([10.0 + who, 20.0])
        points = place + torch.tensor([[0.0, 0], [20, 0], [10, 10], [2, 20], [18, 20]])
        large, small = (torch.tensor([0.0, 0, size, size]) for size in (30, 8))
        found = [Face(large, points, embedding, 0.8, 64, 64), Face(small, points / 2, -embedding, 0.9, 64, 64)]
        return found if who else []


def person(*who):
    """Pictures of 64 x 64."""
    return torch.stack([torch.full((64, 64, 3), one / 100 + 0.001) for one in who])


def by_our_nodes(
    unet, adapter, control, pictures, weight=0.8, strength=0.8, start=0.0, end=1.0, noise=0.35, combine="average", hint=None,
    mask=None,
):  # fmt: skip
    """Identity, Apply Identity, Identity ControlNet and the host's Conditioning (Set Mask)."""
    analysis = Analysis()
    who, points = ours.IdentityFromPictures.execute(
        analysis, {"image0": pictures}, "largest", 0, 0.5, 0.5, combine=combine, noise=noise
    ).result
    if hint is not None:
        (points,) = ours.FaceKeypoints.execute(analysis, hint, "largest", 0, 0.5, 0.5).result
    (model,) = ours.ApplyIdentity.execute(unet, adapter, who, weight, start, end, mask).result
    positive, negative = ours.IdentityControlNet.execute(
        conditioning(0), conditioning(1), control, adapter, who, points, strength, start, end
    ).result
    if mask is not None:
        (positive,) = host_nodes.ConditioningSetMask().append(positive, mask, "default", 1.0)
    return sample(model, positive, negative)


def simple(unet, adapter, control, pictures, *numbers, **more):
    given = adapter, Analysis(), control, pictures, unet, conditioning(0), conditioning(1)
    return sample(*theirs.ApplyInstantID.execute(*given, *(numbers or (0.8, 0.0, 1.0)), **more).result)


def advanced(unet, adapter, control, pictures, *numbers, **more):
    given = adapter, Analysis(), control, pictures, unet, conditioning(0), conditioning(1)
    return sample(*theirs.ApplyInstantIDAdvanced.execute(*given, *numbers, **more).result)


def test_apply_instantid_is_our_nodes_with_its_noise(unet, adapter, control):
    plain = simple(unet, adapter, control, person(3))
    assert torch.equal(plain, by_our_nodes(unet, adapter, control, person(3)))
    assert not torch.equal(plain, by_our_nodes(unet, adapter, control, person(3), noise=0.0))
    assert not torch.equal(plain, sample(unet))
    changed = simple(unet, adapter, control, person(3, 4), 0.6, 0.0, 0.5, image_kps=person(9), mask=LEFT[0])
    same = {"weight": 0.6, "strength": 0.6, "end": 0.5, "hint": person(9), "mask": LEFT}
    assert torch.equal(changed, by_our_nodes(unet, adapter, control, person(3, 4), **same))
    for left_out in ("hint", "mask"):
        assert not torch.equal(changed, by_our_nodes(unet, adapter, control, person(3, 4), **{**same, left_out: None}))


def test_apply_instantid_advanced_is_our_nodes_with_its_numbers(unet, adapter, control):
    given = advanced(unet, adapter, control, person(3, 4), 0.7, 0.4, 0.0, 0.9, 0.2, "norm average", mask=LEFT)
    same = {"weight": 0.7, "strength": 0.4, "end": 0.9, "noise": 0.2, "combine": "norm average", "mask": LEFT}
    assert torch.equal(given, by_our_nodes(unet, adapter, control, person(3, 4), **same))
    for name, value in {"weight": 0.4, "strength": 0.7, "noise": 0.0, "combine": "average"}.items():
        assert not torch.equal(given, by_our_nodes(unet, adapter, control, person(3, 4), **{**same, name: value})), name
    single = advanced(unet, adapter, control, person(3), 0.8, 0.8, 0.0, 1.0, 0.35, "concat")
    assert torch.equal(single, simple(unet, adapter, control, person(3)))
    with pytest.raises(ValueError, match="^Apply InstantID Advanced: `combine_embeds` is `concat` for 2 pictures"):
        advanced(unet, adapter, control, person(3, 4), 0.8, 0.8, 0.0, 1.0, 0.35, "concat")


@pytest.mark.parametrize("mask", [None, LEFT])
def test_the_two_nodes_that_part_it_are_our_nodes(unet, adapter, control, mask):
    (hint,) = theirs.FaceKeypointsPreprocessor.execute(Analysis(), person(9)).result
    model, embeds = theirs.InstantIDPatchAttention.execute(
        adapter, Analysis(), person(3), unet, 0.7, 0.0, 0.9, 0.2, mask=mask
    ).result
    pair = theirs.InstantIDApplyControlNet.execute(
        embeds, control, hint, conditioning(0), conditioning(1), 0.4, 0.0, 0.9, mask=mask
    ).result
    same = {"weight": 0.7, "strength": 0.4, "end": 0.9, "noise": 0.2, "hint": person(9), "mask": mask}
    assert torch.equal(sample(model, *pair), by_our_nodes(unet, adapter, control, person(3), **same))


def test_keypoints_can_come_as_a_drawing_and_anything_else_without_a_face_is_refused(unet, adapter, control):
    hint = keypoints.draw([Analysis().faces(person(9)[0])[0].keypoints], 64, 64)[None]
    by_drawing, by_picture = (simple(unet, adapter, control, person(3), image_kps=each) for each in (hint, person(9)))
    assert torch.equal(by_drawing, by_picture)
    with pytest.raises(ValueError, match="^Apply InstantID: no face was found in `image_kps`, picture 2 of 2"):
        simple(unet, adapter, control, person(3), image_kps=torch.stack((person(9)[0], torch.full((64, 64, 3), 0.001))))
    with pytest.raises(ValueError, match="^Apply InstantID: no face was found in picture 2 of 2"):
        simple(unet, adapter, control, torch.cat((person(3), torch.full((1, 64, 64, 3), 0.001))))


def test_what_cannot_work_is_said_by_the_node_itself(unet, adapter, control):
    with pytest.raises(ValueError, match="^Apply InstantID: `mask` is black everywhere"):
        simple(unet, adapter, control, person(3), mask=torch.zeros(1, 8, 8))
    with pytest.raises(ValueError, match="^Apply InstantID: `control_net` is a int, but needs a ControlNet"):
        simple(unet, adapter, 3, person(3))
    for node in (theirs.ApplyInstantID, theirs.ApplyInstantIDAdvanced, theirs.InstantIDPatchAttention):
        assert node.validate_inputs(0.8, 0.2).startswith(f"{node.NAME}: `start_at` is 0.8, after `end_at` 0.2")
        assert node.validate_inputs(None, 0.2) is True
        assert node.define_schema().is_deprecated, "loads, and is not in the search"
