// Show Correspondence: the pictures of the run; a click on a point shows, in the others of its set, what matches it and how well.
import { app } from "../../scripts/app.js";
import { address, after, element, isLinked, outputOf, write } from "./widgets.js";
import { translated } from "./words.js";

const SHOWN = "same_subject_correspondence";
const BRIGHTEST = 255, WEAKEST = 0.5, MOST = 3, APART = 8; // as nodes/joint/correspondence.py
const DIM = 0.35, STRONGEST = 0.85, RADII = [11, 8, 6]; // as nodes/joint/heat_maps.py
const COLD = [255, 64, 0], HOT = [255, 242, 89], POINT = "#33e6ff", MATCH = "#ffffff";
const SIDE = 320;
const STYLES = {
  box: "display: flex; flex-direction: column; gap: 4px; box-sizing: border-box; height: 100%; padding: 4px; overflow-y: auto; font: 11px/1.3 sans-serif; color: var(--fg-color, #fff); background: var(--comfy-input-bg, #222); border: 1px solid var(--border-color, #4e4e4e); border-radius: 4px",
  grid: "display: grid; grid-template-columns: repeat(auto-fill, minmax(104px, 1fr)); gap: 4px; align-content: start",
  tile: "margin: 0; min-width: 0",
  canvas: "display: block; width: 100%; cursor: crosshair; touch-action: none",
};
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
let words = {
  first: "Run, then click a point of a picture.",
  gone: "The maps are gone from ComfyUI's temporary folder. Run again.",
  linked: "The point comes from another node.",
  elsewhere: "The point is in a picture that is not there. Click one.",
  picture: "Picture",
  reference: "Reference",
  set: "set",
  keys: "Click a point, move it with the arrow keys; Enter takes it to this picture.",
};

const within = (value) => Math.round(Math.min(1, Math.max(0, value)) * 1000) / 1000;

/** What a run left of all sets: the uint8 tables of nodes/joint/correspondence.py, fetched when a point is in their set. */
class Tables {
  constructor(shown) {
    Object.assign(this, shown, { size: shown.pictures + shown.references, fetched: new Map() });
  }

  of(number) {
    if (!this.fetched.has(number)) this.fetched.set(number, this.fetch(this.tables[number]));
    return this.fetched.get(number);
  }

  async fetch(file) {
    const answer = await fetch(address(file), { cache: "no-cache" });
    if (!answer.ok) throw new Error(answer.statusText);
    return new Uint8Array(await answer.arrayBuffer());
  }

  /** The heat, 0 to 255, of each cell of picture `other` for a point of picture `chosen`, both counted from 0 in their set. */
  heat(table, chosen, other, x, y) {
    const cells = this.height * this.width;
    const cell = Math.min(this.height - 1, Math.floor(y * this.height)) * this.width + Math.min(this.width - 1, Math.floor(x * this.width));
    const start = ((chosen * cells + cell) * this.size + other) * cells;
    return table.subarray(start, start + cells);
  }

  /** The brightest cells that are not near a better one, as shares [x, y], the best first. */
  matches(heat) {
    const { height, width } = this;
    const left = Uint8Array.from(heat);
    const best = left.reduce((most, value) => Math.max(most, value), 0);
    const near = Math.max(1, Math.round(Math.min(height, width) / APART));
    const found = [];
    while (found.length < MOST) {
      let cell = 0;
      for (let other = 1; other < left.length; other++) if (left[other] > left[cell]) cell = other;
      if (left[cell] <= WEAKEST * best) break;
      const across = cell % width, down = (cell - across) / width;
      found.push([(across + 0.5) / width, (down + 0.5) / height]);
      for (let y = Math.max(0, down - near); y <= Math.min(height - 1, down + near); y++)
        left.fill(0, y * width + Math.max(0, across - near), y * width + Math.min(width, across + near + 1));
    }
    return found;
  }
}

class View {
  constructor(node) {
    this.node = node;
    this.note = element("div", "", { role: "status", textContent: words.first });
    this.grid = element("div", STYLES.grid);
    this.box = element("div", STYLES.box, { className: "same-subject-correspondence" });
    this.box.append(this.note, this.grid);
    this.widgets = Object.fromEntries(["picture", "x", "y"].map((name) => [name, node.widgets.find((widget) => widget.name === name)]));
    for (const widget of Object.values(this.widgets)) after(widget, "callback", () => this.draw());
    node.addDOMWidget("view", "same-subject-correspondence", this.box, { serialize: false, getMinHeight: () => 150, getMaxHeight: () => 900 });
    after(node, "onExecuted", (output) => this.take(output));
    after(node, "onConfigure", () => this.take(outputOf(node)));
  }

  take(output) {
    const shown = output?.[SHOWN]?.[0];
    if (!shown) return this.draw();
    if (JSON.stringify(shown) === this.taken) return this.draw();
    this.taken = JSON.stringify(shown);
    this.tables = new Tables(shown);
    this.tiles = shown.shown.map((file, row) => this.tile(file, row));
    this.grid.replaceChildren(...this.tiles.map((tile) => tile.figure));
    this.draw();
  }

  name(row) {
    const { pictures, sets, size } = this.tables;
    const place = row % size;
    const name = place < pictures ? `${words.picture} ${row + 1}` : `${words.reference} ${place - pictures + 1} (${row + 1})`;
    return sets > 1 ? `${name}, ${words.set} ${Math.floor(row / size) + 1}` : name;
  }

