"""CLIP and DINO from published folders: equal to their authors' networks, tokenizers and preprocessing; and what is refused."""

import html
import json
import shutil

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from same_subject.nodes.data import pictures as reading
from same_subject.nodes.metrics import encoder_config, preprocessing
from same_subject.nodes.metrics.host import encoders, files
from same_subject.nodes.metrics.nodes import LoadScoreModels
from same_subject.research.bench import protocol
from same_subject.tests.tiny import score_models, score_oracle
from same_subject.tests.tiny.sets import gap
from torchvision import transforms

CLIP, DINO = "clip-vit-base-patch32", "dino-vits16"
TEXTS = ["a dog in the jungle", "A  Red ball, 42 km", "café &amp; co", ""]
CLOSE = 1e-5
"""Largest gap of unit vectors that is allowed; 3e-7 was seen on tiny networks and 1e-6 on those of the paper's size."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return score_models.save(tmp_path_factory.mktemp("scores"))


@pytest.fixture(scope="module")
def pictures():
    generator = torch.Generator().manual_seed(3)
    sizes = ((90, 130), (131, 77), (56, 56), (300, 41))
    return [reading.as_picture(torch.rand(*size, 3, generator=generator)) for size in sizes]


def normal(rows):
    return torch.nn.functional.normalize(rows, dim=1)


def ids_of(texts, length=77):
    found = [encoders.words()([html.unescape(text)])["input_ids"][0] for text in texts]
    return torch.tensor([ids + [0] * (length - len(ids)) for ids in found])


def test_clip_is_the_plain_network_of_its_authors(folder, pictures):
    clip = encoders.load_clip(folder / CLIP)
    state = score_oracle.openai_names(load_file(folder / CLIP / "model.safetensors"))
    seen = torch.stack([clip.seeing.prepared(picture) for picture in pictures])
    theirs, ours = normal(score_oracle.clip_pictures(state, seen, 2)), clip.pictures(iter(pictures), 4)
    assert (theirs - ours).abs().max() < CLOSE and gap(ours[0], ours[1]) > 0.1
    (read, cut), theirs = clip.texts(TEXTS), normal(score_oracle.clip_texts(state, ids_of(TEXTS), 2))
    assert (theirs - read).abs().max() < CLOSE and gap(read[0], read[1]) > 0.1 and cut == []


def test_dino_is_the_plain_network_of_its_authors(folder, pictures):
    dino = encoders.load_dino(folder / DINO)
    state = score_oracle.dino_names(load_file(folder / DINO / "model.safetensors"))
    seen = torch.stack([dino.seeing.prepared(picture) for picture in pictures])
    theirs, ours = normal(score_oracle.dino(state, seen, 2)), dino.pictures(pictures, 4)
    assert (theirs - ours).abs().max() < CLOSE and gap(ours[0], ours[1]) > 0.1


def test_a_long_text_is_read_to_its_77th_token_and_named(folder):
    clip = encoders.load_clip(folder / CLIP)
    long = "red ball " * 60
    read, cut = clip.texts(["a ball", long])
    assert cut == [2]
    exactly = " ".join(["red ball"] * 37 + ["red"])
    assert len(encoders.words()([exactly])["input_ids"][0]) == 77
    assert torch.allclose(read[1], clip.texts([exactly])[0][0], atol=1e-6)
    assert gap(read[1], clip.texts([exactly.removesuffix(" red")])[0][0]) > 0.01, "the last word is read"


def test_the_weights_may_be_a_pickle_of_weights_with_old_parts(folder, tmp_path, pictures):
    """pytorch_model.bin as published in 2021 holds `position_ids`, and DINO's an untrained pooler."""
    for name, load in ((CLIP, encoders.load_clip), (DINO, encoders.load_dino)):
        shutil.copytree(folder / name, tmp_path / name)
        state = load_file(tmp_path / name / "model.safetensors")
        if name == CLIP:
            state["text_model.embeddings.position_ids"] = torch.arange(77)[None]
        torch.save(state, tmp_path / name / "pytorch_model.bin")
        (tmp_path / name / "model.safetensors").unlink()
        assert torch.equal(load(tmp_path / name).pictures(pictures, 4), load(folder / name).pictures(pictures, 4))


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        (CLIP, {"model_type": "siglip"}, "`model_type` is 'siglip', but needs to be 'clip'"),
        (CLIP, {"text_config": {"vocab_size": 5}}, "`text_config.vocab_size` is 5, but needs to be 49408"),
        (CLIP, {"vision_config": {"hidden_act": "gelu"}}, "`vision_config.hidden_act` is 'gelu'"),
        (CLIP, {"projection_dim": 10**9}, "`projection_dim` is 1000000000, but needs to be a whole number from 1 to 16384"),
        (CLIP, {"vision_config": None}, "its weights do not fit its configuration: that needs"),
        (DINO, {"num_attention_heads": 5}, "`hidden_size` is 32, but needs to be a multiple of `num_attention_heads`, 5"),
        (DINO, {"image_size": [56, 56]}, "`image_size` is \\[56, 56\\]"),
        (DINO, {"num_hidden_layers": 1}, "16 of its weights do not fit its configuration"),
    ],
)  # fmt: skip
def test_a_folder_that_says_something_else_is_refused(folder, tmp_path, name, change, said):
    shutil.copytree(folder / name, tmp_path / name)
    path = tmp_path / name / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    load = encoders.load_clip if name == CLIP else encoders.load_dino
    with pytest.raises(ValueError, match=f"^Load Score Models: .*{name} cannot be used: .*{said}"):
        load(tmp_path / name)


