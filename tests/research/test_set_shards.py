"""Shards of sets that many servers made: written whole, nothing lost and nothing twice, wherever a run is killed."""

import os
import sys

import pytest
from PIL import Image
from same_subject.dev.setup.errors import SetupError
from same_subject.nodes.data import shards
from same_subject.nodes.data.examples import PictureSet
from same_subject.nodes.data.opening import open_source
from same_subject.research import set_shards
from same_subject.research.set_shards import SetShards

SETTINGS = {"graph": "abc", "seed": 0}


@pytest.fixture
def given(tmp_path):
    """The shard of an item as a server gives it, with so many sets."""

    def made(name, count=1, colour="red"):
        path = tmp_path / "made.tar"
        sets = [PictureSet(f"{name}-{number}", (Image.new("RGB", (8, 8), colour),) * 2, ("a", "b")) for number in range(count)]
        shards.write(path, sets)
        return path.read_bytes()

    return made


def keys(folder):
    """The sets of all shards, in their order; each shard must be whole."""
    return [key for path in sorted(folder.glob("sets-*.tar")) for key, found in shards.samples(path) if "2.png" in found]


def test_sets_go_into_shards_of_a_size_and_the_rest_into_the_last(given, tmp_path):
    folder = tmp_path / "out"
    with SetShards(folder, SETTINGS, 2) as kept:
        for number in range(5):
            kept.add(f"item{number}", given(f"item{number}"), {"instances": 3})
        kept.add("empty", None, {"instances": 1})
        kept.close()
    assert keys(folder) == [f"item{number}-0" for number in range(5)] and len(list(folder.glob("*.tar"))) == 3
    assert kept.counts == {"items": 6, "sets": 5, "instances": 16} and not list(kept.open_folder.iterdir())
    with SetShards(folder, SETTINGS, 2) as again:
        assert again.items == kept.items and again.counts == kept.counts and not again.open


def test_whoever_reads_the_shards_of_an_unfinished_run_sees_no_set_twice(given, tmp_path):
    folder = tmp_path / "out"
    with SetShards(folder, SETTINGS, 2) as kept:
        for number in range(3):
            kept.add(f"item{number}", given(f"item{number}"), {})
        assert kept.open == ["item2"]
        assert {one.name for one in open_source(folder).sets(0, 0)} == {f"sets-000000.tar/item{n}-0" for n in range(2)}


@pytest.mark.parametrize("at", ["replace", "write_samples", "append", "unlink"])
def test_a_run_killed_anywhere_goes_on_without_losing_or_doubling(given, tmp_path, monkeypatch, at):
    class Killed(BaseException):
        pass

    folder, calls = tmp_path / "out", []

    def killing(real, when):
        def call(*arguments, **more):
            calls.append(at)
            if len(calls) == when:
                raise Killed
            return real(*arguments, **more)

        return call

    items = [f"item{number}" for number in range(6)]
    targets = {
        "replace": (set_shards.os, "replace"), "write_samples": (set_shards.shards, "write_samples"),
        "append": (set_shards.journal, "append"), "unlink": (set_shards.Path, "unlink"),
    }  # fmt: skip
    for when in range(1, 12):
        place, name = targets[at]
        calls.clear()
        with monkeypatch.context() as patched:
            patched.setattr(place, name, killing(getattr(place, name), when))
            try:
                with SetShards(folder, SETTINGS, 2) as kept:
                    for one in items[: 1 + when // 2]:
                        if one not in kept.items:
                            kept.add(one, given(one), {"instances": 1})
            except Killed:
                continue
    with SetShards(folder, SETTINGS, 2) as kept:
        for one in items:
            if one not in kept.items:
                kept.add(one, given(one), {"instances": 1})
        kept.close()
    assert sorted(keys(folder)) == [f"{one}-0" for one in items], "each once"
    assert kept.counts["items"] == 6 == len(kept.items)


@pytest.mark.parametrize("damage", [b"", None, "cut", "zeros"])
def test_an_item_whose_file_a_power_cut_took_is_done_again(given, tmp_path, damage):
    folder = tmp_path / "out"
    with SetShards(folder, SETTINGS, 2) as kept:
        for name in ("item0", "item1", "item2"):
            kept.add(name, given(name), {"instances": 1})
        kept.add("empty", None, {"instances": 1})
        file = kept.open_folder / "item2.sets"
    data = file.read_bytes()
    if damage is None:
        file.unlink()
    else:
        file.write_bytes({"cut": data[:700], "zeros": bytes(len(data))}.get(damage, b""))
    for done in (3, 4):  # opened and left again, and then gone on with
        with SetShards(folder, SETTINGS, 2) as kept:
            assert set(kept.items) == {"item0", "item1", "empty"} and kept.counts == {"items": 3, "sets": 2, "instances": 3}
            assert kept.lost == (done == 3) and not list(kept.open_folder.iterdir())
            if done == 4:
                kept.add("item2", given("item2"), {"instances": 1})
                kept.close()
    assert keys(folder) == ["item0-0", "item1-0", "item2-0"]
    with SetShards(folder, SETTINGS, 2) as again:
        assert again.counts == {"items": 4, "sets": 3, "instances": 4} and not again.lost and not again.open


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="files of handles are told by Linux")
def test_an_item_is_on_disk_before_its_line(given, tmp_path, monkeypatch):
    folder, data, steps = tmp_path / "out", given("item0"), []
    with SetShards(folder, SETTINGS, 2) as kept:
        fsync, replace, append = set_shards.os.fsync, set_shards.os.replace, set_shards.journal.append

        def synced(handle):
            place = os.readlink(f"/proc/self/fd/{handle}")
            steps.append(f"sync {os.path.basename(place)}")
            fsync(handle)

        monkeypatch.setattr(set_shards.os, "fsync", synced)
        monkeypatch.setattr(set_shards.os, "replace", lambda *names: (steps.append("rename"), replace(*names)))
        monkeypatch.setattr(set_shards.journal, "append", lambda *line: (steps.append("line"), append(*line)))
        kept.add("item0", data, {})
        assert steps == ["sync item0.part", "rename", "sync open", "line", "sync items.jsonl"]
        steps.clear()
        kept.close()
    assert steps == ["sync sets-000000.tar.part", "rename", "sync out", "line", "sync shards.jsonl"]


def test_what_is_damaged_or_of_another_item_is_refused_and_nothing_kept(given, tmp_path):
    with SetShards(tmp_path / "out", SETTINGS, 2) as kept:
        for data, reason in (
            (given("item0")[:700], "the shard of item0 is damaged"),
            (given("item1"), "holds a set 'item1-0', which is not of it"),
        ):
            with pytest.raises(ValueError, match=reason):
                kept.add("item0", data, {})
        assert not kept.items and not list(kept.open_folder.iterdir())


def test_other_settings_and_a_second_run_are_refused(given, tmp_path):
    folder = tmp_path / "out"
    with SetShards(folder, SETTINGS, 2), pytest.raises(SetupError, match="another run is at work"):
        SetShards(folder, SETTINGS, 2)
    with pytest.raises(SetupError, match=r"begun with other settings \(seed: 0, now 1\)"):
        SetShards(folder, {**SETTINGS, "seed": 1}, 2)
