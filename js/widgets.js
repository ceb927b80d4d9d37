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
