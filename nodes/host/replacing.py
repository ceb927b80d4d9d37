"""Graphs that were made with another pack: the host puts nodes of this one where that pack's are not installed.

The host's mechanism maps one node to one. It stumbles over an input that a prompt leaves out, so that is put in before, as None,
which is what a node gets for it anyway.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import server
from comfy_api.latest import ComfyAPI, io

import nodes

_registered: dict[str, io.NodeReplace] = {}
"""What `register` was given, by the node that is replaced."""


async def register(replacements: Sequence[io.NodeReplace]) -> None:
    """Tell the host what replaces what, when all packs are loaded, and only where the replaced node is not installed."""
    running = getattr(server.PromptServer, "instance", None)
    if running is None:  # a test or a tool that loads the pack
        return
    _registered.update({one.old_node_id: one for one in replacements})

    async def all_packs_are_loaded(_=None) -> None:
        for one in replacements:
            if not _installed(one.old_node_id):
                await ComfyAPI().node_replacement.register(one)

    if running.app.on_startup.frozen:
        await all_packs_are_loaded()
    else:
        running.app.on_startup.append(all_packs_are_loaded)
    running.add_on_prompt_handler(completed)


def completed(request: dict[str, Any]) -> dict[str, Any]:
    """A request to run a prompt, with None for inputs that it leaves out of nodes that were registered, where those are replaced.

    What is no such request comes back as it is: the host says what is wrong with it.
    """
    prompt = request.get("prompt") if isinstance(request, dict) else None
    for node in prompt.values() if isinstance(prompt, dict) else ():
        if not isinstance(node, dict) or not isinstance(node.get("inputs"), dict):
            continue
        one = _registered.get(node.get("class_type", ""))
        if one is None or _installed(one.old_node_id):
            continue
        node.setdefault("_meta", {})
        for mapped in one.input_mapping or ():
            if "old_id" in mapped:
                node["inputs"].setdefault(mapped["old_id"], None)
    return request


def _installed(node_id: str) -> bool:
    return node_id in vars(nodes)["NODE_CLASS_MAPPINGS"]  # the host's module, which type checkers take for this pack
