"""The command that trains, from a checkpoint in a real layout and a folder of pictures to files that stock loaders take."""

import os
from argparse import Namespace

import comfy.sd
import comfy.utils
import pytest
import torch
from PIL import Image
from same_subject.nodes.data.opening import open_source
from same_subject.nodes.joint import objective
from same_subject.nodes.joint import settings as joint
from same_subject.nodes.joint.host import channels, encoding, tagging
from same_subject.nodes.joint.host import sets as joint_sets
from same_subject.nodes.joint.layout import JointSet, Layout, draw_noise, key_of
from same_subject.research import finetune, finetuning, memory_table
from same_subject.research.drawn_sets import KINDS
from same_subject.tests.server import checkpoints
from same_subject.tests.tiny import sets

SDXL = pytest.param("sdxl", marks=pytest.mark.skipif(not os.environ.get("SAME_SUBJECT_SDXL"), reason="writes 2 GB"))


def folder_of_sets(folder):
    """Two drawn sets as a user keeps them, of pictures with two aspects."""
    for number, one in enumerate(open_source("demo:2", more=KINDS).sets(0, 0)):
        (folder / f"toy {number}").mkdir(parents=True)
        for view, (picture, text) in enumerate(zip(one.pictures[:3], one.captions, strict=False)):
            canvas = Image.new("RGB", (96, 64), "grey")
            canvas.paste(picture, (16, 0))
            canvas.save(folder / f"toy {number}" / f"{view}.png")
            (folder / f"toy {number}" / f"{view}.txt").write_text(text)
    return folder


def options(**changes):
    return Namespace(**{**vars(finetune._parser().parse_args([])), "steps": 2, "rate": 1e-3, "side": 128, **changes})


def sampled(model, clip, vae):
    """A joint set of one picture with one reference on a model, by JeDi and KSampler."""
    layout = Layout(1, 1, 1)
    latents = vae.encode(torch.rand(1, 64, 64, 3, generator=torch.Generator().manual_seed(0))).float().cpu()
    noise = draw_noise(0, 1, 1, tuple(latents.shape[1:]))
    key = key_of(layout, ["a toy", "a ball"], latents, noise)
    joint_set = JointSet(layout, latents, noise, key)
    positive, negative = encoding.encode_texts(clip, ["a toy", "a ball"], "", {tagging.SET_KEY: key})
    return sets.sample(joint_sets.apply(model, joint_set, joint.Settings()), sets.Case(joint_set, positive, negative))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ("sd15", SDXL))
def test_a_checkpoint_in_a_real_layout_becomes_a_joint_one_for_stock_loaders(kind, tmp_path, caplog):
    """As the command has it: a LoRA, then all weights. Untrained, both give the bits of the base."""
    vae = checkpoints.small_autoencoder()
    path = tmp_path / "base.safetensors"
    if kind == "sd15":
        checkpoints.save_sd15(path, vae=vae)
    else:
        checkpoints.save_sdxl(path, checkpoints.SDXL_UNET, vae)
    data = [str(folder_of_sets(tmp_path / "sets"))]
    steps = 20 if kind == "sdxl" else 2
    common = {"checkpoint": path, "data": data, "folder": tmp_path / "runs", "steps": steps}
    model, clip, decoder, _ = comfy.sd.load_checkpoint_guess_config(str(path))
    with torch.inference_mode():
        expected = sampled(model, clip, decoder)
        found = {}
        for name, changes in (
            ("untrained", {"rate": 1e-30}),
            ("trained", {"buckets": True, "snr": 5.0, "cache": tmp_path / "kept"}),
        ):
            output = tmp_path / f"{name}.safetensors"
            with torch.inference_mode(False):
                assert finetuning.run(options(**common, output=output, rank=4, **changes)) == 0
            lora = comfy.utils.load_torch_file(str(output), safe_load=True)
            joined = comfy.sd.load_lora_for_models(model, None, lora, 1.0, 0.0)[0]
            assert channels.channel_order(joined, "auto") == joint.CHANNEL_ORDERS[0]
            found[name] = sampled(joined, clip, decoder)
        assert "lora key not loaded" not in caplog.text and "ERROR" not in caplog.text
        assert torch.equal(found["untrained"], expected) and not torch.equal(found["trained"], expected)
        assert len(list((tmp_path / "kept").rglob("*.safetensors"))) > 2
        del model, joined
        output = tmp_path / "whole.safetensors"
        with torch.inference_mode(False):
            assert finetuning.run(options(**common, output=output, method="full", **{"rate": 1e-30})) == 0
        path.unlink()
        model, clip, decoder, _ = comfy.sd.load_checkpoint_guess_config(str(output))
        assert channels.channel_order(model, "auto") == joint.CHANNEL_ORDERS[0]
        assert torch.equal(sampled(model, clip, decoder), expected)


