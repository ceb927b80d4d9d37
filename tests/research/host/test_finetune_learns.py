"""From a checkpoint in Stable Diffusion 1.5's layout to one that copies: trained by the command, judged through stock loaders.

The smallest UNet that the host's detection takes learns from nothing, so that takes minutes: SAME_SUBJECT_TRAIN=1 asks for it.
"""

import os
from argparse import Namespace

import comfy.sd
import comfy.utils
import pytest
import torch
from same_subject.nodes.training.host import base as bases
from same_subject.nodes.training.host.network import Network
from same_subject.nodes.training.settings import FULL, LORA, Settings
from same_subject.research import finetune, finetuning
from same_subject.tests.server import checkpoints

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not os.environ.get("SAME_SUBJECT_TRAIN"), reason="trains for minutes: SAME_SUBJECT_TRAIN=1"),
]
STEPS = int(os.environ.get("SAME_SUBJECT_TRAIN_STEPS", 300))


LAST = "first_stage_model.taesd_encoder.14"
"""The layer whose outputs are the latents."""


def base_file(path):
    """A checkpoint of random weights, whose VAE gives latents of Stable Diffusion's size."""
    vae = checkpoints.small_autoencoder()
    vae[f"{LAST}.weight"] = vae[f"{LAST}.weight"] * 7.5
    vae[f"{LAST}.bias"] = vae[f"{LAST}.bias"] * 7.5 + torch.tensor([0.46, 0.26, 1.09, -0.39]).half()
    checkpoints.save_sd15(path, vae=vae)
    return path


def opened(path, lora=None):
    """What stock loaders give, with the LoRA in its weights, as something to measure."""
    model, clip, vae, _ = comfy.sd.load_checkpoint_guess_config(str(path), disable_dynamic=True)
    if lora:
        state = comfy.utils.load_torch_file(str(lora), safe_load=True)
        model = comfy.sd.load_lora_for_models(model, None, state, 1.0, 0.0)[0]
        model.patch_model()
    return model, clip, vae


@pytest.mark.parametrize("method", (LORA, FULL))
def test_a_trained_file_copies_and_its_base_does_not(method, tmp_path):
    path, output = base_file(tmp_path / "base.safetensors"), tmp_path / "trained.safetensors"
    untrained = bases.base_of(*opened(path), path)
    held_out = finetuning.pairs(untrained)
    Network(untrained, Settings())
    before = finetuning.copying(untrained, held_out)
    chosen = {
        "checkpoint": path, "data": ["demo:"], "output": output, "folder": tmp_path, "method": method, "rank": 8,
        "steps": STEPS, "rate": 1e-3, "rows": 16, "side": 64, "head_start": True, "cache": tmp_path / "cache",
    }  # fmt: skip
    assert finetuning.run(Namespace(**{**vars(finetune._parser().parse_args([])), **chosen})) == 0
    trained = opened(output) if method == FULL else opened(path, output)
    found = finetuning.copying(bases.base_of(*trained, output), held_out)
    print(f"{method}, {STEPS} steps: copying {found}, before {before}")
    assert found[0] > before[2]
