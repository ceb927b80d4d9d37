// What choosing boxes and painting masks have in common: a base picture on its node after a run, its concepts, and what the user
// did to them, as a JSON list in a text widget of the node (nodes/concepts/by_hand.py says what stands in it).
import { api } from "../../scripts/api.js";
import { app } from "../../scripts/app.js";
import { after, element, isLinked, outputOf, write } from "./widgets.js";

const NEAR = 0.8; // of by_hand.py
const STYLES = {
  box: "display: flex; flex-direction: column; gap: 4px; height: 100%; box-sizing: border-box; font-size: 11px; color: var(--fg-color, #ddd)",
  bar: "display: flex; flex-wrap: wrap; gap: 3px; align-items: center; flex: none",
  stage: "flex: 1 1 0; min-height: 0; container-type: size; display: grid; place-items: center",
  frame: "position: relative; overflow: hidden",
  hint: "text-align: center; padding: 4px",
  status: "flex: 1 1 120px; min-width: 0",
};
const BUTTON =
  "padding: 1px 6px; max-width: 100%; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; font-size: 11px; cursor: pointer; " +
  "color: var(--input-text, #ddd); background: var(--comfy-input-bg, #222); border: 1px solid var(--border-color, #4e4e4e); border-radius: 3px";

/** A button. pressed: whether it is, for one that stays down; undefined for others. */
export function button(text, act, pressed, style = "") {
  const made = element("button", `${BUTTON}; ${style}`, { type: "button", textContent: text, title: text, onclick: act });
  if (pressed !== undefined) {
    made.ariaPressed = String(pressed);
    made.style.outline = pressed ? "2px solid var(--fg-color, #ddd)" : "none";
    made.style.outlineOffset = "-2px";
  }
  return made;
}

/** The same button, dead and pale unless it can be used. */
export function able(made, can) {
  made.disabled = !can;
  made.style.opacity = can ? "1" : "0.45";
  return made;
}

/** How much two boxes [left, top, right, bottom] overlap: intersection over union. */
function overlap(a, b) {
  const area = ([left, top, right, bottom]) => Math.max(0, right - left) * Math.max(0, bottom - top);
  const shared = area([Math.max(a[0], b[0]), Math.max(a[1], b[1]), Math.min(a[2], b[2]), Math.min(a[3], b[3])]);
  return shared / (area(a) + area(b) - shared || 1);
}

/** Whether two boxes are the same one. */
export const near = (a, b) => overlap(a, b) >= NEAR;

const panels = new Set();
api.addEventListener("promptQueued", () => panels.forEach((panel) => panel.queued?.()));

/** A panel on a node. kind: of what the node shows after a run; name: of the text widget; hint: before the first run. */
export class OnPicture {
  constructor(node, kind, name, hint, height) {
    Object.assign(this, { node, kind, name, hint, data: null, picture: 0, concept: 0 });
    this.text = node.widgets.find((widget) => widget.name === name);
    this.box = element("div", `${STYLES.box}; min-height: ${height}px`, { role: "group", ariaLabel: hint });
    this.box.dataset.panel = kind;
    this.status = element("span", STYLES.status, { ariaLive: "polite" });
    // Keys that act here must not act on the graph, too; shortcuts with Ctrl still do.
    this.box.addEventListener("keydown", (event) => event.ctrlKey || event.metaKey || event.stopPropagation());
    node.addDOMWidget(kind, `same-subject-${kind}`, this.box, { serialize: false, hideOnZoom: false, getMinHeight: () => height });
    const panel = this;
    panels.add(this);
    after(node, "onRemoved", () => panels.delete(panel));
    after(node, "onAdded", () => panels.add(panel));
    after(node, "onExecuted", (output) => panel.take(output));
    after(node, "onConfigure", () => setTimeout(() => panel.restore()));
    after(this.text, "callback", () => panel.draw());
    this.draw();
  }

  /** Show what the last run said, where the frontend kept it: after undo, and in a tab that is shown again. */
  restore(outputs) {
    this.take(outputOf(this.node, outputs));
    this.draw();
  }

  take(output) {
    const said = output?.[this.kind]?.[0];
    if (typeof said !== "string" || said === this.said) return;
    this.said = said;
    this.data = JSON.parse(said);
    this.picture = Math.min(this.picture, this.data.pictures.length - 1);
    this.concept = Math.min(this.concept, this.data.phrases.length - 1);
    this.taken();
    this.draw();
  }

