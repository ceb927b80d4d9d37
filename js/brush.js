// Concept Masks: the picture with the masks in the colours of their concepts, and a brush that adds to one of them or erases from
// it. Apply keeps what was painted.
import { app } from "../../scripts/app.js";
import { able, button, near, OnPicture, register } from "./on_picture.js";
import { ADDED, CANVAS, ERASED, loaded, Painting, pixelsOf, upload } from "./painting.js";
import { address, element } from "./widgets.js";

/** The concept (from 0) that a pixel belongs to with what was painted on each since the run; -1 for the background. */
function ownerOf(at, numbers, painted) {
  let owner = numbers[at] - 1;
  for (let concept = 0; concept < painted.length; concept++) {
    const layer = painted[concept];
    if (!layer || layer[at + 3] < 128) continue;
    if (layer[at] >= layer[at + 2]) owner = concept;
    else if (owner === concept) owner = -1;
  }
  return owner;
}

class Brush extends OnPicture {
  constructor(node) {
    super(node, "masks", "corrections", "Run once to see the masks. A brush then adds to a mask or erases from it.", 190);
  }

  /** A run began without what was painted and not applied. */
  queued() {
    if (!this.node.graph || !this.unapplied.length) return;
    const detail = "What was painted was not applied before this run. Press Apply and run again.";
    app.extensionManager?.toast?.add({ severity: "warn", summary: "Concept Masks", detail, life: 8000 });
  }

  /** After a run: what was applied is in the masks now; what was not stays, if it is about the same place. */
  taken() {
    const { width, height, pictures } = this.data;
    const kept = [...(this.paintings ?? [])].filter(([key, one]) => {
      const [picture, concept] = key.split("/").map(Number);
      const box = this.data.boxes[picture]?.[concept];
      return one.unapplied && one.width === width && one.height === height && box && near(box, one.box);
    });
    this.paintings = new Map(kept);
    for (const [key, one] of kept) one.before = this.before(...key.split("/").map(Number));
    this.loading = pictures.map(() => null);
    this.size ??= Math.max(2, Math.round(Math.min(width, height) / 16));
    this.erasing ??= false;
    this.cursor = null;
    this.canvas = this.made(width, height);
    this.turned();
  }

  before(picture, concept) {
    const { file } = this.entry(concept, picture, this.data.text) ?? {};
    if (typeof file !== "string") return null;
    const at = file.lastIndexOf("/");
    return address({ filename: file.slice(at + 1), subfolder: file.slice(0, Math.max(at, 0)), type: "input" });
  }

  /** Load what the page shows. */
  async turned() {
    const { data, picture } = this;
    const { width, height } = data;
    const sources = [data.pictures[picture], data.numbers[picture]].map(address);
    this.loading[picture] ??= Promise.all(sources.map(loaded)).then((both) => both.map((one) => pixelsOf(one, width, height)));
    this.page = null;
    try {
      const page = await this.loading[picture];
      if (this.data !== data || this.picture !== picture) return;
      this.page = page;
      this.show();
    } catch (problem) {
      this.status.textContent = `The picture is gone: ${problem.message}. Run again.`;
    }
  }

  painting(concept = this.concept, picture = this.picture) {
    const key = `${picture}/${concept}`;
    if (!this.paintings.has(key)) {
      const made = new Painting(this.data.width, this.data.height, this.before(picture, concept));
      this.paintings.set(key, Object.assign(made, { box: this.data.boxes[picture][concept] }));
    }
    return this.paintings.get(key);
  }

  get unapplied() {
    return [...(this.paintings ?? [])].filter(([, one]) => one.unapplied);
  }

