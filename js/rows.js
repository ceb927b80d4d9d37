// Reference Pictures and Joint Set: the pictures of a set after a run, in rows; dragging a row, or Alt and an arrow, changes their order.
import { app } from "../../scripts/app.js";
import { address, after, element, isLinked, outputOf, panel, write } from "./widgets.js";
import { translated } from "./words.js";

const ROWS = "same_subject_rows";
const ROW = 46;
const LEAST = 60, USUAL = 132, MOST = 200;
const STYLES = {
  box: "display: flex; flex-direction: column; gap: 2px; box-sizing: border-box; overflow: hidden; max-height: 192px; padding: 2px; font: 11px/1.3 sans-serif; color: var(--fg-color, #fff); background: var(--comfy-input-bg, #222); border: 1px solid var(--border-color, #4e4e4e); border-radius: 4px",
  head: "display: flex; gap: 4px; align-items: center; flex: none",
  note: "flex: 1; min-width: 0",
  button: "font: inherit; color: inherit; background: var(--comfy-menu-bg, #353535); border: 1px solid var(--border-color, #4e4e4e); border-radius: 4px; cursor: pointer",
  list: "flex: 1; min-height: 0; contain: size; margin: 0; padding: 0; list-style: none; overflow-y: auto; touch-action: pan-y",
  row: "display: flex; gap: 6px; align-items: center; height: 44px; margin: 0 0 2px; padding: 1px 4px 1px 1px; box-sizing: border-box; user-select: none",
  picture: "position: relative; flex: none; width: 42px; height: 42px; display: grid; place-items: center; border: 1px solid var(--border-color, #4e4e4e); box-sizing: border-box",
  image: "position: absolute; inset: 0; width: 100%; height: 100%; object-fit: contain; pointer-events: none",
  words: "flex: 1; min-width: 0",
  role: "font-weight: bold; overflow: hidden; text-overflow: ellipsis; white-space: nowrap",
  text: "display: -webkit-box; -webkit-box-orient: vertical; -webkit-line-clamp: 2; overflow: hidden; overflow-wrap: anywhere",
  grip: "flex: none; cursor: grab; touch-action: none; padding: 8px 2px",
};
let words = {
  picture: "Picture",
  reference: "Reference",
  strength: "strength",
  kept: "kept",
  mask: "mask",
  tinted: "Tinted: left out by the mask",
  empty: "no text",
  moves: "Alt and an arrow up or down moves it.",
  grip: "Drag, or Alt and an arrow",
  changed: "Changed since the last run",
  reset: "As connected",
  resetHint: "Forget the order",
  orderLinked: "The order comes from another node.",
  promptsLinked: "The prompts come from another node, which says their order.",
  elsewhere: "References are ordered in Reference Pictures.",
};
const LINES = /\r\n|[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]/;
const isSeparator = (line) => line.trim() === "---";

/** The prompts in a text, as the server splits it: a line each, or blocks between lines of ---. */
function splitPrompts(text) {
  const lines = text.split(LINES);
  if (!lines.some(isSeparator)) return lines.map((line) => line.trim()).filter(Boolean);
  const blocks = [[]];
  for (const line of lines) isSeparator(line) ? blocks.push([]) : blocks.at(-1).push(line);
  const found = blocks.map((block) => block.join("\n").trim());
  return found.at(-1) ? found : found.slice(0, -1);
}

function joinPrompts(prompts, before) {
  if (!before.split(LINES).some(isSeparator)) return prompts.join("\n");
  return prompts.join("\n---\n") + (prompts.at(-1) ? "" : "\n---");
}

