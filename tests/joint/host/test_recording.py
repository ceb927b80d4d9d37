"""A recorded run paints the same pictures, and what is recorded is the run's own: of the full term, whatever splits its calls."""

from dataclasses import replace

import comfy.model_patcher
import folder_paths
import numpy as np
import pytest
import torch
from comfy_extras.nodes_pag import PerturbedAttentionGuidance
from PIL import Image
from same_subject.nodes.joint import recording, settings
from same_subject.nodes.joint.host import attention, viewing
from same_subject.nodes.joint.host.sampling import JointSampling
from same_subject.tests.joint.host.test_bank import masked
from same_subject.tests.joint.host.test_windows import windowed
from same_subject.tests.tiny import models, sets
from same_subject.tests.tiny.sets import case, sample

ROUNDING = 1e-5
"""Of attention: 4e-7 was seen."""
VISIBLE = 1e-3
"""What attention of other terms, steps or runs differs by, at least, somewhere."""
FORMS = {
    "paper": {},
    "references only": {"reference_attention": settings.REFERENCES_ONLY},
    "itself only": {"reference_attention": settings.ITSELF_ONLY, "reference_strength": 3.0, "subject_masks": settings.GIVEN},
    "bank": {"reference_attention": settings.ITSELF_ONLY, "subject_masks": settings.GIVEN, "bank": 64},
    "colours": {"subject_masks": settings.GIVEN, "color_match": 0.8, "style_fidelity": 0.5},
}


@pytest.fixture(scope="module")
def unets():
    return {("sd15", 4): models.model(), ("sd15", 9): models.model("sd15", 9)}


@pytest.fixture(scope="module")
def unet(unets):
    return unets["sd15", 4]


def applied(model, one, mode="joint", order=None, **options):
    return JointSampling(one.joint_set, settings.Settings(mode, 3.0, options=settings.Options(**options)), order).install(model)


def asked(levels=settings.LEVELS, start=0.0, end=1.0, most=64):
    return recording.Recording(tuple(levels), start, end, most * recording.MEBIBYTE)


def recorded(model, one, wanted=None, **run):
    """What was recorded of a run, and the latents that it gave."""
    wanted = wanted or asked()
    samples = sample(viewing.record(model, wanted), one, **run)
    return wanted.taken, samples


def apart(one, other):
    """The largest difference of what two runs have recorded, where either has anything."""
    assert one.sums.keys() == other.sums.keys() and one.sums
    differences = []
    for level in one.sums:
        for number in range(one.layout.sets):
            a, b = one.sums[level].means(number), other.sums[level].means(number)
            assert torch.equal(a.isnan(), b.isnan())
            differences.append(float((a - b).nan_to_num().abs().max()))
    return max(differences)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("channels", "mode"), [(4, "joint"), (4, "text first"), (9, "image first"), (9, "text only")])
def test_pictures_are_the_same_bit_for_bit_with_and_without_a_recording(unets, channels, mode, form):
    one = masked(case(sets=2))
    model = applied(unets["sd15", channels], one, mode, "noisy, reference, mask" if channels == 9 else None, **FORMS[form])
    plain = sample(model, one)
    taken, samples = recorded(model, one)
    assert torch.equal(samples, plain) and taken.is_of(samples) and set(taken.sums) >= {"full", "half"}


def test_nothing_is_tagged_or_carried_along_where_nothing_is_recorded(unet, monkeypatch):
    seen = []
    installed = attention.SetCall.installed
    monkeypatch.setattr(attention.SetCall, "installed", lambda call, *given: seen.append(call.take) or installed(call, *given))
    one = case()
    sample(applied(unet, one), one)
    assert seen == [None] * len(seen)
    recorded(applied(unet, one), one)
    assert any(take is not None for take in seen)


@pytest.mark.parametrize("mode", ("joint", "text first", "image first", "text only"))
def test_the_full_term_alone_is_recorded(unet, mode):
    """With cfg 1 the host asks for nothing else, at the same first step."""
    one = case(sets=2)
    alone, _ = recorded(applied(unet, one), one, steps=1, cfg=1.0)
    taken, _ = recorded(applied(unet, one, mode), one, steps=1, cfg=4.0)
    assert apart(taken, alone) < ROUNDING
    other = replace(one, positive=one.negative, negative=one.positive)
    assert apart(recorded(applied(unet, one), other, steps=1, cfg=1.0)[0], alone) > VISIBLE


def test_a_batch_that_is_split_for_memory_or_by_windows_of_sets_records_the_same(unet, monkeypatch):
    one = case(sets=2)
    model = applied(unet, one)
    taken, _ = recorded(model, one)
    assert apart(recorded(windowed(model, 4), one)[0], taken) < ROUNDING
    monkeypatch.setattr(comfy.model_patcher.ModelPatcher, "get_free_memory", lambda self, device: 0)
    assert apart(recorded(model, one)[0], taken) < ROUNDING


def test_windows_within_a_set_record_pairs_of_pictures_that_met(unet):
    one = case(generated=2, references=1)
    taken, _ = recorded(windowed(applied(unet, one), 2), one)
    met = ~taken.sums["half"].means(0)[:, 0, :, 0].isnan()
    assert met.tolist() == [[True, False, True], [False, True, True], [True, True, True]]


