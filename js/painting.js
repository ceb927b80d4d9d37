// What is painted on a mask: strokes since the last run, and the picture in the input folder that keeps them, where red is added,
// blue is erased, and black is as it was.
import { api } from "../../scripts/api.js";
import { element } from "./widgets.js";

const FOLDER = "same-subject";
export const ADDED = "#ff0000";
export const ERASED = "#0000ff";
export const CANVAS = "display: block; width: 100%; height: 100%; touch-action: none; cursor: crosshair";

/** A picture from an address. */
export function loaded(source) {
  return new Promise((done, failed) => {
    const picture = new Image();
    picture.onload = () => done(picture);
    picture.onerror = () => failed(new Error(`${source} cannot be read`));
    picture.src = source;
  });
}

function sheet(width, height) {
  return element("canvas", CANVAS, { width, height }).getContext("2d", { willReadFrequently: true });
}

/** Its pixels, red, green, blue and alpha of each. */
export function pixelsOf(picture, width, height) {
  const context = sheet(width, height);
  context.drawImage(picture, 0, 0, width, height);
  return context.getImageData(0, 0, width, height).data;
}

/** What was painted on one concept of one picture since the last run. before: address of what was painted until then, or null. */
export class Painting {
  constructor(width, height, before) {
    Object.assign(this, { width, height, before, strokes: [], unapplied: false });
    this.layer = sheet(width, height);
  }

  paint({ colour, size, points }) {
    const to = this.layer;
    Object.assign(to, { strokeStyle: colour, lineWidth: size, lineCap: "round", lineJoin: "round" });
    to.beginPath();
    to.moveTo(points[0][0] + 0.01, points[0][1]); // a line without a length would not be drawn
    for (const point of points) to.lineTo(...point);
    to.stroke();
  }

  repaint() {
    this.layer.clearRect(0, 0, this.width, this.height);
    for (const stroke of this.strokes) this.paint(stroke);
  }

  /** Forget all that was painted, before the last run, too. */
  clear() {
    Object.assign(this, { strokes: [], before: null, unapplied: false });
    this.repaint();
  }

  get pixels() {
    return this.layer.getImageData(0, 0, this.width, this.height).data;
  }

  /** A file with all that was painted; null if that is nothing. */
  async file(name) {
    if (!this.before && !this.strokes.length) return null;
    const whole = sheet(this.width, this.height);
    whole.fillStyle = "#000";
    whole.fillRect(0, 0, this.width, this.height);
    if (this.before) whole.drawImage(await loaded(this.before), 0, 0, this.width, this.height);
    const image = whole.getImageData(0, 0, this.width, this.height);
    const painted = this.pixels;
    for (let at = 0; at < painted.length; at += 4) {
      if (painted[at + 3] < 128) continue;
      const added = painted[at] >= painted[at + 2];
      image.data.set([added ? 255 : 0, 0, added ? 0 : 255, 255], at);
    }
    whole.putImageData(image, 0, 0);
    const blob = await new Promise((done) => whole.canvas.toBlob(done, "image/png"));
    return new File([blob], name, { type: "image/png" });
  }
}

/** Save a file in the input folder; its name there. */
export async function upload(file) {
  const body = new FormData();
  for (const [name, value] of Object.entries({ image: file, type: "input", subfolder: FOLDER })) body.append(name, value);
  const answer = await api.fetchApi("/upload/image", { method: "POST", body });
  if (!answer.ok) throw new Error(`the server answered ${answer.status}`);
  const { name, subfolder } = await answer.json();
  return subfolder ? `${subfolder}/${name}` : name;
}
