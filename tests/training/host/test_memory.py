"""What a training takes is known before it begins, and refused where there is not so much."""

import pytest
import torch
from same_subject.nodes.demo.host import model as demo_model
from same_subject.nodes.training import memory as counting
from same_subject.nodes.training.host import base as bases
from same_subject.nodes.training.host import memory
from same_subject.nodes.training.host.network import Network
from same_subject.nodes.training.host.step import Sets, step
from same_subject.nodes.training.settings import FULL, LOHA, LORA, Settings
from same_subject.tests.tiny import models


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return models.save_demo(tmp_path_factory.mktemp("tiny") / "four.safetensors", 4)


@pytest.mark.parametrize("method, saving", ((LORA, False), (LORA, True), (LOHA, False), (FULL, False)))
def test_a_step_takes_what_was_counted_before(path, method, saving):
    settings = Settings(method, rank=4, rows=8, sizes=(0, 1), side=256, saving=saving)
    base = bases.base_of(*demo_model.load(path), path)
    config = dict(base.patcher.model.model_config.unet_config)
    said = memory.estimate(config, settings, torch.float32, 8)
    network = Network(base, settings)
    memory.as_on_gpu(base.unet)
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    width = config["context_dim"]
    sets = Sets(torch.ones(8, 4, 32, 32), torch.ones(8, 77, width), torch.ones(1, 77, width), 2)

    def forward():
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return step(network, sets, base.schedule, torch.Generator().manual_seed(0)).loss

    measured = counting.counted(forward, trained, "cpu")
    assert 0.95 < said.activations / measured < 1.05
    assert said.trained == sum(parameter.numel() for parameter in trained) * 20


def test_more_than_there_is_is_refused_with_what_it_is_made_of(monkeypatch):
    monkeypatch.setattr(memory.comfy.model_management, "get_free_memory", lambda device: 2**30)
    found = counting.Estimate(2**30, 2**29, 3 * 2**30)
    with pytest.raises(ValueError, match=r"about 5\.5 GiB are needed \(model 1\.00 GiB, .*, but of cpu 1\.0 GiB can be had"):
        memory.check(found, torch.device("cpu"))
    memory.check(counting.Estimate(0, 0, 2**20), torch.device("cpu"))
