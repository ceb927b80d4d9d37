"""What comes out of a training, through the host's own loaders and JeDi: the same model, known for what it is."""

import comfy.sd
import comfy.supported_models
import comfy.utils
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from same_subject.nodes.demo.host import model as demo_model
from same_subject.nodes.joint import settings as joint
from same_subject.nodes.joint import trained
from same_subject.nodes.joint.host import channels
from same_subject.nodes.joint.host import sets as joint_sets
from same_subject.nodes.joint.host import trained as known
from same_subject.nodes.training.host import base as bases
from same_subject.nodes.training.host import files
from same_subject.nodes.training.host.network import Network
from same_subject.nodes.training.settings import ALL, ATTENTION, FULL, LAYERS, METHODS, Settings
from same_subject.tests.tiny import dynamic_vram, models
from same_subject.tests.tiny.sets import case, gap, sample

JEDI, INPAINTING = joint.CHANNEL_ORDERS
FACTORS = [method for method in METHODS if method != FULL]
ROUNDING = 1e-4
"""Of gaps between a network that is trained and the same from a file: 2e-6 was seen, and 0.5 between it and its base."""


def trained_network(method="LoRA", kind="sd15", channels=4, references=True, changed=True, path=None, layers=ATTENTION):
    """A network whose trained weights were moved at random."""
    patcher = models.model(kind, channels)
    network = Network(
        bases.base_of(patcher, models.Text(kind), None, path or files.Path("tiny.safetensors")),
        Settings(method=method, rank=4, references=references, data="folder:toys", layers=layers),
    )
    generator = torch.Generator().manual_seed(9)
    with torch.no_grad():
        for name, weight in network.named_parameters():
            if changed and weight.requires_grad:
                scale = {"first": 0.3}.get(name, 0.1)
                weight.add_(scale * torch.randn(weight.shape, generator=generator))
    return network


def with_lora(model, state, strength=1.0):
    """The model that the stock LoRA loader gives."""
    return comfy.sd.load_lora_for_models(model, None, dict(state), strength, 0.0)[0]


def forward(unet, inputs, kind="sd15"):
    generator = torch.Generator().manual_seed(1)
    x, states = (
        torch.randn(2, *shape, generator=generator) for shape in ((inputs, 8, 8), (77, models.UNETS[kind]["context_dim"]))
    )
    y = torch.randn(2, 2816, generator=generator) if kind == "sdxl" else None
    with torch.no_grad():
        return unet(x, torch.full((2,), 500.0), states, y=y)


@pytest.mark.parametrize("layers", LAYERS)
@pytest.mark.parametrize("kind", ("sd15", "sdxl"))
@pytest.mark.parametrize("method", FACTORS)
def test_a_lora_through_the_stock_loader_is_the_network_that_was_trained(kind, method, layers, tmp_path, caplog):
    network = trained_network(method, kind, layers=layers)
    assert ("out.2" in network.adapted) == ("time_embed.0" in network.adapted) == (layers == ALL)
    path = files._write(files.lora(network, 70, torch.float32), tmp_path / "a.safetensors", files.about(network, 70))
    model = with_lora(models.model(kind), comfy.utils.load_torch_file(str(path), safe_load=True))
    assert "not loaded" not in caplog.text.lower() and "ERROR" not in caplog.text
    assert channels.channel_order(model, "auto") == JEDI and known.on_sets(model)
    with safe_open(str(path), "pt") as file:
        said = trained.said(file.metadata())
    assert known.of_loras(model) == [said] == [files.about(network, 70)]
    assert said == trained.Trained(JEDI, "eps", (1, 2, 3, 4), 70, "folder:toys", 4)
    model.patch_model()
    found, wanted = forward(model.model.diffusion_model, 9, kind), forward(network.base.unet, 9, kind)
    assert gap(found, wanted) < ROUNDING
    model.unpatch_model()
    assert model.model.diffusion_model.input_blocks[0][0].weight.shape[1] == 4
    assert gap(forward(model.model.diffusion_model, 4, kind), wanted) > 1000 * ROUNDING


def test_at_step_0_a_joint_graph_gives_the_bits_of_the_base(tmp_path):
    one, options = case(), joint.Settings()
    expected = sample(joint_sets.apply(models.model(), one.joint_set, options), one)
    state = files.lora(trained_network(changed=False), 0)
    assert torch.equal(sample(joint_sets.apply(with_lora(models.model(), state), one.joint_set, options), one), expected)
    state["diffusion_model.input_blocks.0.0.lora_up.weight"][:, 40:] += 0.01
    assert gap(sample(joint_sets.apply(with_lora(models.model(), state), one.joint_set, options), one), expected) > 1e-3


