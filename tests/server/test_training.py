"""What training writes, on the live server: with stock loaders, before its first step, the same pictures as the base's."""

import json
import os
from argparse import Namespace

import pytest
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from same_subject.nodes.demo.host import model as demo_model
from same_subject.nodes.training.host import base as bases
from same_subject.nodes.training.host import files
from same_subject.nodes.training.host.network import Network
from same_subject.nodes.training.settings import FULL, LORA, Settings
from same_subject.research import finetune, finetuning
from same_subject.tests.server import checkpoints, graphs
from same_subject.tests.tiny import models

FIRST = "diffusion_model.input_blocks.0.0.lora_up.weight"


@pytest.fixture(scope="module")
def trained(live):
    """A base of 4 channels, and of it a LoRA and a checkpoint of 0 steps, and a LoRA that learned something."""
    folder, loras = live.base / "models" / "jedi_demo", live.base / "models" / "loras"
    loras.mkdir(parents=True, exist_ok=True)
    base = models.save_demo(folder / "four.safetensors", 4)
    files.save(Network(bases.base_of(*demo_model.load(base), base), Settings()), loras / "step 0.safetensors", 0)
    state = load_file(loras / "step 0.safetensors")
    state[FIRST][:, 36:81] += 0.05
    save_file(state, loras / "learned.safetensors")
    network = Network(bases.base_of(*demo_model.load(base), base), Settings(method=FULL))
    with safe_open(str(base), "pt") as file:
        config = json.loads(file.metadata()["same_subject.config"])
    config["unet"]["in_channels"] = 9
    said = {"same_subject.config": json.dumps(config), **files.about(network, 0).metadata()}
    save_file({name: value.contiguous() for name, value in files.checkpoint(network).items()}, folder / "nine.safetensors", said)


def picture(live, file="four.safetensors", lora=None, **apply):
    """The bytes of the two pictures of the joint graph."""
    graph = graphs.basic(("red.png", "green.png"), file=file, **apply)
    if lora:
        graph["lora"] = graphs.node("LoraLoaderModelOnly", model=graphs.link("model"), lora_name=lora, strength_model=1.0)
        graph["jedi"]["inputs"]["model"] = graphs.link("lora")
    return [shown.tobytes() for shown in graphs.pictures(live, graph)]


@pytest.mark.parametrize("guidance", ("joint", "text first"))
def test_before_the_first_step_a_joint_graph_makes_the_bytes_of_the_base(live, trained, guidance):
    expected = picture(live, guidance=guidance)
    assert picture(live, lora="step 0.safetensors", guidance=guidance) == expected
    assert picture(live, "nine.safetensors", guidance=guidance) == expected
    assert picture(live, lora="learned.safetensors", guidance=guidance) != expected


def test_a_joint_lora_on_a_model_that_has_its_channels_is_refused_in_a_sentence(live, trained):
    with pytest.raises(Exception, match="trained on one of 4 input channels, but this one has 9"):
        picture(live, "tiny.safetensors", lora="step 0.safetensors")


@pytest.mark.parametrize(("kind", "asked"), (("sd15", "SAME_SUBJECT_TRAIN"), ("sdxl", "SAME_SUBJECT_SDXL")))
def test_files_of_the_command_load_through_stock_loaders_and_begin_at_the_base(live, kind, asked, tmp_path):
    """In the real layouts, which takes minutes and gigabytes: the variable asks for it. 20 steps make another picture."""
    if not os.environ.get(asked):
        pytest.skip(f"writes gigabytes; {asked}=1 asks for it")
    folders = {name: live.base / "models" / name for name in ("checkpoints", "loras")}
    for folder in folders.values():
        folder.mkdir(parents=True, exist_ok=True)
    base, vae = folders["checkpoints"] / "base.safetensors", checkpoints.small_autoencoder()
    checkpoints.save_sd15(base, vae=vae) if kind == "sd15" else checkpoints.save_sdxl(base, checkpoints.SDXL_UNET, vae)
    shown = {}
    for name, method, steps, rate in (("base", "", 0, 0), ("untrained", LORA, 1, 1e-30), ("trained", LORA, 20, 1e-3),
                                      ("whole", FULL, 1, 1e-30)):  # fmt: skip
        output = folders["checkpoints" if method == FULL else "loras"] / f"{kind}-{name}.safetensors"
        if method:
            chosen = {"checkpoint": base, "data": ["demo:8"], "output": output, "folder": tmp_path, "method": method}
            chosen |= {"steps": steps, "rate": rate, "rows": 2, "rank": 4, "side": 64}
            assert finetuning.run(Namespace(**{**vars(finetune._parser().parse_args([])), **chosen})) == 0
        graph = graphs.basic(("red.png",))
        file = output if method == FULL else base
        graph["model"] = graphs.node("CheckpointLoaderSimple", ckpt_name=file.name)
        if method == LORA:
            graph["lora"] = graphs.node(
                "LoraLoaderModelOnly", model=graphs.link("model"), lora_name=output.name, strength_model=1.0
            )
            graph["jedi"]["inputs"]["model"] = graphs.link("lora")
        shown[name] = [picture.tobytes() for picture in graphs.pictures(live, graph)]
    assert shown["untrained"] == shown["whole"] == shown["base"] != shown["trained"]
