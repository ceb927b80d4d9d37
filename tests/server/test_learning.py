"""From nothing to a model that keeps a toy, in Stable Diffusion 1.5's layout: the command trains it, stock loaders load it.

The base learns single pictures of the demo world first, then a LoRA and all weights learn sets of them. That takes most of an
hour of one core: SAME_SUBJECT_TRAIN=1 asks for it. In SAME_SUBJECT_TRAIN_FOLDER it is kept, and goes on from what is there.
"""

import os
import shutil
from argparse import Namespace
from pathlib import Path

import comfy.sd
import comfy.utils
import pytest
from safetensors.torch import load_file, save_file
from same_subject.dev.showing import graphs as shipped_graphs
from same_subject.nodes.data.opening import open_source
from same_subject.nodes.training.host import base as bases
from same_subject.nodes.training.host.network import Network
from same_subject.nodes.training.settings import FULL, LORA, Settings
from same_subject.research import drawn_sets, finetune, finetuning
from same_subject.tests.server import checkpoints, graphs

SINGLE = 3000
"""Pictures that the base learns from."""
ZERO = ("out.2", "out_layers.3", "proj_out")
"""What begins as zero in a UNet that was never trained."""
STEPS = {"base": 800, LORA: 2000, FULL: 400}
RATES = {"base": 1e-3, LORA: 4e-3, FULL: 1e-3}


def command(folder, checkpoint, output, **chosen):
    """`research/finetune.py` with all that the runs have in common."""
    chosen |= {"checkpoint": checkpoint, "output": output, "folder": folder, "cache": folder / "cache"}
    chosen |= {"side": 64, "rows": 16, "rank": 8, "head_start": True}
    assert finetuning.run(Namespace(**{**vars(finetune._parser().parse_args([])), **chosen})) == 0
    return output


def single_pictures(folder):
    """Pictures of toys, each with its caption, of which no two are of the same toy but by chance."""
    if not folder.is_dir():
        source, part = open_source(f"demo:{SINGLE // 4}", more=drawn_sets.KINDS), folder.with_suffix(".part")
        part.mkdir(exist_ok=True)
        for number, entry in enumerate(source.entries(source.parts()[0])):
            one = source.read(entry)
            for view, (picture, caption) in enumerate(zip(one.pictures, one.captions, strict=True)):
                picture.save(part / f"{number}-{view}.png")
                (part / f"{number}-{view}.txt").write_text(caption)
        part.rename(folder)
    return folder


def trained_base(folder):
    """A model of single pictures, whose text encoder is random and of full size."""
    untrained, base = folder / "untrained.safetensors", folder / "base.safetensors"
    if base.is_file():
        return base
    if not untrained.is_file():
        checkpoints.save_sd15(untrained, checkpoints.SMALLEST, checkpoints.averaging_autoencoder())
        state = load_file(untrained)
        for name, weight in state.items():
            if name.startswith("model.") and name.rsplit(".", 1)[0].endswith(ZERO):
                weight.zero_()
        save_file(state, untrained)
    pictures = single_pictures(folder / "pictures")
    chosen = {"data": [f"pictures:{pictures}"], "method": FULL, "without_references": True}
    return command(folder, untrained, base, steps=STEPS["base"], rate=RATES["base"], **chosen)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where all of it is kept."""
    chosen = os.environ.get("SAME_SUBJECT_TRAIN_FOLDER")
    return Path(chosen) if chosen else tmp_path_factory.mktemp("learning")


def copying(checkpoint, lora=None, trained=True):
    """How much the right reference helps what stock loaders give: 95 % of the bootstrap over held-out toys, and the middle."""
    model, clip, vae, _ = comfy.sd.load_checkpoint_guess_config(str(checkpoint), disable_dynamic=True)
    if lora:
        state = comfy.utils.load_torch_file(str(lora), safe_load=True)
        model = comfy.sd.load_lora_for_models(model, None, state, 1.0, 0.0)[0]
        model.patch_model()
    base = bases.base_of(model, clip, vae, checkpoint)
    held_out = finetuning.pairs(base)
    if not trained:
        Network(base, Settings())
    return finetuning.copying(base, held_out)


def shipped(checkpoint, lora=None):
    """The graph for a subject in new scenes as it ships, with small pictures and few steps."""
    graph = shipped_graphs.read_graph(shipped_graphs.OF_OTHERS)
    graph["1"]["inputs"]["ckpt_name"] = checkpoint.name
    graph["4"]["inputs"] |= {"width": 64, "height": 64}
    graph["6"]["inputs"]["steps"] = 8
    if lora:
        graph["lora"] = graphs.node("LoraLoaderModelOnly", model=graphs.link("1"), lora_name=lora.name, strength_model=1.0)
        graph["5"]["inputs"]["model"] = graphs.link("lora")
    graph["save"] = graph.pop("9")
    return graph


@pytest.mark.slow
@pytest.mark.skipif(not os.environ.get("SAME_SUBJECT_TRAIN"), reason="trains for an hour: SAME_SUBJECT_TRAIN=1 asks for it")
@pytest.mark.parametrize("method", (LORA, FULL))
def test_a_trained_file_keeps_a_toy_that_its_base_does_not(method, folder, live):
    base = trained_base(folder)
    output = folder / f"{method}.safetensors"
    if not output.is_file():
        command(folder, base, output, data=[f"demo:{SINGLE // 4}"], method=method, steps=STEPS[method], rate=RATES[method])
    before = copying(base, trained=False)
    found = copying(output) if method == FULL else copying(base, output)
    print(
        f"copying {found[1]:.3f} [{found[0]:.3f}, {found[2]:.3f}], of the base {before[1]:.4f} [{before[0]:.4f}, {before[2]:.4f}]"
    )
    assert found[0] > before[2]
    for path in (base, output):
        into = live.base / "models" / ("loras" if path is output and method == LORA else "checkpoints")
        into.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, into / path.name)
    plain, kept = (
        [picture.tobytes() for picture in graphs.pictures(live, graph)]
        for graph in (shipped(base), shipped(output) if method == FULL else shipped(base, output))
    )
    assert len(plain) == len(kept) == 2 and all(a != b for a, b in zip(plain, kept, strict=True))
