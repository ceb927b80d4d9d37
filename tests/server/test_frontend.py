"""Workflows and blueprints in the real frontend: they open whole, queue what they should, and the demos run as they are."""

import json
import time

import pytest
from same_subject.dev import pack, server
from same_subject.dev.showing import graphs as demo_graphs
from same_subject.nodes.host import sockets
from same_subject.tests.server import graphs, ui_format
from same_subject.tests.server import opened as opened_graphs
from same_subject.tests.server.ui_format import WORKFLOWS
from same_subject.tests.tiny import subjects

NAMES = sorted(path.stem for path in WORKFLOWS.glob("*.json"))
DEMOS = [name for name in NAMES if name.startswith("Demo")]
BLUEPRINTS = sorted(path.stem for path in ui_format.BLUEPRINTS.glob("*.json"))
OF_A_USER = {
    "CheckpointLoaderSimple", "LoadImage", "SceneToolsLoader", "CLIPVisionLoader", "SubjectAdapterLoader",
    "ConceptDetectorLoader", "ConceptSegmenterLoader",
}  # fmt: skip
"""Nodes that the frontend marks until a user brings the file that they name."""
LARGE = {"Sets of One Subject - SDXL": 0.5, "Demo - Several Toys by Inpainting": 0.5}
"""The zoom that a graph opens at, at least, where its nodes (34 and 26) do not fit at 0.6."""

