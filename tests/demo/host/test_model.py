"""The loader of demo models: files that share a network, files that hold everything, and files that do not fit."""

import shutil

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from same_subject.dev import pack
from same_subject.nodes.demo import config as demo_config
from same_subject.nodes.demo import stored
from same_subject.nodes.demo.host import folders
from same_subject.nodes.demo.host import model as demo_model
from same_subject.nodes.demo.nodes import LoadDemoModel
from same_subject.research import export
from same_subject.tests.tiny import models

DEMO = pack.ROOT / "demo"
FIRST_LAYER = demo_config.PREFIXES["unet"] + "input_blocks.0.0.weight"


@pytest.fixture
def folder(monkeypatch, tmp_path):
    """The only folder of demo models, with nothing else to find a shared file in."""
    monkeypatch.setitem(folders.folder_paths.folder_names_and_paths, folders.CATEGORY, ([str(tmp_path)], {".safetensors"}))
    monkeypatch.setattr(folders, "PACK", tmp_path / "nothing")
    return tmp_path


def read_whole(path):
    """All of a model as one self-contained checkpoint: metadata and tensors."""
    with safe_open(str(path), "pt") as file:
        metadata = {key: value for key, value in file.metadata().items() if key != demo_config.SHARED_KEY}
    state = load_file(path) | load_file(DEMO / "vae.safetensors")
    return metadata, stored.whole(state, 49408)


def weights_of(path):
    model, clip, vae = demo_model.load(path)
    networks = model.model.diffusion_model, clip.cond_stage_model, vae.first_stage_model
    return [{name: value.clone() for name, value in network.state_dict().items()} for network in networks]


def test_a_self_contained_file_and_one_that_shares_its_vae_give_the_same_networks(folder):
    metadata, state = read_whole(DEMO / "demo.safetensors")
    save_file({key: value.half().contiguous() for key, value in state.items()}, folder / "whole.safetensors", metadata)
    for one, other in zip(weights_of(folder / "whole.safetensors"), weights_of(DEMO / "demo.safetensors"), strict=True):
        assert one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_what_is_exported_is_read_back_to_the_bit_and_in_8_bits_to_half_a_step(folder):
    plain = models.save_demo(folder / "plain.safetensors")
    with safe_open(str(plain), "pt") as file:
        metadata = file.metadata()
    tensors = {key: value.half() for key, value in load_file(plain).items()}
    tensors[stored.WORDS][torch.arange(len(tensors[stored.WORDS])) % 50 > 0] = 0
    for bits, name in ((False, "exact"), (True, "rounded")):
        path = folder / f"{name}.safetensors"
        export.save(tensors, metadata, path, folder / "shared.safetensors", in_8_bits=bits)
        config, parts = demo_model._read(path)
        found = {demo_config.PREFIXES[part] + key: value for part, state in parts.items() for key, value in state.items()}
        assert found.keys() == tensors.keys() and config.shared["vae"].file == "shared.safetensors"
        assert path.stat().st_size < plain.stat().st_size / (3 if bits else 2)
        for key, value in tensors.items():
            if bits and key.startswith(demo_config.PREFIXES["unet"]) and value.ndim > 1:
                step = value.float().flatten(1).abs().amax(dim=1) / 127
                assert ((found[key] - value.float()).flatten(1).abs() <= step[:, None] * 0.501).all()
            else:
                assert torch.equal(found[key], value.float())
    assert not torch.equal(found[FIRST_LAYER], tensors[FIRST_LAYER].float())


def test_the_shared_file_is_no_choice_of_the_node_and_its_change_is_seen(folder):
    for name in ("demo.safetensors", "vae.safetensors"):
        shutil.copy(DEMO / name, folder)
    assert folders.demo_models(demo_config.KEY) == ["demo.safetensors"]
    before = LoadDemoModel.fingerprint_inputs("demo.safetensors")
    (folder / "vae.safetensors").touch()
    assert LoadDemoModel.fingerprint_inputs("demo.safetensors") != before


def test_a_shared_file_that_is_missing_is_refused_before_the_run(folder):
    shutil.copy(DEMO / "demo.safetensors", folder)
    said = LoadDemoModel.validate_inputs("demo.safetensors")
    assert "demo.safetensors cannot be used: its vae is in vae.safetensors" in said and demo_model.REMEDY in said


def test_a_model_that_was_copied_away_finds_the_packs_own_shared_file(folder, monkeypatch):
    shutil.copy(DEMO / "demo.safetensors", folder)
    monkeypatch.setattr(folders, "PACK", pack.ROOT)
    assert len(demo_model.load(folder / "demo.safetensors")) == 3


def test_another_file_of_the_shared_files_name_is_refused(folder):
    shutil.copy(DEMO / "demo.safetensors", folder)
    content = bytearray((DEMO / "vae.safetensors").read_bytes())
    content[-1] ^= 1
    (folder / "vae.safetensors").write_bytes(content)
    with pytest.raises(ValueError, match=r"demo.safetensors cannot be used: its vae is in vae.safetensors, but .*another file"):
        demo_model.load(folder / "demo.safetensors")


def test_the_packs_files_store_nothing_twice():
    """The VAE once, and of each model's words the few that its captions use."""
    for path in export.FILES.values():
        state = load_file(path)
        assert not [key for key in state if key.startswith(demo_config.PREFIXES["vae"])]
        assert state[stored.WORDS].any(dim=1).all() and len(state[stored.WORDS]) < 30
    assert load_file(export.FILES["single"])[FIRST_LAYER].dtype == torch.int8