def test_a_nine_channel_lora_without_words_is_refused_and_one_of_another_model_too():
    state = files.lora(trained_network(), 1)
    down = state["diffusion_model.input_blocks.0.0.lora_down.weight"]
    bare = {
        **state,
        "diffusion_model.input_blocks.0.0.lora_down.weight": torch.where(torch.arange(len(down))[:, None] < 81, down, 0),
    }
    with pytest.raises(
        ValueError, match="takes 9 input channels, and their order is not known: a LoRA without words.*channel_order"
    ):
        channels.channel_order(with_lora(models.model(), bare), "auto")
    assert channels.channel_order(with_lora(models.model(), bare), INPAINTING) == INPAINTING
    with pytest.raises(ValueError, match="trained on one of 4 input channels, but this one has 9"):
        channels.channel_order(with_lora(models.model("sd15", 9), state), "auto")


def test_a_plain_lora_on_the_first_convolution_comes_before_the_joint_one():
    """The host leaves it out, with an error in its log, where it finds nine channels."""
    state, name = files.lora(trained_network(), 1, torch.float32), "diffusion_model.input_blocks.0.0.lora"
    plain = {f"{name}_up.weight": torch.ones(32, 2), f"{name}_down.weight": torch.full((2, 36), 0.01)}
    model = with_lora(with_lora(models.model(), plain), state)
    assert channels.channel_order(model, "auto") == JEDI
    model.patch_model()
    alone = with_lora(models.model(), state)
    alone.patch_model()
    found, expected = (one.model.diffusion_model.input_blocks[0][0].weight for one in (model, alone))
    assert torch.allclose(found[:, :4], expected[:, :4] + 0.02, atol=1e-5) and torch.equal(found[:, 4:], expected[:, 4:])
    with pytest.raises(ValueError, match="first convolution of 4 input channels, but finds one of 9. Load it before"):
        channels.channel_order(with_lora(with_lora(models.model(), state), plain), "auto")


@pytest.mark.skipif(not dynamic_vram.is_available(), reason="comfy-aimdo does not load on this system")
@pytest.mark.parametrize("kind", (dynamic_vram.HOST, dynamic_vram.STAND_IN))
def test_a_joint_lora_is_the_same_with_the_hosts_dynamic_vram(kind, tmp_path):
    path, one = models.save_demo(tmp_path / "four.safetensors", 4), case()
    state = files.lora(trained_network(), 1, torch.float32)

    def made(*loras):
        model = demo_model.load(path)[0]
        for lora in loras:
            model = with_lora(model, lora)
        return sample(joint_sets.apply(model, one.joint_set, joint.Settings()), one)

    expected, base = made(state), made()
    with dynamic_vram.switched_on(kind):
        found = made(state)
    assert gap(found, expected) < ROUNDING < 1e-2 < gap(found, base)


def test_a_lora_of_four_channels_says_that_it_was_trained_on_sets():
    state = files.lora(trained_network(references=False), 5, torch.float32)
    assert not any("reshape" in name for name in state)
    model, plain = with_lora(models.model(), state), models.model()
    assert channels.channel_order(model, "auto") is None
    assert known.on_sets(model) and not known.on_sets(plain)
    assert (
        joint_sets.options_of(joint.AUTO, model, case().joint_set)
        == joint.Options()
        != joint_sets.options_of(joint.AUTO, plain, case().joint_set)
    )
    model.patch_model()
    weight = plain.model.diffusion_model.input_blocks[0][0].weight
    assert torch.equal(model.model.diffusion_model.input_blocks[0][0].weight, weight)


def test_a_lora_of_an_inpainting_model_keeps_that_models_order():
    network = trained_network(channels=9)
    state = files.lora(network, 5, torch.float32)
    model = with_lora(models.model("sd15", 9), state)
    assert channels.channel_order(model, "auto") == INPAINTING
    model.patch_model()
    found = model.model.diffusion_model.input_blocks[0][0].weight
    assert gap(found[:, [0, 1, 2, 3, 5, 6, 7, 8, 4]], network.first.detach()) < 1e-5
    with pytest.raises(ValueError, match="trained on one of 9 input channels, but this one has 4"):
        channels.channel_order(with_lora(models.model(), state), "auto")


