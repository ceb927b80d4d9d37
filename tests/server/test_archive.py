"""An install of the registry's archive, and of nothing else, in a fresh ComfyUI: every graph can be opened, and the demo runs."""

import json
import shutil
import sys
import zipfile
from pathlib import Path
from urllib.parse import quote

import pytest
from same_subject.dev import archive, server
from same_subject.dev import host as hosts
from same_subject.dev.showing import graphs
from same_subject.tests.conftest import COMFYUI_PATH

pytestmark = [
    pytest.mark.server,
    pytest.mark.skipif(not shutil.which("git") or not (archive.ROOT / ".git").exists(), reason="needs a clone and git"),
]


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A server with no pack but the unpacked archive, and without the packages that only some nodes need."""
    folder = tmp_path_factory.mktemp("install")
    archive.write(folder / "node.zip")
    with zipfile.ZipFile(folder / "node.zip") as packed:
        packed.extractall(folder / "pack")
    host = hosts.Host(Path(COMFYUI_PATH), Path(sys.executable), hosts.cache_folder() in Path(COMFYUI_PATH).parents)
    with server.Server(host, folder=folder / "pack", variables={"PYTHONPATH": ""}) as running:
        yield running


def test_every_node_of_every_graph_is_there(installed):
    known = installed.client.get("/object_info")
    names = installed.client.get("/workflow_templates")[server.FOLDER]
    assert len(names) >= 6
    for name in names:
        graph = installed.client.get(f"/api/workflow_templates/{server.FOLDER}/{quote(name)}.json")
        inner = [node for subgraph in graph.get("definitions", {}).get("subgraphs", []) for node in subgraph["nodes"]]
        own = {subgraph["id"] for subgraph in graph.get("definitions", {}).get("subgraphs", [])}
        types = {node["type"] for node in [*graph["nodes"], *inner]}
        assert types - own - {"Note", "MarkdownNote", "Reroute"} <= set(known), name


def test_the_demo_runs_and_help_and_words_are_served(installed):
    outputs = installed.client.run(graphs.read_graph(graphs.DEMO), timeout=300)
    pictures = [picture for output in outputs.values() for picture in output.get("images", []) if picture["type"] == "output"]
    assert pictures and all(len(installed.client.picture(picture)) > 1000 for picture in pictures)
    page = installed.client.get(f"/extensions/{server.FOLDER}/docs/JediApply.md")
    assert b"JeDi" in (page if isinstance(page, bytes) else json.dumps(page).encode())
    assert "JediApply" in installed.client.get("/i18n")["zh"]["nodeDefs"]
