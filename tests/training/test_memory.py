"""What a step takes is counted without numbers as it is with them."""

import pytest
import torch
from same_subject.nodes.training import memory
from torch._subclasses.fake_tensor import FakeTensorMode

WIDE, LONG, ROWS = 256, 1024, 4096


def step_of_two_layers():
    net = torch.nn.Sequential(torch.nn.Linear(WIDE, LONG), torch.nn.ReLU(), torch.nn.Linear(LONG, WIDE))
    x = torch.ones(ROWS, WIDE)
    return memory.counted(lambda: net(x).square().mean(), list(net.parameters()), "cpu")


def test_the_most_of_a_step_is_what_is_held_at_that_moment():
    hidden, out = ROWS * LONG * 4, ROWS * WIDE * 4
    held = step_of_two_layers()
    # Of hidden values: before ReLU, after it, and the slopes of both. Of the outcome: itself, its square and its slope.
    assert 3 * hidden <= held <= 4 * hidden + 4 * out


def test_without_numbers_the_count_is_the_same():
    with FakeTensorMode():
        counted = step_of_two_layers()
    assert counted == step_of_two_layers() > 0


def test_what_is_freed_is_not_counted():
    with memory.Counter("cpu") as counter:
        for _ in range(5):
            x = torch.ones(1000, 1000)
            del x
    assert counter.most == 4_000_256 and counter.held == 0  # in blocks of 512 bytes


def test_it_agrees_with_the_allocator_of_torch():
    """Measured by torch's own record of what its allocator gives out and takes back."""
    from torch.profiler import ProfilerActivity, profile

    net = torch.nn.Sequential(torch.nn.Linear(WIDE, LONG), torch.nn.ReLU(), torch.nn.Linear(LONG, WIDE))
    x = torch.ones(ROWS, WIDE)
    for parameter in net.parameters():
        parameter.grad = torch.zeros_like(parameter)
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        net(x).square().mean().backward()
    held = most = 0
    for event in recorded.profiler.kineto_results.events():
        if event.name() == "[memory]":
            held += event.nbytes()
            most = max(most, held)
    counted = memory.counted(lambda: net(x).square().mean(), list(net.parameters()), "cpu")
    assert abs(counted / most - 1) < 0.05


@pytest.mark.parametrize("average, eight_bit, bytes_each", ((True, False, 20), (False, False, 16), (True, True, 14)))
def test_what_is_trained_counts_with_its_optimiser(average, eight_bit, bytes_each):
    assert memory.of_trained([torch.nn.Parameter(torch.zeros(100))], average, eight_bit) == 100 * bytes_each
