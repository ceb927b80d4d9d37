"""The command on Ray, which tests do not install: `PYTHONPATH=<folder with ray[data]> python3 dev/test.py <this file>`."""

import secrets

import pytest
from same_subject.research.labels import demo, shards, statistics, toy_words
from same_subject.tests.research.labels.host import test_label

ray = pytest.importorskip("ray", reason="Ray is installed by whoever has a cluster")


@pytest.mark.slow
def test_a_ray_of_this_machine_labels_as_processes_do(tmp_path, monkeypatch):
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN", secrets.token_hex(32))  # of its own, so that Ray keeps none in the home folder
    (tmp_path / "pictures").mkdir()
    truth = demo.draw(tmp_path / "pictures", 20)
    tagger = toy_words.save(tmp_path / "tagger")
    options = ("--output", tmp_path / "out", "--detector", test_label.SCENES, "--tagger", tagger, "--ray", "local")
    process = test_label.started(tmp_path / "pictures", *options)
    text, _ = process.communicate(timeout=240)
    assert process.returncode == 0, text
    kept = {example.source: sorted(entity.name for entity in example.entities) for example in shards.examples(tmp_path / "out")}
    wanted = {name: sorted(toy.shape for toy in toys if toy.shape != "star") for name, toys in truth.items()}
    assert kept == {name: shapes for name, shapes in wanted.items() if shapes}
    assert f"{len(kept)}  {statistics.KEPT}" in text
