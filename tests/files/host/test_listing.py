"""One check names all that a graph lacks, and calls found what the nodes' own loaders accept."""

import json
import os
import sys

import pytest
from same_subject.dev import pack
from same_subject.nodes.concepts.host import files as concept_files
from same_subject.nodes.files.host import listing
from same_subject.nodes.files.nodes import CheckFiles
from same_subject.nodes.host import catalogue
from same_subject.nodes.identity.host import face_analysis

TOOLS = {
    "detector": "groundingdino_swint_ogc.pth", "segmenter": "sam_vit_b_01ec64.pth", "adapter": "ip-adapter.bin",
    "face_analysis": "any", "control_net": "instantid.safetensors", "device": "auto",
}  # fmt: skip
FACES = "models/insightface/models/antelopev2"


def node(kind, **inputs):
    return {"class_type": kind, "inputs": inputs}


def row_of(name, *nodes):
    rows = listing.rows({str(number): each for number, each in enumerate(nodes)})
    (row,) = [row for row in rows if row["name"] == name]
    return row


def put(models, name, size=None, folder=None):
    """An empty file of a listed name, as large as listed (with a hole in it), or of `size` bytes."""
    (entry,) = [each for each in catalogue.whole()["models"] if each["file"] == name]
    path = models / (folder or entry["folder"].removeprefix("models/")) / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    os.truncate(path, entry["bytes"] if size is None else size)
    return path


def test_one_check_names_all_that_keeps_a_graph_from_running(models, monkeypatch):
    monkeypatch.setattr(listing.places, "version", lambda package, listed: None)
    graph = {
        "1": node("CheckpointLoaderSimple", ckpt_name="sd_xl_base_1.0.safetensors"),
        "2": node("SceneToolsLoader", **TOOLS),
        "3": node("LoadImage", image="me.png"),
        "4": node("LoraLoader", model=["1", 0], clip=["1", 1], lora_name="style.safetensors", strength_model=1, strength_clip=1),
        "5": node("NotInstalled", file="x.bin"),
    }
    found = {row["name"]: row for row in listing.rows(graph)}
    files = ["sd_xl_base_1.0.safetensors", *(TOOLS[tool] for tool in ("detector", "segmenter", "adapter", "control_net"))]
    files += ["bert-base-uncased/vocab.txt", "antelopev2.zip"]
    packages = ["segment-anything", "insightface", "onnxruntime-gpu"]
    assert set(found) == {*files, *packages, "me.png", "style.safetensors", "NotInstalled"}
    assert {row["state"] for row in found.values()} == {"missing"}
    assert [name for name, row in found.items() if row["download"]] == [name for name in found if name in files]
    assert found["antelopev2.zip"]["contents"] == list(face_analysis.hashes())
    assert found["ip-adapter.bin"]["folder"] == str(models / "instantid") and found["ip-adapter.bin"]["nodes"] == [
        "SceneToolsLoader"
    ]
    assert found["insightface"]["kind"] == "package" and "Run `pip install insightface==" in found["insightface"]["remedy"]
    assert "models.yaml does not list it" in found["style.safetensors"]["remedy"] and found["NotInstalled"]["kind"] == "node"
    assert found["me.png"]["kind"] == "picture" and "Choose a picture of yours" in found["me.png"]["remedy"]
    json.dumps(found)


def test_what_is_there_is_found_with_its_place_and_offers_no_download(models):
    for name in ("ip-adapter.bin", "instantid.safetensors", "sam_vit_b_01ec64.pth", "sd_xl_base_1.0.safetensors"):
        path = put(models, name)
        kind, key = ("SceneToolsLoader", next((tool for tool, file in TOOLS.items() if file == name), None))
        row = row_of(name, node(kind, **TOOLS) if key else node("CheckpointLoaderSimple", ckpt_name=name))
        assert (row["state"], row["path"], row["download"], row["verify"]) == ("found", str(path), False, True)
        os.truncate(path, 1000)
        row = row_of(name, node(kind, **TOOLS) if key else node("CheckpointLoaderSimple", ckpt_name=name))
        assert (row["state"], row["download"]) == ("other size", False) and "It has 1000 bytes, the published file" in row[
            "remedy"
        ]


def test_a_file_without_a_known_hash_offers_no_download(models):
    row = row_of("v2-1_512-ema-pruned.safetensors", node("CheckpointLoaderSimple", ckpt_name="v2-1_512-ema-pruned.safetensors"))
    assert not row["download"] and "Its hash is not known, so that no download is offered" in row["remedy"]
    put(models, "v2-1_512-ema-pruned.safetensors", 5214604494)
    row = row_of("v2-1_512-ema-pruned.safetensors", node("CheckpointLoaderSimple", ckpt_name="v2-1_512-ema-pruned.safetensors"))
    assert (row["state"], row["verify"]) == ("found", False)


