"""A client that is given nothing but the address of a running ComfyUI."""

import io
import time

import pytest
from PIL import Image
from same_subject.dev import client
from same_subject.tests.server import graphs


@pytest.fixture
def other(live):
    """A client of its own, which knows the server's address alone."""
    return client.Client(live.client.url + "/")


def test_it_uploads_a_picture_runs_a_graph_and_fetches_the_result(other, tmp_path):
    Image.new("RGB", (64, 64), "blue").save(tmp_path / "blue.png")
    name = other.upload(tmp_path / "blue.png", "from another client.png")
    seen = []
    outputs = other.run(graphs.basic((name,)), lambda kind, data: seen.append(kind))
    for entry in outputs["save"]["images"]:
        with Image.open(io.BytesIO(other.picture(entry))) as picture:
            assert picture.size == (64, 64)
    assert len(outputs["save"]["images"]) == 2
    assert {"executing", "progress"} <= set(seen)


def test_a_queued_graph_runs_without_being_watched(other):
    prompt_id = other.queue(graphs.basic())
    deadline = time.monotonic() + 120
    while prompt_id not in other.get("/history") and time.monotonic() < deadline:
        time.sleep(0.2)
    assert other.get(f"/history/{prompt_id}")[prompt_id]["status"]["status_str"] == "success"


def test_it_says_what_the_server_refused(other):
    with pytest.raises(client.Refused, match="JediReferences"):
        other.run(graphs.without(graphs.basic(), "references", "images.image0"))
    with pytest.raises(client.ServerError, match="/nowhere answered 404"):
        other.get("/nowhere")
