"""Make the pack importable as `same_subject` in every test, and give tests that need a ComfyUI one.

Those stand in folders named `host` (the host's code in this process) and in `server` (a live server).
`python3 dev/test.py` names the ComfyUI in COMFYUI_PATH and runs pytest with its Python. Without that
variable they are not collected. `--fast` leaves out the markers `server`, `browser` and `slow`.
"""

import importlib.util
import os
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
COMFYUI_PATH = os.environ.get("COMFYUI_PATH")
NEEDS_HOST = {"host", "server"}

# `python -m pytest` puts the current folder first, where `nodes/` would shadow the host's `nodes`.
sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != ROOT]

spec = importlib.util.spec_from_file_location("same_subject_pack", ROOT / "dev" / "pack.py")
pack = importlib.util.module_from_spec(spec)
spec.loader.exec_module(pack)
pack.load()
if COMFYUI_PATH:
    pack.enter_host(COMFYUI_PATH)


def pytest_addoption(parser):
    """Options of `python3 dev/test.py` beyond pytest's own."""
    parser.addoption("--fast", action="store_true", help="leave out what needs a server, a browser or many seconds")
    parser.addoption("--require-browser", action="store_true", help="fail where no Chromium runs, instead of skipping")


def pytest_configure(config):
    """Choose the tests of `--fast`, and say at once where a browser that is required is missing."""
    from same_subject.tests.server import browser

    if config.getoption("--fast"):
        config.option.markexpr = "not server and not browser and not slow"
    if config.getoption("--require-browser") and browser.program() is None:
        raise pytest.UsageError(browser.MISSING)


def pytest_ignore_collect(collection_path):
    """Leave out what needs a ComfyUI where none is named."""
    if not COMFYUI_PATH and NEEDS_HOST & set(collection_path.relative_to(ROOT / "tests").parts[:-1]):
        return True
    return None


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config, items):
    """Mark what needs a ComfyUI, a live server of it, or a browser; among several processes the slowest files begin."""
    for item in items:
        if NEEDS_HOST & set(item.path.relative_to(ROOT / "tests").parts[:-1]):
            item.add_marker(pytest.mark.host)
        if "live" in item.fixturenames:
            item.add_marker(pytest.mark.server)
        if "page" in item.fixturenames:
            item.add_marker(pytest.mark.browser)
    if hasattr(config, "workerinput"):
        browsing = {item.path for item in items if "page" in item.fixturenames}
        items.sort(key=lambda item: item.path not in browsing)


@pytest.fixture(scope="session")
def live():
    """A running server with this pack, reference pictures in its input folder and models to load.

    Models in `models/jedi_demo`: `tiny.safetensors` (random weights, 9 channels) and three that
    must be refused. In `models/scores` a tiny CLIP and DINO. Pictures: `red.png`, `green.png` (of different sizes). A subject:
    `toy.safetensors`.
    """
    from PIL import Image
    from same_subject.dev import host as hosts
    from same_subject.dev import server
    from same_subject.tests.hostile import watching
    from same_subject.tests.server import checkpoints
    from same_subject.tests.tiny import models, score_models, subjects

    host = hosts.Host(Path(COMFYUI_PATH), Path(sys.executable), hosts.cache_folder() in Path(COMFYUI_PATH).parents)
    tools = watching.variables(host, os.environ.get("PYTHONPATH", ""))  # optional packages of the nodes; and who watches it
    arguments = ["--bf16-unet"] if checkpoints.USE_SDXL else []  # the host's choice for a CPU, float32, takes 16 GB
    with server.Server(host, arguments, variables=tools) as running:
        folder = running.base / "models" / "jedi_demo"
        tiny = models.save_demo(folder / "tiny.safetensors").read_bytes()
        models.save_demo(folder / "other_order.safetensors", **{"jedi.channel_order": "mask, noisy, reference"})
        (folder / "truncated.safetensors").write_bytes(tiny[: len(tiny) // 2])
        (folder / "garbage.safetensors").write_bytes(b"<html>404: Not Found</html>")
        subjects.save(running.base / "models" / "subjects" / "toy.safetensors")
        score_models.save(running.base / "models" / "scores")
        for name, size in {"red": (64, 64), "green": (48, 80)}.items():
            Image.new("RGB", size, name).save(running.base / f"{name}.png")
            running.client.upload(running.base / f"{name}.png")
        yield running
