"""The demo's tools for scenes on the files that ship with the pack: they find toys, know them apart, and refuse other files."""

import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from same_subject.dev import pack
from same_subject.nodes.concepts.places import box_of
from same_subject.nodes.demo import toys
from same_subject.nodes.demo.host import folders
from same_subject.nodes.demo.host import model as demo_model
from same_subject.nodes.demo.host import tools as demo_tools
from same_subject.nodes.demo.nodes import LoadDemoTools
from same_subject.nodes.identity import adapter as adapters
from same_subject.nodes.identity.faces import Identity
from same_subject.nodes.identity.host import sampling as identity_sampling
from same_subject.nodes.identity.nodes import ApplyIdentity
from same_subject.research import world
from same_subject.tests.tiny.sets import gap

FILE = pack.ROOT / "demo" / "scenes.safetensors"
ROUNDING = 2e-5
"""As a share of the spread, or of a length: 1.6e-6 was seen."""
VISIBLE = 100 * ROUNDING


@pytest.fixture(scope="module")
def tools():
    return demo_tools.load(FILE)


def pairs(count, seed):
    generator = torch.Generator().manual_seed(seed)
    left, right = (world.draw_subjects(count, generator) for _ in range(2))
    scenes = torch.randint(len(world.SCENES), (count,), generator=generator)
    pictures, masks = world.draw_pairs(left, right, scenes, generator)
    return left, right, pictures.movedim(1, -1), masks


def test_phrases_find_the_toys_they_name_at_any_size_and_nothing_else(tools):
    _, finder = tools
    left, right, pictures, masks = pairs(12, 40)
    large = torch.nn.functional.interpolate(pictures.movedim(-1, 1), scale_factor=3, mode="bicubic").clamp(0, 1).movedim(1, -1)
    ids = finder.token_ids("ball . a red star . box . heart .")
    word = {0: 1, 1: 5, 2: 7, 3: 9}
    for seen in (pictures, large):
        for row, (logits, boxes) in enumerate(finder.detect(seen, ids)):
            assert logits.shape == (2, len(ids)) and boxes.shape == (2, 4)
            for toy, shape, mask in ((0, left.shape[row], masks[row, 0]), (1, right.shape[row], masks[row, 1])):
                assert logits[toy, word[int(shape)]] == logits[toy].max() and logits[toy].max().sigmoid() > 0.5
                wanted = torch.tensor(box_of(mask).corners) / torch.tensor([128, 64, 128, 64])
                given = torch.cat((boxes[toy, :2] - boxes[toy, 2:] / 2, boxes[toy, :2] + boxes[toy, 2:] / 2))
                assert (wanted - given).abs().max() < 0.05
            assert (logits[:, [0, 2, 3, 4, 6, 8, 10, 11]] < 0).all(), "only the words that name a shape are answered"


def test_a_toy_is_recognised_among_others_of_its_shape(tools):
    _, finder = tools
    generator = torch.Generator().manual_seed(41)
    subjects = world.draw_subjects(40, generator, shape=0)
    views = []
    for _ in range(2):
        scenes = torch.randint(len(world.SCENES), (40,), generator=generator)
        pictures, _ = world.draw(subjects, world.draw_poses(40, generator), scenes, generator)
        found = [finder.faces(picture.movedim(0, -1)) for picture in pictures]
        assert all(len(faces) == 1 for faces in found)
        views.append(torch.stack([faces[0].embedding for faces in found]))
    first, second = views
    hits = (first @ second.T).argmax(dim=1) == torch.arange(40)
    assert hits.float().mean() > 0.85
    assert (first.norm(dim=1) / toys.LOUDNESS - 1).abs().max() < ROUNDING  # left as long as they come: 0.5


def test_the_adapter_fits_the_model_in_the_same_file(tools):
    adapter, _ = tools
    model, *_ = demo_model.load(FILE)
    adapters.check_layers(adapter.adapter.channels, identity_sampling.cross_attention_layers(model))
    assert adapter.adapter.embedding == toys.FEATURES


@torch.inference_mode()
def test_a_step_with_an_identity_is_what_the_adapter_was_trained_on(tools):
    """One Euler step to sigma 0 is the denoised prediction: that of the nodes, and that of the training's own code."""
    import comfy.sample
    import comfy.samplers
    from same_subject.research import train_scenes

    adapter, _ = tools
    model, clip, _ = demo_model.load(FILE)
    generator = torch.Generator().manual_seed(1)
    embedding, x = (torch.randn(shape, generator=generator) for shape in ((1, toys.FEATURES), (1, 4, 16, 32)))
    text = clip.encode_from_tokens_scheduled(clip.tokenize("a photo of a ball and a star at night"))
    sigma = model.get_model_object("model_sampling").sigmas[500]
    unet = model.model.diffusion_model
    scaled = x / (sigma**2 + 1) ** 0.5

    def trained(weight):
        options = train_scenes.identity_patches(unet, adapter.adapter, embedding, torch.tensor([weight]))
        return x - sigma * unet(scaled, torch.tensor([500.0]), text[0][0], transformer_options=options)

    def nodes(weight):
        identity = Identity(embedding[0], ())
        patched = ApplyIdentity.execute(model, adapter, identity, weight, 0.0, 1.0).result[0]
        zero, sigmas = torch.zeros_like(x), torch.stack((sigma, torch.tensor(0.0)))
        sampler = comfy.samplers.sampler_object("euler")
        found = comfy.sample.sample_custom(patched, x / sigma, 1.0, sampler, sigmas, text, text, zero, disable_pbar=True)
        return model.get_model_object("latent_format").process_in(found)

    assert gap(nodes(1.0), trained(1.0)) < ROUNDING
    assert gap(trained(1.0), trained(0.0)) > VISIBLE


def test_a_file_without_tools_and_a_damaged_one_are_refused_with_the_remedy(monkeypatch, tmp_path):
    monkeypatch.setitem(folders.folder_paths.folder_names_and_paths, folders.CATEGORY, ([str(tmp_path)], {".safetensors"}))
    with safe_open(str(FILE), "pt") as file:
        metadata = file.metadata()
    state = load_file(FILE)
    save_file(state, tmp_path / "plain.safetensors", {key: value for key, value in metadata.items() if "tools" not in key})
    for part in ("identity.", "finder."):
        missing = next(key for key in state if key.startswith(part))
        less = {key: value for key, value in state.items() if key != missing}
        save_file(less, tmp_path / f"no_{part}safetensors", metadata)
        with pytest.raises(ValueError, match=f"Load Demo Tools: no_{part}safetensors cannot be used: .*Reinstall the pack"):
            LoadDemoTools.execute(f"no_{part}safetensors")
    assert "holds no demo tools" in LoadDemoTools.validate_inputs("plain.safetensors")
    assert "is in none of" in LoadDemoTools.validate_inputs("gone.safetensors")
    assert json.loads(metadata["same_subject.config"])["unet"]["in_channels"] == 4