  tile(file, row) {
    const name = this.name(row);
    const canvas = element("canvas", STYLES.canvas, { tabIndex: 0, title: words.keys });
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", `${name}. ${words.keys}`);
    const figure = element("figure", STYLES.tile);
    figure.append(canvas, element("figcaption", "", { textContent: name }));
    const image = new Image();
    image.onload = () => {
      const scale = Math.max(1, SIDE / Math.max(image.naturalWidth, image.naturalHeight));
      Object.assign(canvas, { width: Math.round(image.naturalWidth * scale), height: Math.round(image.naturalHeight * scale) });
      this.draw();
    };
    image.src = address(file);
    canvas.onpointerdown = (event) => event.stopPropagation();
    canvas.onclick = (event) => {
      const box = canvas.getBoundingClientRect();
      this.choose(row, (event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height);
    };
    canvas.onkeydown = (event) => this.press(event, row);
    return { figure, canvas, image, matches: [] };
  }

  press(event, row) {
    const { x, y } = this.point;
    const isHere = row === this.point.row;
    if (event.key in ARROWS && isHere) {
      const [across, down] = ARROWS[event.key];
      this.choose(row, x + across / this.tables.width, y + down / this.tables.height);
    } else if (event.key === "Enter" && !isHere) {
      this.choose(row, ...(this.tiles[row].matches[0] ?? [x, y]));
    } else return;
    event.preventDefault();
    event.stopPropagation();
  }

  /** Where the point is: its row in the batch, from 0, and x and y as shares. */
  get point() {
    const { picture, x, y } = this.widgets;
    return { row: Number(picture.value) - 1, x: within(x.value), y: within(y.value) };
  }

  get isLinked() {
    return isLinked(this.node, ...Object.keys(this.widgets));
  }

  choose(row, x, y) {
    if (!this.isLinked) write(this.node, { picture: row + 1, x: within(x), y: within(y) });
  }

  async draw() {
    if (!this.tables) return;
    const drawing = (this.drawing = {});
    const { row, x, y } = this.point;
    const { size } = this.tables;
    const number = Math.floor(row / size);
    let table = null;
    this.note.textContent = this.isLinked ? words.linked : "";
    if (this.tiles[row]) {
      try {
        table = await this.tables.of(number);
      } catch {
        this.note.textContent = words.gone;
      }
    } else this.note.textContent = words.elsewhere;
    if (drawing !== this.drawing) return; // another point was chosen meanwhile
    for (const [other, tile] of this.tiles.entries()) {
      const isInSet = table && Math.floor(other / size) === number && other !== row;
      const heat = isInSet ? this.tables.heat(table, row % size, other % size, x, y) : null;
      tile.matches = heat ? this.tables.matches(heat) : [];
      this.paint(tile, heat, other === row ? [[x, y]] : tile.matches, other === row ? POINT : MATCH);
    }
    if (table && !this.note.textContent) this.note.textContent = `${this.name(row)}: x ${x}, y ${y}`;
  }

  paint({ canvas, image }, heat, marks, colour) {
    if (!image.naturalWidth) return;
    const drawn = canvas.getContext("2d");
    drawn.imageSmoothingEnabled = image.naturalWidth >= SIDE;
    drawn.drawImage(image, 0, 0, canvas.width, canvas.height);
    if (heat) {
      drawn.fillStyle = `rgb(0 0 0 / ${1 - DIM})`;
      drawn.fillRect(0, 0, canvas.width, canvas.height);
      drawn.imageSmoothingEnabled = true;
      drawn.drawImage(this.map(heat), 0, 0, canvas.width, canvas.height);
    }
    const unit = Math.max(canvas.width, canvas.height) / SIDE;
    for (const [place, [x, y]] of marks.entries())
      for (const [width, style] of [[7, "#000000"], [4, colour]]) {
        drawn.beginPath();
        drawn.arc(x * canvas.width, y * canvas.height, RADII[place] * unit, 0, 2 * Math.PI);
        Object.assign(drawn, { lineWidth: width * unit, strokeStyle: style });
        drawn.stroke();
      }
  }

  /** The heat as a picture with transparency, a pixel a cell. */
  map(heat) {
    const { width, height } = this.tables;
    const pixels = new ImageData(width, height);
    for (const [cell, value] of heat.entries()) {
      const share = value / BRIGHTEST;
      const colour = COLD.map((cold, part) => cold + (HOT[part] - cold) * share);
      pixels.data.set([...colour, BRIGHTEST * STRONGEST * share], 4 * cell);
    }
    const canvas = element("canvas", "", { width, height });
    canvas.getContext("2d").putImageData(pixels, 0, 0);
    return canvas;
  }
}

const views = new Map();

app.registerExtension({
  name: "same-subject.correspondence",
  async setup() {
    words = await translated("correspondence", words);
  },
  nodeCreated(node) {
    if (node.comfyClass !== "JediCorrespondence") return;
    views.set(node, new View(node));
    after(node, "onRemoved", () => views.delete(node));
  },
  onNodeOutputsUpdated(outputs) {
    for (const [node, view] of views) view.take(outputOf(node, outputs));
  },
});
