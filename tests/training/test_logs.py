"""The log of a training, as TensorBoard reads it."""

import sys

import pytest
from same_subject.nodes.training import logs

LINE = {"run": "toys", "step": 50, "seconds": 1.5, "loss": 0.25}


def test_figures_are_drawn_and_printed(tmp_path, capsys):
    pytest.importorskip("tensorboard", reason="TensorBoard is a training tool; `python3 dev/test.py` brings it")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    log = logs.tensorboard(tmp_path)
    log(50, LINE)
    log(100, {**LINE, "step": 100, "loss": 0.125})
    read = EventAccumulator(str(tmp_path))
    read.Reload()
    assert [(point.step, point.value) for point in read.Scalars("loss")] == [(50, 0.25), (100, 0.125)]
    assert set(read.Tags()["scalars"]) == {"loss", "seconds"} and capsys.readouterr().out.count('"loss"') == 2


def test_a_missing_package_is_named_with_its_remedy(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(ImportError, match="needs the package tensorboard.*pip install tensorboard"):
        logs.tensorboard(tmp_path)
