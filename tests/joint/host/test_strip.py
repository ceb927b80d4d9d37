"""The live strip: who gets it, when, and what it shows."""

import base64
import io
from types import SimpleNamespace

import latent_preview
import pytest
import torch
from comfy.cli_args import LatentPreviewMethod, args
from PIL import Image
from same_subject.nodes.joint import settings
from same_subject.nodes.joint.host import sets as joint_sets
from same_subject.nodes.joint.host import strip
from same_subject.nodes.joint.layout import Layout
from same_subject.tests.tiny import models, sets


class Server(SimpleNamespace):
    """Takes what would go to a browser."""

    def __init__(self, client_id="tab"):
        super().__init__(client_id=client_id, last_prompt_id="run", sent=[])

    def send_sync(self, event, data, client):
        self.sent.append((event, data, client))


@pytest.fixture
def server(monkeypatch):
    server = Server()
    monkeypatch.setattr(strip, "_server", lambda: server)
    monkeypatch.setattr(args, "preview_method", LatentPreviewMethod.Latent2RGB)
    return server


@pytest.fixture(scope="module")
def model():
    return models.model("sd15", 4)


@pytest.fixture
def heard(monkeypatch):
    """Calls of the callback that the host's own nodes give a run."""
    heard, make = [], latent_preview.prepare_callback

    def listening(*given):
        callback = make(*given)
        return lambda *call: (heard.append(call), callback(*call))

    monkeypatch.setattr(latent_preview, "prepare_callback", listening)
    return heard


CHOSEN = settings.Settings("joint", 3.0, 0.0, 1.0, settings.Options())


def run(model, node="7", steps=4, one=None):
    one = one or sets.case()
    return sets.sample(joint_sets.apply(model, one.joint_set, CHOSEN, node), one, steps=steps)


def test_a_strip_of_all_rows_goes_to_the_client_and_is_taken_away_at_the_end(model, server, heard, monkeypatch):
    monkeypatch.setattr(strip, "PAUSE", 0.0)
    monkeypatch.setattr(strip, "SHARE", 0)
    run(model)
    assert len(heard) == 4, "the host's own previews go on"
    assert {(event, client) for event, _, client in server.sent} == {("same-subject.strip", "tab")}
    *during, last = [data for _, data, _ in server.sent]
    assert [data["step"] for data in during] == [1, 2, 3, 4] and last["picture"] is None
    assert all(data["node"] == "7" and data["prompt_id"] == "run" for data in (*during, last))
    assert (last["sets"], last["pictures"], last["references"]) == (1, 2, 2)
    head, content = during[0]["picture"].split(",")
    assert head == "data:image/jpeg;base64"
    assert Image.open(io.BytesIO(base64.b64decode(content))).size == (4 * 98 - 2, 96)


def test_strips_are_few_where_they_would_cost_much(model, server, heard):
    run(model, steps=6)
    assert len(heard) == 6 and [data["picture"] is None for _, data, _ in server.sent] == [False, True]


def test_a_run_is_the_same_with_a_strip_and_without(model, server):
    shown = run(model)
    assert server.sent and torch.equal(shown, run(model, node=None))


@pytest.mark.parametrize("why", ("no node", "no client", "previews are off", "no server"))
def test_where_nobody_watches_nothing_is_computed_and_the_callback_stays_what_it_was(model, server, monkeypatch, why):
    def none(*_):
        raise AssertionError("a picture was made")

    monkeypatch.setattr(strip, "picture", none)
    if why == "no client":
        server.client_id = None
    elif why == "previews are off":
        monkeypatch.setattr(args, "preview_method", LatentPreviewMethod.NoPreviews)
    elif why == "no server":
        monkeypatch.setattr(strip, "_server", lambda: None)
    with strip.beside(none, None if why == "no node" else "7", model, Layout(1, 2, 2)) as callback:
        assert callback is none
    assert server.sent == []


def test_a_run_that_is_stopped_takes_its_strip_away(model, server):
    def stop(*_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), strip.beside(lambda *_: None, "7", model, Layout(1, 2, 2)) as callback:
        callback(0, torch.zeros(4, 4, 8, 8), None, 20)
        stop()
    assert [data["picture"] is None for _, data, _ in server.sent] == [False, True]


def test_rows_stand_in_their_order_set_under_set(server, model):
    """Each row has a colour of its own here, by the host's linear map of the first latent channel."""
    previewer = latent_preview.Latent2RGBPreviewer(torch.eye(4)[:, :3].tolist())
    layout = Layout(2, 5, 3)
    latents = torch.full((16, 4, 8, 8), -1.0)
    latents[:, 0] = torch.linspace(-1, 1, 16)[:, None, None]
    shown = strip.picture(previewer, latents, layout)
    assert shown.size == (6 * 98 - 2, 4 * 98 - 2)
    reds = [
        shown.getpixel((place % 6 * 98 + 48, (number * 2 + place // 6) * 98 + 48))[0] for number in (0, 1) for place in range(8)
    ]
    assert reds == sorted(reds) and reds[0] == 0 and reds[-1] == 255 and len(set(reds)) == 16


def test_very_many_rows_make_a_small_strip():
    previewer = latent_preview.Latent2RGBPreviewer(torch.eye(4)[:, :3].tolist())
    shown = strip.picture(previewer, torch.zeros(64 * 20, 4, 2, 2), Layout(64, 4, 16))
    assert shown.width * shown.height < 2**20
