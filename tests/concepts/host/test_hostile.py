"""Detector folders and files that were made to do more than hold weights: nothing is fetched, imported or made large."""

import json
import shutil
import socket
import sys

import pytest
import torch
from safetensors.torch import load_file
from same_subject.nodes.concepts.host import files
from same_subject.nodes.concepts.host import grounding as host
from same_subject.tests.tiny import grounding as tiny

EVIL = "somebody/network"


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    folder = tiny.save_folder(tmp_path_factory.mktemp("models") / "grounding-dino-tiny")
    host.load(folder)  # what loading needs is imported now
    return folder


@pytest.fixture
def folder(published, tmp_path):
    return shutil.copytree(published, tmp_path / "copy")


@pytest.fixture
def reached(monkeypatch):
    """What was looked up or connected to; nothing is reached."""
    asked = []

    def refuse(*given, **more):
        asked.append(given)
        raise OSError("no network in tests")

    for name in ("getaddrinfo", "gethostbyname", "create_connection"):
        monkeypatch.setattr(socket, name, refuse)
    for name in ("connect", "connect_ex", "sendto"):
        monkeypatch.setattr(socket.socket, name, refuse)
    return asked


def changed(folder, *path, **changes):
    """Change the folder's config.json, at this path of keys."""
    file = folder / "config.json"
    said = json.loads(file.read_text())
    part = said
    for key in path:
        part = part[key]
    part.update(changes)
    file.write_text(json.dumps(said))
    return folder


def gap(one, other):
    """How far two detectors are apart, as a share of how far queries differ."""
    seen, ids = torch.rand(1, 3, 96, 96, generator=torch.Generator().manual_seed(0)), torch.tensor([[101, 1031, 1012, 102]])
    with torch.no_grad():
        (a, _), (b, _) = (each.patcher.model(seen, ids) for each in (one, other))
    return float((a - b)[..., :4].abs().max() / a[..., :4].std(dim=1).min())


IGNORED = (
    ((), {"backbone": EVIL, "use_timm_backbone": False, "use_pretrained_backbone": True, "backbone_kwargs": {"x": 1}}),
    ((), {"backbone": "resnet50", "use_timm_backbone": True}),
    ((), {"_attn_implementation": EVIL}),
    ((), {"attn_implementation": f"{EVIL}:attend", "_attn_implementation_internal": EVIL}),
    ((), {"experts_implementation": EVIL, "_experts_implementation": EVIL}),
    ((), {"quantization_config": {"quant_method": "bitsandbytes", "load_in_4bit": True}}),
    ((), {"quantization_config": {"quant_method": "torchao", "quant_type": "int4_weight_only"}}),
    ((), {"auto_map": {"AutoConfig": f"{EVIL}--code.Config", "AutoModel": f"{EVIL}--code.Model"}, "trust_remote_code": True}),
    ((), {"_name_or_path": EVIL, "_commit_hash": "0" * 40, "transformers_weights": "../other.safetensors"}),
    ((), {"torch_dtype": "float16", "dtype": "float16", "architectures": ["Other"], "id2label": {"0": "x"} }),
    ((), {"base_model_tp_plan": {"*": "colwise"}, "return_dict": False, "output_attentions": True}),
    (("text_config",), {"_attn_implementation": EVIL, "quantization_config": {"quant_method": "gptq", "bits": 4}}),
    (("text_config",), {"_name_or_path": EVIL, "auto_map": {"AutoModel": f"{EVIL}--code.Model"}}),
    (("backbone_config",), {"_attn_implementation": EVIL, "backbone": EVIL, "use_timm_backbone": True}),
)  # fmt: skip
REFUSED = (
    ((), {"backbone": EVIL, "backbone_config": None}, "."),
    ((), {"model_type": "mm-grounding-dino"}, "`model_type` is 'mm-grounding-dino'"),
    (("backbone_config",), {"model_type": "timm_backbone", "backbone": EVIL}, "`backbone_config.model_type` is 'timm_backbone'"),
    (("text_config",), {"model_type": "llama"}, "`text_config.model_type` is 'llama'"),
    ((), {"num_queries": 10**9}, "`num_queries` is 1000000000, but needs to be a whole number from 1 to"),
    ((), {"encoder_layers": 10**12}, "`encoder_layers` is 1000000000000"),
    ((), {"decoder_layers": -1}, "`decoder_layers` is -1"),
    ((), {"d_model": "256"}, "`d_model` is '256'"),
    ((), {"num_feature_levels": 4.0}, "`num_feature_levels` is 4.0"),
    ((), {"encoder_attention_heads": True}, "`encoder_attention_heads` is True"),
    ((), {"two_stage": "yes"}, "`two_stage` is 'yes', but needs to be true or false"),
    ((), {"positional_embedding_temperature": 10000}, "`positional_embedding_temperature` is 10000, but needs to be 20"),
    ((), {"activation_function": "gelu"}, "`activation_function` is 'gelu', but needs to be 'relu'"),
    (("text_config",), {"vocab_size": 10**10}, "`text_config.vocab_size` is 10000000000"),
    (("text_config",), {"hidden_act": EVIL}, "`text_config.hidden_act` is"),
    (("backbone_config",), {"depths": [10**9] * 4}, "`backbone_config.depths` is"),
    (("backbone_config",), {"depths": [1] * 10**5}, "`backbone_config.depths` is"),
    (("backbone_config",), {"num_heads": "1244"}, "`backbone_config.num_heads` is '1244'"),
    (("backbone_config",), {"window_size": 10**4}, "`backbone_config.window_size` is 10000"),
    ((), {"text_config": "bert"}, "`text_config` is 'bert'"),
)  # fmt: skip


