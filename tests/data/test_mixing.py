"""Several sources as one stream: equally likely, shared among processes, and the same after a stop."""

import json
from collections import Counter
from itertools import islice

import pytest
from same_subject.nodes.data import shards
from same_subject.nodes.data.examples import PictureSet
from same_subject.nodes.data.mixing import Mixture
from same_subject.nodes.data.opening import open_source
from same_subject.nodes.data.pictures import decode
from same_subject.tests.data import given


@pytest.fixture
def folder(tmp_path):
    """Ten sets in three shards, 40 pictures, and three sets in folders, of which one is damaged."""
    (tmp_path / "shards").mkdir()
    for number, sizes in enumerate((5, 1, 4)):
        sets = [PictureSet(f"{n}", (decode(given.picture()),) * 2, ("a", "b")) for n in range(sizes)]
        shards.write(tmp_path / "shards" / f"{number}.tar", sets)
    given.write(tmp_path / "single", {f"{n}.png": given.picture(colour=(n, 0, 0)) for n in range(40)})
    given.write(tmp_path / "sets", {"a/1.png": given.picture(), "b/1.png": b"damaged", "c/1.png": given.picture()})
    return tmp_path


def mixture(folder, names=("shards", "single", "sets"), seed=5, **more):
    return Mixture([open_source(folder / name, most=4) for name in names], seed, **more)


def taken(mixed, count):
    return [one.name for one in islice(mixed, count)]


def test_sources_are_equally_likely_whatever_their_size(folder):
    counts = Counter(
        "tar" if ".tar" in name else "single" if name.endswith(".png") else "sets" for name in taken(mixture(folder), 300)
    )
    assert all(75 < count < 125 for count in counts.values()) and len(counts) == 3


def test_every_set_of_a_source_comes_once_an_epoch_in_an_order_of_its_own(folder):
    names = taken(mixture(folder, ["shards"]), 30)
    epochs = [names[:10], names[10:20], names[20:]]
    assert all(len(set(epoch)) == 10 for epoch in epochs) and len({tuple(epoch) for epoch in epochs}) == 3
    assert taken(mixture(folder, ["shards"], seed=6), 10) != epochs[0]


def test_processes_together_see_what_one_alone_would(folder):
    alone = taken(mixture(folder), 60)
    for ranks in (2, 3):
        shared = [taken(mixture(folder, rank=rank, ranks=ranks), 60 // ranks) for rank in range(ranks)]
        assert [name for step in zip(*shared, strict=True) for name in step] == alone


def test_a_run_that_was_stopped_goes_on_as_if_it_had_not(folder):
    whole = taken(mixture(folder), 100)
    for stop in (1, 7, 50):
        first = mixture(folder)
        taken(first, stop)
        state = json.loads(json.dumps(first.state_dict()))
        again = mixture(folder)
        again.load_state_dict(state)
        assert taken(again, 100 - stop) == whole[stop:]


def test_the_same_pictures_of_a_set_are_drawn_after_a_stop(folder):
    given.write(folder / "many", {f"a/{n}.png": given.picture(colour=(n, 0, 0)) for n in range(30)})
    whole = [given.colours(one) for one in islice(mixture(folder, ["many"]), 6)]
    first = mixture(folder, ["many"])
    taken(first, 2)
    again = mixture(folder, ["many"])
    again.load_state_dict(first.state_dict())
    assert [given.colours(one) for one in islice(again, 4)] == whole[2:] and len({tuple(one) for one in whole}) == 6


def test_a_run_does_not_go_on_with_other_data(folder):
    state = mixture(folder).state_dict()
    for other, said in (
        (mixture(folder, seed=6), "seed 5, but seed 6"),
        (mixture(folder, ["shards", "single"]), "3 sources, but 2"),
        (mixture(folder, ["shards", "sets", "single"]), "stands where a source of kind pictures was"),
    ):
        with pytest.raises(ValueError, match=said):
            other.load_state_dict(state)
    shards.write(folder / "shards" / "3.tar", [PictureSet("x", (decode(given.picture()),), ("",))])
    with pytest.raises(ValueError, match="shards:.*holds other files now"):
        mixture(folder).load_state_dict(state)


def test_a_damaged_set_is_replaced_and_counted(folder):
    mixed = mixture(folder, ["sets"])
    assert set(taken(mixed, 30)) == {"a", "c"}
    assert mixed.sources[0].skipped["none of its pictures can be used"] == ["b"]


def test_a_source_with_nothing_to_use_is_refused_with_the_reasons(folder):
    given.write(folder / "bad", {"a/1.png": b"no"})
    with pytest.raises(ValueError, match="no set that can be used.*1 times: it cannot be read"):
        next(mixture(folder, ["bad"]))
    (folder / "none").mkdir()
    given.shard(folder / "none" / "a.tar", [("notes.txt", b"x")])
    with pytest.raises(ValueError, match="holds no set"):
        next(mixture(folder, ["none"]))
    with pytest.raises(ValueError, match="no source"):
        Mixture([], 0)