def test_references_out_of_a_bank_record_the_same(unet):
    one = masked(case())
    taken, _ = recorded(applied(unet, one, **{**FORMS["bank"], "bank": 0}), one)
    model = applied(unet, one, **FORMS["bank"])
    for _ in range(2):
        again, _ = recorded(model, one)
        assert apart(again, taken) < ROUNDING
    hidden = one.joint_set.shown_masks()[0].flatten() == 0
    paid = again.sums["full"].means(0)[0, :, 2]
    assert not paid[:, hidden].any() and paid[:, ~hidden].all(), "what a mask hides is not attended to"


def test_steps_and_levels_are_those_asked_for(unet):
    one = case()
    model = applied(unet, one)
    late, _ = recorded(model, one, asked(start=0.6), steps=4)
    whole, _ = recorded(model, one, steps=4)
    calls = {level: int(whole.sums[level].counts.max()) for level in whole.sums}
    assert 0 < int(late.sums["half"].counts.max()) < calls["half"] and apart(late, whole) > VISIBLE
    assert set(recorded(model, one, asked(levels=("half",)))[0].sums) == {"half"}
    assert "full" not in recorded(applied(unet, one, levels=frozenset(("half",))), one)[0].sums, "not coupled there"


def test_a_pass_of_another_node_over_the_same_text_is_not_recorded(unet):
    one = case()
    model = applied(unet, one)
    guided = PerturbedAttentionGuidance.execute(model, 3.0).result[0]
    taken, _ = recorded(model, one, steps=1)
    assert apart(recorded(guided, one, steps=1)[0], taken) < ROUNDING


def test_a_run_that_breaks_leaves_no_recording(unet):
    one, wanted = case(), asked()
    model = viewing.record(applied(unet, one), wanted)
    sample(model, one)
    assert wanted.taken is not None
    with pytest.raises(ValueError, match="the positive conditioning"):
        sample(model, replace(one, positive=[[one.positive[0][0][:3], one.positive[0][1]]]))
    assert wanted.taken is None


def test_a_model_is_recorded_once_and_the_one_that_came_in_is_not(unet):
    one, wanted = case(), asked()
    model = applied(unet, one)
    once = viewing.record(model, wanted)
    with pytest.raises(ValueError, match="the model is recorded already"):
        viewing.record(once, asked())
    sample(model, one)
    assert wanted.taken is None


class Vae:
    """Pictures of eight pixels a latent, that tell rows apart."""

    def decode(self, latents):
        return latents[:, :3].movedim(1, -1).repeat_interleave(8, 1).repeat_interleave(8, 2) * 0.1 + 0.5


@pytest.fixture(scope="module")
def shown(unet):
    one, wanted = case(sets=2), asked()
    samples = sample(viewing.record(applied(unet, one), wanted), one)
    return wanted, {"samples": samples}


def show(wanted, latent, picture=7, x=0.3, y=0.6, level="all"):
    return viewing.show(wanted, latent, Vae(), picture, x, y, level)


def test_what_is_shown_is_a_picture_of_the_points_set_and_files_for_the_view(shown, tmp_path, monkeypatch):
    monkeypatch.setattr(folder_paths, "temp_directory", str(tmp_path))
    picture, view = show(*shown)
    (said,) = view[viewing.SHOWN]
    assert picture.shape == (1, 320, 4 * 320 + 3 * 8, 3)
    assert [said[name] for name in ("sets", "pictures", "references", "height", "width")] == [2, 2, 2, 8, 8]
    assert len(said["shown"]) == 8 and len(said["tables"]) == 2
    table = np.fromfile(tmp_path / said["tables"][1]["filename"], dtype=np.uint8).reshape(4, 64, 4, 64)
    heat = table[2, int(0.6 * 8) * 8 + int(0.3 * 8)]
    assert heat[[0, 1, 3]].max(axis=1).tolist() == [255] * 3 and not heat[2].any()
    assert Image.open(tmp_path / said["shown"][6]["filename"]).size == (64, 64)
    show(*shown, x=0.9)
    assert len(list(tmp_path.glob("*.bin"))) == 2, "another point needs no other tables"
    assert not torch.equal(show(*shown, x=0.9)[0], picture) and torch.equal(show(*shown)[0], picture)


def test_only_the_recorded_run_is_shown(shown, unet):
    wanted, latent = shown
    for other in (latent["samples"].flip(0), latent["samples"][:4], latent["samples"] * 1.1):
        with pytest.raises(ValueError, match="of another run than `samples`"):
            show(wanted, {"samples": other})
    with pytest.raises(ValueError, match="holds no run"):
        show(asked(), latent)
    with pytest.raises(ValueError, match=r"`picture` is 9, but there are 8 rows .* Give 1 to 8"):
        show(wanted, latent, picture=9)
    with pytest.raises(ValueError, match="`x` is 1.5"):
        show(wanted, latent, x=1.5)
    with pytest.raises(ValueError, match="`level` is `eighth`, but the recording has"):
        show(wanted, latent, level="eighth")


def test_a_set_without_references_is_recorded_too(unet):
    one = case(generated=3, references=0)
    taken, _ = recorded(applied(unet, one), one)
    assert not taken.sums["half"].means(0).isnan().any()
    assert sets.made(taken.latents, one).shape[0] == 3
