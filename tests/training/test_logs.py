"""What a training says while it runs, and its log as TensorBoard reads it."""

import sys
from types import SimpleNamespace

import pytest
from same_subject.nodes.training import logs

LINE = {"run": "toys", "step": 50, "seconds": 1.5, "loss": 0.25}


def test_figures_are_drawn(tmp_path):
    pytest.importorskip("tensorboard", reason="TensorBoard is a training tool; `python3 dev/test.py` brings it")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    log = logs.tensorboard(tmp_path)
    log(50, LINE)
    log(100, {**LINE, "step": 100, "loss": 0.125})
    read = EventAccumulator(str(tmp_path))
    read.Reload()
    assert [(point.step, point.value) for point in read.Scalars("loss")] == [(50, 0.25), (100, 0.125)]
    assert set(read.Tags()["scalars"]) == {"loss", "seconds"}


def test_a_missing_package_is_named_with_its_remedy(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(ImportError, match="needs the package tensorboard.*pip install tensorboard"):
        logs.tensorboard(tmp_path)


def test_progress_says_the_first_step_the_last_and_now_and_then_one_with_its_pace():
    said, now = [], [0.0]
    progress = logs.Progress(said.append, quiet=30, clock=lambda: now[0])
    for done in range(41, 61):
        now[0] += 100 if done == 41 else 12
        progress(SimpleNamespace(done=done, steps=60, last={"loss": float(done)}, processes=SimpleNamespace(rank=0)))
    assert said[:2] == ["step 41 of 60   loss 41.0000", "step 44 of 60   loss 43.0000   12 s a step, 3 min to go"]
    assert said[-1] == "step 60 of 60   loss 60.0000   12 s a step" and len(said) == 8 and progress.done == 60


@pytest.mark.parametrize(
    ("seconds", "said"), ((0.4, "0 s"), (59.4, "59 s"), (90, "2 min"), (3599, "1 h 00 min"), (11100, "3 h 05 min"))
)
def test_times_are_said_in_their_largest_units(seconds, said):
    assert logs.lasting(seconds) == said
