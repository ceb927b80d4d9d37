"""Places of subjects by words in the host's sampler, on tiny models: what is recorded, and what then acts where."""

from dataclasses import replace

import pytest
import torch
from comfy_extras.nodes_context_windows import ContextWindowsManualNode
from comfy_extras.nodes_pag import PerturbedAttentionGuidance
from same_subject.nodes.host import attention, unet
from same_subject.nodes.joint import places, settings
from same_subject.nodes.joint.host import bank
from same_subject.nodes.joint.host.sampling import JointSampling
from same_subject.nodes.joint.places import Places, Words
from same_subject.tests.tiny import models, sets
from same_subject.tests.tiny.sets import case, gap, made, sample

ROUNDING = 1e-4
"""Of gaps: 1e-5 was seen."""
VISIBLE = 0.005
"""A difference that a mistake would make, at least."""
WORDS = Words((0, 1), (((1,), (2, 3), (5, 6)), ((4,), (1,), (7,))), (77, 77))
MODES = ("joint", "text first", "image first", "text only")


@pytest.fixture(scope="module")
def unets():
    return {channels: models.model("sd15", channels) for channels in (4, 9)}


def by_words(one, **more):
    return replace(one, joint_set=replace(one.joint_set, words=WORDS, **more))


def placed(one, where):
    return replace(one, joint_set=replace(one.joint_set, where=where))


def installed(model, one, mode="joint", **options):
    order = "noisy, reference, mask" if model.model.diffusion_model.in_channels == 9 else None
    chosen = settings.Settings(mode, 3.0, options=settings.Options(reference_attention=settings.ITSELF_ONLY, **options))
    return JointSampling(one.joint_set, chosen, order).install(model)


