"""Imports point one way: nodes.py -> host/ -> pure modules, and nothing but these reaches the host."""

import ast
import sys

import pytest
from same_subject.dev import pack

NODES = pack.ROOT / "nodes"
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
MODULES = sorted(NODES.rglob("*.py"))


def is_host_side(path):
    return path.parent == NODES / "host" or path.name.endswith("nodes.py") or path == NODES / "extension.py"


def imports(path):
    """(absolute top packages, folders under nodes/ of relative imports, all levels of the file)."""
    outside, inside = set(), set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            outside |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            outside.add(node.module.split(".")[0])
        elif isinstance(node, ast.ImportFrom):
            folder = path.parents[node.level - 1]
            parts = (node.module or "").split(".") if node.module else []
            for target in [parts] if parts else [[alias.name] for alias in node.names]:
                inside.add(folder.joinpath(*target))
    return outside, inside


def test_there_are_modules_of_both_kinds():
    assert sum(map(is_host_side, MODULES)) > 5 and len(MODULES) - sum(map(is_host_side, MODULES)) > 5


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(NODES)))
def test_a_module_imports_only_what_stands_below_it(path):
    outside, inside = imports(path)
    if not is_host_side(path):
        assert outside <= PURE_PACKAGES, "a pure module imports torch, einops, the standard library and its siblings"
        assert all(target.parent != NODES / "host" and target != NODES / "host" for target in inside)
    if not path.name.endswith("nodes.py") and path.name != "extension.py":
        assert all(not target.name.endswith("nodes") for target in inside), "only extension.py gathers the node files"
        assert "comfy_api" not in outside or path.name == "sockets.py"
    assert all(NODES in target.parents for target in inside), "the pack never imports research, dev or tests"
    if path.name == "__init__.py":
        assert not outside and not inside, "a package's __init__ holds a docstring only"


def test_no_module_imports_a_host_package_by_a_name_of_the_packs_own():
    assert not any((NODES / name).exists() for name in HOST_PACKAGES)
