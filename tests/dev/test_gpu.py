"""The plain parts of the command for GPUs: bounds, resuming, time limits, and the list of stages."""

import json
import math

import pytest
from same_subject.dev import gpu
from same_subject.dev.acceleration import report as reports
from same_subject.dev.acceleration import stages

MACHINE = {"device": "a GPU", "torch": "2", "comfyui": "0.30.0", "python": "3.12", "rehearsal": False}


def test_stages_are_short_and_listed(capsys):
    assert all(stage.seconds < 8 * 60 for stage in stages.STAGES)
    assert gpu.main(["--list"]) == 0
    printed = capsys.readouterr().out
    assert all(stage.name in printed for stage in stages.STAGES)


@pytest.mark.parametrize("key", ("device", "torch", "comfyui", "rehearsal"))
def test_a_report_of_another_machine_or_version_is_begun_afresh(tmp_path, key):
    file = tmp_path / "gpu.json"
    reports.Report(file, MACHINE).note("half", None, [{"name": "x", "value": 1}], 2.0, [])
    assert reports.Report(file, {**MACHINE, "python": "3.11"}).finished("half")
    other = reports.Report(file, {**MACHINE, key: "another"})
    assert not other.finished("half")


def test_a_damaged_report_is_begun_afresh(tmp_path):
    (tmp_path / "gpu.json").write_text('{"machine": ')
    assert reports.Report(tmp_path / "gpu.json", MACHINE).fresh


def test_a_stage_runs_only_where_it_has_not_finished(tmp_path, monkeypatch):
    file, calls = tmp_path / "gpu.json", []

    def ordered(order, seconds, host):
        calls.append(order["function"])
        if order["function"] == "bad":
            return ("exit code 1: no memory", ["line"]), [{"name": "before it", "value": 1}]
        return (None, []), [{"name": "x", "difference": 0.1, "bound": 1.0}]

    monkeypatch.setattr(gpu, "ordered", ordered)
    monkeypatch.setattr(gpu, "here", lambda path: None)
    monkeypatch.setattr(gpu, "machine", lambda host: MACHINE)
    chosen = {name: stages.Stage(name, name, 60, name) for name in ("bad", "good")}
    for _ in range(2):
        assert gpu.main(["--here", "--report", str(file)], chosen) == 1
    assert calls == ["bad", "good", "bad"]
    said = json.loads(file.read_text())["stages"]
    assert said["bad"]["error"] == "exit code 1: no memory" and said["bad"]["rows"] == [{"name": "before it", "value": 1}]


def test_a_difference_over_its_bound_or_not_finite_fails():
    row = {"name": "x", "bound": 0.1}
    assert reports.broken([{**row, "difference": 0.05}, {"name": "y", "value": "absent"}]) is None
    for wrong in (0.2, math.inf, math.nan):
        assert "x" in reports.broken([{**row, "difference": wrong}])
