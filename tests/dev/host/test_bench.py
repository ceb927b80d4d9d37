"""The benchmark's rows, measured on tiny models: what they say, not how fast they are."""

from types import SimpleNamespace

import pytest
import torch
from same_subject.dev import bench as command
from same_subject.dev.benchmark import joint, measuring, scenes, subject
from same_subject.dev.benchmark import models as full_size
from same_subject.dev.benchmark import rows as lines
from same_subject.nodes.identity.host import sampling as identity_sampling
from same_subject.nodes.subject.host import layers as subject_layers
from same_subject.tests.tiny import identities, models, subject_adapters
from same_subject.tests.tiny.sets import gap

TIMES = {"coupling_2", "coupling_3", "coupling_4", "three_terms", "references_only"}
ROUNDING = 2e-4
VISIBLE = 100 * ROUNDING


pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def tiny():
    return measuring.Bench(size=64, rounds=2, build=SimpleNamespace(model=lambda kind, device: models.model(kind)))


@pytest.fixture(scope="module")
def rows(tiny):
    compared = [joint.coupling(tiny, n) for n in (2, 3, 4)] + [joint.three_terms(tiny), joint.references_only(tiny)]
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


def test_split_terms_are_calls_of_their_own_and_together_they_are_one(tiny):
    network = tiny.part("model", "sd15").model.diffusion_model
    calls = []
    hook = network.register_forward_pre_hook(lambda layer, given: calls.append(given[0].shape[0]))
    try:
        for more, rows in (({}, [4]), ({"split": True}, [1, 1, 2]), ({"every_row": True}, [6])):
            joint.evaluation(tiny, "sd15", 2, guidance="text first", **more)()
            assert sorted(calls) == rows
            calls.clear()
    finally:
        hook.remove()
    assert "memory_required" not in vars(tiny.part("model", "sd15").model)


def test_sdxl_is_measured_the_same_way(tiny):
    names = [row["name"] for row in joint.coupling(tiny, 2, kind="sdxl", size=64)]
    assert names == ["sdxl_coupling_2", "sdxl_coupling_2_memory"]


@pytest.mark.parametrize("kind, parameters", [("sd15", 859_520_964), ("sdxl", 2_567_463_684)])
def test_the_full_size_networks_have_the_published_number_of_parameters(kind, parameters):
    assert count(unet(kind)) == parameters


def unet(kind):
    from comfy.ldm.modules.diffusionmodules.openaimodel import UNetModel

    return UNetModel(**full_size.UNETS[kind], device=torch.device("meta"))


def count(network):
    return sum(weight.numel() for weight in network.parameters())


# -- scenes ---------------------------------------------------------------------------------------


def layers(network):
    """The cross-attention layers of a UNet."""
    return identity_sampling.cross_attention_layers(SimpleNamespace(model=SimpleNamespace(diffusion_model=network)))


class TinyModels:
    """The builders of `models.py` for a UNet of few layers."""

    @staticmethod
    def model(kind, device):
        return models.model("sdxl")

    @staticmethod
    def control(kind, device):
        return identities.control(unet=models.unet_config("sdxl"))

    @staticmethod
    def adapter(kind, device):
        network = TinyModels.model(kind, device).model.diffusion_model
        return identities.adapter(channels=[layer.channels for layer in layers(network)])


@pytest.fixture(scope="module")
def stage():
    return measuring.Bench(rounds=1, build=TinyModels)


@pytest.fixture(scope="module")
def of_scenes(stage):
    """{name: its row} of every comparison of scenes."""
    return {row["name"]: row for _, compare in scenes.planned(stage, "tiny", 64) for row in compare()}


def test_scenes_of_one_two_and_four_people_have_all_their_rows(of_scenes):
    compared = [f"{what}_{k}" for what in ("scene", "scene_identities") for k in (1, 2, 4)] + ["scene_own_4"]
    assert list(of_scenes) == [f"{name}{of}" for name in compared for of in ("", "_memory", "_projections", "_read_backs")]
    assert all(of_scenes[name]["ratio"] > 0 and of_scenes[name]["gflop"] > 0 for name in compared)


def test_a_scene_is_compared_with_the_same_branches_one_after_the_other(of_scenes):
    for k in (1, 2, 4):
        row = of_scenes[f"scene_{k}"]
        assert row["bound"] == 1.05
        assert 1 <= row["predicted"] < 1.01, "the background's rows of a batch attend to a face too, with weight 0"
        assert row["against_unet_calls"] == [2] * (k + 1) and row["against_control_calls"] == [2] * k
        assert row["unet_calls"] == [2 * (k + 1)] and row["control_calls"] == [2 * k]


