"""The example workflows: what the UI shows is what the API form queues, and every socket and widget is the node's own."""

import pytest
from same_subject.dev import pack
from same_subject.dev.showing import graphs as demo_graphs
from same_subject.tests.server import graphs, ui_format
from same_subject.tests.server.ui_format import WORKFLOWS, read, widgets_of

NAMES = sorted(path.stem for path in WORKFLOWS.glob("*.json"))
BLUEPRINTS = sorted(path.stem for path in ui_format.BLUEPRINTS.glob("*.json"))
WEIGHTS = {
    "CheckpointLoaderSimple": ("ckpt_name",),
    "CLIPVisionLoader": ("clip_name",),
    "ConceptDetectorLoader": ("file",),
    "ConceptSegmenterLoader": ("file",),
    "IdentityLoader": ("adapter", "control_net"),
    "SceneToolsLoader": ("detector", "segmenter", "adapter", "control_net"),
    "ScoreModelsLoader": ("clip", "dino"),
}
"""Widgets that name a file, or a folder of files, which a user downloads."""


@pytest.fixture(scope="module")
def classes():
    return graphs.node_classes()


def test_there_is_a_graph_for_each_demo_each_family_of_checkpoints_and_both_ways_to_a_scene():
    demos = {demo_graphs.DEMO, demo_graphs.DEMO_SCENE, demo_graphs.DEMO_SUBJECTS}
    assert set(NAMES) >= {*demos, demo_graphs.OF_OTHERS, *demo_graphs.OF_FAMILY.values(), "Subjects Where You Want Them - SD 2"}
    assert set(NAMES) >= {"Two People in One Picture - SDXL", "People in Places You Paint - SDXL"}
    assert set(NAMES) >= {"Demo - Sets of One Toy", "Sets of One Subject - SDXL"}
    assert NAMES == sorted(path.stem for path in (WORKFLOWS / "api").glob("*.json"))


@pytest.mark.parametrize("name", NAMES)
def test_a_workflow_queues_its_api_form(name, classes):
    expected = read(WORKFLOWS / "api" / f"{name}.json")
    for node in expected.values():
        node.pop("_meta")
    assert ui_format.as_api(read(WORKFLOWS / f"{name}.json"), classes) == expected


def check_links(nodes, links, classes):
    """Every link (number, origin, slot, target, slot, type) joins sockets that know it and are of its type."""
    for number, origin, origin_slot, target, target_slot, kind in links:
        out, into = nodes[origin]["outputs"][origin_slot], nodes[target]["inputs"][target_slot]
        assert number in (out.get("links") or out.get("linkIds"))
        assert into.get("link") == number or number in into.get("linkIds", ())
        assert {kind} >= {out["type"], into["type"]} - {"*"}
    for node in nodes.values():
        if node.get("type") in classes:
            types = list(classes[node["type"]].RETURN_TYPES)
            stored = ["COMFY_MATCHTYPE_V3" if socket["type"] == "*" else socket["type"] for socket in node["outputs"]]
            assert stored == types, node["type"]


@pytest.mark.parametrize("name", NAMES)
def test_the_links_of_a_workflow_join_sockets_that_exist(name, classes):
    workflow = read(WORKFLOWS / f"{name}.json")
    nodes = {node["id"]: node for node in workflow["nodes"]}
    assert {node["type"] for node in nodes.values()} <= {*classes, ui_format.NOTE}
    check_links(nodes, workflow["links"], classes)
    assert workflow["last_node_id"] == max(nodes) and workflow["last_link_id"] == max(link[0] for link in workflow["links"])


def all_nodes(path):
    """The nodes of a workflow, or inside a blueprint."""
    graph = read(path)
    return graph["nodes"] if "definitions" not in graph else ui_format.definition_of(graph)[1]["nodes"]


@pytest.mark.parametrize("path", [*WORKFLOWS.glob("*.json"), *ui_format.BLUEPRINTS.glob("*.json")], ids=lambda path: path.stem)
def test_every_loader_says_where_its_weights_are_published(path, classes):
    yaml = pytest.importorskip("yaml")
    known = yaml.safe_load((pack.ROOT / "models.yaml").read_text(encoding="utf-8"))["models"]
    known = {entry["file"]: {"url": entry["url"], "directory": entry["folder"].removeprefix("models/")} for entry in known}
    for node in all_nodes(path):
        if node["type"] in WEIGHTS:
            values = dict(zip(widgets_of(classes[node["type"]]), node["widgets_values"], strict=True))
            named = [values[name] for name in WEIGHTS[node["type"]] if values[name] != "none"]
            files = [file for name in named for file in known if file == name or file.startswith(f"{name}/")]
            assert len(files) >= len(named), "models.yaml knows each"
            assert node["properties"]["models"] == [{"name": file, **known[file]} for file in files]


