"""Arms of the ablations: what each is trained on, what each is shown, and that each can be trained, stored and painted with."""

import math

import pytest
import torch
import torch.nn.functional as F
from same_subject.nodes.host import weights
from same_subject.nodes.joint import objective
from same_subject.research import held_out, inpainting, measure_scenes, world
from same_subject.research.ablations import joined, measuring, running, sets, training
from same_subject.research.ablations.arms import ARMS, CLIP, JOINED, TABLES, Arm, Setting

KINDS = ("JeDi + CLIP embedding", "CLIP encoder", "concatenation", "learned encoder")
"""One arm of each kind of network."""


def encode(pictures):
    """Latents that are the picture's own colours."""
    small = F.avg_pool2d(pictures, 4)
    return torch.cat((small, small[:, :1]), dim=1)


def pool(arm, spread=lambda step: 1.0, kept=6):
    return sets.Pool(arm, encode, None, spread, kept)


def test_pictures_of_a_clip_share_scene_and_background_and_those_of_a_set_do_not():
    corner = lambda drawn: drawn.pictures[..., :6, :6]  # noqa: E731
    clips, others = [sets.draw(n, True, 1.0) for n in range(8)], [sets.draw(n, False, 1.0) for n in range(8)]
    for clip in clips:
        assert len(set(clip.captions.tolist())) == 1 and torch.equal(corner(clip), corner(clip)[:1].expand(4, -1, -1, -1))
        assert not torch.equal(clip.masks[0], clip.masks[1])
    assert all(len(set(drawn.captions.tolist())) > 1 for drawn in others)


def test_a_pool_holds_the_same_sets_after_a_stop():
    spread = lambda step: min(1.0, step / 4)  # noqa: E731
    whole, resumed = pool(ARMS["clips and sets"], spread), pool(ARMS["clips and sets"], spread)
    whole.fill(0)
    for step in range(5):
        before = whole.latents.clone()
        whole.renew(step)
        assert not torch.equal(whole.latents, before)
    resumed.fill(5)
    assert torch.equal(whole.latents, resumed.latents) and torch.equal(whole.captions, resumed.captions)


def test_a_small_number_of_sets_stays_what_it_is():
    few = pool(Arm(sets=3))
    few.fill(0)
    before = few.latents.clone()
    assert len(before) == 3
    for step in range(4):
        few.renew(step)
    assert torch.equal(few.latents, before)


