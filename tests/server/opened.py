"""A workflow as the frontend opens it, after a run and with errors: where its nodes are, and how large they have become."""

import json
from pathlib import Path

from same_subject.dev import server

TITLE = 30
"""Height of a node's title, which stands above its position."""
READY = "window.app?.graph?.nodes.length && LiteGraph.registered_node_types.JediPick"
"""Whether the frontend has opened its own graph; what is opened before would be replaced by it."""
OPEN = """(async () => {
  const graph = await (await fetch("/api/workflow_templates/FOLDER/" + encodeURIComponent("NAME") + ".json")).json();
  await app.loadGraphData(graph, true, true, "NAME", {openSource: "template"});
  await new Promise(done => setTimeout(done, 700));
  return app.canvas.ds.scale;
})()"""
RUN = """(async () => {
  for (const node of app.graph.nodes) if (["SaveImage", "PreviewImage"].includes(node.type)) {
    const images = Array.from({length: 4}, () => ({filename: "PICTURE", subfolder: "", type: "input"}));
    const id = String(node.id);
    app.api.dispatchCustomEvent("executed", {node: id, display_node: id, output: {images}, prompt_id: "none"});
  }
  await new Promise(done => setTimeout(done, 700));
})()"""
STORES = """document.querySelector("#vue-app").__vue_app__.config.globalProperties.$pinia._s"""
FAIL = """(async () => {
  const errors = STORES.get("executionError");
  const wrong = node => ({class_type: node.type, dependent_outputs: [], errors: [{type: "value_not_in_list", message: "Not there",
    details: "", extra_info: {input_name: node.inputs.find(input => input.widget)?.name ?? node.inputs[0].name}}]});
  errors.lastNodeErrors = Object.fromEntries(
    app.graph.nodes.filter(node => node.inputs?.length).map(node => [String(node.id), wrong(node)]));
  await new Promise(done => setTimeout(done, 500));
})()"""
BOXES = """(() => {
  const {scale, offset} = app.canvas.ds, corner = app.canvas.canvas.getBoundingClientRect();
  const shown = node => document.querySelector(`[data-node-id="${node.id}"]`)?.getBoundingClientRect();
  const box = node => {
    const [left, top, width, height] = node.boundingRect, seen = shown(node);
    const right = left + Math.max(width, node.computeSize()[0]), bottom = top + Math.max(height, node.computeSize()[1] + TITLE);
    if (!seen?.width) return [left, top, right, bottom];
    const x = value => (value - corner.left) / scale - offset[0], y = value => (value - corner.top) / scale - offset[1];
    return [x(seen.left), y(seen.top), x(seen.right), y(seen.bottom)];
  };
  return {
    nodes: Object.fromEntries(app.graph.nodes.map(node => [String(node.id), box(node)])),
    groups: app.graph.groups.map(({pos, size}) => [pos[0], pos[1], pos[0] + size[0], pos[1] + size[1]]),
    notes: app.graph.nodes.filter(node => node.type == "MarkdownNote").map(node => String(node.id)),
    names: Object.fromEntries(app.graph.nodes.map(node => [String(node.id), `${node.title} (${node.id})`])),
  };
})()"""
CLEAN = f"{STORES}.get('executionError').lastNodeErrors = null"


def resize(page, width=1440, height=900):
    """Make the browser's window as large as a small laptop's."""
    page.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
    page.wait_for(f"app.canvas.canvas.width == {width}")


def template(page, name):
    """Open a workflow as the template browser does; returns the zoom it opens at."""
    return page.evaluate(OPEN.replace("FOLDER", server.FOLDER).replace("NAME", name))


def states(page, name, picture):
    """(zoom, boxes by state): (left, top, right, bottom) of nodes and groups as opened, after a run, and with errors everywhere.

    picture: a file of the server's input folder, which every node that shows pictures then shows four times.
    """
    zoom, found = template(page, name), {}
    for state, change in (
        ("opened", ""),
        ("after a run", RUN.replace("PICTURE", picture)),
        ("with errors", FAIL.replace("STORES", STORES)),
    ):
        page.evaluate(change or "0")
        found[state] = page.evaluate(BOXES.replace("TITLE", str(TITLE)))
    page.evaluate(CLEAN)
    return zoom, found


def overlaps(boxes):
    """Sentences: which node covers which, and which sticks out of the group in which its upper left corner is."""
    names, found, nodes = boxes["names"], [], sorted(boxes["nodes"].items())
    for place, (one, a) in enumerate(nodes):
        found += [
            f"{names[one]} and {names[other]} overlap"
            for other, b in nodes[place + 1 :]
            if a[0] < b[2] - 1 and b[0] < a[2] - 1 and a[1] < b[3] - 1 and b[1] < a[3] - 1
        ]
        found += [
            f"{names[one]} sticks out of its group"
            for left, top, right, bottom in boxes["groups"]
            if left <= a[0] < right and top <= a[1] < bottom and (a[2] > right + 1 or a[3] > bottom + 1)
        ]
    return found


def lay_out(path: Path, measured, gap=(30, 20)):
    """Set positions in a workflow's file so that nothing overlaps in any state: columns and the order in them stay.

    measured: boxes of `states`, of both renderers. Nodes with one left side are a column; one that is
    wider than it stands last in it. gap: (across, down), in graph units.
    """
    workflow = json.loads(path.read_text(encoding="utf-8"))
    needed = {}
    for node in workflow["nodes"]:
        boxes = [each["nodes"][str(node["id"])] for each in measured]
        needed[node["id"]] = [max(box[axis + 2] - box[axis] for box in boxes) for axis in (0, 1)]
    columns = {}
    for node in sorted(workflow["nodes"], key=lambda node: node["pos"]):
        columns.setdefault(node["pos"][0], []).append(node)
    inside = [
        [node for node in workflow["nodes"]
         if group["bounding"][0] <= node["pos"][0] < group["bounding"][0] + group["bounding"][2]
         and group["bounding"][1] <= node["pos"][1] < group["bounding"][1] + group["bounding"][3]]
        for group in workflow["groups"]
    ]  # fmt: skip
    lefts = sorted(columns)
    room = {left: after - left for left, after in zip(lefts, [*lefts[1:], float("inf")], strict=True)}
    wide = [node for left in lefts for node in columns[left] if needed[node["id"]][0] > room[left] < float("inf")]
    before = {node["id"]: node["pos"] for node in workflow["nodes"]}
    x = 0
    for left in lefts:
        y = 0
        for node in columns[left]:
            node["pos"] = [round(x), round(y)]
            y += needed[node["id"]][1] + gap[1]
        x += max(needed[node["id"]][0] for node in columns[left] if node not in wide) + gap[0]
    for node in wide:  # below all that stood above it in the columns that it reaches into
        left, right = node["pos"][0], node["pos"][0] + needed[node["id"]][0]
        higher = (one for one in workflow["nodes"] if before[one["id"]][1] < before[node["id"]][1])
        above = [one for one in higher if left <= one["pos"][0] < right]
        node["pos"][1] = round(max(one["pos"][1] + needed[one["id"]][1] for one in above) + gap[1])
    for group, members in zip(workflow["groups"], inside, strict=True):
        left, top = (min(node["pos"][axis] for node in members) for axis in (0, 1))
        right = max(node["pos"][0] + needed[node["id"]][0] for node in members)
        bottom = max(node["pos"][1] + needed[node["id"]][1] for node in members)
        group["bounding"] = [left - 15, top - TITLE - 45, round(right - left) + 30, round(bottom - top) + 60]
    path.write_text(json.dumps(workflow, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
