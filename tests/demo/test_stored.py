"""The small forms that a demo model's weights are stored in, and what the metadata may say of other files."""

import json

import pytest
import torch
from same_subject.nodes.demo import config, stored


def test_a_table_gets_its_rows_back_and_zeros_elsewhere():
    rows, numbers = torch.tensor([[1.0, 2.0], [3.0, 4.0]]).half(), torch.tensor([3, 1])
    found = stored.whole({"words": rows, "words.rows": numbers, "plain": rows}, 5)
    assert set(found) == {"words", "plain"} and found["words"].dtype == torch.float32
    assert found["words"].tolist() == [[0, 0], [3, 4], [0, 0], [1, 2], [0, 0]]
    assert torch.equal(found["plain"], rows.float())


def test_a_weight_of_8_bits_is_its_numbers_times_each_channels_scale():
    weight = torch.tensor([[[-127, 0]], [[64, 127]]], dtype=torch.int8)
    found = stored.whole({"w": weight, "w.scale": torch.tensor([0.5, 2.0])}, 5)
    assert set(found) == {"w"} and found["w"].tolist() == [[[-63.5, 0.0]], [[128.0, 254.0]]]


@pytest.mark.parametrize(
    "state",
    [
        {"w": torch.ones(2, 3), "w.rows": torch.tensor([0, 5])},
        {"w": torch.ones(2, 3), "w.rows": torch.tensor([-1, 0])},
        {"w": torch.ones(2, 3), "w.rows": torch.tensor([0])},
        {"w": torch.ones(2, 3), "w.rows": torch.tensor([0.0, 1.0])},
        {"w": torch.ones(2), "w.rows": torch.tensor([0, 1])},
        {"w": torch.ones(2, 3), "w.scale": torch.ones(2)},
        {"w": torch.ones(2, 3, dtype=torch.int8), "w.scale": torch.ones(3)},
    ],
)
def test_a_form_that_is_not_sound_is_refused(state):
    with pytest.raises(ValueError, match="`w` .* does not fit its"):
        stored.whole(state, 5)


def metadata(**shared):
    said = {"unet": {"in_channels": 4}, "clip": {}, "vae": {"ddconfig": {"ch_mult": [1, 2]}}, "latent_scale": 0.5}
    return {config.KEY: json.dumps(said), config.SHARED_KEY: json.dumps(shared)}


def test_the_metadata_names_the_file_that_holds_a_network():
    read = config.parse(metadata(vae={"file": "vae.safetensors", "sha256": "00"}))
    assert read.shared == {"vae": config.Shared("vae.safetensors", "00")}
    alone = metadata()
    del alone[config.SHARED_KEY]
    assert config.parse(alone).shared == {}


@pytest.mark.parametrize("file", ["../vae.safetensors", "/vae.safetensors", "a\\vae.safetensors", "vae.bin", ".safetensors", 3])
def test_a_name_that_leaves_the_folder_is_refused(file):
    with pytest.raises(ValueError, match="same_subject.shared"):
        config.parse(metadata(vae={"file": file, "sha256": "00"}))


@pytest.mark.parametrize(
    "shared", [{"finder": {"file": "a.safetensors", "sha256": "00"}}, {"vae": {"file": "a.safetensors"}}, {"vae": 1}]
)
def test_metadata_that_says_something_else_is_refused(shared):
    with pytest.raises(ValueError, match="same_subject.shared"):
        config.parse(metadata(**shared))
