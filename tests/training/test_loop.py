"""Training goes on where it was stopped, to the bit, and is what it was before it could do more."""

import multiprocessing
import os
import signal
import sys
import time

import pytest
import torch
from same_subject.nodes.training import loop as training
from same_subject.nodes.training import optimisers
from same_subject.nodes.training.processes import Processes
from same_subject.tests.tiny import apart

CPU = torch.device("cpu")


class Gated(torch.nn.Module):
    """A line with a gate: weights of both kinds that the optimiser tells apart."""

    def __init__(self):
        super().__init__()
        self.line, self.gate = torch.nn.Linear(3, 1), torch.nn.Parameter(torch.tensor(0.5))

    def forward(self, x):
        return self.gate * self.line(x)


class Counting:
    """A source of data that knows where it is."""

    def __init__(self):
        self.at = 0

    def next(self):
        self.at += 1
        return float(self.at)

    def state_dict(self):
        return {"at": self.at}

    def load_state_dict(self, state):
        self.at = state["at"]


def line(folder, stop_at=None, steps=6, accumulate=1, every=2, before=None, **settings):
    """Fit a gated line, with the loop's own random numbers, torch's, and a source; stop before round ``stop_at``."""
    torch.manual_seed(0)
    net, source = Gated(), Counting()
    processes = Processes(accumulate, CPU)
    loop = training.Loop(
        folder, "line", {"net": net}, 0.1, steps, 5, every, processes=processes, kept={"data": source}, **settings
    )
    if before:
        before(loop)
    rounds = loop.done * accumulate
    for _ in loop:
        if rounds == stop_at:
            raise KeyboardInterrupt
        rounds += 1
        x = torch.randn(8, 3, generator=loop.generator) + 0.01 * torch.randn(8, 3)
        loss = (net(x) - source.next() * x.sum(dim=1, keepdim=True)).square().mean()
        loop.learn(loss, {"loss": loss.item()})
    return loop


def weights(loop):
    return [*loop.nets["net"].state_dict().values(), *loop.average.get("net", {}).values()]


def same(one, other):
    return len(one) == len(other) and all(map(torch.equal, one, other))


def as_before(steps=6):
    """The loop of version 0.1, written out: what the demo's files were trained with."""
    torch.manual_seed(0)
    net, source, generator = Gated(), Counting(), torch.Generator().manual_seed(5)
    torch.manual_seed(5)
    groups = [
        {"params": [net.line.weight, net.line.bias]},
        {"params": [net.gate], "factor": 10.0, "weight_decay": 0.0},
    ]
    optimiser = torch.optim.AdamW(groups, lr=0.1, betas=(0.9, 0.98), weight_decay=0.01, fused=True)
    average = {k: v.detach().clone() for k, v in net.state_dict().items()}
    for done in range(steps):
        x = torch.randn(8, 3, generator=generator) + 0.01 * torch.randn(8, 3)
        loss = (net(x) - source.next() * x.sum(dim=1, keepdim=True)).square().mean()
        cosine = 0.55 + 0.45 * torch.cos(torch.tensor(torch.pi * done / steps)).item()
        for group in optimiser.param_groups:
            group["lr"] = 0.1 * min(1.0, (done + 1) / 100) * cosine * group.get("factor", 1.0)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_([p for g in optimiser.param_groups for p in g["params"]], 1.0)
        optimiser.step()
        decay = min(0.998, (2 + done) / (11 + done))
        with torch.no_grad():
            torch._foreach_lerp_(list(average.values()), list(net.state_dict().values()), 1 - decay)
    return net, average, optimiser, generator


def test_where_nothing_new_is_chosen_its_bits_are_those_that_trained_the_demo(tmp_path):
    net, average, _, _ = as_before()
    assert same(weights(line(tmp_path)), [*net.state_dict().values(), *average.values()])


