"""The example workflows: what the UI shows is what the API form queues, and every socket and widget is the node's own."""

import asyncio
import json

import pytest
import same_subject
from same_subject.dev import pack
from same_subject.tests.host import graphs

WORKFLOWS = pack.ROOT / "workflows"
NAMES = sorted(path.stem for path in WORKFLOWS.glob("*.json"))
SEED_WIDGETS = {"seed", "noise_seed"}
"""The UI adds a second widget to these, what to do after a run."""


@pytest.fixture(scope="module")
def classes():
    extension = asyncio.run(same_subject.comfy_entrypoint())
    asyncio.run(extension.on_load())
    ours = {node.GET_SCHEMA().node_id: node for node in asyncio.run(extension.get_node_list())}
    return {**graphs.stock_nodes(), **ours}


def widgets_of(node_class):
    """Names of a node's widgets in the order in which the UI stores their values."""
    inputs = node_class.INPUT_TYPES()
    names = []
    for group in ("required", "optional"):
        for name, definition in inputs.get(group, {}).items():
            if isinstance(definition[0], list) or definition[0] in ("INT", "FLOAT", "STRING", "BOOLEAN", "COMBO"):
                names += [name, f"{name}: after a run"] if name in SEED_WIDGETS else [name]
                if isinstance(definition[-1], dict) and definition[-1].get("image_upload"):
                    names.append("upload")
    return names


def as_api(workflow, classes):
    """What the UI queues for a workflow."""
    origins = {link[0]: [str(link[1]), link[2]] for link in workflow["links"]}
    prompt = {}
    for node in workflow["nodes"]:
        if node["type"] == "MarkdownNote":
            continue
        widgets = widgets_of(classes[node["type"]])
        assert len(widgets) == len(node["widgets_values"]), node["type"]
        values = dict(zip(widgets, node["widgets_values"], strict=True))
        inputs = {name: value for name, value in values.items() if ": after" not in name and name != "upload"}
        inputs |= {socket["name"]: origins[socket["link"]] for socket in node["inputs"] if socket["link"] is not None}
        prompt[str(node["id"])] = {"class_type": node["type"], "inputs": inputs}
    return prompt


def test_there_is_a_graph_for_the_demo_and_for_each_family_of_checkpoints():
    assert set(NAMES) >= {"demo", "checkpoint_sd15", "checkpoint_sdxl"}
    assert NAMES == sorted(path.stem for path in (WORKFLOWS / "api").glob("*.json"))


@pytest.mark.parametrize("name", NAMES)
def test_a_workflow_queues_its_api_form(name, classes):
    workflow = json.loads((WORKFLOWS / f"{name}.json").read_text())
    expected = json.loads((WORKFLOWS / "api" / f"{name}.json").read_text())
    for node in expected.values():
        node.pop("_meta")
    assert as_api(workflow, classes) == expected


@pytest.mark.parametrize("name", NAMES)
def test_the_links_of_a_workflow_join_sockets_that_exist(name, classes):
    workflow = json.loads((WORKFLOWS / f"{name}.json").read_text())
    nodes = {node["id"]: node for node in workflow["nodes"]}
    for number, origin, origin_slot, target, target_slot, kind in workflow["links"]:
        out, into = nodes[origin]["outputs"][origin_slot], nodes[target]["inputs"][target_slot]
        assert number in out["links"] and into["link"] == number
        assert {kind} >= {out["type"], into["type"]} - {"*"}
    for node in workflow["nodes"]:
        if node["type"] != "MarkdownNote":
            types = list(classes[node["type"]].RETURN_TYPES)
            stored = ["COMFY_MATCHTYPE_V3" if socket["type"] == "*" else socket["type"] for socket in node["outputs"]]
            assert stored == types, node["type"]
    assert workflow["last_node_id"] == max(nodes) and workflow["last_link_id"] == max(link[0] for link in workflow["links"])


@pytest.mark.parametrize("name", NAMES)
def test_a_workflow_says_where_its_checkpoint_is_published(name):
    yaml = pytest.importorskip("yaml")
    known = yaml.safe_load((pack.ROOT / "models.yaml").read_text(encoding="utf-8"))["models"]
    known = {entry["file"]: {"url": entry["url"], "directory": entry["folder"].removeprefix("models/")} for entry in known}
    workflow = json.loads((WORKFLOWS / f"{name}.json").read_text())
    for node in workflow["nodes"]:
        if node["type"] == "CheckpointLoaderSimple":
            (file,) = node["widgets_values"]
            assert node["properties"]["models"] == [{"name": file, **known[file]}]
