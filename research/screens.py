"""Photograph the pack at work, for README: `python3 research/screens.py`, into docs/.

Opens the demo graphs in a real ComfyUI and Chromium, queues them, and saves what the window shows: `demo.gif`, the first demo
from the press to its pictures, and `scene_graph.jpg`, the scene after its run.
"""

from __future__ import annotations

if not __package__:
    from pack import load

    load()

import argparse
import base64
import io
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from same_subject.dev import host as hosts
from same_subject.dev import pack, server
from same_subject.dev.showing import graphs
from same_subject.research import photograph_nodes
from same_subject.tests.server import browser

if TYPE_CHECKING:
    from PIL import Image

WINDOW = (1440, 900)
SHOWN = (960, 600)
SETTINGS = {"Comfy.TutorialCompleted": True, "Comfy.Execution.PreviewMethod": "auto", "Comfy.Minimap.Visible": False}
FRAMES_MS, LAST_MS, MOST_FRAMES = 250, 3000, 40
COLOURS = 128
DOCS = pack.ROOT / "docs"
PREVIEWS = 'app.extensionManager.setting.set("Comfy.Execution.PreviewMethod", "METHOD")'

OPEN = """(async () => {
  const graph = await (await fetch("/api/workflow_templates/FOLDER/NAME.json")).json();
  await app.loadGraphData(graph, true, true, "NAME");
  app.extensionManager.sidebarTab?.activeSidebarTabId && (app.extensionManager.sidebarTab.activeSidebarTabId = null);
})()"""
RUN = """(() => {
  const api = window.comfyAPI.api.api;
  window.ended = false;
  api.addEventListener("execution_success", () => (window.ended = true));
  api.addEventListener("execution_error", (event) => (window.ended = JSON.stringify(event.detail)));
  app.queuePrompt(0, 1);
})()"""


def main(arguments: list[str] | None = None) -> int:
    arguments = sys.argv[1:] if arguments is None else arguments
    parser = argparse.ArgumentParser(prog="research/screens.py", description=__doc__.splitlines()[0])
    parser.add_argument("--comfyui", help="folder of a ComfyUI to use; default: found or installed")
    parser.add_argument("--only", choices=["readme", "nodes"], help="not all of them")
    options = parser.parse_args(arguments)
    host = hosts.enter(options.comfyui, __file__, arguments)
    with server.Server(host, ["--preview-method", "auto"]) as running:
        running.client.post("/settings", SETTINGS)
        page = browser.Page()
        page.start()
        try:
            page.call("Emulation.setDeviceMetricsOverride", width=WINDOW[0], height=WINDOW[1], deviceScaleFactor=1, mobile=False)
            page.open(running.client.url)
            page.wait_for("window.app?.graph?.nodes.length && LiteGraph.registered_node_types.JediPick")
            if options.only != "nodes":
                photograph(page, DOCS)
            if options.only != "readme":
                page.evaluate(PREVIEWS.replace("METHOD", "none"))
                photograph_nodes.run(page, lambda: finish(page), lambda: window(page))
        finally:
            page.stop()
    return 0


def photograph(page: browser.Page, folder: Path) -> None:
    """Run both demos in the window and save what it shows."""
    from PIL import Image

    frames = run(page, graphs.DEMO)
    small = [frame.resize(SHOWN, Image.Resampling.LANCZOS).quantize(COLOURS, dither=Image.Dither.NONE) for frame in frames]
    waits = [FRAMES_MS] * (len(small) - 1) + [LAST_MS]
    small[0].save(folder / "demo.gif", save_all=True, append_images=small[1:], duration=waits, loop=0, optimize=True)
    page.evaluate(PREVIEWS.replace("METHOD", "none"))  # as ComfyUI starts
    run(page, graphs.DEMO_SCENE)[-1].save(folder / "scene_graph.jpg", quality=85)
    for name in ("demo.gif", "scene_graph.jpg"):
        print(f"{folder / name}: {(folder / name).stat().st_size / 1000:.0f} kB")


def run(page: browser.Page, name: str) -> list[Image.Image]:
    """Open a template and run it to its end; the window before, at most `MOST_FRAMES` on the way, and after."""
    page.evaluate(OPEN.replace("FOLDER", server.FOLDER).replace("NAME", name))
    time.sleep(2)
    frames = [window(page)]
    finish(page, lambda: frames.append(window(page)) if len(frames) < MOST_FRAMES else None)
    return [*frames, window(page)]


def finish(page: browser.Page, meanwhile: Callable[[], object] = lambda: time.sleep(0.3)) -> None:
    """Run the open graph to its end."""
    page.evaluate(RUN)
    while not (ended := page.evaluate("window.ended")):
        meanwhile()
    if ended is not True:
        raise SystemExit(f"The graph failed: {ended}")
    page.wait_for('Object.values(app.nodeOutputs).some((given) => given?.images?.some((one) => one.type === "output"))')
    time.sleep(3)


def window(page: browser.Page) -> Image.Image:
    """What the window shows now."""
    from PIL import Image

    shot = page.call("Page.captureScreenshot", format="png")["data"]
    return Image.open(io.BytesIO(base64.b64decode(shot))).convert("RGB")


if __name__ == "__main__":
    raise SystemExit(main())
