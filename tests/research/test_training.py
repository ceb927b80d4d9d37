"""Training goes on where it was stopped, to the bit."""

import pytest
import torch
from same_subject.research import training


def line(folder, stop_at=None):
    """Fit a line for 6 steps, with the loop's own random numbers; stop before step ``stop_at``."""
    torch.manual_seed(0)
    net = torch.nn.Linear(3, 1)
    loop = training.Loop(folder, "line", {"net": net}, rate=0.1, steps=6, seed=5, every=2)
    for step in loop:
        if step == stop_at:
            raise KeyboardInterrupt
        x = torch.randn(8, 3, generator=loop.generator).to(training.device())
        loss = (net(x) - x.sum(dim=1, keepdim=True)).square().mean()
        loop.learn(loss, {"loss": loss.item()})
    return loop


def test_a_stopped_run_goes_on_to_the_same_weights(tmp_path):
    whole = line(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        line(tmp_path / "stopped", stop_at=5)
    resumed = line(tmp_path / "stopped")
    for key, value in whole.nets["net"].state_dict().items():
        assert torch.equal(value, resumed.nets["net"].state_dict()[key])
        assert torch.equal(whole.average["net"][key], resumed.average["net"][key])


def test_training_changes_the_weights_and_the_average_follows(tmp_path):
    torch.manual_seed(0)
    start = torch.nn.Linear(3, 1).weight.detach()
    loop = line(tmp_path)
    trained, average = loop.nets["net"].weight.detach().cpu(), loop.average["net"]["weight"].cpu()
    assert (trained - start).abs().max() > 0.005
    assert 0 < (average - trained).abs().max() < (trained - start).abs().max()


def test_a_finished_run_does_nothing_more(tmp_path):
    line(tmp_path)
    assert list(line(tmp_path)) == []