@pytest.mark.parametrize("pictures", (1, 3))
def test_a_baseline_is_shown_another_picture_of_the_same_set_and_an_encoder_beside_jedi_one_that_is_given(pictures):
    generator = torch.Generator().manual_seed(0)
    batch = objective.draw_batch(torch.zeros(60, 4, 2, 2), pictures, objective.sd_alphas_cumprod().float(), generator)
    rows = torch.arange(60)
    seen, given = training.reference_of(Arm(coupled=False), batch, pictures, generator)
    assert torch.equal(seen // pictures, rows // pictures)
    assert given.any() == (pictures > 1) and (pictures == 1 or not (seen == rows).any())
    seen, given = training.reference_of(Arm(encoder=CLIP), batch, pictures, generator)
    assert torch.equal(seen // pictures, rows // pictures)
    assert given.any() and not given.all() and (batch.missing[seen][given] == 0).all()


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """One step of every kind of arm, and one of the sampler."""
    made = running.Runs(tmp_path_factory.mktemp("runs"), steps=1, sampling_steps=1, kept=2)
    made.train(list(KINDS))
    return made


@pytest.mark.parametrize("name", KINDS)
def test_an_arm_that_was_trained_and_stored_paints_by_its_reference(name, runs):
    painter = runs.opened(name)
    one, other = measuring.case(0, 1, False), measuring.case(24, 1, False)
    other = measuring.replace(other, prompt=one.prompt, captions=one.captions)
    with torch.inference_mode():
        pictures = [painter.pictures([case], Setting(), 5) for case in (one, one, other)]
    assert pictures[0].shape == (1, 3, world.SIZE, world.SIZE)
    assert torch.equal(pictures[0], pictures[1]) and not torch.equal(pictures[0], pictures[2])


def test_a_baseline_without_its_reference_is_the_model_of_single_pictures(runs):
    """So the stock way that baselines are sampled in is the one that everything else is compared by."""
    painter = runs.opened("concatenation")
    plain = measuring.measure.Sampler("single", 1)
    plain.model.model.diffusion_model.load_state_dict(
        {
            key: value[:, :4] if key == "input_blocks.0.0.weight" else value
            for key, value in painter.model.model.diffusion_model.state_dict().items()
        }
    )
    painter.model.model.diffusion_model.input_blocks[0][0].weight.data[:, 4:] = 0
    plain.clip = painter.clip
    with torch.inference_mode():
        case = [measuring.case(1, 1, False)]
        pictures = [sampler.pictures(case, Setting(references=0), 3) for sampler in (painter, plain)]
    assert torch.allclose(*pictures, atol=1e-5)


def test_what_is_trained_is_measured_once_and_what_is_not_is_marked(runs, capsys):
    result = runs.measure(7, subjects=1)
    assert set(result["rows"]) == {"CLIP encoder", "concatenation", "learned encoder"}
    assert result["not_run"] == {"JeDi": "'JeDi' has 0 of 1 steps"} and "not run" in capsys.readouterr().out
    assert result["differences"] == []
    runs.measurer.samplers.clear()
    runs.measurer.opened = None  # a picture more would need it
    assert runs.measure(7, subjects=1)["rows"] == result["rows"]


def test_a_reshaped_caption_names_every_shape_but_the_subjects_own():
    named = {(world.take_turns(number)[0], measuring.asked_shape(number)) for number in range(400)}
    assert named == {(own, other) for own in range(4) for other in range(4) if own != other}
    case, plain = measuring.case(0, 1, True), measuring.case(0, 1, False)
    assert world.SHAPES[measuring.asked_shape(0)] in case.prompt and case.prompt != plain.prompt
    assert torch.equal(case.views, plain.views)


def test_modes_at_equal_scales_are_painted_once():
    same = {measuring.canonical(row.setting) for row in TABLES[6].rows if row.name.endswith("@3")}
    assert len(same) == 2 and len({measuring.canonical(row.setting) for row in TABLES[6].rows}) == 18


def test_a_model_of_joined_sets_paints_two_subjects_side_by_side_by_one_reference_of_both(runs):
    runs.train([JOINED])
    path = joined.file_of(runs.folder, runs.steps)
    assert weights.read_metadata(path)["same_subject.ablation"] == '{"arm": "joined sets", "steps": 1}'
    painter = measure_scenes.Painter(1, path)
    pair, other = measure_scenes.held_out(0), measure_scenes.held_out(24)
    assert joined.prompt(pair) == "a photo of a ball on the beach and a photo of a ball on the beach"
    other = measuring.replace(pair, views=torch.stack((pair.views[0], other.views[1])))
    with torch.inference_mode():
        pictures = [painter.from_joined(case, 5) for case in (pair, pair, other)]
    assert pictures[0].shape == (1, world.SIZE, 2 * world.SIZE, 3)
    assert torch.equal(pictures[0], pictures[1]) and not torch.equal(pictures[0], pictures[2])


def test_a_picture_of_joined_sets_is_judged_where_its_toys_are_found_and_has_no_edges(runs):
    painter, pair, scene = measure_scenes.Painter(1), measure_scenes.held_out(0), torch.tensor([0])
    seed = lambda: torch.Generator().manual_seed(measure_scenes.HELD_OUT)  # noqa: E731
    toys = world.draw_subjects(2 + held_out.DISTRACTORS, seed(), world.SHAPES.index(pair.phrase))
    shown, _ = world.draw_pairs(toys[[0]], toys[[1]], scene, seed())
    empty = world.draw_scenes(scene, seed(), world.SIZE, 2 * world.SIZE)
    with torch.inference_mode():
        pictures = [one.movedim(1, -1) for one in (shown, shown.flip(-1), empty)]
        found = [measure_scenes.verdict(painter, runs.measurer.judge, pair, one) for one in pictures]
    assert [(one["own_mask_top1"], one["other_mask_top1"]) for one in found] == [(1, 0), (0, 1), (0, 0)]
    assert all(math.isnan(one["seam"]) for one in found)


def test_the_second_of_two_is_painted_inside_its_mask_and_nowhere_else():
    painter, pair = measure_scenes.Painter(2), measure_scenes.held_out(0)
    tools, found, mask = (painter.model, painter.clip, painter.vae), [], torch.zeros(2, world.SIZE, 2 * world.SIZE)
    mask[1, 16:48, 72:120] = 1

    def of(masks, case):
        with torch.inference_mode():
            return inpainting.one_and_then_the_other(
                tools, painter.first, case, lambda picture: found.append(picture) or masks, 3
            )

    other = measuring.replace(pair, views=torch.stack((pair.views[0], measure_scenes.held_out(24).views[1])))
    first, both, with_other = of(None, pair), of(mask, pair), of(mask, other)
    assert torch.equal(first, found[0]) and torch.equal(found[1], found[2]), "the second reference does not act on the first"
    inside = mask[1].bool()
    assert torch.equal(both[0, ~inside], first[0, ~inside]) and torch.equal(with_other[0, ~inside], first[0, ~inside])
    assert not torch.equal(both[0, inside], first[0, inside]) and not torch.equal(both, with_other)
