"""What workers hand back to the run that started them."""

import json
import os
from dataclasses import asdict

import pytest
from same_subject.dev import pack
from same_subject.dev.setup.errors import SetupError
from same_subject.research.labels import running, statistics, toy_words
from same_subject.research.labels.sources import Item
from same_subject.tests.research.labels.host import given, test_label

COMFYUI = os.environ["COMFYUI_PATH"]


def worker(tagger):
    return running.Worker(str(pack.ROOT), COMFYUI, {"detector": str(test_label.SCENES), "tagger": str(tagger)})


def test_a_record_is_one_text_whatever_it_holds(tmp_path):
    """Rows of Ray have columns of one kind."""
    (tmp_path / "a.png").write_bytes(given.picture(size=(64, 64)))
    made = worker(toy_words.save(tmp_path / "tagger"))
    rows = [made(asdict(Item(name, str(tmp_path / name), caption="a ball"))) for name in ("a.png", "b.png")]
    assert [sorted(row) for row in rows] == [["error", "record"]] * 2 and {
        type(text) for row in rows for text in row.values()
    } == {str}
    outcomes = [running._record(row)["outcome"] for row in rows]
    assert outcomes == [statistics.NOTHING_FOUND, statistics.DAMAGED] == [json.loads(row["record"])["outcome"] for row in rows]


def test_what_a_worker_cannot_load_ends_the_run_in_its_own_words():
    row = worker("no_such_pipeline")(asdict(Item("a.png", "a.png", caption="a ball")))
    with pytest.raises(SetupError, match="label: the spaCy pipeline `no_such_pipeline` cannot be loaded"):
        running._record(row)


def test_workers_are_as_many_as_cores_and_memory_allow(tmp_path, monkeypatch):
    (tmp_path / "weights").write_bytes(bytes(1000))
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "weights").write_bytes(bytes(2000))
    monkeypatch.setattr(running, "cores", lambda: 8)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    for available, wanted in ((3999, 1), (12_000, 3), (10**6, 8)):
        monkeypatch.setattr("psutil.virtual_memory", lambda available=available: type("Memory", (), {"available": available}))
        assert running.workers_that_fit([tmp_path / "weights", tmp_path / "folder"], 1000) == wanted


def test_without_a_gpu_workers_have_no_place_and_with_some_they_take_turns(monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    assert running._places(2) == [None, None]
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    assert running._places(3) == ["0", "1", "0"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,7")
    assert running._places(3) == ["5", "7", "5"]
