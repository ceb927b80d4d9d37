"""Wrong inputs on the live server: the error names the input and the remedy, and the server goes on."""

import pytest
from same_subject.dev import client
from same_subject.tests.server import graphs


@pytest.fixture(autouse=True)
def goes_on(live):
    """After every refusal a good graph still runs."""
    yield
    assert len(graphs.pictures(live, graphs.basic(prompts="still here"))) == 1


def refusal(live, graph):
    """The message with which a graph is refused before it runs."""
    with pytest.raises(client.Refused) as caught:
        live.client.run(graph)
    return str(caught.value)


def failure(live, graph):
    """The message with which a node fails while the graph runs."""
    with pytest.raises(client.NodeFailed) as caught:
        live.client.run(graph)
    return str(caught.value)


def test_no_reference_picture(live):
    message = refusal(live, graphs.without(graphs.basic(), "references", "images.image0"))
    assert "JediReferences" in message and "input is missing: image" in message


def test_no_references_for_the_joint_set(live):
    message = refusal(live, graphs.without(graphs.basic(), "set", "references"))
    assert "JediJointSet" in message and "references" in message


def test_three_prompts_for_five_pictures(live):
    message = refusal(live, graphs.changed(graphs.basic(prompts="a\nb\nc"), "set", pictures=5))
    assert "JediJointSet" in message and "3 prompts" in message and "5 pictures" in message
    assert "set `pictures` to 0" in message


def test_two_captions_for_three_references(live):
    graph = graphs.basic(("red.png", "green.png", "red.png"))
    message = failure(live, graphs.changed(graph, "references", captions="a\nb"))
    assert "JediReferences" in message and "captions" in message and "2" in message and "3" in message


def test_a_latent_batch_that_no_longer_fits_its_set(live):
    graph = graphs.basic()
    graph["less"] = graphs.node("LatentFromBatch", samples=graphs.link("set", 2), batch_index=0, length=1)
    message = failure(live, graphs.changed(graph, "sampler", latent_image=graphs.link("less")))
    assert "JeDi" in message and "Joint Set" in message and "latent" in message.lower()


def test_a_set_of_another_size(live):
    graph = graphs.basic()
    graph["other"] = graphs.changed(graph, "set", width=128, height=128)["set"]
    message = failure(live, graphs.changed(graph, "sampler", latent_image=graphs.link("other", 2)))
    assert "JeDi" in message and "Joint Set" in message


def test_the_conditioning_of_another_set(live):
    graph = graphs.basic()
    graph["other"] = graphs.changed(graph, "set", prompts="one\ntwo\nthree")["set"]
    message = failure(live, graphs.changed(graph, "sampler", positive=graphs.link("other", 0)))
    assert "JeDi" in message and "Joint Set" in message


@pytest.mark.parametrize("file", ("truncated.safetensors", "garbage.safetensors", "none.safetensors"))
def test_a_model_file_that_is_cut_off_or_no_safetensors_or_not_there(live, file):
    message = refusal(live, graphs.basic(file=file))
    assert "JediDemoLoader" in message and "file" in message.replace(file, "") and file in message


def test_an_unknown_channel_order_in_the_metadata_of_a_file(live):
    message = failure(live, graphs.basic(file="other_order.safetensors"))
    assert "JediApply" in message and "mask, noisy, reference" in message and "channel_order" in message


def test_a_channel_order_that_the_option_does_not_know(live):
    graph = graphs.basic()
    graph["options"] = graphs.node(
        "JediOptions", coupling_start=0.0, coupling_end=1.0, full=True, half=True, quarter=True, eighth=True,
        reference_attention="all pictures", null_references="isolated", channel_order="mask first",
    )  # fmt: skip
    message = refusal(live, graphs.changed(graph, "jedi", options=graphs.link("options")))
    assert "JediOptions" in message and "channel_order" in message


def test_a_window_that_ends_before_it_starts(live):
    message = refusal(live, graphs.changed(graphs.basic(), "jedi", start_percent=0.8, end_percent=0.2))
    assert "JediApply" in message and "start_percent" in message


def test_a_place_that_a_set_does_not_have(live):
    message = failure(live, graphs.changed(graphs.basic(), "pick", which="index", indices="7"))
    assert "JediPick" in message and "7" in message and "indices" in message
