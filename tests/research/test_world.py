"""The demo world: its pictures, masks and captions."""

import torch
from same_subject.research import world
from same_subject.tests.tiny.sets import gap

ROUNDING = 2e-4
"""As a share of the spread: 1.5e-5 was seen."""
VISIBLE = 100 * ROUNDING


def drawn(seed: int, count: int = 24):
    generator = torch.Generator().manual_seed(seed)
    subjects, poses = world.draw_subjects(count, generator), world.draw_poses(count, generator)
    scenes = torch.arange(count) % len(world.SCENES)
    return subjects, poses, scenes, world.draw(subjects, poses, scenes, generator)


def test_the_same_seed_draws_the_same_pictures_and_another_seed_draws_others():
    first, again, other = (drawn(seed)[3][0] for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert (first - other).abs().mean() > 0.05


def test_pictures_are_colours_and_masks_cover_the_subject():
    picture, mask = drawn(3)[3]
    assert picture.shape == (24, 3, world.SIZE, world.SIZE) and mask.shape == (24, 1, world.SIZE, world.SIZE)
    assert 0 <= picture.min() and picture.max() <= 1
    assert ((mask > 0.5).float().mean(dim=(1, 2, 3)) > 0.05).all()


def test_only_the_mask_changes_when_another_subject_takes_the_place():
    generator = torch.Generator().manual_seed(4)
    subjects, poses = world.draw_subjects(8, generator, shape=0), world.draw_poses(8, generator)
    scenes = torch.zeros(8, dtype=torch.long)
    other = world.draw_subjects(8, torch.Generator().manual_seed(5), shape=0)
    a, mask = world.draw(subjects, poses, scenes, torch.Generator().manual_seed(6))
    b, _ = world.draw(other, poses, scenes, torch.Generator().manual_seed(6))
    outside = mask == 0
    assert torch.equal(a[outside.expand_as(a)], b[outside.expand_as(b)])
    assert (a - b)[(mask == 1).expand_as(a)].abs().mean() > 0.1


def test_poses_move_from_one_to_another():
    generator = torch.Generator().manual_seed(7)
    near, far = world.draw_poses(5, generator), world.draw_poses(5, generator)
    assert torch.equal(near.towards(far, 0.0).centre, near.centre)
    assert gap(near.towards(far, 1.0).angle, far.angle) < ROUNDING
    assert gap(near.towards(far, 0.9).angle, far.angle) > VISIBLE


def test_a_caption_names_shape_and_scene_and_no_colour():
    captions = {world.caption(shape, scene) for shape in range(len(world.SHAPES)) for scene in range(len(world.SCENES))}
    assert len(captions) == len(world.SHAPES) * len(world.SCENES)
    assert world.caption(1, 1) == "a photo of a star in the snow"


def test_two_toys_stand_side_by_side_without_touching_and_each_has_its_mask():
    generator = torch.Generator().manual_seed(4)
    left, right = (world.draw_subjects(60, generator) for _ in range(2))
    scenes = torch.arange(60) % len(world.SCENES)
    pictures, masks = world.draw_pairs(left, right, scenes, generator)
    assert pictures.shape == (60, 3, world.SIZE, 2 * world.SIZE) and masks.shape == (60, 2, world.SIZE, 2 * world.SIZE)
    assert 0 <= pictures.min() and pictures.max() <= 1
    columns = torch.arange(2 * world.SIZE).float() * masks.bool().any(dim=2)
    assert (columns[:, 0].amax(dim=1) + 1 < columns[:, 1].masked_fill(columns[:, 1] == 0, 999).amin(dim=1)).all()
    assert (masks.sum(dim=(2, 3)) > 300).all()


def test_a_toy_looks_the_same_alone_and_in_a_wide_picture():
    generator = torch.Generator().manual_seed(4)
    toys, poses = world.draw_subjects(4, generator), world.draw_poses(4, generator)
    grey = torch.full((4, 3, world.SIZE, world.SIZE), 0.5)
    alone, _ = world.paint(grey, toys, poses)
    moved = world.Poses(poses.centre + torch.tensor([0.5, 0.0]), poses.size, poses.angle)
    wide, _ = world.paint(grey.repeat(1, 1, 1, 2), toys, moved)
    assert gap(wide[..., world.SIZE :], alone) < ROUNDING and (wide[..., : world.SIZE // 2] == 0.5).all()
    assert gap(wide[..., world.SIZE - 1 : -1], alone) > VISIBLE, "a column to the side"
