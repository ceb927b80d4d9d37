// Example Pictures: the chosen pictures in the node, before it ever ran.
import { app } from "../../scripts/app.js";
import { after, element } from "./widgets.js";

const SETS = { "box in all three places": ["box in the desert", "box at night", "box in a meadow"] };
const STYLES = {
  row: "display: flex; gap: 4px; justify-content: center; height: 100%",
  picture: "flex: 0 1 auto; min-width: 0; max-height: min(100%, 180px); object-fit: contain; border-radius: 4px",
};

function pictureOf(name) {
  const source = new URL(`./examples/${encodeURIComponent(name)}.png`, import.meta.url).href;
  return element("img", STYLES.picture, { src: source, alt: `a ${name}`, title: name });
}

app.registerExtension({
  name: "same-subject.example-pictures",
  nodeCreated(node) {
    const list = node.comfyClass === "ExamplePictures" && node.widgets?.find((widget) => widget.name === "pictures");
    if (!list) return;
    const row = element("div", STYLES.row);
    const show = () => row.replaceChildren(...(SETS[list.value] ?? [list.value]).map(pictureOf));
    node.addDOMWidget("shown", "example-pictures", row, { serialize: false, getMinHeight: () => 120, getMaxHeight: () => 180 });
    after(node, "onConfigure", show);
    after(list, "callback", show);
    show();
  },
});
