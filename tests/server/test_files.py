"""Check Files on the live server: one look names all that is missing, in the API and in both renderers of the frontend."""

import json
import time
import urllib.error
import urllib.request

import pytest
from same_subject.dev import client as clients
from same_subject.dev import pack
from same_subject.tests.server import ui_format

TWO_PEOPLE = "Two People in One Picture - SDXL"
AT = "/same_subject/files"
FILES = {
    "sd_xl_base_1.0.safetensors", "groundingdino_swint_ogc.pth", "bert-base-uncased/vocab.txt", "sam_vit_b_01ec64.pth",
    "ip-adapter.bin", "instantid.safetensors", "antelopev2.zip",
}  # fmt: skip
PACKAGES = {"segment-anything", "insightface", "onnxruntime-gpu"}


@pytest.fixture(scope="module")
def two_people():
    return json.loads((ui_format.WORKFLOWS / "api" / f"{TWO_PEOPLE}.json").read_text(encoding="utf-8"))


def test_one_request_names_every_file_and_package_that_the_graph_of_two_people_needs(live, two_people):
    rows = {row["name"]: row for row in live.client.post(f"{AT}/check", {"prompt": two_people})["rows"]}
    pictures = {node["inputs"]["image"] for node in two_people.values() if node["class_type"] == "LoadImage"}
    assert set(rows) - pictures == FILES | PACKAGES
    assert {row["state"] for name, row in rows.items() if name in FILES} == {"missing"}
    assert {name for name, row in rows.items() if row["download"]} == FILES
    assert {row["kind"] for name, row in rows.items() if name in PACKAGES} == {"package"}
    assert all(row["licence"] and (row["bytes"] or name in PACKAGES) for name, row in rows.items() if name not in pictures)


def test_the_node_reports_while_all_other_nodes_are_refused(live, two_people):
    answer = live.client.post("/prompt", {"prompt": {**two_people, "files": {"class_type": "CheckFiles", "inputs": {}}}})
    assert answer["node_errors"], "the graph itself cannot run"
    history = wait(live, answer["prompt_id"])
    (said,) = history["outputs"]["files"]["text"]
    assert said.startswith("Check Files: ") and all(f"missing: {name}; for " in said for name in FILES)


def wait(live, prompt_id):
    for _ in range(600):
        if run := live.client.get(f"/history/{prompt_id}").get(prompt_id):
            return run
        time.sleep(0.1)
    raise AssertionError("the run did not end")


def asked(live, what, body, **headers):
    """(status, answer) of a POST with these headers."""
    request = urllib.request.Request(f"{live.client.url}{what}", data=body, headers=headers)
    try:
        with clients.NO_PROXY.open(request, timeout=60) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as refusal:
        return refusal.code, refusal.read()


@pytest.mark.parametrize("api", ["", "/api"])
@pytest.mark.parametrize("what", ["check", "download", "verify", "stop"])
def test_no_page_of_another_site_can_ask(live, two_people, what, api):
    body = json.dumps({"prompt": two_people, "name": "ip-adapter.bin"}).encode()
    kind = {"Content-Type": "application/json"}
    for headers in ({**kind, "Origin": "https://evil.example"}, {**kind, "Sec-Fetch-Site": "cross-site"}):
        assert asked(live, f"{api}{AT}/{what}", body, **headers)[0] == 403
    assert asked(live, f"{api}{AT}/{what}", body, **{"Content-Type": "text/plain"})[0] == 415
    assert asked(live, f"{api}{AT}/check", body, **kind)[0] == 200
    assert not list(live.base.rglob("*.part"))


def test_a_hash_is_verified_on_the_server(live, two_people):
    path = live.base / "models" / "instantid" / "ip-adapter.bin"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"other")
    try:
        sent = {"prompt": two_people, "name": "ip-adapter.bin"}
        assert live.client.post(f"{AT}/verify", sent)["job"]["name"] == "ip-adapter.bin"
        for _ in range(100):
            rows = live.client.post(f"{AT}/check", sent)["rows"]
            (row,) = [row for row in rows if row["name"] == "ip-adapter.bin"]
            if row["job"]["state"] in ("done", "failed"):
                break
        assert row["state"] == "other size" and "is not the published file: its sha256 is" in row["job"]["message"]
        assert asked(live, f"{AT}/download", json.dumps(sent).encode(), **{"Content-Type": "application/json"})[0] == 404
    finally:
        path.unlink()


def test_every_entry_of_the_list_is_offered_by_name_or_says_why_not(live):
    yaml = pytest.importorskip("yaml")
    entries = yaml.safe_load((pack.ROOT / "models.yaml").read_text(encoding="utf-8"))["models"]
    graph = {
        str(number): {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": entry["file"]}}
        for number, entry in enumerate(entries) if entry["folder"] == "models/checkpoints"
    }  # fmt: skip
    rows = live.client.post(f"{AT}/check", {"prompt": graph})["rows"]
    hashes = {entry["file"]: entry["sha256"] for entry in entries}
    assert len(rows) == len(graph)
    assert all(row["download"] == bool(hashes[row["name"]]) for row in rows)
    assert all("hash is not known" in row["remedy"] for row in rows if not row["download"])