@pytest.mark.parametrize("name", ["missing", "../scores", "a" * 5000, "a/" * 3000])
def test_a_folder_that_is_not_there_is_said_with_where_to_get_it(name):
    files.register()
    with pytest.raises(ValueError, match=f"^Load Score Models: `clip` is `{name[:20]}"):
        files.find(files.CLIP, name)
    assert "Get it from https://huggingface.co/openai/" in LoadScoreModels.validate_inputs(files.DEFAULTS[files.CLIP], files.NONE)


def test_a_missing_or_damaged_weight_is_refused(folder, tmp_path):
    shutil.copytree(folder / DINO, tmp_path / DINO)
    path = tmp_path / DINO / "model.safetensors"
    state = load_file(path)
    save_file({key: value for key, value in state.items() if key != "layernorm.bias"}, path)
    with pytest.raises(ValueError, match="cannot be used: .*do not fit its configuration.*Download it again"):
        encoders.load_dino(tmp_path / DINO)
    state["layernorm.bias"][0] = torch.nan
    save_file(state, path)
    with pytest.raises(ValueError, match="`layernorm.bias` holds NaN or infinity"):
        encoders.load_dino(tmp_path / DINO)


def test_paper_sizes_equal_the_publishers_own_packages(tmp_path):
    """Run by hand: `PYTHONPATH=FOLDER python3 dev/test.py tests/metrics/host/test_encoders.py`, with openai-clip,
    open_clip_torch, timm, ftfy and regex in FOLDER (`pip install --no-deps --target`). 1e-6 was seen."""
    pytest.importorskip("clip", reason="the oracle openai-clip is not among the test tools")
    open_clip, timm = pytest.importorskip("open_clip"), pytest.importorskip("timm")
    import clip as openai

    folder = score_models.save(tmp_path, score_models.PAPER_CLIP, score_models.PAPER_DINO)
    generator = torch.Generator().manual_seed(5)
    sizes = ((480, 640), (700, 333), (224, 224), (100, 90))
    pictures = [reading.as_picture(torch.rand(*size, 3, generator=generator)) for size in sizes]
    state = score_oracle.openai_names(load_file(folder / CLIP / "model.safetensors"))
    theirs = openai.model.CLIP(512, 224, 12, 768, 32, 77, 49408, 512, 8, 12)
    theirs.load_state_dict(state)
    other, _, prepare = open_clip.create_model_and_transforms("ViT-B-32-quickgelu", pretrained=None)
    other.load_state_dict(state, strict=False)
    ours, every = encoders.load_clip(folder / CLIP), [*TEXTS, *protocol.every_prompt()]
    ids = openai.tokenize(every)
    assert torch.equal(ids, ids_of(every)) and torch.equal(ids, open_clip.tokenize(every))
    seen = torch.stack([openai.clip._transform(224)(picture) for picture in pictures])
    assert torch.equal(seen, torch.stack([ours.seeing.prepared(picture) for picture in pictures]))
    assert torch.equal(seen, torch.stack([prepare(picture) for picture in pictures]))
    with torch.no_grad():
        for network in (theirs.eval(), other.eval()):
            print(
                (normal(network.encode_image(seen)) - ours.pictures(pictures, 4)).abs().max(),
                (normal(network.encode_text(ids[:8])) - ours.texts(every[:8])[0]).abs().max(),
            )
            assert (normal(network.encode_image(seen)) - ours.pictures(pictures, 4)).abs().max() < CLOSE
            assert (normal(network.encode_text(ids[:8])) - ours.texts(every[:8])[0]).abs().max() < CLOSE
    dino = timm.create_model("vit_small_patch16_224.dino", pretrained=False)
    dino.load_state_dict(score_oracle.dino_names(load_file(folder / DINO / "model.safetensors")))
    data, dinos = timm.data.resolve_model_data_config(dino), encoders.load_dino(folder / DINO)
    assert (data["mean"], data["std"]) == (dinos.seeing.mean, dinos.seeing.deviation)
    resized = transforms.Resize(256, interpolation=transforms.InterpolationMode.BICUBIC)
    steps = [resized, transforms.CenterCrop(224), transforms.ToTensor(), transforms.Normalize(data["mean"], data["std"])]
    seen = torch.stack([transforms.Compose(steps)(picture) for picture in pictures])
    assert torch.equal(seen, torch.stack([dinos.seeing.prepared(picture) for picture in pictures]))
    with torch.no_grad():
        assert (normal(dino.eval()(seen)) - dinos.pictures(pictures, 4)).abs().max() < CLOSE


def test_pictures_are_prepared_as_torchvision_does(pictures):
    """What the publishers' transforms are made of; no gap was seen."""
    for seeing, short in ((preprocessing.clip(56), 56), (preprocessing.dino(56), 64)):
        steps = transforms.Compose(
            [
                transforms.Resize(short, interpolation=transforms.InterpolationMode.BICUBIC),
                transforms.CenterCrop(56),
                transforms.ToTensor(),
                transforms.Normalize(seeing.mean, seeing.deviation),
            ]
        )
        for picture in [*pictures, Image.new("RGB", (101, 57), "teal"), Image.new("RGB", (57, 1000), "teal")]:
            assert torch.equal(steps(picture), seeing.prepared(picture)), picture.size


def test_the_papers_sizes_are_taken_from_the_published_configurations():
    published = {
        "model_type": "clip",
        "projection_dim": 512,
        "text_config": {"eos_token_id": 2},
        "vision_config": {"patch_size": 32},
    }
    taken = encoder_config.clip(published)
    assert taken["vision_config"]["patch_size"] == 32 and taken["text_config"]["eos_token_id"] == 49407
    assert encoder_config.dino({"model_type": "vit", "hidden_size": 384, "num_attention_heads": 6})["layer_norm_eps"] == 1e-6
