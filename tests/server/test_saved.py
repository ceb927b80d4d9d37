"""Graphs that users may have saved with an earlier version: they still load, are still accepted, and the demos still run."""

import inspect

import pytest
from same_subject.dev import pack
from same_subject.tests.server import graphs, ui_format
from same_subject.tests.server.ui_format import read

VERSIONS = sorted((pack.ROOT / "tests" / "saved").glob("v*"))
WORKFLOWS = [path for version in VERSIONS for path in sorted((version / "api").glob("*.json"))]
BLUEPRINTS = [path for version in VERSIONS for path in sorted((version / "subgraphs").glob("*.json"))]
DEMOS = [path for path in WORKFLOWS if path.stem.startswith("demo")]
A_USERS_OWN = {"ckpt_name", "file", "adapter", "control_net", "image"}
"""Inputs that name a file, whose choices are those of each machine."""


def named(path):
    return f"{path.parent.parent.name}/{path.stem}"


@pytest.fixture(scope="module")
def classes():
    return graphs.node_classes()


def problems(prompt, classes):
    """What a prompt gives that its nodes' schemas do not take, as sentences."""
    found = []
    for number, node in prompt.items():
        kind = node["class_type"]
        if kind not in classes:
            found.append(f"no node {kind}")
            continue
        groups = classes[kind].INPUT_TYPES()
        known = {**groups.get("required", {}), **groups.get("optional", {})}
        for name in groups.get("required", {}):
            if name not in node["inputs"] and not any(given.startswith(f"{name}.") for given in node["inputs"]):
                found.append(f"{kind} {number} needs {name}")
        for name, value in node["inputs"].items():
            if name.split(".")[0] not in known:
                found.append(f"{kind} {number} has no input {name}")
                continue
            definition = known[name.split(".")[0]]
            options = definition[1] if len(definition) > 1 else {}
            choices = definition[0] if isinstance(definition[0], list) else options.get("options")
            if choices is not None and not isinstance(value, list) and name not in A_USERS_OWN and value not in choices:
                found.append(f"{kind} {number}: {name} is {value!r}, not one of {choices}")
            if isinstance(value, (int, float)) and not isinstance(value, bool) and "max" in options:
                if not options["min"] <= value <= options["max"]:
                    found.append(f"{kind} {number}: {name} is {value}")
    return found


def test_graphs_are_kept():
    assert len(WORKFLOWS) >= 6 and len(BLUEPRINTS) >= 1 and len(DEMOS) >= 2


@pytest.mark.parametrize("path", WORKFLOWS, ids=named)
def test_every_node_input_and_choice_of_a_saved_graph_is_still_accepted(path, classes):
    assert problems(read(path), classes) == []


@pytest.mark.parametrize("path", WORKFLOWS, ids=named)
def test_a_saved_workflow_loads_its_widgets_and_queues_what_it_queued(path, classes):
    """And for inputs that a node got since then, what an API prompt without them does."""
    expected = read(path)
    for node in expected.values():
        node.pop("_meta")
    queued = ui_format.as_api(read(path.parent.parent / "ui" / path.name), classes)
    for number, node in queued.items():
        if added := set(node["inputs"]) - set(expected[number]["inputs"]):
            given = inspect.signature(classes[node["class_type"]].execute).parameters
            assert {name: node["inputs"].pop(name) for name in added} == {name: given[name].default for name in added}
    assert queued == expected


@pytest.mark.parametrize("path", BLUEPRINTS, ids=named)
def test_a_saved_blueprint_loads_its_widgets_and_queues_what_it_queued(path, classes):
    blueprint = read(path)
    inputs = [socket["name"] for socket in ui_format.definition_of(blueprint)[1]["inputs"]]
    given = {name: ["outside", 0] for name in inputs} | ui_format.defaults_of(blueprint)
    inside, outputs = ui_format.unfold(blueprint, given, classes)
    assert problems(inside, classes) == [] and outputs


def test_what_a_schema_does_not_take_is_noticed(classes):
    graph = graphs.basic()
    assert problems(graph, classes) == []
    for change, sentence in (({"guidance": "both"}, "guidance is 'both'"), ({"loudness": 1.0}, "no input loudness"),
                             ({"image_scale": 1e9}, "image_scale is")):  # fmt: skip
        assert sentence in problems(graphs.changed(graph, "jedi", **change), classes)[0]
    assert problems(graphs.without(graph, "jedi", "guidance"), classes) == ["JediApply jedi needs guidance"]
    assert problems({"1": graphs.node("JediGone")}, classes) == ["no node JediGone"]


@pytest.mark.parametrize("path", DEMOS, ids=named)
def test_a_saved_demo_gives_pictures(path, live):
    graph = read(path)
    outputs = live.client.run(graph)
    for number, node in graph.items():
        if node["class_type"] == "SaveImage":
            pictures = [graphs.open_picture(live, entry) for entry in outputs[number]["images"]]
            assert pictures and all(len(set(picture.getdata())) > 100 for picture in pictures)
