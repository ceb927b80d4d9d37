// What the pictures and buttons in our nodes have in common. Text is always set as text, never as HTML.

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
