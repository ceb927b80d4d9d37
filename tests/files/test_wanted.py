"""What the nodes of a graph need, by what their inputs name; and what is said of it."""

import pytest
from same_subject.dev import pack
from same_subject.nodes.files import report, wanted

yaml = pytest.importorskip("yaml")
LISTED = yaml.safe_load((pack.ROOT / "models.yaml").read_text(encoding="utf-8"))
FACES = ["antelopev2.zip", "insightface", "onnxruntime-gpu"]


def needs(*nodes):
    return wanted.needs({str(number): node for number, node in enumerate(nodes)}, LISTED)


def node(kind, title=None, **inputs):
    return {"class_type": kind, "inputs": inputs, **({"_meta": {"title": title}} if title else {})}


def names(*nodes):
    return [need.name for need in needs(*nodes)]


def test_one_node_with_all_tools_needs_every_file_beside_them_too_and_the_packages():
    tools = node(
        "SceneToolsLoader", detector="groundingdino_swint_ogc.pth", segmenter="sam_vit_b_01ec64.pth", adapter="ip-adapter.bin",
        face_analysis="as published", control_net="instantid.safetensors",
    )  # fmt: skip
    beside = ["groundingdino_swint_ogc.pth", "bert-base-uncased/vocab.txt", "sam_vit_b_01ec64.pth", "segment-anything"]
    assert names(tools) == [*beside, "ip-adapter.bin", *FACES, "instantid.safetensors"]
    assert all(need.entry for need in needs(tools))
    none = dict.fromkeys(tools["inputs"], "none")
    assert names(node("SceneToolsLoader", **none)) == []


def test_a_published_folder_needs_all_its_files_and_an_own_checkpoint_its_tokenizer():
    folder = needs(node("ConceptDetectorLoader", file="grounding-dino-tiny"))
    assert [need.name for need in folder] == [
        f"grounding-dino-tiny/{part}" for part in ("model.safetensors", "config.json", "tokenizer.json")
    ]
    own, vocabulary = needs(node("ConceptDetectorLoader", file="mine/own.pth"))
    assert (own.name, own.entry) == ("mine/own.pth", None)
    assert (vocabulary.name, vocabulary.beside) == ("bert-base-uncased/vocab.txt", "mine/own.pth")
    assert names(node("ConceptDetectorLoader", file="grounding-dino")) == ["grounding-dino"], "a prefix is no folder"


@pytest.mark.parametrize("nothing", [{}, {"file": None}, {"file": ""}, {"file": 5}])
def test_where_nothing_is_chosen_the_default_is_needed(nothing):
    assert names(node("ConceptSegmenterLoader", **nothing)) == ["sam_vit_b_01ec64.pth", "segment-anything"]


def test_what_ships_with_the_pack_needs_nothing_and_a_file_of_ones_own_its_folder():
    assert needs(node("SubjectAdapterLoader", file="demo"), node("SubjectAdapterLoader")) == []
    (own,) = needs(node("SubjectAdapterLoader", file="my pets.safetensors"))
    assert (own.name, own.folder, own.entry) == ("my pets.safetensors", "models/subject_adapters", None)


def test_a_linked_input_names_nothing_and_other_nodes_need_nothing():
    assert names(node("CheckpointLoaderSimple", ckpt_name=["7", 0]), node("KSampler", steps=20), node("gone", file="x.pth")) == []


def test_what_several_nodes_need_is_listed_once_with_all_of_them():
    one, two = node("IdentityFaceAnalysis", "Faces", files="any"), node("IdentityFaceAnalysis", files="as published")
    found = needs(one, two, two)
    assert [need.name for need in found] == FACES
    assert all([use.title for use in need.uses] == ["Faces", "IdentityFaceAnalysis"] for need in found)


@pytest.mark.parametrize("given", [None, [], "x", {"1": 5}, {"1": {"class_type": "A"}}, {"1": {"class_type": 1, "inputs": {}}}])
def test_what_is_no_graph_is_refused(given):
    assert "a graph in API form is needed" in wanted.problem(given)
    assert wanted.problem({"1": node("A", "x")}) is None and wanted.problem({}) is None


def test_every_name_in_the_list_of_inputs_leads_to_a_file_or_package_that_is_listed():
    for kind, rules in LISTED["inputs"].items():
        for name, rule in rules.items():
            if rule.get("default") == rule.get("ships", ""):
                continue
            found = needs(node(kind, **{name: None}))
            assert found and all(need.entry for need in found), f"the default of {kind}.{name}"


def row(**given):
    bare = {"name": "a.pth", "kind": "file", "nodes": ["Load", "Other"], "listed": True, "bytes": 1691134141, "licence": "MIT"}
    return {**bare, "path": "", "remedy": "Get it.", "state": "missing", **given}


def test_the_report_says_first_what_is_missing_and_what_to_do():
    here = row(name="b", state="found", path="/x/b", remedy="", kind="package", bytes=None)
    assert report.text([here, row()]).splitlines() == [
        "Check Files: 1 of 2 are missing or wrong.",
        "missing: a.pth; for Load, Other; 1.69 GB; licence: MIT. Get it.",
        "found: b; for Load, Other; licence: MIT; /x/b",
    ]
    assert report.text([here]).startswith("Check Files: All 1 are here.\n")
    assert "no node of this graph names" in report.text([])
    assert [report.amount(size) for size in (None, 12, 231508, 375042383)] == ["size not known", "12 bytes", "232 kB", "375 MB"]
