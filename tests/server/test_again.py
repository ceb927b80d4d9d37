"""A second pass of a set, and one picture of it made again, with the demo's model on the live server."""

import copy

import pytest
from same_subject.dev import pack
from same_subject.tests.server import graphs
from same_subject.tests.server.graphs import link, node

HAS_MODEL = (pack.ROOT / "demo" / "demo.safetensors").is_file()
pytestmark = pytest.mark.skipif(not HAS_MODEL, reason="the demo model is not in this clone")
PROMPTS = "a photo of a box on the beach\na photo of a box in the snow\na photo of a box at night"


def first_pass(seed=1, prompts=PROMPTS, sets=1):
    """The demo with one reference in few steps; its nodes have the names of `graphs.basic`."""
    graph = graphs.basic(("red.png",), prompts, steps=8, size=0, seed=seed, file="demo.safetensors")
    del graph["picture0"]
    graph["picture"] = node("ImageFromBatch", image=link("model", 3), batch_index=0, length=1)
    graph["references"]["inputs"] |= {"images.image0": link("picture"), "captions": "a photo of a box in the desert"}
    return graphs.changed(graph, "set", sets=sets)


def second(graph, start, seed, denoise, **changes):
    """A graph with a second set, JeDi, sampler and the rest after the first ones; ``save`` then has its pictures."""
    graph = copy.deepcopy(graph)
    names = "set", "jedi", "sampler", "pick", "decode"
    for name in names:
        inputs = {
            key: [f"{value[0]} 2", value[1]] if isinstance(value, list) and value[0] in names else value
            for key, value in graph[name]["inputs"].items()
        }
        graph[f"{name} 2"] = node(graph[name]["class_type"], **inputs)
    graph["set 2"]["inputs"] |= {"start": start, **changes}
    graph["sampler 2"]["inputs"] |= {"seed": seed, "denoise": denoise}
    graph["save"]["inputs"]["images"] = link("decode 2")
    return graph


def coarse(picture):
    """Its colours on 8 x 8 places."""
    import numpy
    from PIL import Image

    return numpy.asarray(picture.resize((8, 8), Image.Resampling.BOX), float)


def distance(one, other):
    return abs(coarse(one) - coarse(other)).mean()


@pytest.mark.parametrize("sets, picked", ((1, False), (2, True)))
def test_a_larger_second_pass_keeps_what_the_pictures_show(live, sets, picked):
    """Mean distances of 8 x 8 colours in 0 to 255: 11 to 18 from the first pass, and 21 to 44 from pictures of another seed."""
    once = first_pass(sets=sets)
    before, other = graphs.pictures(live, once), graphs.pictures(live, graphs.changed(once, "sampler", seed=2))
    once["larger"] = node(
        "LatentUpscaleBy", samples=link("pick" if picked else "sampler"), upscale_method="bicubic", scale_by=1.5
    )
    after = graphs.pictures(live, second(once, link("larger"), seed=3, denoise=0.5))
    assert [picture.size for picture in after] == [(96, 96)] * 3 * sets
    kept, changed = ([distance(*pair) for pair in zip(of, after, strict=True)] for of in (before, other))
    assert all(one < two for one, two in zip(kept, changed, strict=True))
    assert sum(kept) < 0.6 * sum(changed)


def test_one_picture_is_made_again_and_the_others_stay_what_they_are(live):
    once = first_pass()
    before = graphs.pictures(live, once)
    for start in ("sampler", "pick"):
        after = graphs.pictures(live, second(once, link(start), seed=5, denoise=1.0, redo="2"))
        same = [one.tobytes() == two.tobytes() for one, two in zip(before, after, strict=True)]
        assert same == [True, False, True] and distance(before[1], after[1]) > 2
    night = PROMPTS.replace("in the snow", "at night")
    other = graphs.pictures(live, second(once, link("sampler"), seed=1, denoise=1.0, redo="2", prompts=night))
    assert [one.tobytes() == two.tobytes() for one, two in zip(before, other, strict=True)] == [True, False, True]


def test_what_to_make_again_is_checked_before_the_queue_and_before_the_first_step(live):
    from same_subject.dev import client

    once = first_pass()
    with pytest.raises(client.Refused, match="Joint Set: `redo` holds 'two', but needs numbers of pictures"):
        live.client.run(second(once, link("sampler"), 1, 1.0, redo="two"))
    for changes, message in (
        ({"redo": "4"}, "`redo` asks for picture 4, but there are 3"),
        ({"width": 128, "height": 128}, "`width` and `height` are 128x128, but the latents at `start`"),
    ):
        with pytest.raises(client.NodeFailed, match=message):
            live.client.run(second(once, link("sampler"), 1, 1.0, **changes))
    with pytest.raises(client.NodeFailed, match="`redo` is `1`, but needs the pictures that were made before"):
        live.client.run(graphs.changed(once, "set", redo="1"))
