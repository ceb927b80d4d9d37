"""Loading a subject adapter: what the file holds is what runs, and what does not fit is refused with the remedy."""

import pickle

import comfy.ops
import pytest
import torch
from comfy.clip_model import CLIPTextModel, CLIPVisionModelProjection, clip_preprocess
from safetensors.torch import load_file
from same_subject.nodes.subject.adapter import Networks
from same_subject.nodes.subject.host import loading
from same_subject.tests.tiny import subject_adapter_files as tiny
from same_subject.tests.tiny import subject_authors
from same_subject.tests.tiny.sets import gap

ROUNDING = 3e-6
"""As a share of the spread: 2e-7 was seen."""
VISIBLE = 100 * ROUNDING
PROMPT = "a photo of a toy, the ball is sks"


def part(state, prefix):
    return {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}


def states(clip):
    return clip.encode_from_tokens_scheduled(clip.tokenize(PROMPT))[0][0]


def plain_states(about, state, clip):
    """Texts as the base models read them, by networks of the host that nothing of `nodes/subject` has made."""
    found = {}
    for name, config in about.text_config.items():
        net = CLIPTextModel(config, torch.float32, "cpu", comfy.ops.disable_weight_init).requires_grad_(False)
        net.load_state_dict(part(state, f"text.{name}."))
        tokens = torch.tensor([[token for token, _ in clip.tokenize(PROMPT)[name][0]]])
        last, hidden, *_ = net(tokens, intermediate_output=-2, final_layer_norm_intermediate=len(about.text_config) == 1)
        found[name] = last if list(about.text_config) == ["l"] else hidden
    return torch.cat(list(found.values()), dim=-1)


@pytest.fixture
def path(tmp_path):
    return tiny.save(tmp_path / "toy.safetensors", seed=3)


@pytest.fixture
def authors_folder(tmp_path, monkeypatch):
    subject_authors.shrink(monkeypatch)
    return subject_authors.save(tmp_path)


@pytest.fixture
def vit_h(tmp_path):
    """Of the sizes that `authors_folder` lets ViT-H/14 have."""
    return tiny.vision(tmp_path / "vision", hidden_size=48, projection_dim=40)


def test_the_networks_of_a_file_give_what_its_weights_give(path):
    loaded = loading.load(path)
    plain = Networks(loaded.about.sizes)
    plain.load_state_dict({k: v for k, v in load_file(path).items() if not k.startswith(("text.", "vision."))})
    patches, boxes = torch.randn(2, 16, 24), torch.rand(2, 4)
    with torch.no_grad():
        assert gap(loaded.networks.proj(patches, boxes), plain.proj(patches, boxes)) < ROUNDING
        assert gap(loaded.networks.mlp["l"](torch.ones(20)), plain.mlp["l"](torch.ones(20))) < ROUNDING
        for ours, theirs in zip(loaded.networks.layers, plain.layers, strict=True):
            seen, expected = (each.subjects(torch.linspace(-1, 1, 140).view(5, 28)) for each in (ours, theirs))
            assert gap(seen.keys, expected.keys) < ROUNDING
    assert loaded.about == tiny.about() and loaded.name == "toy.safetensors" and loaded.plain_clip is None


def test_networks_take_inputs_in_half_precision(path):
    networks = loading.load(path).networks
    tokens = torch.linspace(-1, 1, 140).view(5, 28)
    assert networks.layers[0].subjects(tokens.bfloat16()).keys.dtype == torch.bfloat16


@torch.no_grad()
def test_a_picture_becomes_its_projected_embedding_and_raw_patches(path):
    loaded, picture = loading.load(path), torch.rand(50, 50, 3)
    cls, patches = loaded.encode(picture)
    net = CLIPVisionModelProjection(dict(tiny.VISION), torch.float32, "cpu", comfy.ops.disable_weight_init)
    net.load_state_dict(part(load_file(path), "vision."))
    last = net.vision_model(clip_preprocess(picture[None], size=32))[0]
    normed = net.vision_model.post_layernorm(last)
    assert cls.shape == (20,) and gap(cls, net.visual_projection(normed[:, 0])[0]) < ROUNDING
    assert patches.shape == (16, 24) and gap(patches, last[0, 1:]) < ROUNDING
    assert gap(patches, normed[0, 1:]) > VISIBLE and abs(cls.norm() - 1) > 0.01


