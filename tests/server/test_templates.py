"""What the live server offers the frontend: example workflows for its template browser, blueprints for its node library."""

import json
import urllib.parse

from same_subject.dev import pack, server


def test_the_example_workflows_are_offered_as_templates_with_a_picture_each(live):
    names = {path.stem for path in (pack.ROOT / "workflows").glob("*.json")}
    assert set(live.client.get("/workflow_templates")[server.FOLDER]) == names
    for name in names:
        address = f"/api/workflow_templates/{server.FOLDER}/{urllib.parse.quote(name)}"
        assert live.client.get(f"{address}.json")["nodes"]
        picture = live.client.get(f"{address}.jpg")
        assert picture.startswith(b"\xff\xd8\xff") and len(picture) < 60_000


def test_the_blueprints_are_offered_as_the_packs_own(live):
    offered = {
        key: entry for key, entry in live.client.get("/global_subgraphs").items() if server.FOLDER in entry["info"]["node_pack"]
    }
    names = {path.stem for path in (pack.ROOT / "subgraphs").glob("*.json")}
    assert names and {entry["name"] for entry in offered.values()} == names
    for key, entry in offered.items():
        content = live.client.get(f"/global_subgraphs/{key}")["data"]
        assert json.loads(content)["definitions"]["subgraphs"][0]["name"] == entry["name"]
