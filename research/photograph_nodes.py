"""Photograph every node as it stands in a graph, after a run of that graph where it runs without a download."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING

from same_subject.dev import pack
from same_subject.dev.showing import graphs
from same_subject.tests.server import browser

if TYPE_CHECKING:
    from PIL import Image

FOLDER = pack.ROOT / "js" / "docs" / "pictures" / "nodes"
LONG = pack.ROOT / "tests" / "saved" / "v0.2-long" / "ui"
SHIPPED = pack.ROOT / "workflows"
DEMOS = (graphs.DEMO, graphs.DEMO_SCENE, graphs.DEMO_SUBJECTS)
RUN = (*(SHIPPED / f"{name}.json" for name in DEMOS), LONG / "demo_scene.json")
"""Graphs that are run first; a node's picture is from the first graph that has it."""
OPENED = (
    SHIPPED / "Two People in One Picture - SDXL.json",
    LONG / "scene_sdxl_two_people.json",
    LONG / "scene_sdxl_own_masks.json",
)
"""Graphs whose files no one has here: opened, and not run."""
MARGIN, TITLE = 24, 56
"""Pixels around a node, and above it for its title and the pack's name."""
WIDEST = 560

LOAD = """(async () => {
  await app.loadGraphData(GRAPH, true, true, "graph");
  await new Promise((done) => setTimeout(done, 1500));
})()"""
ALONE = """(() => {
  const node = LiteGraph.createNode("KIND");
  node.pos = [0, 0];
  app.graph.add(node);
})()"""
LOOK = """(() => {
  const FAR = 1e5;
  const node = app.graph.nodes.find((one) => one.type === "KIND");
  for (const other of app.graph.nodes) if (other.pos[0] === FAR) other.pos = [FAR, 3 * FAR];
  app.canvas.deselectAll?.();
  app.canvas.ds.scale = 1;
  node.has_errors = false; // a file that it names is not here, which is not its look
  node.pos = [FAR, FAR]; // nothing stands before it there
  app.canvas.ds.offset = [LEFT - FAR, TOP - FAR];
  app.canvas.setDirty(true, true);
  return [...node.size];
})()"""
HELD = """app.graph.nodes.map((node) => node.type)"""
PLACE = (420, 200)
"""Where a node stands in the window: clear of the bars at its edges."""


def run(page: browser.Page, execute, window, folder: Path = FOLDER) -> None:
    """Save `<node id>.jpg` of all nodes of the pack into ``folder``. execute(): runs the open graph; window(): what is shown."""
    folder.mkdir(parents=True, exist_ok=True)
    own = set(page.evaluate('Object.values(LiteGraph.registered_node_types).filter((one) => '
                            '/same-subject/.test(one.nodeData?.python_module ?? "")).map((one) => one.comfyClass)'))  # fmt: skip
    done: set[str] = set()
    for path in (*RUN, *OPENED):
        page.evaluate(LOAD.replace("GRAPH", json.dumps(json.loads(path.read_text(encoding="utf-8")))))
        if path in RUN:
            execute()
        for kind in sorted((own & set(page.evaluate(HELD))) - done):
            save(page, window, kind, folder)
            done.add(kind)
    for kind in sorted(own - done):
        page.evaluate(ALONE.replace("KIND", kind))
        save(page, window, kind, folder)
    print(f"{folder}: {len(own)} nodes, {len(done)} of them in a graph")


def save(page: browser.Page, window, kind: str, folder: Path) -> None:
    """The picture of the first node of a kind in the open graph."""
    left, top = PLACE
    size = page.evaluate(LOOK.replace("KIND", kind).replace("LEFT", str(left)).replace("TOP", str(top)))
    time.sleep(0.7)
    shown: Image.Image = window()
    right, bottom = min(left + size[0] + MARGIN, shown.width), min(top + size[1] + MARGIN, shown.height)
    part = shown.crop((left - MARGIN, top - TITLE, int(right), int(bottom)))
    part.thumbnail((WIDEST, part.height))
    part.save(folder / f"{kind}.jpg", quality=82, optimize=True)
