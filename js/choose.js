// Find Concepts: the picture with every box that was found; a click on one chooses it for its concept.
import { able, button, near, OnPicture, register } from "./on_picture.js";
import { address, element } from "./widgets.js";

const STYLES = {
  picture: "display: block; width: 100%; height: 100%; image-rendering: auto",
  box: "position: absolute; box-sizing: border-box; padding: 0; margin: 0; background: none; cursor: pointer; text-align: left; overflow: hidden",
  label:
    "position: absolute; left: 0; top: 0; max-width: 100%; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; padding: 0 3px; " +
    "font-size: 10px; line-height: 13px; color: #fff; background: rgba(0, 0, 0, 0.78)",
};

class Chooser extends OnPicture {
  constructor(node) {
    super(node, "candidates", "chosen", "Run once to see what was found. A click on a box then chooses it.", 150);
  }

  /** Which of its boxes (from 0) a concept has: what was chosen by hand, else by order; null where that is not there. */
  choice(concept) {
    const entry = this.entry(concept);
    const boxes = this.data.found[this.picture][concept];
    if (!entry) return this.byOrder(concept);
    const at = entry.box ? boxes.findIndex((box) => near(box, entry.box)) : entry.number - 1;
    return at in boxes ? at : null;
  }

  /** What the last run had, unless it was chosen by hand then and is no more: only a run can say what is chosen instead. */
  byOrder(concept) {
    return this.entry(concept, this.picture, this.data.text) ? null : this.data.chosen[this.picture][concept];
  }

  choose(phrase, at) {
    if (this.linked) return;
    const alike = this.data.phrases.flatMap((one, concept) => (one === phrase ? [concept] : []));
    const has = new Map(alike.map((concept) => [concept, this.choice(concept)]));
    if (!alike.includes(this.concept)) this.concept = alike[0];
    const holder = alike.find((concept) => has.get(concept) === at);
    if (holder !== undefined) has.set(holder, has.get(this.concept)); // two that look for the same exchange their boxes
    has.set(this.concept, at);
    const boxes = this.data.found[this.picture][this.concept];
    const added = [...has].filter(([, one]) => one !== null && one !== undefined);
    this.keep(this.replaced(...added.map(([concept, one]) => ({ ...this.about(concept, this.picture, boxes[one]), number: one + 1 }))));
    this.draw();
  }

  pictured() {
    const shown = element("img", STYLES.picture, { src: address(this.data.pictures[this.picture]), alt: "", draggable: false });
    const all = [];
    this.data.phrases.forEach((phrase, concept) => {
      if (this.data.phrases.indexOf(phrase) !== concept) return;
      this.data.found[this.picture][concept].forEach((box, at) => all.push({ phrase, concept, box, at }));
    });
    const area = ([left, top, right, bottom]) => (right - left) * (bottom - top);
    all.sort((a, b) => area(b.box) - area(a.box)); // small ones last, above those that they lie in
    return [shown, ...all.map((one) => this.candidate(one))];
  }

  candidate({ phrase, concept, box, at }) {
    const { width, height } = this.data;
    const holder = this.data.phrases.findIndex((one, other) => one === phrase && this.choice(other) === at);
    const chosen = holder >= 0;
    const [left, top, right, bottom, score] = box;
    const place = `left: ${(100 * left) / width}%; top: ${(100 * top) / height}%; width: ${(100 * (right - left)) / width}%; height: ${(100 * (bottom - top)) / height}%`;
    const line = `border: ${chosen ? "3px solid" : "2px dashed"} ${this.colour(chosen ? holder : concept)}`;
    const number = (this.data.first ?? 1) + holder;
    const made = element("button", `${STYLES.box}; ${place}; ${line}`, {
      type: "button",
      title: `${phrase}, box ${at + 1}, score ${score.toFixed(2)}`,
      ariaLabel: `Box ${at + 1} of ${phrase}, score ${score.toFixed(2)}${chosen ? `, chosen as concept ${number}` : ""}`,
      ariaPressed: String(chosen),
      onclick: () => this.choose(phrase, at),
    });
    made.dataset.key = `box ${concept} ${at}`;
    made.append(element("span", STYLES.label, { textContent: `${chosen ? `${number} ` : ""}${phrase} ${score.toFixed(2)}` }));
    return made;
  }

  saying() {
    const { phrases, first, text } = this.data;
    const lost = phrases.findIndex((_, concept) => this.entry(concept) && this.choice(concept) === null);
    if (lost >= 0) return `The box chosen for concept ${first + lost} is not on this picture: press Clear.`;
    const count = this.entries().length;
    if (!count && this.text.value.trim()) return "`chosen` cannot be read: press Clear.";
    if (!count) return text ? "Run to see what is chosen instead." : "Click a box to choose it.";
    return `${count} chosen by hand.${this.text.value === text ? "" : " Run to use it."}`;
  }

  ends() {
    const clear = button("Clear", () => {
      this.keep([]);
      this.draw();
    });
    clear.title = "Forget what was chosen by hand, on all pictures";
    clear.dataset.key = "clear";
    return [able(clear, !this.linked && this.text.value)];
  }
}

register("same-subject.choose", "ConceptFind", "chosen", Chooser);
