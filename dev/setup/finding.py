"""Which ComfyUI to use: the one that is named, the one around this folder, or a private one."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

from same_subject.dev import pack
from same_subject.dev.setup import installing, pythons
from same_subject.dev.setup.caching import cache_folder
from same_subject.dev.setup.comfyui import Host, is_comfyui, read_version
from same_subject.dev.setup.errors import SetupError
from same_subject.nodes.host.version import OLDEST, numbers


def find(chosen: str | Path | None = None, say: Callable[[str], object] = print) -> Host:
    """Return the `Host` to use; installs the private one where no other is named or around."""
    named = chosen or os.environ.get("COMFYUI_PATH")
    if named:
        return users_host(named)
    around = surrounding_comfyui(sys.argv[0])
    if around:
        host = users_host(around)
        say(f"Using the ComfyUI around this folder: {around}, with {host.python}")
        return host
    return installing.private_host(cache_folder(), say)


def surrounding_comfyui(command: str | Path) -> Path | None:
    """The ComfyUI whose `custom_nodes/` this folder stands in, or a link to it that `command` was called by; or None."""
    for root in (Path(os.path.abspath(command)).parent.parent, pack.ROOT):
        if root.parent.name == "custom_nodes" and is_comfyui(root.parent.parent):
            return root.parent.parent
    return None


def users_host(path: str | Path) -> Host:
    """The `Host` of a ComfyUI folder of the user's own, with its own Python environment."""
    root = Path(path).expanduser().resolve()
    if not is_comfyui(root) and is_comfyui(root / "ComfyUI"):
        root = root / "ComfyUI"
    if not is_comfyui(root):
        raise SetupError(f"{root} is not a ComfyUI folder: give the folder that holds main.py and comfy/.")
    version = read_version(root)
    if version != "unknown" and numbers(version) < numbers(OLDEST):
        raise SetupError(f"{root} is ComfyUI {version}, but {OLDEST} or newer is needed: update it, or name another.")
    tried = list(dict.fromkeys(pythons.pythons_beside(root)))
    for python in tried:
        if pythons.can_import(python, "torch", "aiohttp", "PIL", "safetensors"):
            return Host(root, python, private=False)
    raise SetupError(
        f"No Python with torch and ComfyUI's other packages was found beside {root} (tried {', '.join(map(str, tried))}): run "
        f"this command with the Python that runs your ComfyUI, as in `PYTHON {sys.argv[0]}`."
    )