def test_an_inpainting_files_channels_are_reordered_and_it_stays_the_same_model():
    """Trained in full, it takes references before the mask; at step 0 it gives what the file gave."""
    one = case()
    options = joint.Settings(options=joint.Options(channel_order=INPAINTING))
    expected = sample(joint_sets.apply(models.model("sd15", 9), one.joint_set, options), one)
    network = trained_network(FULL, channels=9, changed=False)
    again = models.model("sd15", 9)
    again.model.diffusion_model.load_state_dict(network.unet.state_dict())
    options = joint.Settings(options=joint.Options(channel_order=JEDI))
    assert gap(sample(joint_sets.apply(again, one.joint_set, options), one), expected) < ROUNDING
    options = joint.Settings(options=joint.Options(channel_order=INPAINTING))
    assert gap(sample(joint_sets.apply(again, one.joint_set, options), one), expected) > 100 * ROUNDING


def stock_sd2(channels, path):
    """An SD2 of the host's own detection, which takes each of 9 channels for one of noise."""

    class Tiny(comfy.supported_models.SD20):
        unet_extra_config = {}

    recipe = Tiny(models.unet_config("sd2", channels))
    recipe.set_inference_dtype(torch.float32, None)
    network = recipe.get_model({}, "", device="cpu")
    models.randomise(network.diffusion_model, 0)
    model = comfy.model_patcher.ModelPatcher(network, load_device=torch.device("cpu"), offload_device=torch.device("cpu"))
    model.cached_patcher_init = (comfy.sd.load_checkpoint_guess_config, (str(path), False), 0)
    return model


def test_a_nine_channel_model_of_v_is_sampled_as_one_and_a_users_own_choice_stays(tmp_path):
    from comfy_extras.nodes_model_advanced import ModelSamplingDiscrete

    path, one, options = tmp_path / "v.safetensors", case("sd2"), joint.Settings()
    save_file({"x": torch.zeros(1)}, path, trained.Trained(JEDI, "v", (2,), 1).metadata())
    model = stock_sd2(9, path)
    (asked,) = ModelSamplingDiscrete().patch(model, "v_prediction", False)
    made = {
        name: sample(joint_sets.apply(each, one.joint_set, options), one) for name, each in (("file", model), ("asked", asked))
    }
    assert torch.equal(made["file"], made["asked"])
    (noise,) = ModelSamplingDiscrete().patch(model, "eps", False)
    assert gap(sample(joint_sets.apply(noise, one.joint_set, options), one), made["file"]) > 0.01
    assert "model_sampling" not in model.object_patches
    network = Network(bases.base_of(stock_sd2(9, path), models.Text("sd2"), None, path), Settings(method=FULL))
    assert network.base.prediction == files.about(network, 1).prediction == "v"


def test_a_lora_that_predicts_something_else_is_refused(tmp_path):
    state = files.lora(trained_network(kind="sd2"), 1)
    with pytest.raises(ValueError, match="was trained to predict v, but the model predicts eps"):
        joint_sets.apply(with_lora(stock_sd2(4, tmp_path / "none.safetensors"), state), case("sd2").joint_set, joint.Settings())


def test_a_checkpoint_keeps_what_was_not_trained_to_the_bit(tmp_path):
    """In the file's own names, precision included; the averaged copy of another training is left out."""
    prefix = "model.diffusion_model."
    unet = models.model().model.diffusion_model.state_dict()
    state = {prefix + name: value.half() for name, value in unet.items()}
    state |= {"first_stage_model.x": torch.ones(3), "cond_stage_model.y": torch.arange(4), "model_ema.z": torch.ones(1)}
    save_file(state, tmp_path / "base.safetensors")
    network = trained_network(FULL, path=tmp_path / "base.safetensors")
    made = load_file(files.save(network, tmp_path / "out" / "a.safetensors", 30))
    assert set(made) == set(state) - {"model_ema.z"}
    assert torch.equal(made["first_stage_model.x"], torch.ones(3)) and torch.equal(made["cond_stage_model.y"], torch.arange(4))
    for name, value in network.unet.state_dict().items():
        assert torch.equal(made[prefix + name], value.half())
    assert made[prefix + "input_blocks.0.0.weight"].shape[1] == 9
    with safe_open(str(tmp_path / "out" / "a.safetensors"), "pt") as file:
        assert trained.said(file.metadata()) == trained.Trained(JEDI, "eps", (1, 2, 3, 4), 30, "folder:toys")
