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


@pytest.mark.parametrize("rows, most", ((2, (4, 4)), (4, (4, 4)), (5, (5, 1)), (6, (6, 3)), (7, (7, 1)), (11, (11, 1))))
def test_the_largest_batch_is_counted_not_that_of_the_largest_sets(rows, most):
    found = memory.batch({"context_dim": 32}, Settings(rows=rows, side=64))
    assert (len(found.latents), found.pictures) == most


def test_a_forward_pass_in_single_precision_takes_more(path):
    base = bases.base_of(*demo_model.load(path), path)
    config, settings = dict(base.patcher.model.model_config.unet_config), Settings(rank=4, rows=8, side=256)
    mixed, single = (memory.estimate(config, settings, torch.float32, mixed=each).activations for each in (True, False))
    assert single > 1.2 * mixed


def test_the_host_makes_room_for_each_step_and_for_averages_once(path, monkeypatch):
    asked = []
    monkeypatch.setattr(memory.comfy.model_management, "free_memory", lambda size, device: asked.append(size))
    network = Network(bases.base_of(*demo_model.load(path), path), Settings(rank=4))
    trained = sum(weight.nbytes for weight in network.parameters() if weight.requires_grad)
    found = counting.Estimate(2**30, 5 * trained, 2**20)
    for device, known in (("cpu", found), ("cuda", None), ("cuda", found)):
        for first in (True, False):
            memory.make_room(known, network, torch.device(device), first)
    assert asked == [counting.BESIDE * (2**20 + 5 * trained), counting.BESIDE * (2**20 + trained)]
