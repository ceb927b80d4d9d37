"""The identity nodes from files to a picture, and files that are not what they should be."""

import pickle
from dataclasses import replace

import comfy.cldm.cldm
import comfy.model_detection
import folder_paths
import pytest
import torch
from safetensors.torch import save_file
from same_subject.nodes.identity import keypoints as drawing
from same_subject.nodes.identity import recognising
from same_subject.nodes.identity.faces import Face, Identity
from same_subject.nodes.identity.host import applying
from same_subject.nodes.identity.host import files as identity_files
from same_subject.nodes.identity.host.sampling import IdentitySampling
from same_subject.nodes.identity.nodes import ApplyIdentity, FaceKeypoints, IdentityControlNet, LoadInstantID
from same_subject.tests.tiny import identities
from same_subject.tests.tiny.identities import conditioning, identity, sample
from same_subject.tests.tiny.sets import gap

ROUNDING = 1e-4
VISIBLE = 100 * ROUNDING


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The folder `instantid` with an adapter in both layouts, known to the host."""
    base = tmp_path_factory.mktemp("instantid")
    state = identities.adapter_state()
    torch.save(state, base / "ip-adapter.bin")
    save_file({f"{part}.{key}": value for part in state for key, value in state[part].items()}, base / "same.safetensors")
    before = dict(folder_paths.folder_names_and_paths)
    folder_paths.folder_names_and_paths["instantid"] = ([str(base)], {".bin", ".safetensors"})
    yield base
    folder_paths.folder_names_and_paths.clear()
    folder_paths.folder_names_and_paths.update(before)


@pytest.fixture(scope="module")
def unet():
    return identities.unet()


def load(name):
    return LoadInstantID.execute(name, "none").result[0]


def test_both_files_are_listed_and_give_the_same_adapter(folder):
    assert set(identity_files.adapter_names()) == {"ip-adapter.bin", "same.safetensors"}
    assert identity_files.control_names()[-1] == "none"
    one, other = (load(name).adapter.state_dict() for name in ("ip-adapter.bin", "same.safetensors"))
    assert set(one) == set(other) and all(torch.equal(one[key], other[key]) for key in one)
    assert LoadInstantID.validate_inputs("ip-adapter.bin", "none") is True
    assert "which is in none of" in LoadInstantID.validate_inputs("nowhere.bin", "none")
    assert "which is in none of" in LoadInstantID.validate_inputs("ip-adapter.bin", "nowhere.safetensors")


class Code:
    def __reduce__(self):
        return (open, ("ran", "w"))


@pytest.mark.parametrize("kind", ("truncated", "page", "code", "other", "list", "tensor", "parts", "nan"))
def test_a_file_that_is_no_adapter_is_refused_with_its_name_and_a_source(folder, kind, tmp_path, monkeypatch):
    path = tmp_path / f"{kind}.bin"
    if kind == "truncated":
        path.write_bytes((folder / "ip-adapter.bin").read_bytes()[:5000])
    elif kind == "page":
        path.write_text("<html>404</html>")
    elif kind == "code":
        torch.save({"image_proj": Code(), "ip_adapter": {}}, path, pickle_module=pickle)
    elif kind == "nan":
        state = identities.adapter_state()
        state["ip_adapter"]["7.to_v_ip.weight"][3, 5] = torch.nan
        torch.save(state, path)
    else:
        content = {"list": [1, 2], "tensor": torch.zeros(2), "parts": {"image_proj": [1], "ip_adapter": [2]}}
        torch.save(content.get(kind, {"weight": torch.zeros(2), "bias": torch.zeros(2)}), path)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=f"Load InstantID: {kind}.bin.*InstantX/InstantID"):
        identity_files.load_adapter(path)
    assert not (tmp_path / "ran").exists(), "nothing in a file runs"


def test_what_is_no_controlnet_in_the_published_layout_is_refused_with_a_source(folder, tmp_path):
    save_file({"controlnet_cond_embedding.conv_in.weight": torch.zeros(16, 3, 3, 3)}, tmp_path / "part.safetensors")
    name = "controlnet_cond_embedding.conv_in.weight"
    torch.save({name: [1.0], "controlnet_mid_block.weight": 3}, tmp_path / "lists.safetensors.bin")
    save_file({name: torch.tensor(1.0), "conv_in.weight": torch.tensor(1.0)}, tmp_path / "scalars.safetensors")
    (tmp_path / "cut.safetensors").write_bytes((folder / "same.safetensors").read_bytes()[:5000])
    for path, message in (
        (folder / "same.safetensors", "same.safetensors is not a ControlNet in the published layout"),
        (tmp_path / "lists.safetensors.bin", "lists.safetensors.bin is not a ControlNet in the published layout: .* holds more"),
        (tmp_path / "scalars.safetensors", "scalars.safetensors is not a ControlNet of a kind that ComfyUI knows"),
        (tmp_path / "part.safetensors", "part.safetensors is not a ControlNet of a kind that ComfyUI knows"),
        (tmp_path / "cut.safetensors", r"cut.safetensors \(5000 bytes\) cannot be read"),
    ):
        with pytest.raises(ValueError, match=f"^Load InstantID: {message}.*ControlNetModel/.* from .*InstantX/InstantID"):
            identity_files.load_control(path)


def test_the_face_controlnet_is_loaded_by_the_host_and_every_tensor_must_fit(folder, tmp_path, monkeypatch):
    def tiny_config(state):
        return {key: value for key, value in identities.UNET.items() if key != "transformer_depth_output"} | {
            "transformer_depth_output": identities.UNET["transformer_depth_output"]
        }

    monkeypatch.setattr(comfy.model_detection, "unet_config_from_diffusers_unet", tiny_config)
    network = identities.control().control_model
    state = identities.published_control(network.state_dict(), identities.UNET)
    save_file(state, tmp_path / "controlnet.safetensors")
    loaded = identity_files.load_control(tmp_path / "controlnet.safetensors").control_model.state_dict()
    assert set(loaded) == set(network.state_dict())
    assert all(torch.equal(loaded[key].float(), value) for key, value in network.state_dict().items())

    lacking = dict(list(state.items())[1:])
    for name, broken in (("lacking", lacking), ("more", {**state, "extra.weight": torch.zeros(1)})):
        save_file(broken, tmp_path / f"{name}.safetensors")
        with pytest.raises(
            ValueError, match=f"{name}.safetensors has {len(broken)} tensors.*a ControlNet of its kind has {len(state)}"
        ):
            identity_files.load_control(tmp_path / f"{name}.safetensors")


def test_the_published_controlnet_has_844_tensors_and_the_host_takes_as_many():
    sizes = {"model_channels": 320, "context_dim": 2048, "num_head_channels": 64}
    config = {
        key: value for key, value in (identities.UNET | sizes).items() if key not in ("out_channels", "transformer_depth_output")
    }
    network = comfy.cldm.cldm.ControlNet(hint_channels=3, **config, dtype=torch.float16, device="meta")
    assert len(network.state_dict()) == 844


def test_two_people_chained_each_with_a_mask_reach_the_sampler_and_the_model_stays(folder, unet):
    adapter = load("ip-adapter.bin")
    left = torch.zeros(1, 32, 32)
    left[:, :, :16] = 1
    (one,) = ApplyIdentity.execute(unet, adapter, identity(0), 0.8, 0.0, 1.0, left).result
    (two,) = ApplyIdentity.execute(one, adapter, identity(1), 0.8, 0.0, 1.0, 1 - left).result
    assert [len(IdentitySampling.on(model).identities) for model in (unet, one, two)] == [0, 1, 2]
    pictures = [sample(model) for model in (unet, one, two)]
    assert min(gap(pictures[a], pictures[b]) for a, b in ((0, 1), (0, 2), (1, 2))) > VISIBLE
    assert torch.equal(sample(one), pictures[1])


def test_the_controlnet_node_gives_positive_the_persons_tokens_and_negative_nobodys(folder):
    adapter, control = load("ip-adapter.bin"), identities.control()
    keypoints = torch.rand(1, 64, 64, 3, generator=torch.Generator().manual_seed(0))
    given = (conditioning(0), conditioning(1), control, adapter, identity(0), keypoints, 0.8, 0.0, 1.0)
    positive, negative = IdentityControlNet.execute(*given).result
    built = adapter.adapter
    tags = [next(iter(entry[0][1]["model_conds"].values())).cond for entry in (positive, negative)]
    assert gap(tags[0].tokens, built.tokens(identity(0).embedding)) < ROUNDING
    assert gap(tags[1].tokens, built.null_tokens()) < ROUNDING
    assert gap(tags[0].tokens, tags[1].tokens) > VISIBLE
    assert torch.equal(tags[0].hint, keypoints.movedim(-1, 1))


def test_noise_reaches_the_side_that_is_steered_away_from_on_the_model_and_on_the_controlnet(folder, unet):
    adapter, control = load("ip-adapter.bin"), identities.control()
    quiet, noisy = identity(0), replace(identity(0), noise=0.35)
    nobody = adapter.adapter.null_tokens(noisy.nobody())
    assert gap(nobody, adapter.adapter.null_tokens()) > VISIBLE
    plain, other = (
        IdentitySampling.on(ApplyIdentity.execute(unet, adapter, one, 0.8, 0.0, 1.0).result[0]).identities[0].projection
        for one in (quiet, noisy)
    )
    assert torch.equal(other.tokens, plain.tokens) and torch.equal(other.null_tokens, nobody)
    assert torch.equal(other.present.keys[0], plain.present.keys[0])
    assert torch.equal(other.absent.keys[3], adapter.adapter.keys_values(nobody).keys[3])
    positive, negative = IdentityControlNet.execute(
        conditioning(0), conditioning(1), control, adapter, noisy, torch.rand(1, 64, 64, 3), 0.8, 0.0, 1.0
    ).result
    tags = [next(iter(entry[0][1]["model_conds"].values())).cond for entry in (positive, negative)]
    assert torch.equal(tags[1].tokens, nobody) and torch.equal(tags[0].tokens, adapter.adapter.tokens(quiet.embedding))


def test_inputs_that_cannot_work_are_refused_with_a_remedy(folder, unet):
    adapter = load("ip-adapter.bin")
    assert "`start_percent` is 0.8, after `end_percent` 0.2" in ApplyIdentity.validate_inputs(0.8, 0.2)
    assert IdentityControlNet.validate_inputs(0.2, None) is True
    assert LoadInstantID.validate_inputs(None, None) is True, "another node will give the names"
    with pytest.raises(ValueError, match="`mask` is black everywhere"):
        ApplyIdentity.execute(unet, adapter, identity(0), 0.8, 0.0, 1.0, torch.zeros(1, 8, 8))
    spoiled = torch.ones(1, 8, 8)
    spoiled[0, 2, 3] = torch.nan
    with pytest.raises(ValueError, match="^Apply Identity: `mask` holds NaN or infinity"):
        ApplyIdentity.execute(unet, adapter, identity(0), 0.8, 0.0, 1.0, spoiled)
    for weight in (float("nan"), float("inf")):
        with pytest.raises(ValueError, match=f"^Apply Identity: `weight` is {weight}, but needs a number"):
            ApplyIdentity.execute(unet, adapter, identity(0), weight, 0.0, 1.0)
    nobody = Identity(torch.full((512,), torch.nan), ())
    with pytest.raises(ValueError, match="^InstantID: the identity's embedding holds NaN or infinity"):
        ApplyIdentity.execute(unet, adapter, nobody, 0.8, 0.0, 1.0)
    control, points = identities.control(), torch.rand(1, 64, 64, 3)
    for given, said in (
        ((adapter, identity(0), points, float("nan")), "`strength` is nan, but needs a number"),
        ((adapter, identity(0), points * torch.nan, 0.8), "`keypoints` holds NaN or infinity"),
        ((adapter, identity(0), points, 0.8, 0.0, 1.0, spoiled), "`mask` holds NaN or infinity"),
        ((adapter, nobody, points, 0.8), "the identity's embedding holds NaN or infinity"),
    ):
        with pytest.raises(ValueError, match=said):
            applying.add_control(conditioning(0), conditioning(1), control, *given)
    with pytest.raises(ValueError, match="Identity: no picture was given"):
        recognising.choose_in_pictures("Identity", None, [], None)
    from same_subject.tests.tiny import models

    with pytest.raises(ValueError, match="cross-attention layers .* but the adapter needs 70"):
        ApplyIdentity.execute(models.model("sdxl"), adapter, identity(0), 0.8, 0.0, 1.0)


class Analysis:
    """Stands in for face analysis: every picture has a large face on the left and a small one on the right."""

    def __init__(self):
        self.pictures = 0

    def faces(self, picture):
        self.pictures += 1
        return [face_at(16, 24), face_at(48, 8)]


def face_at(x, size):
    """A face in the middle row of a picture of 64 x 64."""
    points = torch.tensor([[-0.5, -0.5], [0.5, -0.5], [0, 0], [-0.4, 0.5], [0.4, 0.5]]) * size / 2 + torch.tensor([x, 32])
    box = torch.tensor([x - size / 2, 32 - size / 2, x + size / 2, 32 + size / 2])
    return Face(box, points, torch.zeros(512), 0.9, 64, 64)


HALVES = torch.zeros(2, 32, 32)
HALVES[0, :, 16:], HALVES[1, :, :16] = 1, 1


def drawn(*given, analysis=None):
    return FaceKeypoints.execute(analysis or Analysis(), *given[:1], "largest", 0, 0.5, 0.5, *given[1:]).result[0]


def test_keypoints_inside_a_mask_are_those_of_the_face_there():
    picture = torch.zeros(1, 64, 64, 3)
    large, small = (drawing.draw([face_at(*place).keypoints], 64, 64) for place in ((16, 24), (48, 8)))
    assert not torch.equal(large, small)
    assert torch.equal(drawn(picture)[0], large), "without a mask the largest of the picture"
    assert torch.equal(drawn(picture, HALVES[:1])[0], small) and torch.equal(drawn(picture, HALVES[1])[0], large)
    analysis = Analysis()
    assert torch.equal(drawn(picture, HALVES, analysis=analysis), torch.stack((small, large))), "one a mask, in their order"
    assert analysis.pictures == 1
    pair = torch.zeros(2, 64, 64, 3)
    assert torch.equal(drawn(pair, HALVES[:1]), torch.stack((small, small)))
    assert torch.equal(drawn(pair, HALVES), torch.stack((small, large)))
    empty = torch.stack((HALVES[0], torch.zeros(32, 32)))
    assert torch.equal(drawn(picture, empty), torch.stack((small, torch.zeros(64, 64, 3)))), "an empty concept has no face"


def test_a_mask_without_a_face_and_masks_that_do_not_fit_the_pictures_are_refused():
    picture, corner = torch.zeros(1, 64, 64, 3), torch.zeros(2, 64, 64)
    corner[0], corner[1, :8, :8] = 1, 1
    with pytest.raises(ValueError, match="Face Keypoints: no face was found inside mask 2 of 2 .counted from 1.: picture 1 of 1"):
        drawn(picture, corner)
    with pytest.raises(ValueError, match="Face Keypoints: `mask` has 2 masks, but `image` has 3 pictures. Give one picture"):
        drawn(picture.repeat(3, 1, 1, 1), HALVES)
    for masks, concept, said in (
        (HALVES, 3, "`concept` is 3, but `mask` has 2 masks for 1 pictures"),
        (None, 1, "`concept` is 1, but no `mask` is connected"),
        (corner, 2, "no face was found inside the mask of concept 2"),
    ):
        with pytest.raises(ValueError, match=f"Face Keypoints: {said}"):
            drawn(picture, masks, concept)


def test_a_concept_gets_its_own_face_in_every_picture_of_a_batch():
    """Concept Masks lists the masks picture by picture."""
    large, small = (drawing.draw([face_at(*place).keypoints], 64, 64) for place in ((16, 24), (48, 8)))
    pair, masks = torch.zeros(2, 64, 64, 3), torch.stack((HALVES[1], HALVES[0], HALVES[0], HALVES[1]))
    assert torch.equal(drawn(pair, masks, 1), torch.stack((large, small)))
    assert torch.equal(drawn(pair, masks, 2), torch.stack((small, large)))
    assert torch.equal(drawn(pair[:1], HALVES, 1), small[None]), "of one picture"