@pytest.mark.parametrize("kind", ["sd15", "sd2", "sdxl"])
def test_the_text_encoder_of_a_file_reads_as_the_base_models_do(tmp_path, kind):
    path = tiny.save(tmp_path / "toy.safetensors", kind)
    loaded = loading.load(path)
    with torch.no_grad():
        expected = plain_states(loaded.about, load_file(path), loaded.clip)
    assert gap(states(loaded.clip), expected) < ROUNDING
    assert expected.shape == (1, 77, loaded.about.sizes.context)


def test_the_host_can_load_the_text_encoder_again(path):
    clip = loading.load(path).clip
    again, arguments = clip.patcher.cached_patcher_init
    for name, value in again(*arguments, disable_dynamic=True).model.state_dict().items():
        assert torch.equal(value, clip.cond_stage_model.state_dict()[name])


def test_what_stable_diffusion_2_leaves_out_of_its_text_encoder_changes_nothing(tmp_path):
    about = tiny.about("sd2")
    state = tiny.state(about)
    less = {name: value for name, value in state.items() if ".layers.2." not in name and "text_projection" not in name}
    assert len(state) - len(less) == 17
    whole, without = (loading.load(tiny.write(tmp_path / "a.safetensors", about, each)) for each in (state, less))
    assert torch.equal(states(whole.clip), states(without.clip))
    made = without.clip.cond_stage_model.clip_h.transformer
    assert torch.equal(made.text_projection.weight.float(), torch.eye(48)), "nothing is memory that nobody wrote"
    assert not any(value.any() for value in made.text_model.encoder.layers[2].state_dict().values())


def test_a_difference_of_texts_is_added_to_the_clip_that_was_given_which_stays_as_it_was(tmp_path):
    base, about = tiny.about(), tiny.about(text="difference")
    weights, changes = tiny.state(base), {key: 0.3 * value for key, value in tiny.state(base, seed=9).items()}
    sums = {key: value + changes[key] if key.startswith("text.") else value for key, value in weights.items()}
    clip = loading.load(tiny.write(tmp_path / "base.safetensors", base, weights)).clip
    before = states(clip)
    rest = {key: value for key, value in weights.items() if not key.startswith("text.")}
    texts = {key: value for key, value in changes.items() if key.startswith("text.")}
    changed = loading.load(tiny.write(tmp_path / "difference.safetensors", about, rest | texts), clip=clip)
    expected = loading.load(tiny.write(tmp_path / "sum.safetensors", base, sums))
    assert gap(states(changed.clip), states(expected.clip)) < ROUNDING and gap(before, states(expected.clip)) > VISIBLE
    assert changed.plain_clip is clip and torch.equal(states(clip), before)


def test_the_authors_four_run_as_they_are(authors_folder, vit_h):
    loaded, parts = loading.load(authors_folder, vit_h), subject_authors.parts()
    assert loaded.about.steps == 449999 and loaded.about.family == "sd2" and loaded.name == "unet_0_449999"
    for number in (0, 6, 15):
        theirs = parts["unet"][f"{subject_authors.BLOCKS[number]}.transformer_blocks.0.fuser.linear.weight"]
        assert torch.equal(loaded.networks.layers[number].linear.weight, theirs)
    table = loaded.clip.cond_stage_model.clip_h.transformer.get_input_embeddings().weight
    assert torch.equal(table, parts["clip_text"]["text_model.embeddings.token_embedding.weight"].to(table))
    cls, patches = loaded.encode(torch.rand(40, 40, 3))
    assert cls.shape == (40,) and patches.shape == (16, 48) and states(loaded.clip).isfinite().all()
    again, arguments = loaded.clip.patcher.cached_patcher_init
    assert torch.equal(again(*arguments).model.clip_h.transformer.get_input_embeddings().weight, table)


