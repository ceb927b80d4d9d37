// What the pictures and buttons in our nodes have in common. Text is always set as text, never as HTML.
import { api } from "../../scripts/api.js";
import { app } from "../../scripts/app.js";

/** An element of a kind ("div") with a style (CSS text) and properties. */
export function element(kind, style, properties) {
  const made = Object.assign(document.createElement(kind), properties);
  made.style.cssText = style;
  return made;
}

/** Call `act`, with the same `this` and arguments, after what `holder[name]` does already. */
export function after(holder, name, act) {
  const before = holder[name];
  holder[name] = function (...given) {
    const result = before?.apply(this, given);
    act.apply(this, given);
    return result;
  };
}

/** The address of a file that the host wrote or keeps: {filename, subfolder, type}. */
export function address({ filename, subfolder = "", type }) {
  return api.apiURL(`/view?${new URLSearchParams({ filename, subfolder, type })}`);
}

/** What the last run said of a node, of all that the frontend keeps; undefined if nothing. */
export function outputOf({ graph, id }, outputs = app.nodeOutputs) {
  return outputs?.[!graph || graph.isRootGraph ? `${id}` : `${graph.id}:${id}`];
}

/** Whether the value of any of these widgets of a node comes from another node, so that it cannot be changed here. */
export function isLinked(node, ...names) {
  return node.inputs?.some((input) => names.includes(input.widget?.name) && input.link != null) ?? false;
}

/** Give widgets of a node other values, {name: value}, as one step of undo: the frontend notices clicks by itself, not all keys. */
export function write(node, values) {
  const widgets = node.widgets.filter((widget) => widget.name in values);
  if (widgets.every((widget) => widget.value === values[widget.name])) return;
  app.canvas.emitBeforeChange();
  for (const widget of widgets) widget.value = values[widget.name];
  for (const widget of widgets) widget.callback?.(widget.value);
  app.canvas.emitAfterChange();
  node.setDirtyCanvas(true, true);
}

/** A widget at the end of a node that takes no space until `show(height)`, and none again after `hide()`; up to `most` pixels high. */
export function panel(node, name, box, most) {
  let least = 0;
  let before = null;
  const widget = node.addDOMWidget(name, name, box, {
    serialize: false,
    margin: 4,
    getMinHeight: () => least,
    getMaxHeight: () => Math.max(least, most),
  });
  widget.serialize = false;
  const isShown = () => node.widgets.includes(widget);
  const takeOut = () => {
    widget.hidden = true;
    node.widgets.splice(node.widgets.indexOf(widget), 1);
  };
  takeOut();
  return {
    show(height) {
      least = height;
      box.style.minHeight = `${height - 8}px`;
      if (!isShown()) {
        before = node.size[1];
        widget.hidden = false;
        node.widgets.push(widget);
      }
      const needed = node.computeSize()[1];
      if (needed > node.size[1]) node.setSize([node.size[0], needed]);
      node.setDirtyCanvas(true, true);
    },
    hide() {
      if (!isShown()) return;
      takeOut();
      if (before < node.size[1]) node.setSize([node.size[0], before]);
      node.setDirtyCanvas(true, true);
    },
  };
}
