"""Load Scene Tools: one message for all that is missing, in its own name, and what other loaders give."""

import folder_paths
import pytest
import torch
from same_subject.nodes.concepts.host import files as concept_files
from same_subject.nodes.concepts.host import segmenting
from same_subject.nodes.identity.host import face_analysis
from same_subject.nodes.identity.host import files as identity_files
from same_subject.nodes.scene.concept import SceneTools
from same_subject.nodes.scene.host import loading
from same_subject.nodes.scene.nodes import LoadSceneTools
from same_subject.tests.tiny import identities, planted_grounding

NOTHING = dict.fromkeys(loading.LOADERS, loading.NONE)


@pytest.fixture(autouse=True)
def folders(tmp_path, monkeypatch):
    monkeypatch.setattr(folder_paths, "models_dir", str(tmp_path))
    before = dict(folder_paths.folder_names_and_paths)
    for name, extensions in (
        ("grounding-dino", concept_files.DETECTOR_EXTENSIONS), ("sams", {".pth"}), ("instantid", {".bin", ".safetensors"}),
        ("insightface", set()), ("controlnet", {".safetensors"}),
    ):  # fmt: skip
        (tmp_path / name).mkdir()
        folder_paths.folder_names_and_paths[name] = ([str(tmp_path / name)], extensions)
    yield tmp_path
    folder_paths.folder_names_and_paths.clear()
    folder_paths.folder_names_and_paths.update(before)


def test_one_message_names_all_that_is_missing_in_the_nodes_own_words(monkeypatch):
    monkeypatch.setattr(segmenting, "missing_package", lambda: None)
    chosen = {
        "detector": "groundingdino_swint_ogc.pth", "segmenter": "sam_vit_b_01ec64.pth", "adapter": "ip-adapter.bin",
        "face_analysis": face_analysis.EXACT, "control_net": "face.safetensors",
    }  # fmt: skip
    said = LoadSceneTools.validate_inputs(**chosen)
    for part in (
        "`detector` is `groundingdino_swint_ogc.pth`", "`segmenter` is `sam_vit_b_01ec64.pth`", "`adapter` is `ip-adapter.bin`",
        "`control_net` is `face.safetensors`", "1k3d68.onnx", "https://",
    ):  # fmt: skip
        assert part in said, part
    assert said.count("Load Scene Tools: ") >= 5
    assert not any(f"{loader}: " in said for loader, _ in loading.LOADERS.values()), said
    assert LoadSceneTools.validate_inputs(**NOTHING) is True
    assert LoadSceneTools.validate_inputs(**dict.fromkeys(NOTHING)) is True, "other nodes will give them"
    assert "needs to be `as published` or `any`" in LoadSceneTools.validate_inputs(**{**NOTHING, "face_analysis": "mine"})
    assert "`adapter`" in LoadSceneTools.validate_inputs(**{**NOTHING, "adapter": "a\0b"})


def test_every_tool_can_be_left_out():
    (tools,) = LoadSceneTools.execute(**NOTHING).result
    assert tools == tools and all(getattr(tools, name) is None for name in loading.LOADERS) and isinstance(tools, SceneTools)
    for combo in (loading.detectors, loading.segmenters, loading.adapters, identity_files.control_names):
        assert combo()[-1] == loading.NONE


def test_tools_are_those_of_the_loaders_of_each(folders):
    planted_grounding.save_folder(folders / "grounding-dino" / "planted")
    torch.save(identities.adapter_state(), folders / "instantid" / "tiny.bin")
    chosen = {**NOTHING, "detector": "planted", "adapter": "tiny.bin"}
    assert LoadSceneTools.validate_inputs(**chosen) is True
    before = LoadSceneTools.fingerprint_inputs(**chosen)
    (tools,) = LoadSceneTools.execute(**chosen).result
    person = identities.identity(3)
    (ours, _), (theirs, _) = (
        identity_files.face_tokens(adapter, person)
        for adapter in (tools.adapter, identity_files.load_adapter(folders / "instantid" / "tiny.bin"))
    )
    assert torch.equal(ours, theirs) and tools.detector.token_ids("red .")
    torch.save(identities.adapter_state(seed=9), folders / "instantid" / "tiny.bin")
    assert LoadSceneTools.fingerprint_inputs(**chosen) != before


def test_a_damaged_file_is_refused_in_the_nodes_own_name(folders):
    (folders / "instantid" / "cut.bin").write_bytes(b"nothing")
    (folders / "sams" / "cut.pth").write_bytes(b"nothing")
    for chosen, name in (({"adapter": "cut.bin"}, "cut.bin"), ({"segmenter": "cut.pth"}, "cut.pth")):
        if "segmenter" in chosen and segmenting.missing_package():
            continue
        with pytest.raises(ValueError, match=f"Load Scene Tools: .*{name}"):
            LoadSceneTools.execute(**{**NOTHING, **chosen})
