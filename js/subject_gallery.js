// Load Subject: the pictures of all subjects below its list; a click chooses one.
import { api } from "../../scripts/api.js";
import { app } from "../../scripts/app.js";
import { after, element } from "./widgets.js";

const PICTURE = "data:image/jpeg;base64,";
const STYLES = {
  gallery: "display: grid; grid-template-columns: repeat(3, 1fr); gap: 2px; align-content: start; overflow-y: auto; height: 100%; max-height: 240px",
  tile: "min-width: 0; padding: 2px; background: none; color: inherit; border: 2px solid transparent; cursor: pointer",
  name: "display: block; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; font-size: 10px",
  picture: "display: block; width: 100%; aspect-ratio: 1; object-fit: cover",
};

async function showPicture(tile, file) {
  const answer = await api.fetchApi(`/view_metadata/subjects?filename=${encodeURIComponent(file)}`);
  const source = answer.ok ? (await answer.json())["modelspec.thumbnail"] : null;
  if (typeof source === "string" && source.startsWith(PICTURE)) tile.prepend(element("img", STYLES.picture, { src: source, alt: file }));
}

class Gallery {
  constructor(list) {
    this.list = list;
    this.box = element("div", STYLES.gallery);
  }

  fill() {
    const files = [this.list.options.values ?? []].flat();
    this.box.replaceChildren(...files.map((file) => this.tile(file)));
    this.mark();
  }

  tile(file) {
    const tile = element("button", STYLES.tile, { title: file });
    tile.append(element("span", STYLES.name, { textContent: file.replace(/(_\d+_)?\.safetensors$/, "") }));
    tile.onclick = () => {
      this.list.value = file;
      this.list.callback?.(file);
    };
    showPicture(tile, file);
    return tile;
  }

  mark() {
    for (const tile of this.box.children) tile.style.borderColor = tile.title === this.list.value ? "#4a90d9" : "transparent";
  }
}

const galleries = new WeakMap();

app.registerExtension({
  name: "same-subject.subject-gallery",
  nodeCreated(node) {
    const list = node.comfyClass === "JediLoadSubject" && node.widgets?.find((widget) => widget.name === "file");
    if (!list) return;
    const gallery = new Gallery(list);
    galleries.set(node, gallery);
    node.addDOMWidget("pictures", "subject-gallery", gallery.box, {
      serialize: false,
      getMinHeight: () => 140,
      getMaxHeight: () => 240,
    });
    after(node, "onConfigure", () => gallery.mark());
    after(list, "callback", () => gallery.mark());
    gallery.fill();
  },
  refreshComboInNodes() {
    for (const node of app.graph.nodes) galleries.get(node)?.fill();
  },
});