def test_a_state_of_the_loop_before_goes_on(tmp_path):
    net, average, optimiser, generator = as_before()
    old = {"nets": {"net": net.state_dict()}, "average": {"net": average}, "optimiser": optimiser.state_dict(), "done": 6}
    torch.save({**old, "generator": generator.get_state(), "torch": torch.get_rng_state()}, tmp_path / "line.pt")
    begun = line(tmp_path, steps=6)
    assert begun.done == 6 and same(weights(begun), [*net.state_dict().values(), *average.values()])
    assert line(tmp_path, steps=8).done == 8


@pytest.mark.parametrize("accumulate", (1, 3))
def test_a_stopped_run_goes_on_to_the_same_weights(tmp_path, accumulate):
    whole = line(tmp_path / "whole", accumulate=accumulate)
    with pytest.raises(KeyboardInterrupt):
        line(tmp_path / "stopped", stop_at=4 * accumulate + 1, accumulate=accumulate)
    assert same(weights(whole), weights(line(tmp_path / "stopped", accumulate=accumulate)))


def test_a_state_written_between_the_rounds_of_a_step_begins_that_step_again(tmp_path):
    whole = line(tmp_path / "whole", accumulate=3, every=100)
    loops = []
    with pytest.raises(KeyboardInterrupt):
        line(tmp_path / "stopped", stop_at=11, accumulate=3, every=100, before=loops.append)
    loops[0].save()
    assert torch.load(tmp_path / "stopped" / "line.pt", weights_only=True)["done"] == 3
    assert same(weights(whole), weights(line(tmp_path / "stopped", accumulate=3)))


def kill(*_):
    os.kill(os.getpid(), signal.SIGKILL)


def killed_in_a_step(folder):
    try:
        line(folder, stop_at=10, accumulate=3)
    except KeyboardInterrupt:
        kill()


def killed_while_writing(folder):
    torch.save = lambda state, file: (file.write(b"half"), file.flush(), kill())
    line(folder, accumulate=3)


def killed(folder):
    """Two runs, one after the other, that are killed; in a process of its own, see `apart`."""
    for moment in (killed_in_a_step, killed_while_writing):
        process = multiprocessing.get_context("fork").Process(target=moment, args=(folder,))
        process.start()
        process.join(60)
        assert process.exitcode == -signal.SIGKILL


@pytest.mark.skipif(not hasattr(os, "fork"), reason="SIGKILL and fork are of POSIX")
def test_a_killed_run_goes_on_to_the_same_weights(tmp_path):
    apart.call(__name__, "killed", tmp_path / "killed")
    assert (tmp_path / "killed" / "line.pt.part").read_bytes() == b"half"
    assert torch.load(tmp_path / "killed" / "line.pt", weights_only=True)["done"] == 2
    whole, resumed = line(tmp_path / "whole", accumulate=3), line(tmp_path / "killed", accumulate=3)
    assert same(weights(whole), weights(resumed)) and whole.figures == resumed.figures


def test_the_last_step_is_logged_whatever_the_number_of_steps(tmp_path):
    seen = []
    line(tmp_path, steps=6, every=9, said=4, log=lambda step, line: seen.append((step, line["loss"])))
    assert [step for step, _ in seen] == [4, 6]
    line(tmp_path, steps=8, said=4, log=lambda step, line: seen.append((step, line["loss"])))
    assert [step for step, _ in seen] == [4, 6, 8]


def test_what_was_logged_before_a_state_is_not_logged_again_after_it(tmp_path):
    seen: dict[str, list] = {"whole": [], "stopped": []}

    def log(name):
        return lambda step, line: seen[name].append((step, line["loss"]))

    line(tmp_path / "whole", said=2, log=log("whole"))
    with pytest.raises(KeyboardInterrupt):
        line(tmp_path / "stopped", stop_at=4, said=2, log=log("stopped"))
    line(tmp_path / "stopped", said=2, log=log("stopped"))
    assert seen["stopped"] == seen["whole"] and len(seen["whole"]) == 3


