// Making elements.

const SVG = "http://www.w3.org/2000/svg";

/** Make an element: "tag.class.class", attributes (on* are listeners), children. */
export function el(name, attributes = {}, ...children) {
  return build(document.createElement(name.split(".")[0]), name, attributes, children);
}

export function svg(name, attributes = {}, ...children) {
  return build(document.createElementNS(SVG, name.split(".")[0]), name, attributes, children);
}

function build(node, name, attributes, children) {
  const classes = name.split(".").slice(1);
  if (classes.length) node.setAttribute("class", classes.join(" "));
  for (const [key, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else node.setAttribute(key, value === true ? "" : value);
  }
  node.append(...real(children));
  return node;
}

/** Return the children that are to be shown. */
function real(children) {
  return children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false && child !== "");
}

/** Replace the children of a node; an element with the same `data-key` keeps the focus. */
export function fill(node, ...children) {
  const key = node.contains(document.activeElement) ? document.activeElement.dataset.key : undefined;
  node.replaceChildren(...real(children));
  if (key) node.querySelector(`[data-key="${CSS.escape(key)}"]`)?.focus({ preventScroll: true });
}

/** Announce a text to screen readers. */
export function say(text) {
  document.getElementById("live").textContent = text;
}
