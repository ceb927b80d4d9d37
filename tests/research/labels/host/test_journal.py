"""A run that ends anywhere goes on: no picture is lost, none is written twice."""

import json
import os
from types import SimpleNamespace

import pytest
from same_subject.dev.setup.errors import SetupError
from same_subject.research.labels import shards, statistics
from same_subject.research.labels.journal import Journal
from same_subject.tests.research.labels.host import given

SETTINGS = {"detector": "x", "off": (6,)}


class Killed(BaseException):
    """Stands for SIGKILL: nothing may clean up behind it."""


@pytest.fixture
def records(tmp_path):
    """Ten, of which the third and the eighth are damaged."""
    made = []
    for number in range(10):
        path = tmp_path / f"{number}.png"
        path.write_bytes(given.picture(colour=(number, 0, 0)))
        made.append(given.record(path, statistics.DAMAGED if number in (2, 7) else statistics.KEPT))
    return made


def run(folder, records, size=3):
    """Label what is left, as the command does; returns how many that was."""
    with Journal(folder, SETTINGS, size) as journal:
        left = [record for record in records if record["key"] not in journal.done]
        journal.close_full()
        for record in left:
            journal.add(record)
        journal.close()
        return len(left), journal.statistics


def check(folder, records, counted):
    """Every kept picture stands in one shard, all others are counted, nothing else lies about."""
    wanted = [record["key"] for record in records if record["outcome"] == statistics.KEPT]
    assert sorted(example.source for example in shards.examples(folder)) == sorted(wanted)
    assert counted.outcomes == {statistics.KEPT: len(wanted), statistics.DAMAGED: len(records) - len(wanted)}
    assert not list(folder.rglob("*" + shards.PART))


def test_shards_hold_so_many_pictures_and_the_last_one_the_rest(tmp_path, records):
    left, counted = run(tmp_path / "out", records)
    check(tmp_path / "out", records, counted)
    assert left == 10
    sizes = [path.name for path in sorted((tmp_path / "out").glob("*.tar"))]
    assert sizes == [shards.name(number) for number in range(3)]
    assert run(tmp_path / "out", records)[0] == 0


class Dying:
    """Lets so many steps happen, then kills. A step is a call that changes a file on disk."""

    def __init__(self, steps, patched):
        self.left, opened = steps, Journal.__init__

        def watched(journal, *given):
            opened(journal, *given)
            file = journal.file
            journal.file = SimpleNamespace(
                write=self.dying(file.write), truncate=self.dying(file.truncate), flush=file.flush, close=file.close
            )

        patched.setattr(Journal, "__init__", watched)
        for name in ("fsync", "replace"):
            patched.setattr(os, name, self.dying(getattr(os, name)))

    def dying(self, call):
        def counted(*given):
            self.left -= 1
            if self.left < 0:
                raise Killed
            return call(*given)

        return counted


STEPS = 1 + 10 + 3 * 4
"""Of the run below: the settings, ten lines, and for each shard its bytes, its name, its line, and an empty journal."""


@pytest.mark.parametrize("step", range(STEPS))
def test_killed_before_any_step_on_disk_it_goes_on(tmp_path, records, monkeypatch, step):
    with monkeypatch.context() as patched, pytest.raises(Killed):
        Dying(step, patched)
        run(tmp_path / "out", records)
    with Journal(tmp_path / "out", SETTINGS, 3) as journal:
        done = len(journal.done)
    assert done == sum(step > line for line in (1, 2, 3, 4, 9, 10, 11, 16, 17, 18)), "a line is enough"
    left, counted = run(tmp_path / "out", records)
    assert left == len(records) - done, "what was done is not done again"
    check(tmp_path / "out", records, counted)


def test_a_run_has_as_many_steps_as_are_tried(tmp_path, records, monkeypatch):
    with monkeypatch.context() as patched:
        dying = Dying(STEPS, patched)
        run(tmp_path / "out", records)
    assert dying.left == 0


@pytest.mark.parametrize(("file", "left"), [("open.jsonl", 6), ("done.jsonl", 9)])
def test_a_line_that_was_not_finished_is_forgotten(tmp_path, records, file, left):
    out = tmp_path / "out"
    with Journal(out, SETTINGS, 3) as journal:
        for record in records[:5]:
            journal.add(record)
    path = out / "state" / file
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:-1]) + lines[-1][:20])
    assert run(out, records)[0] == left
    again, counted = run(out, records)
    assert again == 0
    check(out, records, counted)


def test_pictures_that_come_later_go_into_new_shards(tmp_path, records):
    run(tmp_path / "out", records[:5])
    before = (tmp_path / "out" / shards.name(1)).read_bytes()
    left, counted = run(tmp_path / "out", records)
    assert left == 5 and (tmp_path / "out" / shards.name(1)).read_bytes() == before
    check(tmp_path / "out", records, counted)


def test_a_picture_that_changed_or_went_before_its_shard_was_written_is_left_out(tmp_path, records):
    with Journal(tmp_path / "out", SETTINGS, 100) as journal:
        for record in records:
            journal.add(record)
        (tmp_path / "0.png").write_bytes(given.picture(colour=(9, 9, 9)))
        (tmp_path / "1.png").unlink()
        journal.close()
        assert journal.statistics.reasons["it changed after it was labelled"] == 2
    assert [example.source for example in shards.examples(tmp_path / "out")] == [f"{number}.png" for number in (3, 4, 5, 6, 8, 9)]


def test_other_settings_and_a_second_run_are_refused(tmp_path, records):
    with Journal(tmp_path / "out", SETTINGS, 3):
        with pytest.raises(SetupError, match="another run is at work"):
            Journal(tmp_path / "out", SETTINGS, 3)
    with pytest.raises(SetupError, match=r"other settings \(off: \[6\], now \[\]\)"):
        Journal(tmp_path / "out", {**SETTINGS, "off": ()}, 3)
    run(tmp_path / "out", records)


def test_a_damaged_line_between_others_is_refused(tmp_path, records):
    run(tmp_path / "out", records)
    path = tmp_path / "out" / "state" / "done.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + b"{no\n" + lines[1])
    with pytest.raises(SetupError, match="line 2 of .*done.jsonl is damaged"):
        Journal(tmp_path / "out", SETTINGS, 3)
    assert json.loads(lines[0])["shard"] == shards.name(0)
