"""The pack is reached under one name, from anywhere, and its root stays off sys.path."""

import ast
import sys
from pathlib import Path

import pytest
import same_subject
from same_subject.dev import pack

ROOT = Path(same_subject.__file__).resolve().parent


def test_the_root_never_goes_on_sys_path():
    assert str(ROOT) not in [str(Path(entry or ".").resolve()) for entry in sys.path if entry]


def test_loading_twice_gives_the_same_module():
    assert pack.load() is pack.load() is same_subject


def test_the_root_declares_only_a_web_folder_and_an_entrypoint():
    public = {name for name in vars(same_subject) if name.isupper() or name.startswith("comfy")}
    assert public == {"WEB_DIRECTORY", "comfy_entrypoint"}


@pytest.mark.parametrize("version", [(2, 7), (3, 6), (3, 9, 18)])
def test_an_old_python_is_refused_with_one_sentence(version):
    with pytest.raises(SystemExit, match="needs Python 3.10 to 3.13, but this is Python"):
        pack.check_python(version)


def test_the_supported_pythons_pass():
    for minor in (10, 11, 12, 13, 14):
        pack.check_python((3, minor))


@pytest.mark.parametrize("name", ["pack", "host", "demo", "test", "bench"])
def test_a_command_parses_on_a_python_that_is_too_old_so_that_it_can_say_so(name):
    source = (ROOT / "dev" / f"{name}.py").read_text(encoding="utf-8")
    ast.parse(source, feature_version=(3, 7))