def test_files_of_ones_own_are_found_where_the_combo_offers_them(models):
    (models / "checkpoints" / "mine.safetensors").touch()
    graph = (
        node("CheckpointLoaderSimple", ckpt_name="mine.safetensors"),
        node("CheckpointLoaderSimple", ckpt_name="gone.safetensors"),
    )
    assert (row_of("mine.safetensors", *graph)["state"], row_of("gone.safetensors", *graph)["state"]) == ("found", "missing")
    for outside in ("../../secret.safetensors", "/etc/passwd.bin", "a\0b.bin", "x" * 5000 + ".bin", "\ud800.bin"):
        for graph in (node("CheckpointLoaderSimple", ckpt_name=outside), node("LoadImage", image=outside)):
            (row,) = listing.rows({"1": graph}) or [{"state": "missing", "download": False}]
            assert row["state"] == "missing" and not row["download"]


def test_pictures_that_the_input_folder_holds_are_no_concern(models, tmp_path):
    (tmp_path / "input" / "sub").mkdir()
    (tmp_path / "input" / "sub" / "me.png").touch()
    assert listing.rows({"1": node("LoadImage", image="sub/me.png")}) == []
    assert listing.rows({"1": node("LoadImage", image="sub/me.png [input]")}) == []
    assert [row["name"] for row in listing.rows({"1": node("LoadImage", image="sub/you.png")})] == ["sub/you.png"]


DETECTORS = ["grounding-dino-tiny", "groundingdino_swint_ogc.pth", "mine/own.pth"]
TINY = [f"grounding-dino-tiny/{name}" for name in ("config.json", "pytorch_model.bin", "vocab.txt")]
LAYOUTS = [
    [],
    ["groundingdino_swint_ogc.pth", "mine/own.pth", "grounding-dino-tiny/config.json"],
    ["groundingdino_swint_ogc.pth", "mine/own.pth", "vocab.txt", "grounding-dino-tiny/model.safetensors"],
    ["groundingdino_swint_ogc.pth", "mine/own.pth", "mine/tokenizer.json", *TINY],
    ["groundingdino_swint_ogc.pth", "bert-base-uncased/tokenizer.json", *TINY[:2]],
    ["mine/own.pth", "mine/bert-base-uncased/vocab.txt"],
    ["../bert-base-uncased/vocab.txt", "groundingdino_swint_ogc.pth", "mine/own.pth"],
    ["../groundingdino/groundingdino_swint_ogc.pth", "../groundingdino/vocab.txt"],
    ["../groundingdino/groundingdino_swint_ogc.pth", "vocab.txt"],
]


@pytest.mark.parametrize("chosen", DETECTORS)
@pytest.mark.parametrize("files", LAYOUTS, ids=range(len(LAYOUTS)))
def test_a_detector_lacks_something_here_when_its_loader_says_so(models, chosen, files):
    for name in files:
        path = models / "grounding-dino" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"model_type": "grounding-dino"}))
    try:
        concept_files.check(concept_files.DETECTORS, chosen)
        loads = True
    except ValueError:
        loads = False
    states = [row["state"] for row in listing.rows({"1": node("ConceptDetectorLoader", file=chosen)})]
    assert ("missing" not in states) == loads


@pytest.mark.parametrize("folder", ["", "antelopev2/"])
def test_the_face_models_are_found_where_their_loader_finds_them(models, folder):
    graph = node("IdentityFaceAnalysis", files="any", device="auto")
    for count, name in enumerate(face_analysis.hashes()):
        assert row_of("antelopev2.zip", graph)["state"] == "missing" and count < 5
        put(models, name, 10, f"{FACES.removeprefix('models/')}/{folder}")
    row = row_of("antelopev2.zip", graph)
    assert row["state"] == "found" and row["path"] == str(face_analysis.find_pack()) and not row["download"]


def test_packages_are_found_by_importing_none_of_them(models):
    imported = set(sys.modules)
    row_of("insightface", node("IdentityFaceAnalysis", files="any", device="auto"))
    assert set(sys.modules) - imported == set()
    assert listing.places.version("x", {"module": "there_is_no_such_module"}) is None
    assert listing.places.version("pytest", {"module": "pytest"}) == f"version {pytest.__version__}"
    assert listing.places.version("os", {"module": "os"}) == "installed"


def test_the_node_reports_the_whole_graph_as_text_each_time(models):
    CheckFiles.hidden = type("Hidden", (), {"prompt": {"1": node("SceneToolsLoader", **TOOLS), "2": node("CheckFiles")}})
    try:
        output = CheckFiles.execute()
    finally:
        del CheckFiles.hidden
    (said,) = output.result
    assert said.startswith("Check Files: ")
    source = "https://huggingface.co/InstantX/InstantID/resolve/main/ip-adapter.bin"
    assert f"missing: ip-adapter.bin; for SceneToolsLoader; 1.69 GB; licence: Apache-2.0. Get it from {source} and put it" in said
    assert CheckFiles.fingerprint_inputs() != CheckFiles.fingerprint_inputs(), "files come and go"


@pytest.mark.parametrize("path", sorted((pack.ROOT / "workflows" / "api").glob("*.json")), ids=lambda path: path.stem)
def test_all_that_the_shipped_graphs_name_is_listed(models, path):
    rows = listing.rows(json.loads(path.read_text(encoding="utf-8")))
    own = [row["name"] for row in rows if row["name"].endswith((".png", ".jpg")) or "subject_adapters" in row["remedy"]]
    assert [row["name"] for row in rows if not row["listed"] and row["name"] not in own] == [], (
        "but pictures, and what is trained"
    )
    assert all(row["licence"] for row in rows if row["listed"])