def test_identities_are_compared_with_the_host_alone_on_as_many_rows(of_scenes):
    for k in (1, 2, 4):
        row = of_scenes[f"scene_identities_{k}"]
        assert row["unet_calls"] == row["against_unet_calls"] == [2 * (k + 1)] and row["control_calls"] == []
        assert 1 < row["predicted"] < 1.5, "attention to 16 more tokens"


def test_scenes_add_no_projections_and_no_read_backs(of_scenes):
    counted = {name: row for name, row in of_scenes.items() if "count" in row}
    assert {row["count"] for row in counted.values()} == {0} == {row["bound"] for row in counted.values()}
    assert all(row["host_count"] > 0 for name, row in counted.items() if name.endswith("_projections"))


def own_lines(q):
    torch.nn.functional.linear(q, q.new_ones(1, q.shape[-1]))


def a_layer_of_the_host(q):
    import comfy.ops

    comfy.ops.disable_weight_init.Linear(q.shape[-1], 1)(q)


def an_attention_of_the_host(q):
    import comfy.ldm.modules.attention
    import comfy.ops

    width = q.shape[-1]
    comfy.ldm.modules.attention.CrossAttention(width, heads=1, dim_head=width, operations=comfy.ops.disable_weight_init)(q)


def reading(q):
    return float(q.sum())


@pytest.mark.parametrize(
    "waste, projections, read_backs",
    ((own_lines, 1, 0), (a_layer_of_the_host, 1, 0), (an_attention_of_the_host, 4, 0), (reading, 0, 1)),
)
def test_what_a_bad_patch_adds_is_counted(stage, monkeypatch, waste, projections, read_backs):
    case, host = scenes.scene(stage, "tiny", 64, 2, faces=False), scenes.plain(stage, "tiny", 64, 3)
    original, many = identity_sampling.IdentityCall.faces, len(layers(case.model.model.diffusion_model))

    def wasteful(self, layer, q, extra_options):
        waste(q)
        return original(self, layer, q, extra_options)

    monkeypatch.setattr(identity_sampling.IdentityCall, "faces", wasteful)
    assert [row["count"] for row in scenes.added("x", case, host)] == [projections * many, read_backs * many]
    if waste is not an_attention_of_the_host:  # which only the host alone tells
        assert [row["count"] for row in scenes.added("x", case)] == [projections * many, read_backs * many]


@pytest.mark.parametrize("continue_from", ("blend", "own"))
def test_what_is_compared_gives_the_same_picture(stage, continue_from):
    case = scenes.scene(stage, "tiny", 64, 2, continue_from=continue_from)
    together = scenes.sample(case, 2)
    apart = scenes.sample(scenes.replace(case, model=scenes.one_after_the_other(case.model)), 2)
    assert gap(apart, together) < ROUNDING
    for other in (scenes.plain(stage, "tiny", 64, 1), scenes.scene(stage, "tiny", 64, 2, False, continue_from)):
        assert gap(scenes.sample(other, 2), together) > VISIBLE


def test_rows_of_scenes_are_printed(of_scenes, capsys):
    lines.print_table([{**row, "device": "none", "host_version": "0"} for row in of_scenes.values()])
    printed = capsys.readouterr().out
    assert all(name in printed and name in lines.headline(row) for name, row in of_scenes.items())
    assert "2 + 2 + 2" in printed, "the calls of a step"


def test_every_comparison_can_be_chosen_by_its_name(stage):
    names = [name for name, _ in command.planned(stage)]
    assert len(set(names)) == len(names)
    assert TIMES | {"scene_1", "scene_identities_4", "scene_own_4", "subject_sd15_2"} <= set(names)


def test_the_networks_of_scenes_have_the_published_sizes():
    """InstantID's ControlNet has 2,502,028,320 bytes at 16 bits, its adapter 1,691,063,296 at 32."""
    import comfy.cldm.cldm

    control = comfy.cldm.cldm.ControlNet(**full_size.control_config("sdxl"), device=torch.device("meta"))
    assert count(control) * 2 == 2_502_028_320
    with torch.device("meta"):
        assert count(full_size.adapter_network("sdxl")) * 4 == 1_691_063_296


@pytest.mark.parametrize("kind", ("sdxl", "sdxl_small"))
def test_adapters_fit_all_70_layers(kind):
    with torch.device("meta"):
        channels = full_size.adapter_network(kind).channels
    assert channels == [layer.channels for layer in layers(unet(kind))] and len(channels) == 70


# -- subjects -------------------------------------------------------------------------------------

SUBJECT_STEPS = [f"subject_{kind}_{n}" for kind in ("sd15", "sdxl_small") for n in (1, 2, 4)]


