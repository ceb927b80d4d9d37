"""What the node trains is the model as its loader gave it, whatever ran on it before."""

import comfy.model_management
import pytest
import torch
from same_subject.nodes.demo.host import model as demo_model
from same_subject.nodes.training.host import in_graph
from same_subject.tests.tiny import models

NAME = "diffusion_model.input_blocks.0.0.weight"


@pytest.fixture
def loaded(tmp_path):
    """A model whose clone, with a weight that is patched, a sampler has used."""
    patcher = demo_model.load(models.save_demo(tmp_path / "four.safetensors", 4))[0]
    weight = patcher.model.state_dict()[NAME].clone()
    clone = patcher.clone()
    clone.add_patches({NAME: ("diff", (torch.ones_like(weight),))})
    with torch.inference_mode():
        comfy.model_management.load_models_gpu([clone], force_full_load=True)
    yield patcher, weight
    comfy.model_management.unload_all_models()


def test_a_host_that_copies_weights_takes_patches_of_clones_out_of_them_first(loaded, monkeypatch):
    patcher, weight = loaded
    assert not torch.equal(patcher.model.state_dict()[NAME], weight) and not patcher.patches
    older = type("Older", (type(patcher),), {"clone": lambda self: super(Older, self).clone()})  # noqa: F821
    monkeypatch.setitem(globals(), "Older", older)
    patcher.__class__ = older
    own = in_graph.own(patcher)
    assert torch.equal(own.model.state_dict()[NAME], weight) and own.model is not patcher.model
    own.model.model_config.unet_config["in_channels"] = 9
    assert patcher.model.model_config.unet_config["in_channels"] == 4


def test_a_model_that_carries_patches_is_refused(loaded):
    patcher, weight = loaded
    patcher.add_patches({NAME: ("diff", (torch.ones_like(weight),))})
    with pytest.raises(ValueError, match=f"carries what other nodes put on it \\(such as {NAME}\\)"):
        in_graph.own(patcher)
