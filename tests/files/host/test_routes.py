"""What the frontend may ask, answered in this process; what is published comes from a server on this machine."""

import asyncio
import copy
import functools
import hashlib
import io
import time
import zipfile
from types import SimpleNamespace

import pytest
import server
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from app.node_replace_manager import NodeReplaceManager
from comfy_api.latest import io as schemas
from same_subject.nodes.files import transfer
from same_subject.nodes.files.host import downloads, routes
from same_subject.nodes.host import catalogue, replacing
from same_subject.nodes.identity.instantid import nodes as instantid
from same_subject.tests.files import publisher as publishers

MODEL = b"weights" * 1000
FIVE = {f"{name}.onnx": name.encode() * 99 for name in ("1k3d68", "2d106det", "genderage", "glintr100", "scrfd_10g_bnkps")}
ADAPTER = {"1": {"class_type": "IdentityLoader", "inputs": {"adapter": "ip-adapter.bin", "control_net": "none"}}}
FACES = {"1": {"class_type": "IdentityFaceAnalysis", "inputs": {"files": "any", "device": "auto"}}}


def zipped(files):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as file:
        for name, data in files.items():
            file.writestr(name, data)
    return packed.getvalue()


@pytest.fixture
def publisher(monkeypatch):
    """Publishes an adapter and the face models; `models.yaml` says so, with their hashes."""
    listed = copy.deepcopy(catalogue.whole())
    monkeypatch.setattr(catalogue, "whole", lambda: listed)
    monkeypatch.setattr(transfer, "PAUSES", 0)
    with publishers.publishing() as publisher:
        publisher.files = {"ip-adapter.bin": MODEL, "antelopev2.zip": zipped({"../evil": b"x", **FIVE})}
        for entry in listed["models"]:
            name = entry.get("archive", entry["file"])
            data = FIVE.get(entry["file"]) or publisher.files.get(name)
            if data:
                entry |= {"url": publisher.url(name), "sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
        yield publisher


class Asked:
    """A frontend: `post` answers (status, JSON), `done` waits for what a job says at its end, `told` lists all events."""

    def __init__(self, client, told):
        self.client, self.told = client, told

    async def post(self, what, headers=None, **sent):
        answer = await self.client.post(f"{routes.AT}/{what}", json=sent, headers=headers)
        return answer.status, await answer.json()

    async def done(self, name):
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            ended = [said for _, said in self.told if said["name"] == name and said["state"] in ("done", "failed", "stopped")]
            if ended:
                return ended[-1]
            await asyncio.sleep(0.01)
        raise AssertionError(f"{name} did not end: {self.told[-3:]}")


def asking(act):
    """Run `act(asked)` with a server that has the routes."""

    async def run():
        told, table = [], web.RouteTableDef()
        routes.add(table, downloads.Jobs(lambda *said: told.append(said)), functools.partial(downloads.download, local=True))
        app = web.Application()
        app.add_routes(table)
        async with TestClient(TestServer(app)) as client:
            return await act(Asked(client, told))

    return asyncio.run(run())


def test_a_download_comes_into_its_folder_with_its_progress_told_to_who_asked(models, publisher):
    async def act(asked):
        status, answer = await asked.post("download", prompt=ADAPTER, name="ip-adapter.bin", client_id="me")
        assert status == 200 and answer["job"]["name"] == "ip-adapter.bin"
        said = await asked.done("ip-adapter.bin")
        assert said["state"] == "done" and "with the published hash" in said["message"]
        assert {client for client, _ in asked.told} == {"me"}
        assert {"downloading", "checking", "done"} <= {said["state"] for _, said in asked.told}
        _, answer = await asked.post("check", prompt=ADAPTER)
        (row,) = answer["rows"]
        assert (row["state"], row["job"]["state"]) == ("found", "done")
        _, answer = await asked.post("check", prompt=ADAPTER)
        assert answer["rows"][0]["job"] is None, "what has ended is said once"
        status, answer = await asked.post("download", prompt=ADAPTER, name="ip-adapter.bin")
        assert status == 404 and "no download of a file of this name is offered" in answer["error"]

    asking(act)
    assert (models / "instantid" / "ip-adapter.bin").read_bytes() == MODEL
    assert [path.name for path in (models / "instantid").iterdir()] == ["ip-adapter.bin"]


def test_the_face_models_come_out_of_their_zip_and_nothing_else_does(models, publisher):
    async def act(asked):
        await asked.post("download", prompt=FACES, name="antelopev2.zip", client_id="me")
        return await asked.done("antelopev2.zip")

    assert asking(act)["state"] == "done"
    folder = models / "insightface" / "models" / "antelopev2"
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == FIVE
    assert not list(models.parent.rglob("evil"))


@pytest.mark.parametrize(
    ("change", "message"), [("hash", "is not the published file"), ("member", "needs one of"), ("gone", "answers 404")]
)
def test_what_fails_says_why_and_leaves_nothing_that_a_loader_would_take(models, publisher, change, message):
    if change == "hash":
        publisher.files["antelopev2.zip"] = publisher.files["antelopev2.zip"][::-1]
    elif change == "member":
        wrong = zipped({name: data for name, data in FIVE.items() if name != "glintr100.onnx"})
        publisher.files["antelopev2.zip"] = wrong
        entry = catalogue.listed("antelopev2.zip", "models/insightface/models/antelopev2")
        entry |= {"sha256": hashlib.sha256(wrong).hexdigest(), "bytes": len(wrong)}
    else:
        del publisher.files["antelopev2.zip"]

    async def act(asked):
        await asked.post("download", prompt=FACES, name="antelopev2.zip", client_id="me")
        return await asked.done("antelopev2.zip")

    said = asking(act)
    assert said["state"] == "failed" and message in said["message"]
    assert not [path for path in models.rglob("*") if path.is_file()]


def test_a_hash_is_verified_when_asked_for(models, publisher):
    path = models / "instantid" / "ip-adapter.bin"

    async def act(asked):
        status, answer = await asked.post("verify", prompt=ADAPTER, name="ip-adapter.bin")
        assert status == 404, "it is not there"
        said = []
        for data in (MODEL, MODEL[::-1]):
            path.write_bytes(data)
            assert (await asked.post("verify", prompt=ADAPTER, name="ip-adapter.bin", client_id="me"))[0] == 200
            said.append(await asked.done("ip-adapter.bin"))
            asked.told.clear()
        return said

    right, wrong = asking(act)
    assert right["state"] == "done" and right["message"] == f"{path}: sha256 as published."
    assert wrong["state"] == "failed" and "is not the published file: its sha256 is" in wrong["message"]
    assert publisher.asked == []


def test_one_runs_the_others_wait_and_each_can_be_stopped(models, publisher, monkeypatch):
    publisher.cut = 100  # the adapter never comes whole, but always some of it
    started = []
    real = downloads.transfer.fetch

    def fetch(source, *rest):
        started.append(source.name)
        real(source, *rest)

    monkeypatch.setattr(downloads.transfer, "fetch", fetch)

    async def act(asked):
        both = {**ADAPTER, "2": FACES["1"]}
        await asked.post("download", prompt=both, name="ip-adapter.bin", client_id="me")
        _, again = await asked.post("download", prompt=both, name="ip-adapter.bin", client_id="other")
        _, second = await asked.post("download", prompt=both, name="antelopev2.zip", client_id="me")
        assert second["job"]["state"] == "waiting" and again["job"]["state"] != "done"
        _, answer = await asked.post("check", prompt=both)
        assert next(row["job"]["state"] for row in answer["rows"] if row["name"] == "antelopev2.zip") == "waiting"
        assert await asked.post("stop", name="antelopev2.zip") == (200, {"stopped": True})
        assert await asked.post("stop", name="ip-adapter.bin") == (200, {"stopped": True})
        assert await asked.post("stop", name="other") == (200, {"stopped": False})
        assert "What has come stays" in (await asked.done("ip-adapter.bin"))["message"]
        assert (await asked.done("antelopev2.zip"))["state"] == "stopped"

    asking(act)
    assert started == ["ip-adapter.bin"], "the second was stopped before its turn"


def test_only_names_that_the_graph_needs_and_the_list_has_are_downloaded(models, publisher):
    unlisted = {"1": {"class_type": "IdentityLoader", "inputs": {"adapter": "evil.bin", "control_net": "none"}}}
    packages = FACES

    async def act(asked):
        for prompt, name in (
            ({}, "ip-adapter.bin"),
            (FACES, "ip-adapter.bin"),
            (unlisted, "evil.bin"),
            (packages, "insightface"),
            (FACES, "1k3d68.onnx"),
            (ADAPTER, publisher.url("ip-adapter.bin")),
            (ADAPTER, "../ip-adapter.bin"),
        ):
            status, answer = await asked.post("download", prompt=prompt, name=name, url=publisher.url("x"), folder="/tmp")
            assert status == 404 and "Press Check, and take one of its list" in answer["error"], name
        for name in (None, 5, ["ip-adapter.bin"], "x" * 1001):
            assert (await asked.post("download", prompt=ADAPTER, name=name))[0] == 400
        assert asked.told == []

    asking(act)
    assert publisher.asked == [] and not [path for path in models.rglob("*") if path.is_file()]


def test_a_node_that_the_host_replaces_counts_as_what_takes_its_place(models, publisher, monkeypatch):
    manager = NodeReplaceManager()
    inputs = [{"new_id": "adapter", "old_id": "instantid_file"}, {"new_id": "control_net", "set_value": "none"}]
    manager.register(schemas.NodeReplace("IdentityLoader", "TheirLoader", ["instantid_file"], inputs))
    host = type("Server", (), {"node_replace_manager": manager})
    monkeypatch.setattr(server.PromptServer, "instance", host, raising=False)

    async def act(asked):
        named = {"1": {"class_type": "TheirLoader", "inputs": {"instantid_file": "ip-adapter.bin"}}}
        _, answer = await asked.post("check", prompt=named)
        bare = {"1": {"class_type": "TheirLoader", "inputs": {}}}
        _, other = await asked.post("check", prompt=bare)
        return answer["rows"], other["rows"]

    (row,), (other,) = asking(act)
    assert (row["name"], row["download"]) == ("ip-adapter.bin", True)
    assert (other["name"], other["kind"]) == ("TheirLoader", "node"), "the host cannot replace that one, nor run it"


def test_a_replaced_node_may_lack_what_it_need_not_have(models, publisher, monkeypatch):
    running = SimpleNamespace(app=web.Application(), node_replace_manager=NodeReplaceManager())
    running.add_on_prompt_handler = lambda handler: None
    running.app.on_startup.freeze()
    monkeypatch.setattr(server.PromptServer, "instance", running, raising=False)
    graph = {
        "1": {"class_type": "InstantIDModelLoader", "inputs": {"instantid_file": "ip-adapter.bin"}},
        "2": {"class_type": "ApplyInstantID", "inputs": {"instantid": ["1", 0], "weight": 0.8}},
    }

    async def act(asked):
        await replacing.register(instantid.replacements())
        return await asked.post("check", prompt=graph)

    status, answer = asking(act)
    assert (status, [(row["name"], row["kind"]) for row in answer["rows"]]) == (200, [("ip-adapter.bin", "file")])


def test_pages_of_other_sites_and_what_is_no_json_are_refused(models, publisher):
    async def act(asked):
        for what in ("check", "download", "verify", "stop"):
            cross = {"Sec-Fetch-Site": "cross-site"}
            assert (await asked.post(what, cross, prompt=ADAPTER, name="ip-adapter.bin"))[0] == 403
            for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data"):
                answer = await asked.client.post(
                    f"{routes.AT}/{what}", data=b'{"prompt": {}, "name": "x"}', headers={"Content-Type": kind}
                )
                assert answer.status == 415 and "must be JSON" in (await answer.json())["error"]
            for body in (b"", b"{", b"[]", b"5", b"[" * 10**5, b"\xff"):
                answer = await asked.client.post(f"{routes.AT}/{what}", data=body, headers={"Content-Type": "application/json"})
                assert answer.status == 400 and (await answer.json())["error"].startswith("Check Files: ")
            assert (await asked.client.get(f"{routes.AT}/{what}")).status == 405
        for prompt in (None, 5, [], {"1": None}, {"1": {"class_type": [], "inputs": {}}}):
            assert (await asked.post("check", prompt=prompt))[0] == 400
        assert asked.told == []

    asking(act)
    assert publisher.asked == []