def halves(rows):
    """Places [S * R, M, h, w]: other halves for each reference, picture and set."""
    where = torch.zeros(rows, 2, sets.SIZE, sets.SIZE)
    for row in range(rows):
        where[row, row % 2, :, : sets.SIZE // 2] = 1
        where[row, 1 - row % 2, sets.SIZE // 4 * (1 + row // 2) :] = 1
    return where


def making_up(monkeypatch, where):
    """Every step finds subjects at ``where`` [S * R, M, h, w]."""
    found = where.unflatten(0, (-1, 2)).movedim(1, 2).flatten(0, 1)  # [S * M, K, h, w]
    monkeypatch.setattr(places, "divided", lambda heat: found)


@pytest.mark.parametrize("channels", (4, 9))
def test_references_act_nowhere_at_the_first_step_and_then_where_their_words_are(unets, monkeypatch, channels):
    one, where = case(sets=2), halves(4)
    making_up(monkeypatch, where)
    found = made(sample(installed(unets[channels], by_words(one)), by_words(one), steps=3), one)
    nowhere, there = placed(one, torch.zeros_like(where)), placed(one, where)
    first = sample(installed(unets[channels], nowhere), nowhere, steps=3, last_step=1, force_full_denoise=False)
    rest = {"latent": {**one.latent, "samples": first}, "start_step": 1, "disable_noise": True}
    expected = made(sample(installed(unets[channels], there), there, steps=3, **rest), one)
    assert gap(found, expected) < ROUNDING
    for other in (torch.zeros_like(where), where.roll(1, 0), where[:2].repeat(2, 1, 1, 1)):
        wrong = placed(one, other)
        assert gap(made(sample(installed(unets[channels], wrong), wrong, steps=3, **rest), one), expected) > VISIBLE


@pytest.mark.parametrize("mode", MODES)
def test_what_is_recorded_is_the_attention_of_pictures_to_their_own_prompts(unets, monkeypatch, mode):
    """Against cross-attention written out in float64, from the queries and keys that another node's hook sees."""
    one, heats, seen = case(sets=2), [], []

    def spy(q, k, v, extra_options):
        shape = tuple(extra_options["activations_shape"][-2:])
        if shape == (sets.SIZE, sets.SIZE):
            seen.append((q, k, extra_options["n_heads"], list(extra_options["cond_or_uncond"])))
        return attention.attend(q, k, v, extra_options)

    model = unets[4].clone()
    for block in unet.attention_blocks(model, "test"):
        model.set_model_attn2_replace(spy, *block)
    monkeypatch.setattr(Places, "add", lambda self, heat: heats.append(heat))
    monkeypatch.setattr(Places, "where", lambda self, size: torch.ones(2, 2, *size))
    monkeypatch.setattr(model.model, "memory_required", lambda *args, **kwargs: 0)
    sample(installed(model, by_words(one), mode), one, steps=1)
    assert len(heats) == 1 and heats[0].shape == (4, 3, sets.SIZE, sets.SIZE)
    errors = []
    for chunk in (chunk for chunk, number in enumerate(seen[0][3]) if number == 0):
        expected = torch.zeros(4, 3, sets.SIZE**2, dtype=torch.float64)
        for q, k, heads, _ in seen:
            for number, row in enumerate(one.layout.generated_rows):
                at = chunk * one.layout.rows + row
                queries, keys = (x[at].double().unflatten(-1, (heads, -1)).transpose(0, 1) for x in (q, k))
                weights = (queries @ keys.mT / queries.shape[-1] ** 0.5).softmax(-1).mean(0)
                for place, positions in enumerate(WORDS.positions[number % 2]):
                    expected[number, place] += weights[:, list(positions)].sum(-1) / len(seen)
        errors.append(float((heats[0].flatten(2) - expected).abs().max() / expected.std()))
    assert min(errors) < ROUNDING
    assert len(errors) == (2 if mode == "text first" else 1) and all(error > VISIBLE for error in sorted(errors)[1:])


@pytest.mark.parametrize("mode", MODES)
def test_only_the_full_conditional_term_says_where_subjects_are(unets, monkeypatch, mode):
    calls, real = [], Words.attended
    monkeypatch.setattr(Words, "attended", lambda self, q, k, heads: calls.append(q.shape) or real(self, q, k, heads))
    one = by_words(case())
    sample(installed(unets[4], one, mode), one, steps=2)
    layers = sum(name.endswith("attn2") for name, _ in unets[4].model.diffusion_model.named_modules())
    assert len(calls) == 2 * layers and all(len(shape) == 3 and shape[0] == 2 for shape in calls)


def windowed(model, length):
    return ContextWindowsManualNode.execute(model, length, 0, "batched", 1, False, "pyramid", 0, False).result[0]


def test_windows_of_whole_sets_find_the_same_places(unets):
    one = by_words(case(sets=2))
    model = installed(unets[4], one, color_match=0.5)
    whole = sample(model, one, steps=3)
    assert gap(sample(windowed(model, 4), one, steps=3), whole) < ROUNDING
    banked = installed(unets[4], one, color_match=0.5, bank=64)
    assert gap(sample(windowed(banked, 4), one, steps=3), whole) < ROUNDING
    exchanged = placed(replace(one, joint_set=replace(one.joint_set, words=None)), None)
    assert gap(sample(installed(unets[4], exchanged, color_match=0.5), one, steps=3), whole) > VISIBLE


def test_windows_of_some_pictures_find_the_place_in_each(unets, monkeypatch):
    """In windows of one picture, each is found as in a set of its own."""
    heats = []
    monkeypatch.setattr(Places, "add", lambda self, heat: heats.append(heat))
    one = by_words(case())
    sample(windowed(installed(unets[4], one), 3), one, steps=1)
    for picture in range(2):
        alone = case(generated=1, prompts=[f"prompt {picture}"])
        alone = replace(alone, joint_set=replace(alone.joint_set, words=WORDS.of_pictures([picture])))
        latent = {**alone.latent, "batch_index": [one.layout.noise_index[row] for row in (picture, 2, 3)]}
        sample(installed(unets[4], alone), alone, steps=1, latent=latent)
    assert gap(heats[0], torch.cat(heats[1:])) < ROUNDING
    assert gap(heats[1], heats[2]) > VISIBLE


def test_a_bank_is_not_used(unets):
    one = by_words(case())
    kept = installed(unets[4], one, bank=64)
    assert torch.equal(sample(kept, one, steps=3), sample(installed(unets[4], one), one, steps=3))
    assert bank.size(unets[4].model) == 0
    sample(installed(unets[4], case(), bank=64), case(), steps=3)
    assert bank.size(unets[4].model) > 0


def test_runs_leave_nothing_behind(unets):
    """The same run again, on the same installed model, begins without places."""
    one = by_words(case())
    model = installed(unets[4], one)
    before = dict(model.model_options)
    first = sample(model, one, steps=3)
    assert torch.equal(sample(model, one, steps=3), first) and model.model_options.keys() == before.keys()


def test_conditioning_without_the_sets_prompts_is_refused(unets):
    from same_subject.nodes.joint.host import tagging

    one = by_words(case())
    bare = [[states, {key: value for key, value in more.items() if key != tagging.SET_KEY}] for states, more in one.positive]
    area = [[states, {**more, "area": (4, 4, 0, 0), "strength": 1.0}] for states, more in one.positive]
    for positive in (bare, area):
        with pytest.raises(ValueError, match="^JeDi: `place` .*Connect `positive` of Joint Set"):
            sample(installed(unets[4], one), replace(one, positive=positive))


def test_replaced_self_attention_is_refused(unets):
    one, pag = by_words(case()), PerturbedAttentionGuidance.execute(unets[4], 3.0).result[0]
    with pytest.raises(ValueError, match="another node replaced self-attention.*`place` to `as given`"):
        sample(installed(pag, one), one)
