// Colours of our own socket types, in both renderers. All have the same lightness, which is seen on dark and on light nodes.
import { app } from "../../scripts/app.js";
import { element } from "./widgets.js";

const COLOURS = {
  JEDI_REFERENCES: "#d95ca5",
  JEDI_SET: "#aa6bea",
  JEDI_OPTIONS: "#b372b3",
  JEDI_RECORDING: "#8a7fdc",
  CONCEPT: "#169c6f",
  CONCEPTS: "#2e9d40",
  CONCEPT_BOXES: "#629816",
  CONCEPT_BRANCHES: "#1396ab",
  CONCEPT_DETECTOR: "#8e8e19",
  CONCEPT_SEGMENTER: "#6c9459",
  IDENTITY: "#e35f3e",
  IDENTITY_ADAPTER: "#cd7217",
  IDENTITY_FACE_ANALYSIS: "#ce6b7b",
  IDENTITY_FACE_EMBEDS: "#d9646b",
  S3_SETS: "#4f9fb0",
  SCENE_TOOLS: "#5a8dc0",
  SCORE_MODELS: "#a4862f",
  SUBJECTS: "#4f8fd9",
  SUBJECT_ADAPTER: "#8a84c4",
  SUBJECT_SCORES: "#b8794b",
};

/** Give `map` our colours. A theme that names a colour of its own keeps it; one that blanks what it does not know does not. */
function colour(map) {
  for (const [type, ours] of Object.entries(COLOURS)) {
    let chosen = map[type];
    Object.defineProperty(map, type, {
      configurable: true,
      enumerable: true,
      get: () => chosen || ours,
      set: (given) => (chosen = given),
    });
  }
}

app.registerExtension({
  name: "same-subject.socket-colours",
  setup() {
    colour(app.canvas.default_connection_color_byType);
    colour(app.canvas.constructor.link_type_colors);
    const rules = Object.entries(COLOURS).map(([type, ours]) => `--color-datatype-${type}: ${ours};`);
    document.head.append(element("style", "", { textContent: `:root { ${rules.join(" ")} }` }));
  },
});
