"""Scenes of several concepts on the live server: the whole graph in both modes, and wrong ones refused."""

import pytest
from same_subject.dev import client
from same_subject.tests.server import graphs
from same_subject.tests.server.graphs import changed, link, node


def scene(continue_from="blend", sampler="euler"):
    """A prompt on the left, a joint set's subject on the right, in a scene of 64 x 64 pixels."""
    graph = graphs.basic(prompts="a mug")
    del graph["pick"]
    for name, words in {"words": "a table", "null": "blurry", "person": "a person"}.items():
        graph[name] = node("CLIPTextEncode", clip=link("model", 1), text=words)
    graph["black"] = node("SolidMask", value=0.0, width=64, height=64)
    graph["half"] = node("SolidMask", value=1.0, width=28, height=64)
    for name, x in {"left": 0, "right": 36}.items():
        graph[name] = node("MaskComposite", destination=link("black"), source=link("half"), x=x, y=0, operation="add")
    graph["first"] = node("ConceptBranch", positive=link("person"), negative=link("null"), mask=link("left"))
    graph["second"] = node(
        "ConceptBranch", positive=link("set", 0), negative=link("set", 1), mask=link("right"), model=link("jedi"),
        joint_set=link("set", 3), previous=link("first"),
    )  # fmt: skip
    graph["scene"] = node(
        "ConceptScene", model=link("model"), branches=link("second"), continue_from=continue_from, last_steps=1, feather=0.5
    )
    graph["empty"] = node("EmptyLatentImage", width=64, height=64, batch_size=1)
    graph = changed(
        graph, "sampler", model=link("scene"), positive=link("words"), negative=link("null"), latent_image=link("empty"),
        steps=3, sampler_name=sampler,
    )  # fmt: skip
    return changed(graph, "decode", samples=link("sampler"))


def test_a_scene_is_painted_in_both_modes(live):
    plain = graphs.pictures(live, changed(scene(), "sampler", model=link("model")))
    painted = [graphs.pictures(live, scene(mode)) for mode in ("blend", "own")]
    assert all(len(pictures) == 1 and pictures[0].size == (64, 64) for pictures in (plain, *painted))
    assert len({pictures[0].tobytes() for pictures in (plain, *painted)}) == 3


def test_wrong_scenes_come_back_with_the_remedy_and_the_server_goes_on(live):
    both = changed(scene(), "right", source=link("half"), x=0)
    wrong = {
        "set `continue_from` to `blend`": scene("own", "dpmpp_2m"),
        "lies almost wholly inside": both,
        "has no place": graphs.without(scene(), "second", "mask"),
        "no `joint_set`": graphs.without(scene(), "second", "joint_set"),
        "already went through a Concept Scene": {
            **scene(), "again": changed(scene(), "scene", model=link("scene"))["scene"],
            "sampler": changed(scene(), "sampler", model=link("again"))["sampler"],
        },
    }  # fmt: skip
    for message, graph in wrong.items():
        with pytest.raises(client.NodeFailed) as caught:
            live.client.run(graph)
        assert message in " ".join(str(caught.value).split()), caught.value
    with pytest.raises(client.Refused, match="ConceptScene"):
        live.client.run(changed(scene(), "scene", continue_from="theirs"))
    assert len(graphs.pictures(live, scene())) == 1
