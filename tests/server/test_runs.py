"""Graphs on the live server, queued and watched as a browser does it."""

from pathlib import Path

import numpy as np
import pytest
from same_subject.dev import client, pack
from same_subject.dev.showing import graphs as demo_graphs
from same_subject.nodes.joint.prompts import split_prompts
from same_subject.tests.server import graphs


def example_graph():
    """The demo's graph, with random weights where a clone has no demo model."""
    graph = demo_graphs.read_graph(demo_graphs.DEMO)
    loader = demo_graphs.node_of(graph, "JediDemoLoader")["inputs"]
    if not (pack.ROOT / "demo" / loader["file"]).is_file():
        loader["file"] = "tiny.safetensors"
    return graph


def test_the_example_workflow_gives_its_pictures_with_nothing_uploaded(live):
    from PIL import Image

    graph = example_graph()
    demo_graphs.node_of(graph, "KSampler")["inputs"]["seed"] += 1  # the host would answer with what another test made
    seen = []
    outputs = live.client.run(graph, lambda kind, data: seen.append((kind, data)))
    saved = [
        graphs.open_picture(live, entry) for node in graph if graph[node]["class_type"] == "SaveImage"
        for entry in outputs[node]["images"]
    ]  # fmt: skip
    prompts = split_prompts(demo_graphs.node_of(graph, "JediJointSet")["inputs"]["prompts"])
    wanted = demo_graphs.node_of(graph, "JediJointSet")["inputs"]["pictures"] or len(prompts)
    assert len(saved) == wanted
    steps = [data["value"] for kind, data in seen if kind == "progress"]
    assert demo_graphs.node_of(graph, "KSampler")["inputs"]["steps"] in steps
    for picture in saved:
        assert picture.size[0] % 8 == picture.size[1] % 8 == 0
        assert any(low != high for low, high in picture.getextrema())
        small = picture.resize([side // 4 for side in picture.size], Image.Resampling.NEAREST)
        assert small.size == (64, 64) and picture.tobytes() == small.resize(picture.size, Image.Resampling.NEAREST).tobytes()


def test_the_example_workflow_takes_pictures_of_the_users_own(live):
    graph = demo_graphs.fill_graph(example_graph(), ["green.png", "red.png"], [], prompts=["a box in the snow"], steps=1)
    outputs = live.client.run(graph)
    (entry,) = (entry for node in outputs if graph[node]["class_type"] == "SaveImage" for entry in outputs[node]["images"])
    assert graphs.open_picture(live, entry).size == (4 * 48, 4 * 80)


@pytest.mark.parametrize("guidance", ["joint", "text first", "image first", "text only"])
def test_every_guidance_runs_and_gives_one_picture_a_prompt(live, guidance):
    pictures = graphs.pictures(live, graphs.basic(("red.png", "green.png"), "a\nb\nc", guidance=guidance))
    assert [picture.size for picture in pictures] == [(64, 64)] * 3


def test_the_same_seed_gives_the_same_pictures_and_another_seed_gives_others(live):
    first, again, other = (
        [picture.tobytes() for picture in graphs.pictures(live, graphs.basic(seed=seed, prompts=prompts))]
        for seed, prompts in ((5, "a\nb"), (5, "a \nb"), (6, "a\nb"))
    )  # the blank makes the host run it again instead of answering from its cache
    assert first == again and first != other


def test_the_size_comes_from_the_first_reference_where_none_is_given(live):
    (picture,) = graphs.pictures(live, graphs.basic(("green.png", "red.png"), "a", size=0))
    assert picture.size == (48, 80)


def test_an_upstream_model_is_bit_identical_after_downstream_runs(live):
    def plain(seed_text):
        """The same model without JeDi, on the set's own latent."""
        graph = graphs.changed(graphs.basic(prompts=seed_text, seed=3), "sampler", model=graphs.link("model"))
        return [picture.tobytes() for picture in graphs.pictures(live, graph)]

    before = plain("a")
    for guidance in ("joint", "text first", "image first"):
        graphs.pictures(live, graphs.basic(prompts="a", guidance=guidance))
    assert plain("a ") == before


def test_the_graph_works_with_ksampler_advanced_without_added_noise(live):
    graph = graphs.basic(prompts="a")
    old = graph["sampler"]["inputs"]
    kept = {name: old[name] for name in ("model", "positive", "negative", "latent_image", "steps", "cfg",
                                         "sampler_name", "scheduler")}  # fmt: skip
    graph["sampler"] = graphs.node(
        "KSamplerAdvanced", **kept, add_noise="disable", noise_seed=1, start_at_step=0, end_at_step=2,
        return_with_leftover_noise="disable",
    )  # fmt: skip
    assert len(graphs.pictures(live, graph)) == 1


def test_the_graph_works_with_sampler_custom_advanced(live):
    graph = graphs.basic(prompts="a\nb")
    link = graphs.link
    graph |= {
        "noise": graphs.node("RandomNoise", noise_seed=1),
        "guider": graphs.node("CFGGuider", model=link("jedi"), positive=link("set", 0), negative=link("set", 1), cfg=3.0),
        "method": graphs.node("KSamplerSelect", sampler_name="ddim"),
        "sigmas": graphs.node("BasicScheduler", model=link("jedi"), scheduler="normal", steps=2, denoise=1.0),
        "sampler": graphs.node(
            "SamplerCustomAdvanced", noise=link("noise"), guider=link("guider"), sampler=link("method"),
            sigmas=link("sigmas"), latent_image=link("set", 2),
        ),
    }  # fmt: skip
    assert len(graphs.pictures(live, graph)) == 2


def test_references_come_back_as_the_vae_shows_them(live):
    """What the sampler returns in the reference rows decodes to the very picture that the VAE alone gives."""
    graph = graphs.changed(graphs.basic(("red.png",), "a"), "pick", which="references")
    (sampled,) = graphs.pictures(live, graph)
    straight = graphs.basic(("red.png",), "a ")
    straight |= {
        "encode": graphs.node("VAEEncode", pixels=graphs.link("picture0"), vae=graphs.link("model", 2)),
        "decode": graphs.node("VAEDecode", samples=graphs.link("encode"), vae=graphs.link("model", 2)),
    }
    (encoded,) = graphs.pictures(live, straight)
    assert sampled.tobytes() == encoded.tobytes()


def test_an_interruption_stops_within_a_step_and_the_server_goes_on(live):
    steps, interrupted_at = [], []

    def interrupt_once_it_samples(kind, data):
        if kind == "progress" and data["node"] == "sampler":
            steps.append(data["value"])
            if not interrupted_at:
                interrupted_at.append(data["value"])
                live.client.interrupt()

    with pytest.raises(client.Interrupted):
        live.client.run(graphs.basic(steps=500, size=256, prompts="a\nb\nc"), interrupt_once_it_samples)
    assert steps[-1] - interrupted_at[0] <= 2  # the step at work, and one whose message was on its way
    assert len(graphs.pictures(live, graphs.basic(seed=77))) == 2


def test_nothing_is_written_into_the_comfyui_folder(live):
    graphs.pictures(live, graphs.basic(seed=78))
    root, started = Path(live.host.root), (live.base / "models").stat().st_mtime
    fresh = [
        path for path in root.rglob("*")
        if path.is_file() and path.stat().st_mtime > started and (path.suffix != ".pyc" or not live.host.private)
    ]  # fmt: skip
    assert fresh == []


def test_a_prompt_without_step_noise_keeps_the_whole_batchs_and_one_with_it_does_not_change_with_the_sets(live):
    graph = graphs.changed(graphs.basic(prompts="one\ntwo", steps=3), "sampler", sampler_name="dpm_2_ancestral")
    old = graphs.pictures(live, graph)
    whole = graphs.pictures(live, graphs.changed(graph, "jedi", step_noise="whole batch"))
    assert [picture.tobytes() for picture in old] == [picture.tobytes() for picture in whole]

    def of_set(number, count, step_noise):
        made = graphs.changed(graphs.changed(graph, "jedi", step_noise=step_noise), "set", sets=count)
        return np.stack(graphs.pictures(live, made)[2 * number : 2 * number + 2]).astype(int)

    change = {noise: abs(of_set(0, 1, noise) - of_set(0, 3, noise)).max() for noise in ("whole batch", "each picture")}
    assert change["each picture"] <= 1 < 10 < change["whole batch"]