  taken() {}

  get linked() {
    return isLinked(this.node, this.name);
  }

  /** The entries of a text; none if it is none of ours. */
  entries(text = this.text.value) {
    try {
      const read = JSON.parse(text || "[]");
      return Array.isArray(read) ? read.filter((entry) => entry && typeof entry === "object") : [];
    } catch {
      return [];
    }
  }

  /** The entry for a concept (from 0) of a picture (from 0), if there is one. */
  entry(concept, picture = this.picture, text = undefined) {
    return this.entries(text).find((one) => one.concept === concept + 1 && (one.picture ?? 1) === picture + 1);
  }

  /** An entry without what it says: which concept of which picture, and where that was. */
  about(concept, picture, box) {
    const which = this.data.pictures.length > 1 ? { picture: picture + 1 } : {};
    return { ...which, concept: concept + 1, phrase: this.data.phrases[concept], box: box.slice(0, 4) };
  }

  /** Keep entries in the graph. */
  keep(entries) {
    write(this.node, { [this.name]: entries.length ? JSON.stringify(entries) : "" });
  }

  /** The entries but for those for the same concepts and pictures as these. */
  without(...these) {
    const key = (entry) => `${entry.picture ?? 1}/${entry.concept}`;
    const keys = new Set(these.map(key));
    return this.entries().filter((entry) => !keys.has(key(entry)));
  }

  /** The entries with others in place of those for the same concepts and pictures. */
  replaced(...added) {
    const all = [...this.without(...added), ...added];
    return all.sort((a, b) => (a.picture ?? 1) - (b.picture ?? 1) || a.concept - b.concept);
  }

  colour(concept) {
    const number = (this.data.first ?? 1) - 1 + concept;
    return this.data.colours[number % this.data.colours.length];
  }

  draw() {
    if (!this.data) {
      this.box.replaceChildren(element("div", STYLES.hint, { textContent: this.hint }));
      return;
    }
    const { width, height } = this.data;
    const ratio = width / height;
    const frame = element("div", `${STYLES.frame}; width: min(100cqw, 100cqh * ${ratio}); aspect-ratio: ${ratio}`);
    frame.append(...this.pictured());
    const stage = element("div", STYLES.stage);
    stage.append(frame);
    const focused = this.box.contains(document.activeElement) ? document.activeElement.dataset.key : undefined;
    this.box.replaceChildren(this.bar([...this.concepts(), ...this.tools()]), stage, this.bar([this.status, ...this.pages(), ...this.ends()]));
    this.status.textContent = this.linked ? `\`${this.name}\` comes from another node.` : this.saying();
    if (focused) this.box.querySelector(`[data-key="${CSS.escape(focused)}"]`)?.focus();
  }

  bar(parts) {
    const bar = element("div", STYLES.bar);
    bar.append(...parts);
    return bar;
  }

  concepts() {
    return this.data.phrases.map((phrase, concept) => {
      const number = (this.data.first ?? 1) + concept;
      const act = () => {
        this.concept = concept;
        this.draw();
      };
      const made = button(`${number} ${phrase}`, act, concept === this.concept, `border-left: 6px solid ${this.colour(concept)}`);
      made.dataset.key = `concept ${concept}`;
      return made;
    });
  }

  /** Buttons that turn pages, where there are several pictures. */
  pages() {
    const count = this.data.pictures.length;
    const turn = (step, sign, label) => {
      const act = () => {
        this.picture = (this.picture + step + count) % count;
        this.turned();
        this.draw();
      };
      const made = Object.assign(button(sign, act), { title: label, ariaLabel: label });
      made.dataset.key = label;
      return made;
    };
    if (count < 2) return [];
    const where = element("span", "", { textContent: `${this.picture + 1} of ${count}` });
    return [turn(-1, "◀", "Picture before"), where, turn(1, "▶", "Next picture")];
  }

  turned() {}
  tools() {
    return [];
  }
}

/** Give every node of a class a panel. */
export function register(name, nodeClass, text, Panel) {
  app.registerExtension({
    name,
    nodeCreated(node) {
      if (node.comfyClass === nodeClass && node.widgets?.some((widget) => widget.name === text)) new Panel(node);
    },
    onNodeOutputsUpdated(outputs) {
      for (const panel of panels) if (panel instanceof Panel) panel.restore(outputs);
    },
  });
}
