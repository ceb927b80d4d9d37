"""Rows, noise and names of a joint set."""

from dataclasses import replace

import torch
from same_subject.nodes.joint.layout import JointSet, Layout, draw_known_noise, draw_noise, key_of


def test_generated_rows_come_first_in_every_set():
    layout = Layout(sets=2, pictures=3, references=2)
    assert layout.size == 5 and layout.rows == 10
    assert layout.generated_rows == [0, 1, 2, 5, 6, 7]
    assert layout.reference_rows == [3, 4, 8, 9]


def test_the_noise_index_of_a_picture_depends_on_its_set_and_place_only():
    assert Layout(2, 3, 1).noise_index == [0, 1, 2, 0, 64, 65, 66, 64]
    assert Layout(3, 1, 2).noise_index == [0, 0, 0, 64, 64, 64, 128, 128, 128]


def test_the_starting_batch_holds_the_references_where_the_layout_says():
    references = torch.arange(2.0).view(2, 1, 1, 1) + 1
    joint_set = JointSet(Layout(2, 1, 2), references, torch.zeros(2, 2, 1, 1, 1), "")
    assert joint_set.latent().flatten().tolist() == [0, 1, 2, 0, 1, 2]
    assert torch.equal(joint_set.latent()[joint_set.layout.reference_rows], joint_set.reference_latents())


def test_each_reference_of_each_set_has_noise_of_its_own_that_nothing_else_changes():
    small, large = draw_noise(5, 1, 1, (4, 8, 8)), draw_noise(5, 3, 4, (4, 8, 8))
    assert large.shape == (3, 4, 4, 8, 8)
    assert torch.equal(small[0, 0], large[0, 0])
    assert len({round(float(noise.sum()), 4) for noise in large.flatten(0, 1)}) == 12
    assert not torch.equal(draw_noise(6, 1, 1, (4, 8, 8)), small)
    assert abs(float(large.mean())) < 0.1 and abs(float(large.std()) - 1) < 0.1


def test_noise_for_the_rows_is_in_the_order_of_the_rows():
    noise = draw_noise(0, 2, 2, (1, 2, 2))
    joint_set = JointSet(Layout(2, 1, 2), torch.zeros(2, 1, 2, 2), noise, "")
    assert torch.equal(joint_set.reference_noise()[3], noise[1, 1])


def test_drawing_noise_leaves_the_global_generator_alone():
    before = torch.get_rng_state()
    draw_noise(0, 2, 2, (4, 8, 8))
    assert torch.equal(torch.get_rng_state(), before)


def test_sets_have_equal_names_only_if_they_hold_the_same():
    layout, x = Layout(1, 1, 1), torch.zeros(1, 4, 2, 2)
    name = key_of(layout, ["a", "b"], x)
    assert name == key_of(Layout(1, 1, 1), ["a", "b"], x.clone())
    assert (
        len({name, key_of(layout, ["a", "c"], x), key_of(layout, ["a", "b"], x + 1), key_of(Layout(2, 1, 1), ["a", "b"], x)}) == 4
    )
    layout = Layout(1, 2, 1)
    assert len({key_of(layout, ["a"], x, known=known) for known in ((), (0,), (1,))}) == 3


def test_references_and_known_pictures_are_kept_in_the_order_of_their_rows():
    layout, references = Layout(2, 2, 1), torch.full((1, 1, 1, 1), 9.0)
    start = torch.arange(4.0).view(4, 1, 1, 1) + 1
    noise, known_noise = 10 * torch.ones(2, 1, 1, 1, 1), torch.tensor([20.0, 30]).view(2, 1, 1, 1)
    joint_set = JointSet(layout, references, noise, "", start=start, known=(1, 3), known_noise=known_noise)
    assert joint_set.latent().flatten().tolist() == [1, 2, 9, 3, 4, 9]
    assert joint_set.held.rows == [1, 2, 3, 5] and joint_set.made_rows == [0, 4]
    assert joint_set.held.latents.flatten().tolist() == [2, 9, 3, 9]
    assert joint_set.held.noise.flatten().tolist() == [20, 10, 30, 10]
    plain = JointSet(layout, references, noise, "")
    assert plain.held.rows == layout.reference_rows and plain.made_rows == layout.generated_rows
    assert torch.equal(plain.held.latents, plain.reference_latents()) and torch.equal(plain.held.noise, plain.reference_noise())


def test_the_noise_of_a_known_picture_depends_on_its_set_and_place_only():
    drawn = draw_known_noise(5, Layout(2, 3, 1), (1, 5), (4, 8, 8))
    assert torch.equal(draw_known_noise(5, Layout(1, 2, 3), (1,), (4, 8, 8)), drawn[:1])
    references = draw_noise(5, 2, 3, (4, 8, 8)).flatten(0, 1)
    assert len({round(float(noise.sum()), 4) for noise in (*references, *drawn)}) == 8
    assert draw_known_noise(5, Layout(2, 3, 1), (), (4, 8, 8)) is None


def test_some_rows_of_a_set_are_a_set_of_their_own():
    noise, masks = torch.arange(4.0).view(2, 2, 1, 1, 1), tuple(torch.full((1, 1), float(one)) for one in range(4))
    where = torch.arange(6.0).view(2, 3, 1, 1)
    whole = JointSet(Layout(2, 3, 2), torch.arange(4.0).view(4, 1, 1, 1), noise, "key", masks, (1.0, 2.0), where)
    part = whole.of_rows([6, 7, 8, 9])
    assert part.layout == Layout(1, 2, 2) and part.key == "key" and part.strengths == (1.0, 2.0)
    assert part.reference_latents().flatten().tolist() == [2, 3] and part.reference_noise().flatten().tolist() == [2, 3]
    assert torch.equal(part.shown_masks(), whole.shown_masks()[2:]) and part.where.flatten().tolist() == [1, 2, 4, 5]

    shared = JointSet(Layout(3, 1, 2), torch.arange(2.0).view(2, 1, 1, 1), torch.arange(6.0).view(3, 2, 1, 1, 1), "", masks[:2])
    part = shared.of_rows(range(3, 9))
    assert part.layout == Layout(2, 1, 2) and part.reference_latents().flatten().tolist() == [0, 1, 0, 1]
    assert part.reference_noise().flatten().tolist() == [2, 3, 4, 5] and torch.equal(part.shown_masks(), shared.shown_masks())

    alone = JointSet(Layout(2, 2, 0), torch.zeros(0, 1, 1, 1), torch.zeros(2, 0, 1, 1, 1), "").of_rows([2])
    assert alone.layout == Layout(1, 1, 0) and alone.latent().shape == (1, 1, 1, 1)

    start, known_noise = torch.arange(4.0).view(4, 1, 1, 1) + 1, torch.tensor([10.0, 20]).view(2, 1, 1, 1)
    begun = replace(whole, layout=Layout(2, 2, 2), where=None, start=start, known=(1, 5), known_noise=known_noise)
    part = begun.of_rows([5, 6, 7])
    assert part.start.flatten().tolist() == [4] and part.known == (0,) and part.known_noise.flatten().tolist() == [20]
    assert part.held.rows == [0, 1, 2] and part.held.latents.flatten().tolist() == [4, 2, 3]
    part = begun.of_rows([0, 2, 3])
    assert part.start.flatten().tolist() == [1] and part.known == () and part.known_noise is None and part.made_rows == [0]
