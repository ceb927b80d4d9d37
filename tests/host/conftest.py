"""Tests that need a ComfyUI: its code in this process, and (test_server_*.py) a live server.

`python3 dev/test.py` names the ComfyUI in COMFYUI_PATH and runs pytest with its Python. Without
that variable everything here is skipped.
"""

import os

import pytest

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
