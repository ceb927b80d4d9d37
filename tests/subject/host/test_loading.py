"""Loading a subject adapter: what the file holds is what runs, and every file that is another one is refused."""

import torch
from safetensors.torch import load_file
from same_subject.nodes.subject.adapter import Networks
from same_subject.nodes.subject.host import loading
from same_subject.tests.tiny import subject_adapter_files
from same_subject.tests.tiny.sets import gap

ROUNDING = 2e-6


def test_the_networks_of_a_file_give_what_its_weights_give(tmp_path):
    path = subject_adapter_files.save(tmp_path / "toy.safetensors", seed=3)
    loaded = loading.load(path)
    plain = Networks(loaded.about.sizes)
    plain.load_state_dict({k: v for k, v in load_file(path).items() if not k.startswith(("text.", "vision."))})
    patches, boxes = torch.randn(2, 16, 24), torch.rand(2, 4)
    with torch.no_grad():
        assert gap(loaded.networks.proj(patches, boxes), plain.proj(patches, boxes)) < ROUNDING
        seen, expected = (each.layers[2].subjects(torch.ones(5, 28)) for each in (loaded.networks, plain))
    assert gap(seen.keys, expected.keys) < ROUNDING and seen.keys.shape == (5, 64)
    assert loaded.about == subject_adapter_files.about() and loaded.name == "toy.safetensors"