  made(width, height) {
    const canvas = element("canvas", CANVAS, { width, height, tabIndex: 0 });
    canvas.setAttribute("role", "application");
    canvas.ariaLabel = "Picture with masks: arrow keys move the brush, Enter paints";
    canvas.dataset.key = "canvas";
    const at = (event) => {
      const { left, top, width: across, height: down } = canvas.getBoundingClientRect();
      return [((event.clientX - left) * width) / across, ((event.clientY - top) * height) / down];
    };
    canvas.onpointerdown = (event) => {
      event.stopPropagation();
      if (event.button !== 0 || !this.begin(at(event))) return;
      try {
        canvas.setPointerCapture(event.pointerId);
      } catch {} // a pointer that is up again
    };
    canvas.onpointermove = (event) => {
      event.stopPropagation();
      this.cursor = at(event);
      if (this.stroke) this.stroke.points.push(this.cursor);
      if (this.stroke) this.painting().paint({ ...this.stroke, points: this.stroke.points.slice(-2) });
      this.later();
    };
    canvas.onpointerup = canvas.onpointercancel = (event) => {
      event.stopPropagation();
      this.end();
    };
    canvas.onpointerleave = () => {
      this.cursor = null;
      this.later();
    };
    canvas.onkeydown = (event) => {
      const [across, down] = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key] ?? [0, 0];
      this.cursor ??= [width / 2, height / 2];
      const [x, y] = this.cursor;
      const step = Math.max(1, this.size / 2);
      if (across || down) this.cursor = [Math.min(Math.max(x + across * step, 0), width), Math.min(Math.max(y + down * step, 0), height)];
      else if ((event.key !== "Enter" && event.key !== " ") || event.ctrlKey || event.metaKey) return;
      else if (this.begin([x, y])) this.end();
      event.preventDefault();
      this.later();
    };
    return canvas;
  }

  /** Whether a stroke began: not in a concept that is empty on this picture. */
  begin(point) {
    if (this.linked || !this.page || !this.data.boxes[this.picture][this.concept]) return false;
    this.stroke = { colour: this.erasing ? ERASED : ADDED, size: this.size, points: [point] };
    const painting = this.painting();
    painting.strokes.push(this.stroke);
    painting.paint(this.stroke);
    painting.unapplied = true;
    this.later();
    return true;
  }

  end() {
    if (!this.stroke) return;
    this.stroke = null;
    this.draw();
  }

  later() {
    this.waiting ??= requestAnimationFrame(() => {
      this.waiting = null;
      this.show();
    });
  }

  /** The picture in the colours of its concepts, the chosen one's strongest, with what was painted since the run. */
  show() {
    if (!this.page) return;
    const { width, height, phrases } = this.data;
    const [base, numbers] = this.page;
    const tints = phrases.map((_, concept) => {
      const value = parseInt(this.colour(concept).slice(1), 16);
      return [value >> 16, (value >> 8) & 255, value & 255, concept === this.concept ? 0.5 : 0.25];
    });
    const painted = phrases.map((_, concept) => this.paintings.get(`${this.picture}/${concept}`)?.pixels);
    const owners = new Int16Array(width * height).map((_, at) => ownerOf(4 * at, numbers, painted));
    const image = new ImageData(width, height);
    const scale = width / (this.canvas.clientWidth || width);
    const line = Math.max(1, Math.round(1.5 * scale));
    for (let at = 0; at < owners.length; at++) {
      const edge = owners[at] !== (owners[at + line] ?? -1) || owners[at] !== (owners[at + line * width] ?? -1);
      const tint = tints[owners[at]] ?? [0, 0, 0, 0];
      const much = edge && tint[3] ? 1 : tint[3];
      for (let channel = 0; channel < 3; channel++)
        image.data[4 * at + channel] = base[4 * at + channel] * (1 - much) + tint[channel] * much;
      image.data[4 * at + 3] = 255;
    }
    const context = this.canvas.getContext("2d");
    context.putImageData(image, 0, 0);
    if (!this.cursor) return;
    for (const [colour, radius] of [["#000", this.size / 2 + scale], ["#fff", this.size / 2]]) {
      context.beginPath();
      context.arc(...this.cursor, radius, 0, 2 * Math.PI);
      Object.assign(context, { strokeStyle: colour, lineWidth: scale });
      context.stroke();
    }
  }

  async apply() {
    try {
      for (const [key, painting] of this.unapplied) {
        const [picture, concept] = key.split("/").map(Number);
        const count = painting.strokes.length;
        const file = await painting.file(`concept-${concept + 1}.png`);
        const about = this.about(concept, picture, painting.box);
        if (file) about.file = await upload(file);
        this.keep(file ? this.replaced(about) : this.without(about));
        painting.unapplied = painting.strokes.length !== count;
      }
      this.draw();
    } catch (problem) {
      this.status.textContent = `What was painted could not be saved: ${problem.message}. Try Apply again.`;
    }
  }

  undo() {
    const painting = this.painting();
    if (!painting.strokes.pop()) return;
    painting.unapplied = true;
    painting.repaint();
    this.draw();
  }

  /** Forget what was painted on the chosen concept, before this run, too. */
  clear() {
    this.painting().clear();
    const mine = this.entry(this.concept);
    if (mine) this.keep(this.without(mine));
    this.draw();
  }

  clearAll() {
    for (const painting of this.paintings.values()) painting.clear();
    this.keep([]);
    this.draw();
  }

  draw() {
    super.draw();
    this.show();
  }

  pictured() {
    return [this.canvas];
  }

  tools() {
    const way = (erasing) => () => {
      this.erasing = erasing;
      this.draw();
    };
    const most = Math.max(8, Math.round(Math.min(this.data.width, this.data.height) / 2));
    const size = element("input", "width: 70px; flex: none", { type: "range", min: 1, max: most, value: this.size, title: "Size of the brush" });
    size.ariaLabel = size.title;
    size.oninput = () => (this.size = Number(size.value));
    const tools = [button("Add", way(false), !this.erasing), button("Erase", way(true), this.erasing), size];
    return tools.map((tool) => keyed(able(tool, !this.linked)));
  }

  ends() {
    const undo = button("Undo", () => this.undo());
    undo.disabled = !this.paintings.get(`${this.picture}/${this.concept}`)?.strokes.length;
    const clear = button("Clear", () => this.clear());
    clear.title = "Forget what was painted on this concept";
    clear.disabled = undo.disabled && !this.entry(this.concept);
    const all = button("Clear All", () => this.clearAll());
    all.disabled = !this.text.value && !this.unapplied.length;
    const apply = button("Apply", () => this.apply());
    apply.disabled = !this.unapplied.length;
    return [undo, clear, all, apply].map((each) => keyed(able(each, !each.disabled && !this.linked)));
  }

  saying() {
    if (this.unapplied.length) return "Painted, not applied yet: press Apply, then run.";
    if (this.text.value !== this.data.text) return "Run to see the masks.";
    if (!this.data.boxes[this.picture][this.concept]) return "This concept is empty on this picture.";
    const count = this.entries().length;
    return count ? `${count} mask${count === 1 ? "" : "s"} corrected.` : "Choose a concept and paint.";
  }
}

function keyed(made) {
  made.dataset.key ??= made.textContent || made.title;
  return made;
}

register("same-subject.brush", "ConceptMasks", "corrections", Brush);
