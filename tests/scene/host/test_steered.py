"""Apply Subjects with attention control in a scene: latents are moved as in a run without one."""

import pytest
import torch
from same_subject.nodes.scene.branch import Branch
from same_subject.nodes.subject import settings
from same_subject.nodes.subject.host import applying, prompting
from same_subject.tests.tiny import models, scenes, subject_adapters
from same_subject.tests.tiny.scenes import SIZE, install
from same_subject.tests.tiny.sets import gap

ROUNDING = 2e-4
"""Of gaps: 8e-6 was seen."""
VISIBLE = 0.01
STEPS = 4
PLACES = ((0.0, 0.25, 0.5, 0.75), (0.5, 0.0, 1.0, 0.75))


@pytest.fixture(scope="module")
def unet():
    return models.model("sd15")


def steered(unet, steps=3):
    """A model with attention control, and its conditioning."""
    one = subject_adapters.subjects(subject_adapters.subject_adapter(unet), *PLACES)
    said = {prompting.SUBJECTS: one, prompting.WORDS: ((2, 4), (6, 8))}
    texts = ([[states, {**values, **said}] for states, values in scenes.text(words)] for words in ("a dog", "nothing"))
    return applying.apply(unet, one, settings.Settings(steering=settings.Steering(steps, 2000.0))), *texts


def scene(unet, which, continue_from, masks=None, last_steps=0, denoise=1.0, steps=3):
    """A scene whose background or whose only concept is steered, and the conditioning of its background."""
    model, positive, negative = steered(unet, steps)
    mask = torch.ones(1, SIZE, SIZE) if masks is None else masks
    if which == "concept":
        one = Branch(positive, negative, model, mask, denoise=denoise)
        return install(unet, (one,), continue_from, last_steps), {}
    one = Branch(scenes.text("a concept"), scenes.text("not that"), unet, mask, denoise=denoise)
    return install(model, (one,), continue_from, last_steps), {"positive": positive, "negative": negative}


def sample(model, texts=None, mask=None, **more):
    latent = {"samples": torch.zeros(1, 4, SIZE, SIZE)}
    return scenes.sample(
        model, steps=STEPS, latent=latent if mask is None else {**latent, "noise_mask": mask}, **(texts or {}), **more
    )


HALF = torch.ones(1, SIZE, SIZE)
HALF[:, :, SIZE // 2 :] = 0
MASKS = {"no mask": None, "a mask of ones": torch.ones(1, SIZE, SIZE), "half a mask": HALF}


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("continue_from, last_steps", (("blend", 0), ("own", 1), ("own", STEPS)))
def test_one_steered_concept_with_a_full_mask_equals_a_plain_run_of_it(unet, continue_from, last_steps, mask):
    model, positive, negative = steered(unet)
    plain = sample(model, {"positive": positive, "negative": negative}, MASKS[mask])
    assert gap(sample(*scene(unet, "concept", continue_from, last_steps=last_steps), MASKS[mask]), plain) < ROUNDING
    assert gap(sample(*scene(unet, "concept", continue_from, last_steps=last_steps, steps=0), MASKS[mask]), plain) > VISIBLE


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("continue_from", ("blend", "own"))
def test_a_steered_background_beside_a_concept_that_is_nearly_nowhere_equals_a_plain_run_of_it(unet, continue_from, mask):
    """And so it does where the concept has not begun, and is what the background is."""
    model, positive, negative = steered(unet)
    plain = sample(model, {"positive": positive, "negative": negative}, MASKS[mask])
    least = torch.full((1, SIZE, SIZE), 1e-7)
    assert gap(sample(*scene(unet, "background", continue_from, least, STEPS), MASKS[mask]), plain) < ROUNDING
    assert gap(sample(*scene(unet, "background", continue_from, HALF, denoise=0.0), MASKS[mask]), plain) < ROUNDING
    assert gap(sample(*scene(unet, "background", continue_from, HALF), MASKS[mask]), plain) > VISIBLE


@pytest.mark.parametrize("continue_from", ("blend", "own"))
@pytest.mark.parametrize("which", ("concept", "background"))
def test_a_mask_of_ones_changes_nothing(unet, which, continue_from):
    given = scene(unet, which, continue_from, scenes.soft_masks(1)[0], 1)
    assert torch.equal(sample(*given, torch.ones(1, SIZE, SIZE)), sample(*given))


def test_in_own_a_branch_moves_no_other(unet):
    """The background without weight for a steered concept is that of a scene where nothing is steered."""
    nearly = torch.full((1, SIZE, SIZE), 1e-7)
    still, moved = (sample(*scene(unet, "concept", "own", nearly, STEPS, steps=steps)) for steps in (0, 3))
    assert gap(moved, still) < ROUNDING


@pytest.mark.parametrize("which", ("background", "concept"))
def test_a_sampler_that_keeps_its_latents_to_itself_is_refused(unet, which):
    with pytest.raises(ValueError, match="Apply Subjects: attention control moves .* but uni_pc keeps its own to itself"):
        sample(*scene(unet, which, "blend"), sampler="uni_pc")
