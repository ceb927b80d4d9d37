"""InstantID's file: its exact layout, its resampler and the order of its layers."""

import pytest
import torch
import torch.nn.functional as F
from same_subject.nodes.identity import adapter as adapters
from same_subject.nodes.identity.adapter import Layer
from same_subject.nodes.identity.resampler import Resampler
from same_subject.tests.tiny import identities
from same_subject.tests.tiny.sets import gap

ROUNDING = 2e-5
"""As a share of the spread: 1.7e-6 was seen."""
VISIBLE = 100 * ROUNDING
PUBLISHED_CHANNELS = [640] * 4 + [1280] * 50 + [640] * 6 + [1280] * 10


def test_at_the_published_sizes_names_and_values_are_those_of_the_published_file():
    with torch.device("meta"):
        built = adapters.Adapter(Resampler(1280, 4, 16, 512, 2048, 5120), 2048, PUBLISHED_CHANNELS)
    state = built.state_dict()
    assert sum(key.startswith("image_proj.") for key in state) == 51
    assert sum(key.startswith("ip_adapter.") for key in state) == 140
    assert sum(value.numel() for value in state.values()) == 422_765_824
    assert state["image_proj.layers.3.0.to_kv.weight"].shape == (2560, 1280)
    assert state["ip_adapter.139.to_v_ip.weight"].shape == (1280, 2048)
    assert set(adapters.flat(identities.adapter_state(), "tiny.bin")) == set(state)


@pytest.mark.parametrize("nested", (True, False), ids=("bin", "safetensors"))
def test_both_layouts_give_the_same_adapter(nested):
    state = identities.adapter_state()
    state = state if nested else {f"{part}.{key}": value for part in state for key, value in state[part].items()}
    built = adapters.build(state, "file")
    assert built.embedding == 512 and built.channels == [64] * 4 + [128] * 50 + [64] * 6 + [128] * 10
    assert torch.equal(built.ip_adapter["9"].to_k_ip.weight, identities.adapter_state()["ip_adapter"]["9.to_k_ip.weight"])


def resample(state, x):
    """The resampler once more, from its description, on the file's tensors. x: [1, 1, 512]."""

    def norm(value, name):
        return F.layer_norm(value, value.shape[-1:], state[f"{name}.weight"], state[f"{name}.bias"])

    x, latents = F.linear(x, state["proj_in.weight"], state["proj_in.bias"]), state["latents"]
    for number in range(4):
        at = f"layers.{number}.0"
        a, b = norm(x, f"{at}.norm1"), norm(latents, f"{at}.norm2")
        q, kv = b @ state[f"{at}.to_q.weight"].T, torch.cat((a, b), 1) @ state[f"{at}.to_kv.weight"].T
        k, v = kv[..., : q.shape[-1]], kv[..., q.shape[-1] :]
        latents = latents + (q @ k.mT / q.shape[-1] ** 0.5).softmax(-1) @ v @ state[f"{at}.to_out.weight"].T  # one head of 64
        at = f"layers.{number}.1"
        latents = latents + F.gelu(norm(latents, f"{at}.0") @ state[f"{at}.1.weight"].T) @ state[f"{at}.3.weight"].T
    return norm(F.linear(latents, state["proj_out.weight"], state["proj_out.bias"]), "norm_out")


def test_the_tokens_are_those_of_the_description_and_the_null_tokens_those_of_zeros():
    state, identity = identities.adapter_state(), identities.identity()
    built = adapters.build(state, "file")
    expected = resample(state["image_proj"], identity.embedding[None, None])[0]
    null = resample(state["image_proj"], torch.zeros(1, 1, 512))[0]
    assert built.tokens(identity.embedding).shape == (16, identities.WIDTH)
    assert gap(built.tokens(identity.embedding), expected) < ROUNDING
    assert gap(built.null_tokens(), null) < ROUNDING
    assert gap(expected, null) > VISIBLE