@pytest.mark.parametrize("name", BLUEPRINTS)
def test_the_links_of_a_blueprint_join_sockets_that_exist(name, classes):
    whole = read(ui_format.BLUEPRINTS / f"{name}.json")
    outer, inner = ui_format.definition_of(whole)
    assert outer["title"] == inner["name"] == name and inner["description"] and inner["category"]
    ends = {ui_format.INPUTS: {"outputs": inner["inputs"]}, ui_format.OUTPUTS: {"inputs": inner["outputs"]}}
    links = [list(link.values()) for link in inner["links"]]
    assert [list(link) for link in inner["links"]] == [
        ["id", "origin_id", "origin_slot", "target_id", "target_slot", "type"] for _ in links
    ]
    nodes = {node["id"]: node for node in inner["nodes"]}
    check_links({**nodes, **ends}, links, classes)
    for side in ("inputs", "outputs"):
        assert [(one["name"], one["type"]) for one in outer[side]] == [(one["name"], one["type"]) for one in inner[side]]
        assert all(one["linkIds"] for one in inner[side]), "an input or output that does nothing"
    assert set(ui_format.defaults_of(whole)) == {
        one["name"] for one in inner["inputs"] if one["type"] in ("STRING", "INT", "FLOAT")
    }
    assert inner["state"]["lastNodeId"] == max(nodes) and inner["state"]["lastLinkId"] == max(link[0] for link in links)


def test_the_blueprint_is_the_workflow_of_two_people_in_one_node(classes):
    workflow = ui_format.as_api(read(WORKFLOWS / "Two People in One Picture - SDXL.json"), classes)
    blueprint = read(ui_format.BLUEPRINTS / "Two-Person Scene.json")
    (checkpoint,) = [number for number, node in workflow.items() if node["class_type"] == "CheckpointLoaderSimple"]
    (seed,) = [number for number, node in workflow.items() if node["class_type"] == "PrimitiveInt"]
    portraits = [number for number, node in workflow.items() if node["class_type"] == "LoadImage"]
    given = ui_format.defaults_of(blueprint)
    assert given["seed"] == workflow[seed]["inputs"]["value"]
    given |= {name: [checkpoint, number] for number, name in enumerate(("model", "clip", "vae"))}
    given |= {name: [number, 0] for name, number in zip(("first person", "second person"), portraits, strict=True)}
    inside, outputs = ui_format.unfold(blueprint, {**given, "seed": [seed, 0]}, classes, "inside:")
    whole = {**workflow, **inside}
    (saver,) = [node["inputs"]["images"] for node in workflow.values() if "images" in node["inputs"]]
    painted = ui_format.described(whole, saver)
    assert painted == ui_format.described(whole, outputs["picture"])
    assert painted.count("SceneCompose(") >= 1 and "inside:" not in painted
    assert whole[outputs["found"][0]]["class_type"] == "SceneCompose"
    assert len(inside) == len(workflow) - len(portraits) - 3, "and it holds nothing else than these, checkpoint, seed and saver"


def test_the_blueprint_is_found_by_the_words_for_it():
    words = {"two people", "two characters", "multiple people", "consistent character"}
    assert words <= set(read(ui_format.BLUEPRINTS / "Two-Person Scene.json")["extra"]["BlueprintSearchAliases"])


def test_the_graph_of_two_people_has_16_nodes_and_would_have_two_more_for_a_third(classes):
    prompt = ui_format.as_api(read(WORKFLOWS / "Two People in One Picture - SDXL.json"), classes)
    assert len(prompt) <= 16
    takers = {name: [one for one in prompt.values() if [name, 0] in one["inputs"].values()] for name in prompt}
    people = [one for one in prompt.values() if one["class_type"] == "SceneConcept"]
    own = [[name for name, taken in takers.items() if taken == [one]] for one in people]
    assert len(people) == 2 and [len(names) for names in own] == [1, 1], "a picture and a Concept each"


def test_my_subject_is_the_workflow_of_one_subject_in_one_node(classes):
    workflow = ui_format.as_api(read(WORKFLOWS / "My Subject in New Scenes - SDXL.json"), classes)
    blueprint = read(ui_format.BLUEPRINTS / "My Subject.json")
    (checkpoint,) = [number for number, node in workflow.items() if node["class_type"] == "CheckpointLoaderSimple"]
    (example,) = [number for number, node in workflow.items() if node["class_type"] == "ExamplePictures"]
    (joint_set,) = [node["inputs"] for node in workflow.values() if node["class_type"] == "JediJointSet"]
    (sampler,) = [node["inputs"] for node in workflow.values() if node["class_type"] == "KSampler"]
    joint_set["reference_seed"] = sampler["seed"]  # one seed for both
    given = ui_format.defaults_of(blueprint) | {"width": joint_set["width"], "height": joint_set["height"]}
    given |= {name: [checkpoint, number] for number, name in enumerate(("model", "clip", "vae"))} | {"pictures": [example, 0]}
    inside, outputs = ui_format.unfold(blueprint, given, classes, "inside:")
    (saver,) = [node["inputs"]["images"] for node in workflow.values() if node["class_type"] == "SaveImage"]
    painted = ui_format.described({**workflow, **inside}, outputs["pictures"])
    assert painted == ui_format.described(workflow, saver) and painted.count("JediApply(") == 1
    assert {"steps", "cfg", "strength", "seed"} < set(given)
    assert "consistent character" in blueprint["extra"]["BlueprintSearchAliases"]
