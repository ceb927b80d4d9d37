// What the nodes of scores found, in words, on the nodes themselves.
import { app } from "../../scripts/app.js";
import { after, element, outputOf, panel } from "./widgets.js";

const NODES = ["ScoreSubject", "ScoreBestOf", "NearestReferences"];
const STYLE =
  "height: 100%; margin: 0; padding: 4px; overflow: auto; box-sizing: border-box; white-space: pre-wrap; overflow-wrap: anywhere; font: 11px monospace; color: var(--input-text, #ddd); background: var(--comfy-input-bg, #222)";
const LINE = 15;
const LINES = 8;

app.registerExtension({
  name: "same-subject.scores",
  nodeCreated(node) {
    if (!NODES.includes(node.comfyClass)) return;
    const box = element("div", STYLE, { tabIndex: 0, role: "status" });
    const shown = panel(node, "same-subject-scores", box, 600);
    const show = (said) => {
      box.textContent = said?.text?.[0] ?? "";
      if (!box.textContent) return shown.hide();
      shown.show(LINE * Math.min(LINES, box.textContent.split("\n").length + 1) + 16);
    };
    after(node, "onExecuted", show);
    requestAnimationFrame(() => show(outputOf(node))); // where a graph is opened again
  },
});
