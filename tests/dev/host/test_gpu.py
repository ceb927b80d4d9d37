"""The command for GPUs on tiny models: stages run in processes of their own, and what is finished stays finished."""

import json
import os

import pytest
from same_subject.dev import gpu
from same_subject.dev.acceleration import report as reports
from same_subject.dev.acceleration.stages import BY_NAME, Stage

pytestmark = pytest.mark.slow

BROKEN = Stage("broken", "agreement.no_such_function", 60, "fails")
ONNX = BY_NAME["onnxruntime"]


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    """(exit code, file, what the file says) of a run of a stage that fails and one that works."""
    file = tmp_path_factory.mktemp("gpu") / "gpu.json"
    arguments = ["--here", "--comfyui", os.environ["COMFYUI_PATH"], "--report", str(file)]
    code = gpu.main(arguments, {"broken": BROKEN, ONNX.name: ONNX})
    return code, file, json.loads(file.read_text())


def test_a_failing_stage_is_noted_with_its_error_and_the_next_goes_on(first):
    code, _, said = first
    assert code == 1
    assert said["stages"]["broken"]["state"] == "failed" and "no_such_function" in said["stages"]["broken"]["error"]
    assert said["stages"]["onnxruntime"]["state"] == "finished"
    assert {"onnxruntime", "onnxruntime-gpu"} <= {row["name"] for row in said["stages"]["onnxruntime"]["rows"]}


def test_a_finished_stage_is_not_run_again_and_a_failed_one_is(first):
    _, file, said = first
    report = reports.Report(file, said["machine"])
    assert not report.fresh and report.finished("onnxruntime") and not report.finished("broken")
    other = reports.Report(file, {**said["machine"], "torch": "0.0"})
    assert other.fresh and not other.finished("onnxruntime")


def test_a_report_without_a_gpu_says_so(first, capsys):
    _, file, said = first
    if not said["machine"]["rehearsal"]:
        pytest.skip("this machine has a GPU")
    reports.Report(file, said["machine"]).print_table()
    assert "No GPU" in said["note"] and said["note"] in capsys.readouterr().out
