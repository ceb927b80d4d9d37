"""A ComfyUI that is too old: one line, and an import failure as the host itself shows it."""

import asyncio
import logging
import sys

import comfyui_version
import folder_paths
import pytest
import same_subject
from same_subject.dev import pack
from same_subject.nodes import extension
from same_subject.nodes.host import version

import nodes as host_nodes


@pytest.mark.parametrize("given", ("0.3.64", "0.16.2", "0.9", "v0.3.76", "0.3.64+5.gabc"))
def test_what_is_older_is_refused_in_one_line(given):
    with pytest.raises(ImportError) as error:
        version.check(given)
    assert str(error.value) == f"Same Subject needs ComfyUI {version.OLDEST} or newer, but this is {given}: update ComfyUI."


@pytest.mark.parametrize("given", (version.OLDEST, "0.30.0", "0.30.0rc1", "v1.0", "0.17", "unknown", ""))
def test_what_is_as_new_or_says_nothing_is_taken(given):
    version.check(given)


@pytest.fixture
def load(monkeypatch):
    """Loads the pack as the host does; returns whether it counts as loaded, and which nodes it brought."""
    for table in ("NODE_CLASS_MAPPINGS", "NODE_DISPLAY_NAME_MAPPINGS", "EXTENSION_WEB_DIRS", "LOADED_MODULE_DIRS"):
        monkeypatch.setattr(host_nodes, table, dict(getattr(host_nodes, table)))
    monkeypatch.setattr(folder_paths, "folder_names_and_paths", dict(folder_paths.folder_names_and_paths))
    modules = dict(sys.modules)

    def run():
        before = set(host_nodes.NODE_CLASS_MAPPINGS)
        loaded = asyncio.run(host_nodes.load_custom_node(str(pack.ROOT)))
        return loaded, set(host_nodes.NODE_CLASS_MAPPINGS) - before

    yield run
    for name in set(sys.modules) - set(modules):
        if str(pack.ROOT) in name:
            del sys.modules[name]


def test_an_old_host_says_one_line_and_counts_the_pack_as_failed(load, monkeypatch, caplog):
    assert load() == (True, {node.GET_SCHEMA().node_id for node in extension.NODES})
    monkeypatch.setattr(comfyui_version, "__version__", "0.3.64")
    caplog.clear()
    with caplog.at_level(logging.INFO):
        loaded, _ = load()
    assert loaded is False, "the host then lists it under IMPORT FAILED"
    (said,) = (record for record in caplog.records if record.levelno >= logging.WARNING)
    assert said.exc_info is None and "\n" not in said.getMessage()
    assert "Same Subject needs ComfyUI 0.16.3 or newer, but this is 0.3.64" in said.getMessage()


def test_a_pack_without_a_node_that_can_be_described_does_not_count_as_loaded(monkeypatch):
    listed = asyncio.run(same_subject.comfy_entrypoint())
    monkeypatch.setattr(extension, "_usable", lambda node: node is extension.NODES[0])
    assert asyncio.run(listed.get_node_list()) == [extension.NODES[0]]
    monkeypatch.setattr(extension, "_usable", lambda node: False)
    with pytest.raises(ImportError, match="none of its nodes could be described"):
        asyncio.run(listed.get_node_list())
