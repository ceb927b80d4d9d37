"""The counter of projections and read-backs sees what it counts, with and without inference mode."""

import pytest
import torch
from same_subject.dev.benchmark.counting import PROJECTIONS, READ_BACKS, RESIZES, Watch, kind_of

X = torch.rand(1, 2, 4, 4) + 0.5
LAYER = torch.nn.Linear(4, 4)
COUNTED = {
    PROJECTIONS: {
        "a layer": lambda: LAYER(X),
        "@": lambda: X @ X.mT,
        "bmm": lambda: torch.bmm(X[0], X[0]),
        "einsum": lambda: torch.einsum("bchw,bcdw->bchd", X, X),
    },
    READ_BACKS: {
        "item": lambda: X.sum().item(),
        "float": lambda: float(X.sum()),
        "int": lambda: int(X.sum()),
        "if": lambda: X.sum() > 0 or None,
        "all": lambda: bool((X > 0).all()),
        "index": lambda: [1, 2, 3][torch.tensor(1)],
        "in": lambda: 2.0 in X,
        "f-string": lambda: f"{X.sum():.2f}",
        "tolist": lambda: X.tolist(),
        "numpy": lambda: X.numpy(),
        "cpu": lambda: X.cpu(),
        "nonzero": lambda: X.nonzero(),
        "where": lambda: torch.where(X > 1),
        "mask": lambda: X[X > 1],
        "equal": lambda: torch.equal(X, X),
        "allclose": lambda: torch.allclose(X, X),
    },
    RESIZES: {"interpolate": lambda: torch.nn.functional.interpolate(X, (2, 2), mode="area")},
}
NOT_COUNTED = {
    "arithmetic": lambda: X * 2 + X.sum(),
    "comparing": lambda: torch.where(X > 1, X, 0.0),
    "shapes": lambda: X.shape[0] + X.numel() + len(X) + X.stride(0),
    "slices": lambda: X[:, 1, None, ..., ::2],
    "indices": lambda: X[:, torch.tensor([0, 1])],
    "moving on the spot": lambda: X.to("cpu", torch.float64),
    "copying": lambda: X.clone().copy_(X),
}


@pytest.fixture(params=(torch.no_grad, torch.inference_mode), ids=("no_grad", "inference_mode"))
def mode(request):
    with request.param():
        yield


@pytest.mark.parametrize("kind, name", [(kind, name) for kind, acts in COUNTED.items() for name in acts])
def test_what_counts_is_counted_once(mode, kind, name):
    with Watch() as watch:
        COUNTED[kind][name]()
    assert watch.total == {kind: 1}


@pytest.mark.parametrize("name", NOT_COUNTED)
def test_what_needs_no_reading_is_not_counted(mode, name):
    with Watch() as watch:
        NOT_COUNTED[name]()
    assert not watch.total


@pytest.mark.parametrize("name", ("to", "copy_"))
def test_a_copy_counts_where_it_comes_from_another_device(name):
    there, here = torch.empty(1, device="meta"), torch.empty(1)
    assert kind_of(name, (there, "cpu"), here) == READ_BACKS
    assert kind_of(name, (here, "meta"), there) is None
    assert kind_of(name, (here, "cpu"), here) is None


def test_only_lines_of_the_nodes_are_this_packs_own():
    """The resampler's layers are asked for by this pack, but not the same layers called by anybody else."""
    from same_subject.nodes.identity.resampler import Attention

    attention, x = Attention(64), torch.rand(1, 2, 64)
    with Watch() as watch:
        attention(x, x)
        assert watch.ours[PROJECTIONS] == watch.total[PROJECTIONS] == 3
        attention.to_q(x)
    assert (watch.ours[PROJECTIONS], watch.total[PROJECTIONS]) == (3, 4)