def test_an_image_encoder_that_does_not_fit_is_refused(authors_folder, vit_h, path, tmp_path):
    with pytest.raises(
        ValueError, match="unet_0_449999 cannot be used: it needs the image encoder ViT-H/14, but no `clip_vision`"
    ):
        loading.load(authors_folder)
    for wrong in ({"hidden_size": 24}, {"projection_dim": 20}, {"image_size": 64}, {"patch_size": 16}):
        other = tiny.vision(tmp_path / "other", **{"hidden_size": 48, "projection_dim": 40, **wrong})
        with pytest.raises(
            ValueError, match=r"it needs the image encoder ViT-H/14 \(48 channels, patches of 8 .* but `clip_vision`"
        ):
            loading.load(authors_folder, other)
    with pytest.raises(ValueError, match="it has an image encoder of its own, but a `clip_vision` was given. Disconnect it"):
        loading.load(path, vit_h)
    with pytest.raises(ValueError, match=r"the picture has the shape \(40, 50, 3\), but needs to be square"):
        loading.load(path).encode(torch.rand(40, 50, 3))


def test_a_clip_that_does_not_fit_is_refused(tmp_path, path):
    difference = tiny.save(tmp_path / "difference.safetensors", text="difference")
    with pytest.raises(ValueError, match="it holds only how its text encoder differs .* but no `clip` was given"):
        loading.load(difference)
    for kind, said in (("sd2", "`h` of 48 channels"), ("sdxl", "`l` of 24 and `g` of 40 channels")):
        other = loading.load(tiny.save(tmp_path / f"{kind}.safetensors", kind)).clip
        for file in (path, difference):
            with pytest.raises(ValueError, match=f"it needs a text encoder `l` of 32 channels, but `clip` has {said}. Connect"):
                loading.load(file, clip=other)


def test_a_placeholder_that_is_another_word_is_refused(tmp_path):
    for word, number in (("toy", 48136), ("sks", 48135), ("two words", 48136)):
        path = tiny.save(tmp_path / "toy.safetensors", placeholder=word, placeholder_token=number)
        with pytest.raises(ValueError, match=f"its placeholder `{word}` is the token"):
            loading.load(path)


def test_text_encoders_that_no_base_has_are_refused(tmp_path):
    about = tiny.about("sd15")
    sizes = type(about.sizes)(**{**vars(about.sizes), "words": {"g": 32}})
    path = tiny.save(tmp_path / "g.safetensors", sizes=sizes, text_config={"g": {**tiny.TEXT, "hidden_size": 32}})
    with pytest.raises(ValueError, match="it has the text encoders g, which ComfyUI has no model for"):
        loading.load(path)


class Code:
    def __reduce__(self):
        return print, ("code ran",)


def test_damaged_files_and_those_that_hold_code_are_refused_and_nothing_runs(path, authors_folder, vit_h, tmp_path, capsys):
    whole, nan = path.read_bytes(), tiny.state(tiny.about())
    nan["conv_in.bias"][3] = torch.nan
    tiny.write(tmp_path / "nan.safetensors", tiny.about(), nan)
    (tmp_path / "short.safetensors").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "page.safetensors").write_bytes(b"<html>404</html>")
    (tmp_path / "code.safetensors").write_bytes(pickle.dumps(Code()))
    tiny.write(tmp_path / "less.safetensors", tiny.about(), {"conv_in.bias": torch.ones(32)})
    for name, said in (
        ("nan", "`conv_in.bias` holds NaN or infinity"),
        ("short", "is truncated"),
        ("page", "is not a safetensors file"),
        ("code", "is not a safetensors file"),
        ("less", "of its weights do not fit"),
    ):
        with pytest.raises(ValueError, match=f"Load Subject Adapter: {name}.safetensors cannot be used: .*{said}.*choose `demo`"):
            loading.load(tmp_path / f"{name}.safetensors")
    with pytest.raises(ValueError, match="unet_0_449999 cannot be used: .*"):
        torch.save({"fc1.weight": Code()}, tmp_path / "mlp_0_449999" / "pytorch_model.bin")
        loading.load(authors_folder, vit_h)
    torch.save({"fc1.weight": torch.tensor(torch.inf)}, tmp_path / "mlp_0_449999" / "pytorch_model.bin")
    with pytest.raises(ValueError, match="in mlp_0_449999, .*`fc1.weight` holds NaN or infinity"):
        loading.load(authors_folder, vit_h)
    assert "code ran" not in capsys.readouterr().out