def interrupted_in_a_step(folder):
    """Ctrl+C while the optimiser has changed one weight, and not yet the others; then the state is written."""
    loops = []

    def before(loop):
        loops.append(loop)
        step = loop.optimiser.step

        def interrupting():
            if loop.done == 3:
                os.kill(os.getpid(), signal.SIGINT)
                time.sleep(0.01)  # where a handler would run
            step()

        loop.optimiser.step = interrupting

    own = signal.signal(signal.SIGINT, signal.default_int_handler)  # in the background it is ignored
    try:
        line(folder, every=100, before=before)
    except KeyboardInterrupt:
        loops[0].save()
    finally:
        signal.signal(signal.SIGINT, own)


@pytest.mark.skipif(sys.platform == "win32", reason="SIGINT as a terminal sends it is of POSIX")
def test_ctrl_c_in_a_step_leaves_a_state_that_goes_on_to_the_same_weights(tmp_path):
    interrupted_in_a_step(tmp_path / "stopped")
    assert torch.load(tmp_path / "stopped" / "line.pt", weights_only=True)["done"] == 4
    assert same(weights(line(tmp_path / "whole")), weights(line(tmp_path / "stopped")))


def test_rounds_of_a_step_count_as_one_larger_batch(tmp_path):
    x, y = torch.randn(12, 3, generator=torch.Generator().manual_seed(1)), torch.arange(12.0)[:, None]
    ends = []
    for accumulate in (1, 3):
        torch.manual_seed(0)
        net = Gated()
        loop = training.Loop(tmp_path / str(accumulate), "l", {"net": net}, 0.1, 3, 5, processes=Processes(accumulate, CPU))
        for rounds, _ in enumerate(loop):
            part = slice(None) if accumulate == 1 else slice(4 * (rounds % 3), 4 * (rounds % 3) + 4)
            loop.learn((net(x[part]) - y[part]).square().mean(), {})
        assert loop.done == 3
        ends.append(torch.cat([weight.flatten() for weight in weights(loop)]))
    assert 0 < (ends[0] - ends[1]).abs().max() / ends[0].abs().max() < 2e-6  # seen: 2e-7


def test_the_average_is_in_the_nets_inside_and_what_is_trained_after_it(tmp_path):
    loop = line(tmp_path)
    trained, average = [w.clone() for w in loop.nets["net"].state_dict().values()], list(loop.average["net"].values())
    with loop.averaged():
        assert same(list(loop.nets["net"].state_dict().values()), average) and not same(trained, average)
    assert same(list(loop.nets["net"].state_dict().values()), trained)


def test_without_an_average_none_is_kept(tmp_path):
    loop = line(tmp_path, decay=0)
    assert loop.average == {} and torch.load(tmp_path / "line.pt", weights_only=True)["average"] == {}
    assert line(tmp_path, decay=0, steps=7).done == 7


def test_what_a_watcher_draws_changes_nothing(tmp_path):
    seen = []

    def watch(loop):
        loop.watch(2, lambda loop: seen.append((loop.done, float(torch.rand(())))))

    assert same(weights(line(tmp_path / "a")), weights(line(tmp_path / "b", before=watch)))
    assert [step for step, _ in seen] == [2, 4, 6]


@pytest.mark.parametrize("of", ("loss", "gradient"))
def test_what_is_not_finite_ends_training_with_the_weights_before_it(tmp_path, of):
    torch.manual_seed(0)
    net = Gated()
    loop = training.Loop(tmp_path, "line", {"net": net}, 0.1, 9, 5, every=100, processes=Processes(on=CPU))
    with pytest.raises(training.Diverged, match=rf"line: the {of} of step 5 is not finite. Nothing was written yet"):
        for step in loop:
            value = net(torch.ones(1, 3)).square().sum()
            good = [weight.clone() for weight in net.state_dict().values()]
            if step == 4:  # the root's own slope at 0 is infinite
                value = value * torch.nan if of == "loss" else value + (value - value.detach()).abs().sqrt()
            loop.learn(value, {})
    assert same(list(net.state_dict().values()), good)