/** Whether a line with choices, such as a {red|blue} ball, can have become a text. */
function canBecome(line, text) {
  const parts = line.split(/\{[^{}]*\}/).map((part) => part.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"));
  return new RegExp(`^${parts.join(".*")}$`, "s").test(text);
}

// For each node: `arranged(rows, value)` gives the rows as they will be by a widget's value, null where they cannot be moved;
// `written(rows, value)` the value for another order of them.
const KINDS = {
  JediReferences: {
    widget: "order",
    arranged(rows, order) {
      const own = [...rows].sort((a, b) => a.given - b.given);
      const numbers = order.split(/[\s,;]+/).filter(Boolean).map(Number);
      const wanted = numbers.length ? numbers.map((number) => own[number - 1]) : own;
      if (wanted.length !== own.length || new Set(wanted).size !== own.length || wanted.includes(undefined)) return null;
      const first = Math.min(...rows.map((row) => row.number));
      return wanted.map((row, place) => ({ ...row, number: first + place }));
    },
    written: (rows) => (rows.every((row, place) => row.given === place + 1) ? "" : rows.map((row) => row.given).join(", ")),
    fixed: "orderLinked",
  },
  JediJointSet: {
    widget: "prompts",
    arranged(rows, text) {
      const prompts = splitPrompts(text);
      const made = rows.filter((row) => row.role === "picture");
      if (prompts.length !== made.length || made.length < 2) return null;
      const arranged = made.map((row, place) => ({ ...row, line: prompts[place], text: canBecome(prompts[place], row.text) ? row.text : prompts[place] }));
      return [...arranged, ...rows.slice(made.length)];
    },
    written: (rows, before) => joinPrompts(rows.filter((row) => row.role === "picture").map((row) => row.line), before),
    fixed: "promptsLinked",
  },
};

const key = (row) => JSON.stringify([row.given ?? row.number, row.role, row.text]);

class Rows {
  constructor(node, kind) {
    Object.assign(this, { node, kind, rows: [] });
    this.widget = node.widgets.find((widget) => widget.name === kind.widget);
    this.note = element("span", STYLES.note, { role: "status" });
    this.reset = element("button", STYLES.button);
    this.reset.onclick = () => this.write("");
    this.head = element("div", STYLES.head);
    this.head.append(this.note, this.reset);
    this.list = element("ol", STYLES.list);
    this.list.dataset.captureWheel = "true";
    this.list.addEventListener("wheel", (event) => this.list.scrollHeight > this.list.clientHeight && event.stopPropagation());
    this.list.onpointerdown = (event) => this.grip(event);
    this.list.onpointermove = (event) => this.drag(event);
    this.list.onpointerup = () => this.drop();
    this.list.onpointercancel = () => this.fill();
    this.list.onkeydown = (event) => this.press(event);
    this.box = element("div", STYLES.box, { className: "same-subject-rows" });
    this.box.append(this.head, this.list);
    this.panel = panel(node, "rows", this.box, MOST);
    after(this.widget, "callback", () => this.fill());
    after(node, "onConfigure", () => this.fill());
    after(node, "onConnectionsChange", () => this.fill());
    after(node, "onExecuted", (output) => this.take(output));
    this.fill();
  }

  take(output) {
    this.rows = output?.[ROWS] ?? [];
    this.fill();
  }

  get isLinked() {
    return isLinked(this.node, this.kind.widget);
  }

  fill() {
    this.dragged = null;
    const value = String(this.widget.value ?? "");
    const arranged = this.isLinked ? null : this.kind.arranged(this.rows, value);
    this.arranged = arranged ?? this.rows;
    this.canMove = arranged !== null;
    const isOrder = this.kind === KINDS.JediReferences;
    this.reset.hidden = !(isOrder && value.trim() && !this.isLinked);
    const changed = arranged?.some((row, place) => key(row) !== key(this.rows[place])) || (isOrder && this.rows.length > 0 && !arranged && !this.isLinked);
    this.note.textContent = changed ? words.changed : this.rows.length ? "" : `order: ${value}`;
    Object.assign(this.reset, { textContent: words.reset, title: words.resetHint });
    this.head.style.display = changed || !this.reset.hidden ? "flex" : "none";
    this.list.replaceChildren(...this.arranged.map((row) => this.row(row)));
    const height = 16 + (this.head.style.display === "none" ? 0 : 22) + this.arranged.length * ROW;
    if (this.rows.length || !this.reset.hidden) this.panel.show(Math.max(this.rows.length ? LEAST : 40, Math.min(height, USUAL)));
    else this.panel.hide();
  }

  row(row) {
    const moves = this.canMove && this.movable(row);
    const name = `${row.role === "picture" ? words.picture : words.reference} ${row.number}`;
    const more = [row.size.join("×"), row.fit, row.strength != null && row.strength !== 1 && `${words.strength} ${row.strength}`, row.kept && words.kept, row.mask && words.mask];
    const role = [name, ...more.filter(Boolean)].join(" · ");
    const made = element("li", STYLES.row, { tabIndex: 0, title: row.text });
    made.setAttribute("aria-label", `${role}: ${row.text || words.empty}. ${moves ? words.moves : ""}`);
    const frame = element("span", STYLES.picture);
    if (row.picture) {
      frame.append(element("img", STYLES.image, { src: address(row.picture), alt: "", draggable: false }));
      if (row.mask) frame.append(element("img", STYLES.image, { src: address(row.mask), alt: "", draggable: false, title: words.tinted }));
    } else frame.textContent = row.number;
    const said = element("div", STYLES.words);
    said.append(element("div", STYLES.role, { textContent: role }), element("div", STYLES.text, { textContent: row.text }));
    made.append(frame, said);
    if (moves) made.append(element("span", STYLES.grip, { textContent: "⠿", ariaHidden: "true", title: words.grip }));
    else if (this.movable(row) && this.isLinked) made.title = words[this.kind.fixed];
    else if (row.role === "reference" && this.kind === KINDS.JediJointSet) made.title = `${row.text}\n${words.elsewhere}`;
    return made;
  }

  /** Only prompts move in Joint Set: its references are ordered where they are gathered. */
  movable(row) {
    return this.kind === KINDS.JediReferences ? this.rows.length > 1 : row.role === "picture";
  }

  get items() {
    return [...this.list.children].slice(0, this.arranged.filter((row) => this.movable(row)).length);
  }

  grip(event) {
    const item = event.target.closest("li");
    const items = this.items;
    if (event.button || !this.canMove || !items.includes(item)) return;
    this.dragged = { item, items, pointer: event.pointerId };
    this.list.setPointerCapture(event.pointerId);
    item.focus({ preventScroll: true });
    item.style.opacity = 0.6;
  }

  drag(event) {
    if (!this.dragged) return;
    const { item } = this.dragged;
    const list = this.list.getBoundingClientRect();
    this.list.scrollTop += event.clientY < list.top + 8 ? -8 : event.clientY > list.bottom - 8 ? 8 : 0;
    const over = this.dragged.items.find((one) => {
      const { top, bottom } = one.getBoundingClientRect();
      return one !== item && event.clientY >= top && event.clientY < bottom;
    });
    if (!over) return;
    const isBelow = item.compareDocumentPosition(over) & Node.DOCUMENT_POSITION_FOLLOWING;
    isBelow ? over.after(item) : over.before(item);
  }

  drop() {
    if (!this.dragged) return;
    const { items, item } = this.dragged;
    const order = this.items.map((one) => this.arranged[items.indexOf(one)]);
    this.reorder(order, this.items.indexOf(item));
  }

  press(event) {
    const item = event.target.closest("li");
    const step = { ArrowUp: -1, ArrowDown: 1 }[event.key];
    if (!item || !step) return;
    event.preventDefault();
    event.stopPropagation();
    if (!event.altKey) return [...this.list.children][[...this.list.children].indexOf(item) + step]?.focus();
    const items = this.items;
    const from = items.indexOf(item);
    const to = from + step;
    if (!this.canMove || from < 0 || to < 0 || to >= items.length) return;
    const order = this.arranged.slice(0, items.length);
    order.splice(to, 0, ...order.splice(from, 1));
    this.reorder(order, to);
  }

  /** Write another order of the rows that can be moved, which come first, and focus the one at `place`. */
  reorder(order, place) {
    this.write(this.kind.written(order, String(this.widget.value ?? "")));
    this.list.children[place]?.focus();
  }

  write(value) {
    write(this.node, { [this.kind.widget]: value });
    this.fill();
  }
}

const shown = new Map();

app.registerExtension({
  name: "same-subject.rows",
  async setup() {
    words = await translated("rows", words);
    for (const rows of shown.values()) rows.fill();
  },
  nodeCreated(node) {
    const kind = KINDS[node.comfyClass];
    if (!kind || !node.widgets?.some((widget) => widget.name === kind.widget)) return;
    shown.set(node, new Rows(node, kind));
    after(node, "onRemoved", () => shown.delete(node));
  },
  loadedGraphNode(node) {
    shown.get(node)?.take(outputOf(node));
  },
  onNodeOutputsUpdated(outputs) {
    for (const [node, rows] of shown) rows.take(outputOf(node, outputs));
  },
});
