"""The example workflows as the live server offers them in the frontend's template browser."""

from same_subject.dev import pack, server


def test_the_example_workflows_are_offered_as_templates_with_a_picture_each(live):
    names = {path.stem for path in (pack.ROOT / "workflows").glob("*.json")}
    assert set(live.get("/workflow_templates")[server.FOLDER]) == names
    for name in names:
        address = f"/api/workflow_templates/{server.FOLDER}/{name}"
        assert live.get(f"{address}.json")["nodes"]
        picture = live.get(f"{address}.jpg")
        assert picture.startswith(b"\xff\xd8\xff") and len(picture) < 60_000