SHOWN = """(async () => {
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


def opened(page, name):
    opened_graphs.template(page, name)
    return page.evaluate(SHOWN)


@pytest.mark.parametrize("name", NAMES)
def test_a_workflow_opens_whole_and_queues_its_api_form(page, name):
    workflow = json.loads((WORKFLOWS / f"{name}.json").read_text(encoding="utf-8"))
    shown = opened(page, name)
    assert {node["id"]: node["type"] for node in shown["nodes"]} == {node["id"]: node["type"] for node in workflow["nodes"]}
    wrong = {node["type"] for node in shown["nodes"] if node["wrong"]}
    assert wrong <= (set() if name in DEMOS else OF_A_USER), "but for the files a user brings"
    assert sorted(shown["links"]) == sorted(link[:5] for link in workflow["links"])
    assert shown["prompt"] == json.loads((WORKFLOWS / "api" / f"{name}.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", NAMES)
def test_a_workflow_opens_at_a_zoom_to_read_and_nothing_overlaps_when_run_or_wrong(page, live, name):
    opened_graphs.resize(page)
    try:
        zoom, states = opened_graphs.states(page, name, live.client.upload(live.base / "green.png"))
    finally:
        page.call("Emulation.clearDeviceMetricsOverride")
    assert {state: opened_graphs.overlaps(boxes) for state, boxes in states.items()} == dict.fromkeys(states, [])
    assert zoom >= LARGE.get(name, 0.6)
    boxes, (note,) = states["opened"]["nodes"], states["opened"]["notes"]
    assert boxes[note][:2] == pytest.approx([min(box[axis] for box in boxes.values()) for axis in (0, 1)]), "where the eye begins"


COLOURS = """(async () => {
  const type = "JEDI_SET", css = () => getComputedStyle(document.documentElement).getPropertyValue(`--color-datatype-${type}`);
  const colours = () => [app.canvas.default_connection_color_byType[type], app.canvas.constructor.link_type_colors[type], css()];
  const found = [colours()];
  for (const theme of ["light", "dark"]) {
    await app.extensionManager.setting.set("Comfy.ColorPalette", theme);
    await new Promise(done => setTimeout(done, 300));
    found.push(colours());
  }
  return {found, stock: app.canvas.default_connection_color_byType.LATENT, all: app.canvas.default_connection_color_byType};
})()"""


def brightness(colour):
    """Relative luminance of `#rrggbb`, as WCAG 2 defines it."""
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def test_each_of_our_sockets_has_a_colour_that_is_seen_on_dark_and_on_light_nodes(page):
    shown = page.evaluate(COLOURS)
    assert len({colour for theme in shown["found"] for colour in theme}) == 1, "in both renderers, on every theme"
    ours = {name: shown["all"].get(value.io_type) for name, value in vars(sockets).items() if hasattr(value, "io_type")}
    assert len(ours) >= 13 and all(ours.values()) and len(set(ours.values())) == len(ours), ours
    assert shown["stock"] not in ours.values() and brightness("#ffffff") == pytest.approx(1)
    for name, colour in ours.items():
        assert (brightness(colour) + 0.05) / (brightness("#353535") + 0.05) >= 3 <= 1.05 / (brightness(colour) + 0.05), name


def history_after(live, before):
    """The one run that is not among ``before``, when it has ended."""
    deadline = time.monotonic() + 600
    while not (new := {name: run for name, run in live.client.get("/history").items() if name not in before}):
        assert time.monotonic() < deadline, "the run did not end"
        time.sleep(0.5)
    (run,) = new.values()
    return run


@pytest.mark.parametrize("name", DEMOS)
def test_a_demo_runs_as_it_is_opened(page, live, name):
    graph = demo_graphs.read_graph(name)
    assert opened(page, name)["prompt"] == graph
    before = set(live.client.get("/history"))
    page.evaluate("app.queuePrompt(0, 1)")
    run = history_after(live, before)
    assert run["status"]["status_str"] == "success", run["status"]["messages"][-1]
    saver = next(name for name, node in graph.items() if node["class_type"] in ("SaveImage", "S3Save"))
    page.wait_for(f"app.nodeOutputs['{saver}']?.images.length == {len(run['outputs'][saver]['images'])}")
    # And again after a reload of the page, with what the run had in the graph.
    saved = page.evaluate("app.graph.serialize()")
    page.evaluate(f"app.loadGraphData({json.dumps(saved)})")
    assert page.evaluate("app.graphToPrompt().then(made => made.output)") == graph


STORE = """document.querySelector("#vue-app").__vue_app__.config.globalProperties.$pinia._s.get("subgraph")"""
INSERT = """(async () => {
  const store = STORE, type = store.subgraphBlueprints.find(node => node.display_name == "NAME").name;
  const {nodes, definitions} = store.getBlueprint(type);
  app.graph.clear();
  const [node] = app.canvas._deserializeItems({nodes, subgraphs: definitions.subgraphs}, {position: [0, 0]}).nodes.values();
  await new Promise(done => setTimeout(done, 500));
  const given = {};
  for (const [number, socket] of node.inputs.entries()) {
    if (socket.widget) continue;
    const source = LiteGraph.createNode(socket.type == "IMAGE" ? "LoadImage" : "CheckpointLoaderSimple");
    app.graph.add(source);
    const output = source.outputs.findIndex(one => one.type == socket.type);
    source.connect(output, node, number);
    given[socket.name] = [String(source.id), output];
  }
  return {
    id: String(node.id), given, size: [...node.size], needed: [...node.computeSize()],
    inputs: node.inputs.map(socket => socket.name), outputs: node.outputs.map(socket => socket.name),
    widgets: Object.fromEntries(node.widgets.map(widget => [widget.name, widget.value])),
    unknown: node.subgraph.nodes.map(inner => inner.type).filter(type => !(type in LiteGraph.registered_node_types)),
    prompt: (await app.graphToPrompt()).output,
  };
})()"""


@pytest.mark.parametrize("name", BLUEPRINTS)
def test_a_blueprint_is_in_the_node_library_and_queues_all_of_its_nodes(page, name):
    """Inserted as the frontend's own node library does it, with a loader and pictures connected."""
    blueprint = ui_format.read(ui_format.BLUEPRINTS / f"{name}.json")
    page.wait_for(f"{STORE}?.subgraphBlueprints.some(node => node.display_name == '{name}')")
    shown = page.evaluate(INSERT.replace("STORE", STORE).replace("NAME", name))
    node, _ = ui_format.definition_of(blueprint)
    assert shown["unknown"] == []
    for side in ("inputs", "outputs"):
        assert shown[side] == [socket["name"] for socket in node[side]]
    defaults = ui_format.defaults_of(blueprint)
    assert shown["widgets"] == defaults and set(shown["given"]) == set(shown["inputs"]) - set(defaults)
    prefix = f"{shown['id']}:"
    expected, _ = ui_format.unfold(blueprint, {**defaults, **shown["given"]}, graphs.node_classes(), prefix)
    inside = {number: one for number, one in shown["prompt"].items() if number.startswith(prefix)}
    assert all(one.pop("_meta") for one in inside.values()) and inside == expected


