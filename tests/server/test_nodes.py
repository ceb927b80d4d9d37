"""What a user finds on the live server: the nodes, their tooltips and their help pages."""

import pytest
from same_subject.dev import server

JEDI = [
    "JediReferences",
    "JediJointSet",
    "JediApply",
    "JediPick",
    "JediOptions",
    "JediDemoLoader",
    "ExamplePictures",
    "JediSaveSubject",
    "JediLoadSubject",
    "JediRecord",
    "JediCorrespondence",
]
CONCEPTS = ["ConceptDetectorLoader", "ConceptSegmenterLoader", "ConceptFind", "ConceptMasks"]
CONCEPTS += ["ConceptsFromMasks", "ConceptsFromBoxes"]
IDENTITY = [
    *("IdentityLoader", "IdentityFaceAnalysis", "IdentityFromPictures"),
    *("IdentityKeypoints", "IdentityApply", "IdentityControl"),
]
SCENE = ["SceneToolsLoader", "SceneConcept", "SceneCompose", "ConceptBranch", "ConceptScene", "DemoToolsLoader"]
SUBJECTS = ["SubjectAdapterLoader", "SubjectPicture", "SubjectPrompt", "SubjectApply"]
SCORES = ["ScoreModelsLoader", "ScoreSubject", "ScoreBestOf", "NearestReferences"]
SYNTHESIS = ["S3Prompts", "S3Group", "S3Paste", "S3Caption", "S3Save"]
NODES = [*JEDI, *CONCEPTS, *IDENTITY, *SCENE, *SUBJECTS, *SCORES, "TrainJointModel", *SYNTHESIS, "CheckFiles"]
REPLACING = [
    *("IdentityApplyInstantID", "IdentityApplyInstantIDAdvanced", "IdentityInstantIDAttention"),
    *("IdentityInstantIDControlNet", "IdentityInstantIDKeypoints"),
]
"""For graphs of another pack: loaded, and left out of the search."""


@pytest.fixture(scope="module")
def described(live):
    return live.client.get("/object_info")


def test_every_node_of_the_pack_is_there_and_nothing_else(described):
    ours = {name for name, node in described.items() if server.FOLDER in node["python_module"]}
    assert ours == {*NODES, *REPLACING}
    assert {name for name in ours if described[name]["deprecated"]} == set(REPLACING)


@pytest.mark.parametrize("name", NODES)
def test_every_input_and_output_has_a_tooltip(described, name):
    node = described[name]
    inputs = {key: given for group in ("required", "optional") for key, given in node["input"].get(group, {}).items()}
    assert inputs or name == "CheckFiles"
    assert [key for key, given in inputs.items() if not given[1].get("tooltip")] == []
    assert all(node["output_tooltips"]) and len(node["output_tooltips"]) == len(node["output"])


@pytest.mark.parametrize("name", NODES)
def test_every_node_can_be_found_and_says_what_it_does(described, name):
    node = described[name]
    assert node["category"].split("/")[0] == "Same Subject" and node["description"] and node["display_name"] != name
    assert len(node["search_aliases"]) >= 3 and ("jedi" in " ".join(node["search_aliases"]).lower() or name not in JEDI)


@pytest.mark.parametrize("name", NODES)
def test_every_node_has_a_help_page_with_an_example(live, name):
    page = live.client.get(f"/extensions/{server.FOLDER}/docs/{name}.md").decode("utf-8")
    assert "example" in page.lower() and len(page) > 300


def test_no_script_of_the_pack_is_served_twice(live):
    ours = [path for path in live.client.get("/extensions") if "same-subject" in path]
    assert len({path.rsplit("/", 1)[-1] for path in ours}) == len(ours)