def test_copying_is_nothing_for_what_looks_away_and_much_for_what_looks_at_its_own_reference():
    schedule = objective.sd_alphas_cumprod().float()
    latents = torch.randn(16, 4, 8, 8, generator=torch.Generator().manual_seed(0)).repeat_interleave(2, dim=0)
    pairs = finetuning.Pairs(latents, torch.zeros(1, 77, 8), torch.zeros(32, dtype=torch.long))

    def looking(share):
        def unet(x, timestep, states, transformer_options):
            a, shown = schedule[timestep.long()][:, None, None, None], x[:, 4:8]
            guess = share * shown[1::2].repeat_interleave(2, dim=0)  # the first of a pair is to be painted
            return (x[:, :4] - a.sqrt() * guess) / (1 - a).sqrt()

        return finetuning.copying(Namespace(unet=unet, schedule=schedule), pairs)

    assert looking(0.0) == (0.0, 0.0, 0.0)
    low, middle, high = looking(0.5)
    assert 1 < low < middle < high


def test_a_run_says_what_it_will_do_and_what_came_of_it(tmp_path):
    given = options(
        checkpoint=tmp_path / "base.safetensors", data=["sets"], output=tmp_path / "lora.safetensors", folder=tmp_path
    )
    settings = finetuning.settings_of(given)
    alone = finetuning.running.Processes(on=torch.device("cpu"))
    said = finetuning.begun(given, settings, alone)
    assert said.startswith(
        "Training a LoRA of rank 16 for base.safetensors on the CPU, which takes long: 2 steps of about 4 pictures"
    )
    assert "lora.pt keeps its state" in said
    (tmp_path / "lora.pt").touch(), given.output.write_bytes(bytes(2**20))
    assert "It goes on from" in finetuning.begun(given, settings, alone)
    assert "Stopped after 1 of 2 steps. " in finetuning.ended(given, settings, 1, True)
    assert finetuning.ended(given, settings, 2, False).endswith(
        "(1.0 MiB). Put it into ComfyUI's models/loras, for Load LoRA between Load Checkpoint and JeDi."
    )
    assert "All 2 steps had been done before" in finetuning.ended(given, settings, 0, False)


def test_the_largest_set_can_be_smaller_than_the_papers():
    assert finetuning.settings_of(options(largest_set=2)).set_sizes == (1, 2)
    assert finetuning.settings_of(options()).set_sizes == (1, 2, 3, 4)


def test_an_output_that_no_loader_lists_or_that_is_somebody_elses_is_refused_before_the_start(tmp_path):
    checkpoint = tmp_path / "base.safetensors"
    checkpoint.write_bytes(b"of the user")
    (tmp_path / "loras.safetensors").mkdir()
    for output, said in (
        (tmp_path / "my_lora", "needs to be a file's name that ends in .safetensors"),
        (tmp_path / "loras.safetensors", "needs to be a file's name"),
        (checkpoint, "is there, and .*runs has no state of a run that wrote it"),
    ):
        with pytest.raises(ValueError, match=f"^Training: .*{said}"):
            finetuning.run(options(checkpoint=checkpoint, data=["sets"], output=output, folder=tmp_path / "runs"))
    assert checkpoint.read_bytes() == b"of the user" and not (tmp_path / "runs").exists()


def test_the_demo_refuses_what_it_would_not_do(capsys):
    for asked in (("--tensorboard", "logs"), ("--accumulate", "2"), ("--largest-set", "2")):
        with pytest.raises(SystemExit):
            finetune.main(["--demo", *asked])
        assert f"--demo does without {asked[0]}" in capsys.readouterr().err


def test_weights_are_halved_where_the_forward_pass_is_mixed_and_they_are_not_trained():
    kept = {(method, mixed): memory_table.kept_in(method, mixed) for method in ("LoRA", "full") for mixed in (True, False)}
    assert [each for each, dtype in kept.items() if dtype == torch.bfloat16] == [("LoRA", True)]
