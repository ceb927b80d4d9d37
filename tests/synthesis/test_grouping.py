"""Which instances are one subject: affinity, components, and how many of them make a set."""

import pytest
import torch
from same_subject.nodes.metrics import similarity
from same_subject.nodes.synthesis import grouping


def joined(count, *edges):
    graph = torch.zeros(count, count, dtype=torch.bool)
    for one, other in edges:
        graph[one, other] = True
    return graph


@pytest.mark.parametrize(
    "count, edges, wanted",
    [
        (4, [], [[0], [1], [2], [3]]),
        (4, [(0, 2), (2, 3)], [[0, 2, 3], [1]]),  # a chain: 0 and 3 have no edge of their own
        (5, [(4, 0), (1, 3)], [[0, 4], [1, 3], [2]]),
        (3, [(0, 1), (1, 2), (2, 0)], [[0, 1, 2]]),
        (0, [], []),
    ],
)
def test_components_are_what_edges_reach_whatever_their_direction(count, edges, wanted):
    assert grouping.components(joined(count, *edges)) == wanted


def test_components_of_random_graphs_are_scipys():
    from scipy.sparse.csgraph import connected_components

    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        graph = torch.rand(12, 12, generator=generator) < 0.08
        _, labels = connected_components(graph.numpy(), directed=False)
        found = grouping.components(graph)
        assert sorted(sum(found, [])) == list(range(12))
        assert {tuple(group) for group in found} == {
            tuple(place for place in range(12) if labels[place] == label) for label in set(labels)
        }


def test_affinity_is_the_cosine():
    given = torch.tensor([[1.0, 0.0], [3.0, 0.0], [0.0, 2.0], [-1.0, 0.0]])
    assert torch.equal(grouping.affinity(given)[0], torch.tensor([1.0, 1.0, 0.0, -1.0]))


def test_a_set_has_two_to_four_instances_that_are_more_alike_than_the_bound():
    affinity = torch.full((4, 4), 0.95)
    affinity[0, 1] = affinity[1, 0] = 0.951
    assert grouping.groups(affinity) == [[0, 1]], "0.95 itself is not more than 0.95"
    assert grouping.groups(affinity, same=0.96) == []


def test_of_more_than_four_those_stay_that_are_most_alike():
    affinity = torch.full((6, 6), 0.99)
    affinity[2, :] = affinity[:, 2] = 0.96
    affinity[5, :] = affinity[:, 5] = 0.97
    assert grouping.groups(affinity) == [[0, 1, 3, 4]]
    assert grouping.groups(affinity, most=6) == [[0, 1, 2, 3, 4, 5]]


def test_an_instance_is_cut_to_what_its_mask_covers():
    picture, mask = torch.rand(10, 12, 4), torch.zeros(10, 12)
    mask[2:5, 3:9] = 1
    made = grouping.cut(picture, mask)
    assert torch.equal(made.picture, picture[2:5, 3:9, :3]) and made.mask.shape == (3, 6)
    assert grouping.cut(picture, torch.zeros(10, 12)) is None


def test_the_mean_affinity_leaves_out_the_diagonal():
    affinity = torch.tensor([[1.0, 0.96, 0.98], [0.96, 1.0, 0.97], [0.98, 0.97, 1.0]])
    assert similarity.mean_of_pairs(affinity) == pytest.approx(0.97)