OLD = pack.ROOT / "tests" / "saved" / "v0.1.0" / "ui"
STEP_NOISE = """(async () => {
  const open = async graph => {
    await app.loadGraphData(graph, true, true, "saved");
    await new Promise(done => setTimeout(done, 500));
  };
  const inputs = async () => Object.values((await app.graphToPrompt()).output)
    .filter(node => node.class_type == "JediApply").map(node => node.inputs);
  await open(GRAPH);
  const old = await inputs();
  const saved = app.graph.serialize();
  const node = LiteGraph.createNode("JediApply");
  app.graph.add(node);
  const placed = node.widgets.find(widget => widget.name == "step_noise").value;
  app.graph.remove(node);
  saved.nodes.find(one => one.type == "JediApply").widgets_values.splice(-1, 1, CHOSEN);
  await open(saved);
  return {old, placed, kept: await inputs()};
})()"""


@pytest.mark.parametrize("chosen", ["each picture", "whole batch"])
def test_a_graph_saved_before_keeps_its_samplers_noise_and_a_new_node_draws_it_for_each_picture(page, chosen):
    graph = json.loads((OLD / "demo.json").read_text(encoding="utf-8"))
    (values,) = [node["widgets_values"] for node in graph["nodes"] if node["type"] == "JediApply"]
    found = page.evaluate(STEP_NOISE.replace("GRAPH", json.dumps(graph)).replace("CHOSEN", json.dumps(chosen)))
    (old,), (kept,) = found["old"], found["kept"]
    assert old["step_noise"] == "whole batch" and values == [old[name] for name in list(old)[: len(values)]]
    assert found["placed"] == "each picture" and kept["step_noise"] == chosen


SUBJECTS = """(async () => {
  app.graph.clear();
  const node = LiteGraph.createNode("JediLoadSubject");
  app.graph.add(node);
  await new Promise(done => setTimeout(done, 1000));
  return Number(node.id);
})()"""
TILES = """[...document.querySelectorAll("button")].filter(one => /\\.safetensors$/.test(one.title))"""


def test_load_subject_shows_the_pictures_of_all_subjects_takes_the_one_clicked_and_shows_it_after_a_run(page, live):
    more = subjects.save(live.base / "models" / "subjects" / "more<b>.safetensors")
    try:
        page.evaluate("app.refreshComboInNodes()")
        number = page.evaluate(SUBJECTS)
        page.wait_for(f"{TILES}.filter(one => one.querySelector('img')?.naturalWidth == 256).length >= 2", 60)
        names = page.evaluate(f"{TILES}.map(one => [one.title, one.textContent])")
        assert ["toy.safetensors", "toy"] in names and ["more<b>.safetensors", "more<b>"] in names
        page.evaluate(f"{TILES}.find(one => one.title == 'toy.safetensors').click()")
        prompt = page.evaluate("app.graphToPrompt().then(made => made.output)")
        assert prompt[str(number)]["inputs"] == {"file": "toy.safetensors", "strength": 1}
        page.evaluate(f"""(() => {{
          const keep = LiteGraph.createNode("JediSaveSubject"), load = app.graph.getNodeById({number});
          app.graph.add(keep);
          load.connect(0, keep, 0);
          keep.widgets.find(widget => widget.name == "name").value = "frontend";
          load.widgets.find(widget => widget.name == "strength").value = {0.01 * len(live.client.get("/history")) + 0.1};
          app.queuePrompt(0, 1);
        }})()""")
        page.wait_for(f"app.nodeOutputs['{number}']?.images.length == 2 && app.graph.getNodeById({number}).imgs?.length != 0", 60)
        page.evaluate("app.refreshComboInNodes()")
        page.wait_for(f"{TILES}.some(one => one.textContent == 'frontend')", 60)
    finally:
        more.unlink()
        for new in more.parent.glob("frontend_*"):
            new.unlink()


