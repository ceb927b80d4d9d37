"""Making a joint set of pictures and texts, with a start and without."""

import pytest
import torch
from same_subject.nodes.joint import references, starting
from same_subject.nodes.joint.host import sets, tagging
from same_subject.tests.tiny import models


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    """MODEL, CLIP and VAE of a tiny demo model, whose latents are an eighth of the pictures."""
    from same_subject.nodes.demo.host import model as demo_model

    return demo_model.load(models.save_demo(tmp_path_factory.mktemp("demo") / "tiny.safetensors"))


PICTURES = torch.rand(1, 64, 64, 3, generator=torch.Generator().manual_seed(0))


def prepare(loaded, texts=("star", "moon"), **more) -> sets.Prepared:
    _, clip, vae = loaded
    with torch.inference_mode():
        given = references.gather(list(PICTURES), [], ["sun"], "crop", "grey")
        return sets.prepare(clip, vae, given, list(texts), **more)


def latents(loaded, count: int, height: int = 12, width: int = 16) -> dict:
    channels = prepare(loaded).joint_set.references.shape[1]
    return {"samples": torch.randn(count, channels, height, width, generator=torch.Generator().manual_seed(1))}


def test_a_set_that_starts_from_latents_has_their_size_and_its_references_are_encoded_for_it(loaded):
    start = latents(loaded, 4)
    begun, plain = prepare(loaded, sets=2, start=start), prepare(loaded, sets=2, width=128, height=96)
    assert torch.equal(begun.joint_set.references, plain.joint_set.references)
    layout, rows = begun.joint_set.layout, begun.latent["samples"]
    assert torch.equal(rows[layout.generated_rows], start["samples"])
    assert torch.equal(rows[layout.reference_rows], plain.joint_set.reference_latents())
    assert not plain.latent["samples"][layout.generated_rows].any()
    assert begun.latent["batch_index"] == plain.latent["batch_index"] == layout.noise_index
    assert "noise_mask" not in begun.latent and begun.latent[starting.LAYOUT] == layout


def test_a_whole_batch_of_another_set_starts_a_set_with_other_references(loaded):
    earlier = prepare(loaded, texts=["star"])
    whole = {**earlier.latent, "samples": torch.randn(earlier.latent["samples"].shape)}
    begun = prepare(loaded, texts=["star", "moon"], start=whole)
    assert torch.equal(begun.joint_set.start, whole["samples"][[0, 0]])


def test_conditioning_of_a_set_with_another_start_or_other_known_pictures_is_another_sets(loaded):
    start = latents(loaded, 2)
    other = {"samples": start["samples"].flip(0)}
    cases = {}, {"start": start}, {"start": other}, {"start": start, "redo": "1"}, {"start": start, "redo": "2"}
    keys = [prepare(loaded, width=128, height=96, **case).joint_set.key for case in cases]
    assert len(set(keys)) == 5
    assert prepare(loaded, start=start, redo="1-2").joint_set.key == keys[1]


def test_a_mask_paints_in_pictures_and_never_in_what_is_kept(loaded):
    start = {**latents(loaded, 2), "noise_mask": torch.zeros(2, 1, 96, 128)}
    start["noise_mask"][1, :, 48:] = 1
    mask = prepare(loaded, start=start, sets=2).latent["noise_mask"]
    assert mask.shape == (6, 1, 96, 128) and mask.mean(dim=(1, 2, 3)).tolist() == [0, 0.5, 1, 0, 0.5, 1]
    mask = prepare(loaded, start=start, sets=2, redo="1, 4").latent["noise_mask"]
    assert mask.mean(dim=(1, 2, 3)).tolist() == [0, 1, 1, 1, 0.5, 1]


def test_what_does_not_fit_is_refused(loaded):
    with pytest.raises(ValueError, match="^Joint Set: `redo` is `2`, but needs the pictures that were made before. Connect"):
        prepare(loaded, redo="2")
    with pytest.raises(ValueError, match="^Joint Set: `width` and `height` are 64x64, but .* of 128x96 pixels. Set both to 0"):
        prepare(loaded, start=latents(loaded, 2), width=64, height=64)
    sixteen = {"samples": torch.zeros(2, 16, 12, 16)}
    with pytest.raises(ValueError, match="^Joint Set: the latents at `start` are .16, 12, 16. .*Connect latents of the same"):
        prepare(loaded, start=sixteen)
    with pytest.raises(ValueError, match="^Joint Set: `start` has 5 latents, but the set needs 1, 2, 4 or 6 rows"):
        prepare(loaded, start=latents(loaded, 5), sets=2)


def test_each_text_is_encoded_once(loaded, monkeypatch):
    """One more, empty, was encoded to know the model's own size."""
    _, clip, _ = loaded
    asked, tokenize = [], clip.tokenize
    monkeypatch.setattr(clip, "tokenize", lambda text, *more, **options: asked.append(text) or tokenize(text, *more, **options))
    made = prepare(loaded, negative="night")
    assert asked == ["star", "moon", "sun", "night"] and made.joint_set.references.shape[-2:] == (8, 8)
    assert made.positive[0][1][tagging.SET_KEY] == made.negative[0][1][tagging.SET_KEY] == made.joint_set.key
