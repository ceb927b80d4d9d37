"""The benchmark's rows, measured on tiny models: what they say, not how fast they are."""

from types import SimpleNamespace

import pytest
from same_subject.dev.benchmark import joint, measuring
from same_subject.dev.benchmark import models as full_size
from same_subject.dev.benchmark import rows as lines
from same_subject.tests.tiny import models

TIMES = {"coupling_2", "coupling_3", "coupling_4", "three_branches", "references_only"}


@pytest.fixture(scope="module")
def tiny():
    return measuring.Bench(size=64, rounds=2, build=SimpleNamespace(model=lambda kind, device: models.model(kind)))


@pytest.fixture(scope="module")
def rows(tiny):
    compared = [joint.coupling(tiny, n) for n in (2, 3, 4)] + [joint.three_branches(tiny), joint.references_only(tiny)]
    return [row for rows in compared for row in rows]


def test_every_comparison_has_a_row_for_time_and_one_for_memory(rows):
    names = [row["name"] for row in rows]
    assert set(names) == TIMES | {f"{name}_memory" for name in TIMES} and len(set(names)) == len(names)


def test_every_row_has_name_ratio_and_bound(rows):
    for row in rows:
        assert {"name", "ratio", "bound"} <= set(row)
        assert (row["bound"] is None) == row["name"].endswith("_memory")
        assert row["ratio"] > 0 or row["name"].endswith("_memory")


def test_the_table_has_a_line_for_every_row(rows, capsys):
    lines.print_table([{**row, "device": "none", "host_version": "0"} for row in rows])
    printed = capsys.readouterr().out
    assert all(row["name"] in printed for row in rows)


def test_all_self_attention_layers_are_counted(tiny):
    plain = joint.evaluation(tiny, "sd15", 2, patched=False)
    layers = [name for name, _ in tiny.part("model", "sd15").model.diffusion_model.named_modules() if name.endswith("attn1")]
    assert sum(joint.self_attention(tiny, plain).values()) == len(layers) > 0


def test_split_branches_are_calls_of_their_own_and_together_they_are_one(tiny):
    network = tiny.part("model", "sd15").model.diffusion_model
    calls = []
    hook = network.register_forward_pre_hook(lambda layer, given: calls.append(given[0].shape[0]))
    try:
        joint.evaluation(tiny, "sd15", 2, guidance="text first")()
        assert calls == [6]
        calls.clear()
        joint.evaluation(tiny, "sd15", 2, guidance="text first", split=True)()
        assert calls == [2, 2, 2]
    finally:
        hook.remove()
    assert "memory_required" not in vars(tiny.part("model", "sd15").model)


def test_sdxl_is_measured_the_same_way(tiny):
    names = [row["name"] for row in joint.coupling(tiny, 2, kind="sdxl", size=64)]
    assert names == ["sdxl_coupling_2", "sdxl_coupling_2_memory"]


@pytest.mark.parametrize("kind, parameters", [("sd15", 859_520_964), ("sdxl", 2_567_463_684)])
def test_the_full_size_networks_have_the_published_number_of_parameters(kind, parameters):
    import torch
    from comfy.ldm.modules.diffusionmodules.openaimodel import UNetModel

    network = UNetModel(**full_size.UNETS[kind], device=torch.device("meta"))
    assert sum(weight.numel() for weight in network.parameters()) == parameters
