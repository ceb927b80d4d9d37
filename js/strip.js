// JeDi: while a sampler runs, the whole set as it is at that step; nothing before and after. So, too, a training.
import { api } from "../../scripts/api.js";
import { app } from "../../scripts/app.js";
import { element, panel } from "./widgets.js";
import { translated } from "./words.js";

const EVENT = "same-subject.strip";
/** How high it may become, in pixels, in each node that has one. */
const MOST = { JediApply: 200, TrainJointModel: 460 };
const LEAST = 60;
const WORDS = 26;
const STYLES = {
  box: "display: flex; flex-direction: column; gap: 2px; overflow: hidden; font: 11px/1.3 sans-serif; color: var(--fg-color, #fff); background: var(--comfy-input-bg, #222)",
  picture: "flex: 1; min-height: 0; contain: size; width: 100%; object-fit: contain",
};
let words = { sets: "sets", pictures: "pictures", references: "references", step: "step" };
const strips = new WeakMap();

class Strip {
  constructor(node) {
    this.most = MOST[node.comfyClass];
    this.box = element("div", STYLES.box, { className: "same-subject-strip" });
    this.box.style.maxHeight = `${this.most - 8}px`;
    this.picture = element("img", STYLES.picture);
    this.words = element("div", "flex: none");
    this.box.append(this.picture, this.words);
    this.node = node;
    this.panel = panel(node, "strip", this.box, this.most);
  }

  show({ picture, size, step, steps, sets, pictures, references }) {
    if (!picture) return this.panel.hide();
    const counts = { sets: sets > 1 && sets, pictures, references, step: `${step}/${steps}` };
    const said = Object.entries(counts).filter(([, count]) => count);
    this.words.textContent = said.map(([name, count]) => `${words[name]}: ${count}`).join(" · ");
    this.picture.alt = this.words.textContent;
    this.picture.src = picture;
    const height = WORDS + (this.node.size[0] * size[1]) / size[0];
    this.panel.show(Math.round(Math.max(LEAST, Math.min(this.most, height))));
  }
}

/** The node that a run calls by its place in subgraphs, such as 12:5; undefined if the open graph has none. */
function nodeOf(place) {
  const path = String(place).split(":");
  let graph = app.rootGraph ?? app.graph;
  for (const id of path.slice(0, -1)) graph = graph?.getNodeById(id)?.subgraph;
  return graph?.getNodeById(path.at(-1));
}

app.registerExtension({
  name: "same-subject.strip",
  async setup() {
    api.addEventListener(EVENT, ({ detail }) => {
      const node = nodeOf(detail.node);
      if (node) strips.get(node)?.show(detail);
    });
    words = await translated("strip", words);
  },
  nodeCreated(node) {
    if (node.comfyClass in MOST) strips.set(node, new Strip(node));
  },
});
