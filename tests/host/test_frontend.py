"""The example workflows in the real frontend: they open whole, queue their API form, and the demo runs as it is."""

import json
import time

import pytest
from same_subject.dev import demo, pack, server
from same_subject.tests.host import browser

WORKFLOWS = pack.ROOT / "workflows"
NAMES = sorted(path.stem for path in WORKFLOWS.glob("*.json"))
TITLE = 30
"""Height of a node's title, which stands above its position."""

pytestmark = pytest.mark.skipif(browser.program() is None, reason="no Chromium is installed here to run the frontend in")

OPEN = """(async () => {
  const graph = await (await fetch("/api/workflow_templates/FOLDER/NAME.json")).json();
  await app.loadGraphData(graph, true, true, "NAME");
  await new Promise(done => setTimeout(done, 500));
  return {
    nodes: app.graph.nodes.map(node => ({
      id: Number(node.id), type: node.type, pos: [...node.pos], size: [...node.size], needed: [...node.computeSize()],
      wrong: node.has_errors || !(node.type in LiteGraph.registered_node_types),
    })),
    links: [...app.graph.links.values()].map(
      link => [link.id, link.origin_id, link.origin_slot, link.target_id, link.target_slot].map(Number)),
    prompt: (await app.graphToPrompt()).output,
  };
})()"""


@pytest.fixture(scope="module", params=[False, True], ids=["canvas", "nodes 2.0"])
def page(live, request):
    live.post("/settings", {"Comfy.TutorialCompleted": True, "Comfy.VueNodes.Enabled": request.param})
    page = browser.Page()
    try:
        page.start()
    except browser.NoBrowser as problem:
        pytest.skip(str(problem))
    try:
        page.open(live.url)
        # The frontend first opens a graph of its own; what is opened before would be replaced by it.
        page.wait_for("window.app?.graph?.nodes.length && LiteGraph.registered_node_types.JediPick")
        yield page
    finally:
        page.stop()


def opened(page, name):
    return page.evaluate(OPEN.replace("FOLDER", server.FOLDER).replace("NAME", name))


@pytest.mark.parametrize("name", NAMES)
def test_a_workflow_opens_whole_and_queues_its_api_form(page, name):
    workflow = json.loads((WORKFLOWS / f"{name}.json").read_text(encoding="utf-8"))
    shown = opened(page, name)
    assert {node["id"]: node["type"] for node in shown["nodes"]} == {node["id"]: node["type"] for node in workflow["nodes"]}
    wrong = {node["type"] for node in shown["nodes"] if node["wrong"]}
    assert wrong <= (set() if name == "demo" else {"CheckpointLoaderSimple", "LoadImage"}), "but for the files a user brings"
    assert sorted(shown["links"]) == sorted(link[:5] for link in workflow["links"])
    assert shown["prompt"] == json.loads((WORKFLOWS / "api" / f"{name}.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", NAMES)
def test_no_node_of_a_workflow_covers_another(page, name):
    boxes = {}
    for node in opened(page, name)["nodes"]:
        (left, top), (width, height) = node["pos"], [max(pair) for pair in zip(node["size"], node["needed"])]
        boxes[f"{node['type']} {node['id']}"] = (left, top - TITLE, left + width, top + height)
    covered = [
        (one, other) for one, a in boxes.items() for other, b in boxes.items()
        if one < other and a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
    ]  # fmt: skip
    assert covered == []


@pytest.mark.skipif(not (pack.ROOT / "demo" / "demo.safetensors").is_file(), reason="the demo model is not in this clone")
def test_the_demo_runs_as_it_is_opened(page, live):
    assert opened(page, "demo")["prompt"] == demo.read_graph("demo")
    before = set(live.get("/history"))
    page.evaluate("app.queuePrompt(0, 1)")
    deadline = time.monotonic() + 600
    while not (new := {name: run for name, run in live.get("/history").items() if name not in before}):
        assert time.monotonic() < deadline, "the run did not end"
        time.sleep(0.5)
    (run,) = new.values()
    assert run["status"]["status_str"] == "success"
    saver = next(name for name, node in demo.read_graph("demo").items() if node["class_type"] == "SaveImage")
    page.wait_for(f"app.nodeOutputs['{saver}']?.images.length == {len(run['outputs'][saver]['images'])}")
