"""Identities on the live server: two people from files and pictures to a saved picture, and inputs that cannot work.

The models stand in: the demo model's random UNet, an adapter with random weights that fits it, and a synthetic antelopev2.
"""

import copy

import pytest
import torch
from PIL import Image
from same_subject.dev import client
from same_subject.nodes.identity.host import sampling as identity_sampling
from same_subject.tests.server import graphs
from same_subject.tests.server.graphs import link, node
from same_subject.tests.tiny import face_models, identities, models
from same_subject.tests.tiny.face_models import picture

pytest.importorskip("insightface", reason="insightface is a test tool of its own; `python3 dev/test.py` brings it")
pytest.importorskip("onnx", reason="onnx makes the synthetic pack")


@pytest.fixture(scope="module")
def ready(live):
    """The server with an adapter, a face pack, and pictures of two people and of nobody."""
    channels = [layer.channels for layer in identity_sampling.cross_attention_layers(models.model("sd15"))]
    (live.base / "models" / "instantid").mkdir(exist_ok=True)
    torch.save(identities.adapter_state(channels=channels), live.base / "models" / "instantid" / "ip-adapter.bin")
    torch.save(identities.adapter_state(channels=channels[:-1]), live.base / "models" / "instantid" / "short.bin")
    (live.base / "models" / "instantid" / "page.bin").write_text("<html>404</html>")
    face_models.save_pack(live.base / "models" / "insightface" / "models" / "antelopev2" / "antelopev2")
    people = {"ann": picture((4, 4, 0.9, 1.0)), "ben": picture((9, 12, 0.8, 0.3)), "nobody": picture()}
    for name, pixels in people.items():
        Image.fromarray((pixels * 255).byte().numpy()).save(live.base / f"{name}.png")
        live.client.upload(live.base / f"{name}.png")
    return live


def scene(first="ann.png", second="ben.png", adapter="ip-adapter.bin", weight=0.8, **window):
    """Two people on the demo model, one on each half of the picture."""
    window = {"start_percent": 0.0, "end_percent": 1.0, **window}
    graph = {
        "model": node("JediDemoLoader", file="tiny.safetensors"),
        "adapter": node("IdentityLoader", adapter=adapter, control_net="none"),
        "analysis": node("IdentityFaceAnalysis", files="any", device="cpu"),
        "positive": node("CLIPTextEncode", clip=link("model", 1), text="two people"),
        "negative": node("CLIPTextEncode", clip=link("model", 1), text=""),
        "latent": node("EmptyLatentImage", width=64, height=64, batch_size=1),
        "black": node("SolidMask", value=0.0, width=64, height=64),
        "white": node("SolidMask", value=1.0, width=32, height=64),
    }
    before = link("model")
    for number, name in enumerate((first, second)):
        graph[f"picture{number}"] = node("LoadImage", image=name)
        graph[f"face{number}"] = node(
            "IdentityFromPictures", face_analysis=link("analysis"), face="largest", number=0, x=0.5, y=0.5,
            **{"images.image0": link(f"picture{number}")},
        )  # fmt: skip
        graph[f"half{number}"] = node(
            "MaskComposite", destination=link("black"), source=link("white"), x=32 * number, y=0, operation="add"
        )
        graph[f"apply{number}"] = node(
            "IdentityApply", model=before, adapter=link("adapter"), identity=link(f"face{number}"), weight=weight,
            mask=link(f"half{number}"), **window,
        )  # fmt: skip
        before = link(f"apply{number}")
    graph["sampler"] = node(
        "KSampler", model=before, positive=link("positive"), negative=link("negative"), latent_image=link("latent"),
        seed=1, steps=2, cfg=3.0, sampler_name="euler", scheduler="normal", denoise=1.0,
    )  # fmt: skip
    graph["decode"] = node("VAEDecode", samples=link("sampler"), vae=link("model", 2))
    graph["save"] = node("SaveImage", images=link("decode"), filename_prefix="people")
    return graph


def painted(live, graph):
    return graphs.pictures(live, graph)[0].tobytes()


def test_two_people_each_in_its_half_change_the_picture_each_in_its_own_way(ready):
    both, exchanged, nobody = (
        painted(ready, scene(*people, weight=weight))
        for people, weight in ((("ann.png", "ben.png"), 3.0), (("ben.png", "ann.png"), 3.0), (("ann.png", "ben.png"), 0.0))
    )
    assert len({both, exchanged, nobody}) == 3
    plain = copy.deepcopy(scene())
    plain["sampler"]["inputs"]["model"] = link("model")
    plain = {name: plain[name] for name in ("model", "positive", "negative", "latent", "sampler", "decode", "save")}
    assert painted(ready, plain) == nobody, "the model that came in stays as it was"


def failure(live, graph):
    with pytest.raises(client.NodeFailed) as caught:
        live.client.run(graph)
    return str(caught.value)


def test_what_cannot_work_comes_back_as_an_error_of_its_node_and_the_server_goes_on(ready):
    message = failure(ready, scene(second="nobody.png"))
    assert "no face was found in picture 1 of 1" in message and "IdentityFromPictures" in message
    message = failure(ready, scene(adapter="page.bin"))
    assert "page.bin" in message and "cannot be read" in message and "InstantX/InstantID" in message
    message = failure(ready, scene(adapter="short.bin"))
    assert "cross-attention layers" in message and "Stable Diffusion XL" in message
    message = failure(ready, graphs.changed(scene(), "analysis", files="as published"))
    assert "1k3d68.onnx" in message and "is not the published file" in message
    with pytest.raises(client.Refused, match="start_percent"):
        ready.client.run(scene(start_percent=0.9, end_percent=0.1))
    assert painted(ready, scene())


def test_a_missing_face_pack_is_named_before_the_queue_starts(ready):
    folder = ready.base / "models" / "insightface" / "models" / "antelopev2"
    folder.rename(folder.with_name("elsewhere"))
    try:
        with pytest.raises(client.Refused) as caught:
            ready.client.run(graphs.changed(scene(), "analysis", device="auto"))
    finally:
        folder.with_name("elsewhere").rename(folder)
    assert "glintr100.onnx" in str(caught.value) and "antelopev2.zip" in str(caught.value)
    ((node, said),) = caught.value.node_errors.items()
    assert node == "analysis" and len(said["errors"]) == 1, "it is said once"
