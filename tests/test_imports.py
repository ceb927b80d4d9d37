"""Imports point one way: nodes.py -> its flow's host/ -> the shared host/ -> pure modules; between flows downward only."""

import ast
import sys

import pytest
from same_subject.dev import pack

NODES = pack.ROOT / "nodes"
FLOWS = ("host", "joint", "concepts", "identity", "scene", "subject", "data", "metrics", "training", "synthesis", "demo", "files")
"""The packages under nodes/, each of which may import from those before it (docs/architecture.md)."""
HOST_PACKAGES = {
    "comfy",
    "comfy_api",
    "comfy_extras",
    "comfy_execution",
    "execution",
    "folder_paths",
    "latent_preview",
    "nodes",
    "server",
}
PURE_PACKAGES = {"torch", "einops", *sys.stdlib_module_names}
LIBRARIES = {
    "data": {"PIL", "numpy", "av", "pyarrow"},
    "metrics": {"PIL"},
    "training": {"accelerate", "bitsandbytes", "safetensors"},
}
"""What pure modules of a flow may import besides, where they use it."""
MODULES = sorted(path for path in NODES.rglob("*.py") if path.parent != NODES)
PURE, HOST, NODE_FILE = range(3)


def storey(path):
    """Where a module of a flow stands: pure at the bottom, then its `host`, then its node file."""
    return NODE_FILE if path.name == "nodes.py" else HOST if "host" in path.relative_to(NODES).parts else PURE


def module_at(target):
    """The file of a dotted name that is a path here, or None for a name inside a module."""
    return next((file for file in (target.with_suffix(".py"), target / "__init__.py") if file.is_file()), None)


def imports(path):
    """(absolute top packages, files under nodes/ that are imported relatively), wherever in the file."""
    outside, inside = set(), set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            outside |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            outside.add(node.module.split(".")[0])
        elif isinstance(node, ast.ImportFrom):
            folder = path.parents[node.level - 1].joinpath(*(node.module or "").split("."))
            inside |= {module_at(folder / alias.name) or module_at(folder) for alias in node.names}
    return outside, inside


def test_there_are_modules_on_every_storey_of_every_flow():
    found = {(path.relative_to(NODES).parts[0], storey(path)) for path in MODULES}
    with_nodes = [flow for flow, place in found if place == NODE_FILE]
    assert {(flow, place) for flow in with_nodes for place in (PURE, HOST)} <= found
    assert {place for flow, place in found if flow == "data"} == {PURE}, "it has neither nodes nor anything of the host"
    assert {flow for flow, _ in found} <= set(FLOWS)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(NODES)))
def test_a_module_imports_only_what_stands_below_it(path):
    outside, inside = imports(path)
    flow = path.relative_to(NODES).parts[0]
    assert None not in inside, "the pack never imports research, dev or tests"
    if path.name == "__init__.py":
        assert not outside and not inside, "a package's __init__ holds a docstring only"
    if storey(path) == PURE:
        assert outside <= PURE_PACKAGES | LIBRARIES.get(flow, set()), (
            "a pure module imports torch, einops, the standard library and its siblings"
        )
    if storey(path) != NODE_FILE:
        assert "comfy_api" not in outside or path.parent == NODES / "host", "schemas stand in node files"
    for target in inside:
        other = target.relative_to(NODES).parts[0]
        assert FLOWS.index(other) <= FLOWS.index(flow), f"{flow} stands below {other}"
        assert storey(target) <= storey(path), "pure modules never reach up to the host, nor anything to the nodes"
        assert storey(target) != NODE_FILE, "only extension.py gathers the node files"


def test_no_module_imports_a_host_package_by_a_name_of_the_packs_own():
    assert not any((NODES / name).exists() for name in HOST_PACKAGES)
