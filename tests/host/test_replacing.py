"""Nodes of other packs that the host replaces: what is registered, when, and what becomes of a prompt."""

import asyncio
import copy
from types import SimpleNamespace

import pytest
import server
from aiohttp import web
from app.node_replace_manager import NodeReplaceManager
from same_subject.nodes.host import replacing
from same_subject.nodes.identity.instantid import nodes as instantid

import nodes as host_nodes

THEIRS = {
    "InstantIDModelLoader": (["instantid_file"], 1),
    "InstantIDFaceAnalysis": (["provider"], 1),
    "FaceKeypointsPreprocessor": (["faceanalysis", "image"], 1),
    "ApplyInstantID": (
        "instantid insightface control_net image model positive negative weight start_at end_at image_kps mask".split(), 3
    ),
    "ApplyInstantIDAdvanced": (
        "instantid insightface control_net image model positive negative ip_weight cn_strength start_at end_at noise "
        "combine_embeds image_kps mask".split(), 3
    ),
    "InstantIDAttentionPatch": ("instantid insightface image model weight start_at end_at noise mask".split(), 2),
    "ApplyInstantIDControlNet": (
        "face_embeds control_net image_kps positive negative strength start_at end_at mask".split(), 2
    ),
}  # fmt: skip
"""The inputs of ComfyUI_InstantID's nodes, in their order, and how many outputs they have."""
SOCKETS = set("instantid insightface faceanalysis face_embeds control_net image model positive negative image_kps mask".split())
NEW = {one.old_node_id: one.new_node_id for one in instantid.replacements()}


@pytest.fixture
def host(monkeypatch):
    """A server that is not running yet, with our nodes and none of theirs."""
    app = web.Application()
    running = SimpleNamespace(app=app, node_replace_manager=NodeReplaceManager(), handlers=[])
    running.add_on_prompt_handler = running.handlers.append
    monkeypatch.setattr(server.PromptServer, "instance", running, raising=False)
    for name in NEW.values():
        monkeypatch.setitem(host_nodes.NODE_CLASS_MAPPINGS, name, object)
    for name in THEIRS:
        monkeypatch.delitem(host_nodes.NODE_CLASS_MAPPINGS, name, raising=False)
    return running


async def start(host):
    await replacing.register(instantid.replacements())
    assert host.node_replace_manager.as_dict() == {}, "other packs are still to be loaded"
    host.app.on_startup.freeze()
    await host.app.startup()


def replaced(host, prompt):
    """What the host makes of a request, as its route does."""
    request = {"prompt": prompt}
    for handler in host.handlers:
        request = handler(request)
    host.node_replace_manager.apply_replacements(request["prompt"])
    return request["prompt"]


def test_every_node_of_theirs_has_one_of_ours_with_its_inputs_and_outputs(host):
    asyncio.run(start(host))
    assert set(host.node_replace_manager.as_dict()) == set(THEIRS)
    for (one,) in host.node_replace_manager.as_dict().values():
        given, outputs = THEIRS[one["old_node_id"]]
        taken = [mapped["old_id"] for mapped in one["input_mapping"] if "old_id" in mapped]
        assert taken == [name for name in given if name != "provider"], "all of them, in their order"
        assert one["output_mapping"] == [{"new_idx": number, "old_idx": number} for number in range(outputs)]
        sockets = {
            "instantid",
            "insightface",
            "faceanalysis",
            "face_embeds",
            "control_net",
            "image",
            "model",
            "positive",
            "negative",
        }
        assert one["old_widget_ids"] == [name for name in given if name not in sockets | {"image_kps", "mask"}]


@pytest.mark.parametrize("name", [name for name in THEIRS if NEW[name].startswith("IdentityApplyI")])
@pytest.mark.parametrize("given", [(), ("mask",), ("image_kps", "mask")])
def test_a_prompt_keeps_its_mask_and_keypoints_and_may_lack_them(host, name, given):
    asyncio.run(start(host))
    optional = {"mask", "image_kps"}
    inputs = {one: [one, 0] for one in THEIRS[name][0] if one not in optional or one in given}
    prompt = {"1": {"class_type": name, "inputs": inputs}}
    (node,) = replaced(host, copy.deepcopy(prompt)).values()
    assert node["class_type"] == NEW[name]
    assert node["inputs"] == {**dict.fromkeys(optional & set(THEIRS[name][0])), **inputs}, "without `_meta`, too"


def test_a_graph_of_replaced_nodes_alone_keeps_its_links(host):
    """The host looks for an input by its old name in a node that it may have replaced before."""
    asyncio.run(start(host))
    links = {"faceanalysis": ["analysis", 0], "image": ["picture", 0]}
    prompt = {
        "analysis": {"class_type": "InstantIDFaceAnalysis", "inputs": {"provider": "CPU"}},
        "keypoints": {"class_type": "FaceKeypointsPreprocessor", "inputs": links},
        "face": {
            "class_type": "ApplyInstantIDControlNet",
            "inputs": {"image_kps": ["keypoints", 0], "face_embeds": ["patch", 1]},
        },
        "patch": {"class_type": "InstantIDAttentionPatch", "inputs": {"insightface": ["analysis", 0]}},
    }
    after = replaced(host, copy.deepcopy(prompt))
    assert after["keypoints"]["inputs"] == links
    assert after["face"]["inputs"]["face_embeds"] == ["patch", 1] and after["patch"]["inputs"]["insightface"] == ["analysis", 0]
    renamed = {mapped["old_id"] for one in instantid.replacements() for mapped in one.input_mapping
               if mapped.get("old_id", mapped["new_id"]) != mapped["new_id"]}  # fmt: skip
    assert renamed == {"instantid_file"}, "which no node of theirs gives"


def test_what_is_left_out_and_needed_is_for_the_host_to_say(host):
    asyncio.run(start(host))
    prompt = {"1": {"class_type": "ApplyInstantID", "inputs": {}}, "2": {"class_type": "InstantIDFaceAnalysis", "inputs": {}}}
    first, second = replaced(host, prompt).values()
    assert set(first["inputs"].values()) == {None}
    assert second == {"class_type": "IdentityFaceAnalysis", "_meta": {}, "inputs": {"files": "any", "device": "auto"}}
    for odd in ({}, {"prompt": None}, {"prompt": {"1": None, "2": {"class_type": []}, "3": {"inputs": 3}}}, None):
        assert replacing.completed(copy.deepcopy(odd)) == odd


def test_nothing_of_a_pack_that_is_installed_is_replaced(host, monkeypatch):
    async def installed_later():
        await replacing.register(instantid.replacements())
        monkeypatch.setitem(host_nodes.NODE_CLASS_MAPPINGS, "ApplyInstantID", object)  # loaded after this pack
        host.app.on_startup.freeze()
        await host.app.startup()

    asyncio.run(installed_later())
    assert set(host.node_replace_manager.as_dict()) == set(THEIRS) - {"ApplyInstantID"}
    prompt = {"1": {"class_type": "ApplyInstantID", "inputs": {"weight": 1.0}}}
    assert replaced(host, copy.deepcopy(prompt)) == prompt


def test_the_pack_loads_without_a_server_and_on_one_that_runs(host, monkeypatch):
    host.app.on_startup.freeze()
    asyncio.run(replacing.register(instantid.replacements()))
    assert set(host.node_replace_manager.as_dict()) == set(THEIRS)
    monkeypatch.delattr(server.PromptServer, "instance")
    asyncio.run(replacing.register(instantid.replacements()))