class TinySubjects:
    """The builders of `models.py` for steps with subjects."""

    @staticmethod
    def model(kind, device):
        return models.model(kind.removesuffix("_small"))

    @staticmethod
    def subject_adapter(kind, device):
        return subject_adapters.subject_adapter(TinySubjects.model(kind, device))


@pytest.fixture(scope="module")
def with_subjects():
    return measuring.Bench(size=64, rounds=1, build=TinySubjects)


@pytest.fixture(scope="module")
def of_subjects(with_subjects):
    """{name: its row} of every comparison of subjects."""
    plan = [one for kind in ("sd15", "sdxl_small") for one in subject.planned(with_subjects, kind, 64)]
    return {row["name"]: row for _, compare in plan for row in compare()}


def test_steps_with_one_two_and_four_subjects_have_all_their_rows(of_subjects):
    ends = ("", "_jedi", "_projections_of_subjects", "_exchanged_weights")
    terms = [f"subject_{kind}_terms{end}" for kind in ("sd15", "sdxl_small") for end in ("", "_jedi")]
    steps = [name + end for name in SUBJECT_STEPS for end in ends]
    assert set(of_subjects) == {*steps, *terms, "subject_control", "subject_control_batch_memory"}
    assert all(of_subjects[name]["bound"] == 1.05 and of_subjects[name]["layers_ms"] > 0 for name in SUBJECT_STEPS)
    assert all(of_subjects[f"{name}_jedi"]["bound"] is None for name in SUBJECT_STEPS)


def test_a_step_with_subjects_is_one_call_of_as_many_rows_as_terms(of_subjects):
    for name in (*SUBJECT_STEPS, "subject_sd15_terms", "subject_sdxl_small_terms"):
        rows = [3] if name.endswith("_terms") else [1]
        assert of_subjects[name]["unet_calls"] == of_subjects[name]["against_unet_calls"] == rows
        assert 1 < of_subjects[name]["predicted"] < 1.3, "texts weigh more than pictures of 8 x 8 latents"


def test_what_subjects_show_is_made_in_the_first_step_only(of_subjects):
    counted = {name: row for name, row in of_subjects.items() if "count" in row}
    assert len(counted) == 2 * len(SUBJECT_STEPS)
    assert {row["count"] for row in counted.values()} == {0} and all(row["in_first_step"] > 0 for row in counted.values())


@pytest.mark.parametrize("forgotten, row", (("keys_values", 0), ("exchanged", 1)))
def test_what_is_made_at_every_step_is_counted(with_subjects, monkeypatch, forgotten, row):
    original = getattr(subject_layers.Run, forgotten)

    def forgetful(self, *given):
        self.cache.clear()
        return original(self, *given)

    ours = subject.case(with_subjects, "sd15", 64, 2)
    assert [each["count"] for each in subject.once(with_subjects, "x", ours)] == [0, 0]
    monkeypatch.setattr(subject_layers.Run, forgotten, forgetful)
    assert list(subject.once(with_subjects, "x", ours))[row]["count"] > 0


def test_the_layers_alone_are_all_of_them_on_what_they_get(with_subjects):
    ours = subject.case(with_subjects, "sd15", 64, 2, three=True)
    networks, seen = with_subjects.part("subject_adapter", "sd15").networks, []
    run = subject.alone(with_subjects, ours)
    with subject.hooked((layer, lambda layer, given: seen.append((layer, tuple(given[0].shape)))) for layer in networks.layers):
        run()
        again = len(seen)
        scenes.sample(ours, 1)
    assert seen[:again] == seen[again:] and [layer for layer, _ in seen[:again]] == list(networks.layers)
    assert {shape[0] for _, shape in seen} == {3}


def test_attention_control_is_in_one_of_the_steps_compared(with_subjects):
    plain, steered = (subject.case(with_subjects, "sd15", 64, 2, three=True, steered=each) for each in (False, True))
    found = [scenes.sample(each, 2) for each in (plain, steered)]
    assert found[1].isfinite().all() and gap(*found) > ROUNDING


def test_rows_of_subjects_are_printed(of_subjects, capsys):
    lines.print_table([{**row, "device": "none", "host_version": "0"} for row in of_subjects.values()])
    printed = capsys.readouterr().out
    assert all(name in printed and name in lines.headline(row) for name, row in of_subjects.items())


@pytest.mark.parametrize("kind", ("sd15", "sdxl", "sdxl_small"))
def test_subject_adapters_fit_all_layers(kind):
    sizes = full_size.subject_sizes(kind)
    blocks = [one for one in unet(kind).modules() if type(one).__name__ == "BasicTransformerBlock"]
    assert {(b.attn1.to_q.out_features, b.n_heads, b.attn2.to_k.in_features) for b in blocks} == {
        (*layer, sizes.context) for layer in sizes.layers
    }
    assert len(blocks) == len(sizes.layers)
