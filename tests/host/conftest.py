"""Tests that need a ComfyUI: its code in this process, and (test_server_*.py) a live server.

`python3 dev/test.py` names the ComfyUI in COMFYUI_PATH and runs pytest with its Python. Without
that variable everything here is skipped.
"""

import os
import sys
from pathlib import Path

import pytest
from same_subject.dev import host as hosts
from same_subject.dev import pack

COMFYUI_PATH = os.environ.get("COMFYUI_PATH")

if COMFYUI_PATH:
    pack.enter_host(COMFYUI_PATH)
else:
    collect_ignore_glob = ["test_*.py"]


def pytest_collection_modifyitems(items):
    """Everything in this folder carries the marker `host`."""
    here = os.path.dirname(__file__)
    for item in items:
        if str(item.path).startswith(here):
            item.add_marker(pytest.mark.host)


@pytest.fixture(scope="session")
def live():
    """A running server with this pack, reference pictures in its input folder and models to load.

    Models in `models/jedi_demo`: `tiny.safetensors` (random weights, 9 channels) and three that
    must be refused. Pictures: `red.png`, `green.png` (of different sizes).
    """
    from PIL import Image
    from same_subject.dev import server
    from same_subject.tests.host import checkpoints
    from same_subject.tests.tiny import models

    host = hosts.Host(Path(COMFYUI_PATH), Path(sys.executable), hosts.cache_folder() in Path(COMFYUI_PATH).parents)
    tools = {name: os.environ[name] for name in ("PYTHONPATH",) if name in os.environ}  # optional packages of the nodes
    arguments = ["--bf16-unet"] if checkpoints.USE_SDXL else []  # the host's choice for a CPU, float32, takes 16 GB
    with server.Server(host, arguments, variables=tools) as running:
        folder = running.base / "models" / "jedi_demo"
        tiny = models.save_demo(folder / "tiny.safetensors").read_bytes()
        models.save_demo(folder / "other_order.safetensors", **{"jedi.channel_order": "mask, noisy, reference"})
        (folder / "truncated.safetensors").write_bytes(tiny[: len(tiny) // 2])
        (folder / "garbage.safetensors").write_bytes(b"<html>404: Not Found</html>")
        for name, size in {"red": (64, 64), "green": (48, 80)}.items():
            Image.new("RGB", size, name).save(running.base / f"{name}.png")
            running.upload(running.base / f"{name}.png")
        yield running