def test_keys_and_values_come_from_each_layers_own_projections():
    state = identities.adapter_state()
    built = adapters.build(state, "file")
    tokens = built.tokens(identities.identity().embedding)
    kv = built.keys_values(tokens)
    for number in (0, 5, 69):
        key, value = (tokens @ state["ip_adapter"][f"{2 * number + 1}.to_{part}_ip.weight"].T for part in "kv")
        assert gap(kv.keys[number], key) < ROUNDING and gap(kv.values[number], value) < ROUNDING
        assert gap(key, value) > VISIBLE
    assert len(kv.keys) == len(kv.values) == 70


def test_layers_are_ordered_down_up_middle():
    layers = [Layer(("middle", 0), 0, 8), Layer(("output", 1), 0, 8), Layer(("input", 11), 1, 8), Layer(("input", 4), 0, 8)]
    layers.append(Layer(("input", 11), 0, 8))
    assert [(layer.block, layer.index) for layer in adapters.in_file_order(layers)] == [
        (("input", 4), 0),
        (("input", 11), 0),
        (("input", 11), 1),
        (("output", 1), 0),
        (("middle", 0), 0),
    ]


def broken(change):
    state = identities.adapter_state()
    change(state)
    return state


@pytest.mark.parametrize(
    "change, said",
    [
        (lambda s: s["image_proj"].pop("layers.2.0.to_kv.weight"), "`image_proj.layers.2.0.to_kv.weight` is missing"),
        (lambda s: s["image_proj"].pop("latents"), "image_proj.latents"),
        (lambda s: s["ip_adapter"].pop("5.to_v_ip.weight"), "`ip_adapter.5.to_v_ip.weight` is missing"),
        (lambda s: s["ip_adapter"].update({"2.to_k_ip.weight": torch.zeros(64, 64)}), "not an InstantID adapter"),
        (lambda s: s["ip_adapter"].update({"7.to_v_ip.weight": torch.zeros(64, 63)}), "has shape (64, 63), needs (64, 64)"),
        (lambda s: s.update(extra={}), "it holds `extra`"),
        (lambda s: s.pop("image_proj"), "not an InstantID adapter"),
        (lambda s: s.clear(), "is empty"),
        (lambda s: s.update(image_proj=torch.zeros(2)), "its `image_proj` is a Tensor, not weights"),
        (lambda s: s.update(image_proj=[torch.zeros(2)]), "its `image_proj` is a list, not weights"),
        (lambda s: s.update(ip_adapter=None), "its `ip_adapter` is a NoneType, not weights"),
        (lambda s: s["image_proj"].update({"latents": [1.0]}), "it holds `image_proj.latents`"),
        (lambda s: s["image_proj"].update({"latents": torch.zeros(1, 16, 0)}), "0 channels wide"),
        (lambda s: s["image_proj"].update({"latents": torch.zeros(16)}), "not an InstantID adapter"),
        (lambda s: s["image_proj"].update({"proj_in.weight": torch.zeros(64)}), "not an InstantID adapter"),
        (lambda s: s["image_proj"].update({"layers": torch.zeros(64)}), "not an InstantID adapter"),
        (lambda s: s["ip_adapter"].update({1: torch.zeros(64, 64)}), "not an InstantID adapter"),
    ],
)
def test_another_layout_is_refused_with_what_is_wrong_and_what_is_needed(change, said):
    with pytest.raises(ValueError) as error:
        adapters.build(broken(change), "some.bin")
    assert "some.bin is not an InstantID adapter" in str(error.value) and said in str(error.value)
    assert "140 in `ip_adapter`" in str(error.value)


def test_a_model_with_other_layers_is_refused():
    built = adapters.build(identities.adapter_state(), "file")
    adapters.check_layers(built.channels, [Layer(("input", 0), 0, channels) for channels in built.channels])
    with pytest.raises(ValueError, match="the model has 2 cross-attention layers .2 of 64 channels., but the adapter needs 70"):
        adapters.check_layers(built.channels, [Layer(("input", 0), 0, 64)] * 2)


def test_an_embedding_of_another_recogniser_is_refused():
    with pytest.raises(ValueError, match=r"has shape \(256,\), but the adapter needs \(512,\)"):
        adapters.build(identities.adapter_state(), "file").tokens(torch.zeros(256))
    with pytest.raises(ValueError, match="embedding holds NaN or infinity"):
        adapters.build(identities.adapter_state(), "file").tokens(torch.full((512,), torch.inf))