@pytest.mark.parametrize("path, changes", IGNORED)
def test_what_a_configuration_says_beside_sizes_is_not_read(published, folder, reached, path, changes):
    modules = set(sys.modules)
    loaded = host.load(changed(folder, *path, **changes))
    assert not reached and set(sys.modules) == modules
    networks = {module.config._attn_implementation for module in loaded.patcher.model.modules() if hasattr(module, "config")}
    assert networks <= {"sdpa", "eager"}
    assert all(weight.dtype == torch.float32 for weight in loaded.patcher.model.parameters())
    assert gap(loaded, host.load(published)) == 0


@pytest.mark.parametrize("path, changes, message", REFUSED)
def test_another_network_and_sizes_out_of_bounds_are_refused(folder, reached, path, changes, message):
    modules = set(sys.modules)
    with pytest.raises(ValueError, match=f"^Load Grounding DINO: copy cannot be used: .*{message}.*Download it again"):
        host.load(changed(folder, *path, **changes))
    assert not reached and set(sys.modules) == modules


BIG = (
    {"encoder_ffn_dim": 8192, "decoder_ffn_dim": 8192, "encoder_layers": 40, "decoder_layers": 40},
    {"text_config": {"model_type": "bert", "hidden_size": 8192, "num_hidden_layers": 40, "num_attention_heads": 8}},
)


@pytest.mark.parametrize("changes", BIG)
def test_a_network_larger_than_its_file_is_refused_before_it_is_made(folder, monkeypatch, changes):
    """These are 3 and 40 GB of weights, each size within its bounds; the file holds 17 MB."""
    import transformers

    made = []
    monkeypatch.setattr(transformers.GroundingDinoForObjectDetection, "from_pretrained", lambda *given, **more: made.append(1))
    with pytest.raises(ValueError, match="^Load Grounding DINO: copy cannot be used: its weights do not fit its configuration: "):
        host.load(changed(folder, **changes))
    assert not made


TEXTS = ("[" * 200_000, '{"a": ' * 200_000, " " * 2**21, "[1, 2]", "{", '{"model_type": NaN}', "\x00")


@pytest.mark.parametrize("text", TEXTS, ids=range(len(TEXTS)))
def test_a_configuration_that_is_none_is_refused_by_name_and_leaves_the_list_whole(folder, monkeypatch, text):
    searched = ([str(folder.parent)], files.DETECTOR_EXTENSIONS)
    monkeypatch.setitem(files.folder_paths.folder_names_and_paths, files.DETECTORS, searched)
    monkeypatch.delitem(files.folder_paths.filename_list_cache, files.DETECTORS, raising=False)
    (folder / "config.json").write_text(text)
    (folder.parent / "other.pth").touch()
    assert files.detector_names()[0] == "other.pth"
    with pytest.raises(ValueError, match="^Load Grounding DINO: .*copy.* cannot be (read|used): .*Download it again"):
        host.load(folder)


BACKBONE = "model.backbone.conv_encoder.model."
COUNTED = {
    BACKBONE + "encoder.layers.999999.blocks.0.layernorm_before.weight": torch.zeros(1),
    BACKBONE + "encoder.layers.0.blocks.99999999999.layernorm_before.weight": torch.zeros(1),
    "model.decoder.layers.4096.fc1.weight": torch.zeros(1),
    "model.level_embed": torch.zeros(0, 256),
    "model.encoder.layers.0.fusion_layer.vision_param": None,
    BACKBONE + "encoder.layers.0.blocks.0.attention.self.relative_position_bias_table": torch.zeros(1),
    "model.text_backbone.embeddings.word_embeddings.weight": torch.zeros(4),
}


@pytest.mark.parametrize("key", COUNTED, ids=range(len(COUNTED)))
def test_an_original_checkpoint_cannot_ask_for_layers_that_it_does_not_hold(published, tmp_path, monkeypatch, key):
    """Two of them ended in a bare IndexError and a bare ZeroDivisionError."""
    state = load_file(published / "model.safetensors") | {key: COUNTED[key]}
    state = {key: value for key, value in state.items() if value is not None}
    monkeypatch.setattr(host.files, "read_weights", lambda path, node: {})
    monkeypatch.setattr(host.grounding_keys, "published", lambda read: state)
    shutil.copy(published / "vocab.txt", tmp_path)
    with pytest.raises(ValueError, match="^Load Grounding DINO: original.pth cannot be used: [^ ]+ .* [^ ]+"):
        host.load(tmp_path / "original.pth")


def test_weights_that_are_larger_than_their_file_are_refused(folder):
    """One row that is repeated 1,000,000 times in 4 bytes a weight: 256 MB from 17 MB, and any number as well."""
    state = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    state["model.text_backbone.embeddings.word_embeddings.weight"] = torch.zeros(1, 64).expand(10**6, 64)
    torch.save(state, folder / "pytorch_model.bin")
    with pytest.raises(ValueError, match="^Load Grounding DINO: pytorch_model.bin .* cannot be read: .* is larger than the file"):
        host.load(changed(folder, "text_config", vocab_size=10**6))
