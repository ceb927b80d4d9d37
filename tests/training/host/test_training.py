"""The callable layer: sets of a source become batches and a file; a run that was stopped ends with the same bits."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file, save_file
from same_subject.nodes.data.mixing import Mixture
from same_subject.nodes.data.opening import open_source
from same_subject.nodes.demo.host import model as demo_model
from same_subject.nodes.host import weights
from same_subject.nodes.training.cache import Cache
from same_subject.nodes.training.host import base as bases
from same_subject.nodes.training.host import training
from same_subject.nodes.training.host.batches import Batches
from same_subject.nodes.training.host.encoding import Encoder
from same_subject.nodes.training.settings import Settings
from same_subject.research.drawn_sets import KINDS
from same_subject.tests.tiny import models, sets

SETTINGS = Settings(rank=2, steps=3, rows=4, side=64, rate=1e-2, every=1, sizes=(1.0, 1.0, 1.0, 1.0), warm_up=0)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return models.save_demo(tmp_path_factory.mktemp("models") / "four.safetensors", 4)


def opened(path):
    return bases.base_of(*demo_model.load(path), path)


def stream():
    return Mixture([open_source("demo:40", more=KINDS)], 1)


def train(path, folder, name="a", settings=SETTINGS, **given):
    training.train(
        opened(path), settings, stream(), folder / f"{name}.safetensors", folder=folder, progress=lambda *_: None, **given
    )
    return load_file(folder / f"{name}.safetensors")


def test_a_run_that_was_stopped_and_went_on_writes_the_bits_of_one_that_was_not(path, tmp_path):
    whole = train(path, tmp_path, "whole")
    rounds = iter((False, True))
    part = train(path, tmp_path, "parts", stop=lambda: next(rounds))
    assert any(not torch.equal(part[name], whole[name]) for name in whole if not name.endswith("lora_down.weight"))
    again = train(path, tmp_path, "parts")
    assert all(torch.equal(again[name], whole[name]) for name in whole)
    with pytest.raises(ValueError, match="begun with `rows` 4, but 8 was given. Give the same"):
        train(path, tmp_path, "parts", Settings(**{**vars(SETTINGS), "rows": 8, "steps": 4}))


def test_a_run_on_another_checkpoint_of_the_same_name_and_size_does_not_go_on(path, tmp_path):
    train(path, tmp_path)
    state, said = load_file(path), weights.read_metadata(path)
    other = tmp_path / path.name
    save_file({name: value + 0.01 if name.endswith("to_q.weight") else value for name, value in state.items()}, other, said)
    assert other.stat().st_size == path.stat().st_size
    with pytest.raises(ValueError, match="begun with `checkpoint` four.safetensors .*, but four.safetensors .* was given"):
        train(other, tmp_path)
    train(path, tmp_path)


def test_the_rate_rises_over_a_tenth_of_the_steps_at_most(path, tmp_path):
    short = replace(SETTINGS, warm_up=100)
    at_once, risen = train(path, tmp_path, "at once"), train(path, tmp_path, "risen", short)
    assert all(torch.equal(risen[name], at_once[name]) for name in at_once)


def test_batches_are_whole_sets_of_one_shape_with_their_own_texts(path):
    base = opened(path)
    batches = Batches(stream(), Encoder(base, SETTINGS), SETTINGS, 0)
    met = set()
    for _ in range(12):
        batch = next(batches)
        met.add(batch.pictures)
        assert len(batch.latents) == len(batch.states) == batch.pictures * SETTINGS.sets(batch.pictures)
        assert batch.latents.shape[1:] == (4, 8, 8) and batch.states.shape[1:] == batch.null_states.shape[1:]
    assert met == {1, 2, 3, 4}


def test_what_is_kept_on_disk_is_what_would_be_made_and_of_this_checkpoint_alone(path, tmp_path):
    base, one = opened(path), next(stream())
    plain, kept = Encoder(base, SETTINGS), Encoder(base, SETTINGS, Cache(tmp_path))
    made = plain.encode(one)
    for _ in range(2):
        found = Encoder(base, SETTINGS, Cache(tmp_path)).encode(one)
        assert sets.gap(found.latents, made.latents) < 1e-4 and torch.equal(found.places, made.places)
        assert torch.equal(kept.states("a ball")["states"], plain.states("a ball")["states"])
    files = list(tmp_path.rglob("*.safetensors"))
    assert len(files) == 4 + 1
    files[0].write_bytes(b"cut")
    Encoder(base, SETTINGS, Cache(tmp_path)).encode(one), Encoder(base, SETTINGS, Cache(tmp_path)).states("a ball")
    assert len(list(tmp_path.rglob("*.safetensors"))) == 5 and all(file.stat().st_size > 100 for file in files)


def test_sdxl_is_told_each_pictures_own_size_and_where_it_was_cut(tmp_path):
    vae = SimpleNamespace(spacial_compression_encode=lambda: 8)
    base = bases.base_of(models.model("sdxl"), models.Text("sdxl"), vae, tmp_path / "none")
    encoder = Encoder(base, SETTINGS)
    places = torch.tensor([[640, 480, 10, 0, 512, 512], [300, 300, 0, 0, 512, 512]])
    pooled = [encoder.states(text)["pooled"] for text in ("one", "two")]
    found = encoder._sizes(pooled, places)
    for row, (text, place) in enumerate(zip(pooled, places.tolist(), strict=True)):
        width, height, left, top, across, down = place
        each = [base.patcher.model.embedder(torch.tensor([float(value)])) for value in (height, width, top, left, down, across)]
        assert torch.equal(found[row], torch.cat((text[0], torch.cat(each).flatten())))


def test_a_side_that_the_vae_cannot_encode_is_refused_with_the_next_that_it_can(path):
    for buckets, step, fits in ((False, 8, 96), (True, 64, 128)):
        with pytest.raises(ValueError, match=f"an area of 100 x 100 .* multiple of {step}. Set `side` to {fits}"):
            Encoder(opened(path), Settings(side=100, buckets=buckets))


def test_pictures_that_keep_their_aspect_have_one_size_in_a_set(path):
    one = next(stream())
    wide = replace(one, pictures=tuple(picture.resize((200, 100)) for picture in one.pictures))
    latents = [Encoder(opened(path), Settings(side=256, buckets=buckets)).encode(wide).latents for buckets in (False, True)]
    assert [tuple(each.shape[-2:]) for each in latents] == [(32, 32), (24, 40)]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"method": "lora"}, "the method is `lora`, but needs to be one of LoRA, LoHa, LoKr, full"),
        ({"rank": 0}, "`rank` is 0, but needs to be at least 1"),
        ({"rate": float("nan")}, "the rate is nan, but needs to be a number above 0"),
        ({"sizes": (0.0, 0.0)}, "the sizes of sets are .* need to be up to 4 shares"),
    ],
)
def test_settings_that_cannot_be_are_refused(given, said):
    with pytest.raises(ValueError, match=f"^Training: {said}"):
        Settings(**given)


def test_sets_are_drawn_to_sizes_so_that_steps_have_the_shares_that_were_asked_for():
    assert Settings().shares(1) == (1.0,) and Settings().shares(2) == (0.0, 1.0)
    assert Settings(rows=12).shares(4) == (0, 6 / 13, 4 / 13, 3 / 13)
    assert Settings(rows=12).sets(5) == 2 and Settings(rows=2).sets(4) == 1