def steep(folder, rate, steps, every=2):
    """Go down a slope on which a large step leads out of all numbers."""
    torch.manual_seed(0)
    net = Gated()
    loop = training.Loop(folder, "steep", {"net": net}, rate, steps, 5, every, processes=Processes(on=CPU), warm_up=0)
    for _ in loop:
        loop.learn((50 * net(torch.rand(4, 3, generator=loop.generator)).square()).exp().mean(), {})
    return loop


def test_after_too_high_a_rate_a_lower_one_goes_on_from_what_was_written_before(tmp_path):
    with pytest.raises(training.Diverged, match="of step 2 is not finite. Nothing was written yet: begin anew with a lower rate"):
        steep(tmp_path, 9.0, 9)
    steep(tmp_path, 1e-3, 2)
    with pytest.raises(training.Diverged, match=r"of step 4 is not finite. Start it again .* from .*steep.pt, .* after 2 steps"):
        steep(tmp_path, 9.0, 9, every=100)
    assert torch.load(tmp_path / "steep.pt", weights_only=True)["done"] == 2
    with pytest.raises(training.Diverged, match="steep.pt are those that led to it: remove that file, and begin anew"):
        steep(tmp_path / "each", 9.0, 9, every=1)
    assert steep(tmp_path, 1e-3, 9).done == 9


def test_a_watcher_that_fails_loses_nothing_of_its_step(tmp_path):
    def watch(loop):
        loop.watch(2, lambda loop: 1 / 0)

    with pytest.raises(ZeroDivisionError):
        line(tmp_path, before=watch)
    assert torch.load(tmp_path / "line.pt", weights_only=True)["done"] == 2


@pytest.mark.parametrize("problem", (OSError(28, "No space left on device"), RuntimeError("write failed\n\nat ...")))
def test_a_state_that_cannot_be_written_is_said_and_leaves_the_one_before(tmp_path, monkeypatch, problem):
    line(tmp_path, steps=2)

    def full(state, file):
        file.write(b"half")
        raise problem

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OSError, match=r"its state after 4 steps cannot be written to .*line.pt: .*\. Make room there"):
        line(tmp_path, steps=6)
    assert [path.name for path in tmp_path.iterdir()] == ["line.pt"]
    assert torch.load(tmp_path / "line.pt", weights_only=True)["done"] == 2


def test_the_state_of_another_training_is_refused(tmp_path):
    line(tmp_path)
    with pytest.raises(ValueError, match="state of another training"):
        training.Loop(tmp_path, "line", {"net": torch.nn.Linear(4, 1)}, 0.1, 6, 5, processes=Processes(on=CPU))


def test_a_finished_run_does_nothing_more(tmp_path):
    line(tmp_path)
    assert list(line(tmp_path)) == []


def test_an_optimiser_that_is_not_there_is_named_with_its_remedy(monkeypatch):
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    with pytest.raises(ImportError, match=r"needs the package bitsandbytes.*pip install bitsandbytes"):
        optimisers.make("adamw8bit", [{"params": [torch.nn.Parameter(torch.ones(2))]}], 1e-3)
    with pytest.raises(ValueError, match="'sgd', but must be one of adamw, adamw8bit"):
        optimisers.make("sgd", [], 1e-3)


def test_a_rate_without_warm_up_is_whole_from_the_first_step(tmp_path):
    rates = {
        warm_up: line(tmp_path / str(warm_up), steps=1, warm_up=warm_up).optimiser.param_groups[0]["lr"] for warm_up in (0, 50)
    }
    assert rates[0] == pytest.approx(0.1) and rates[50] == pytest.approx(0.002)