KEEPS = """(async () => {
  const wait = time => new Promise(done => setTimeout(done, time));
  const ours = type => LiteGraph.registered_node_types[type].nodeData?.python_module?.startsWith("custom_nodes");
  const types = Object.keys(LiteGraph.registered_node_types).filter(ours), changed = [];
  const stored = node => (node.widgets ?? []).filter(widget => widget.serialize !== false);
  const values = node => JSON.stringify(stored(node).map(widget => widget.value));
  const change = node => {
    for (const widget of stored(node)) {
      const {values, min = 0, max = 1} = widget.options ?? {};
      if (Array.isArray(values)) widget.value = values.find(value => value != widget.value) ?? widget.value;
      else if (typeof widget.value == "number") widget.value = widget.value == min ? Math.min(max, min + 1) : min;
      else if (typeof widget.value == "boolean") widget.value = !widget.value;
      else if (typeof widget.value == "string") widget.value = "kept <b>words</b>";
    }
  };
  const lost = [];
  for (const type of types) {
    app.graph.clear();
    const node = LiteGraph.createNode(type);
    app.graph.add(node);
    const fresh = values(node);
    change(node);
    const given = values(node);
    const only = stored(node).every(widget => Array.isArray(widget.options?.values) && widget.options.values.length < 2);
    if (given != fresh || only) changed.push(type);
    const same = (how, other) => {
      if (!other || values(other) != given) lost.push([type, how, given, other && values(other)]);
    };
    app.canvas.copyToClipboard([node]);
    app.canvas.pasteFromClipboard();
    same("copy and paste", app.graph.nodes.find(other => other !== node));
    for (const other of app.graph.nodes.filter(other => other !== node)) app.graph.remove(other);
    node.mode = 4;
    const saved = JSON.parse(JSON.stringify(app.graph.serialize()));
    app.graph.configure(saved);
    const bypassed = app.graph.nodes[0];
    same("bypass and reload", bypassed);
    if (bypassed.mode != 4) lost.push([type, "bypass", 4, bypassed.mode]);
    bypassed.mode = 0;
    const {node: whole} = app.graph.convertToSubgraph(new Set([bypassed]));
    same("subgraph", whole.subgraph.nodes[0]);
    const tracker = app.extensionManager.workflow.activeWorkflow.changeTracker;
    app.graph.unpackSubgraph(whole);
    const kept = app.graph.nodes[0];
    same("unpacked", kept);
    tracker.captureCanvasState?.() ?? tracker.checkState();
    app.graph.remove(kept);
    tracker.captureCanvasState?.() ?? tracker.checkState();
    await tracker.undo();
    await wait(30);
    same("undo", app.graph.nodes[0]);
  }
  return {types, changed, lost};
})()"""


def test_what_is_in_a_node_survives_copy_and_paste_bypass_reload_subgraphs_and_undo(page):
    kept = page.evaluate(KEEPS)
    assert len(kept["types"]) >= 25 and kept["lost"] == []
    assert set(kept["types"]) - set(kept["changed"]) <= {"CheckFiles"}, "all others had another value than a new node"


AT = """(() => {
  const found = FIND;
  if (!found) return null;
  const {top, bottom} = found.getBoundingClientRect();
  found.scrollIntoViewIfNeeded();
  const {left, width, top: y, height} = found.getBoundingClientRect();
  return [left + width / 2, y + height / 2, top < 0 || bottom > innerHeight];
})()"""
TEXT = """[...document.querySelectorAll("KIND")].filter(one => one.innerText?.trim().startsWith("WORDS")).at(-1)"""


def click(page, find):
    """A press of the mouse on an element; returns how many actions it took a user: another one to scroll to it."""
    page.wait_for(f"({find})?.getBoundingClientRect().width")
    *_, scrolled = page.evaluate(AT.replace("FIND", find))
    time.sleep(0.3)
    x, y, _ = page.evaluate(AT.replace("FIND", find))
    for kind in ("mousePressed", "mouseReleased"):
        page.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)
    return 1 + scrolled


def test_a_new_user_sees_the_demos_pictures_after_six_actions_at_most(page, live):
    page.evaluate("app.graph.clear()")
    opened_graphs.resize(page)
    before = set(live.client.get("/history"))
    try:
        actions = click(page, "document.querySelector('.templates-tab-button')")
        actions += click(page, TEXT.replace("KIND", "[role=dialog] *").replace("WORDS", server.FOLDER))
        actions += click(page, f"""document.querySelector('[data-testid="template-workflow-{demo_graphs.DEMO}"]')""")
        page.wait_for("app.graph.nodes.some(node => node.type == 'ExamplePictures')")
        actions += click(page, TEXT.replace("KIND", "button").replace("WORDS", "Run"))
        run = history_after(live, before)
    finally:
        page.call("Emulation.clearDeviceMetricsOverride")
    assert actions <= 6
    assert run["status"]["status_str"] == "success"
    shown = next(int(number) for number, output in run["outputs"].items() if "images" in output)
    page.wait_for(f"app.nodeOutputs['{shown}']?.images.length == 4")
