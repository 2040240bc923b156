// The document: finding and making elements, and changing only what is different from before.
// So a selection, the keyboard's focus and a click that is under way survive a change.

/** @typedef {Record<string, string | number>} Attributes */

/** @param {string} id @returns {any} */
export const find = (id) => document.getElementById(id);

/** @param {string} name @param {string | Node[]} content @param {Attributes} attributes */
export function make(name, content = "", attributes = {}) {
  return fill(document.createElement(name), content, attributes);
}

/** A shape of SVG. @param {string} name @param {Attributes} attributes @param {string | Node[]} content */
export function shape(name, attributes, content = "") {
  return fill(document.createElementNS("http://www.w3.org/2000/svg", name), content, attributes);
}

/** @param {Attributes} box @param {string} className @param {string} [title] what the pointer makes visible */
export function rect(box, className, title) {
  return shape("rect", { ...box, class: className }, title ? [shape("title", {}, title)] : []);
}

/** @param {string} d @param {string} className */
export const path = (d, className) => shape("path", { d, class: className });

/** @param {number} x @param {number} y @param {string} words @param {string} className */
export const text = (x, y, words, className) => shape("text", { x, y, class: className }, words);

/** Set a property, if it is different. @param {any} node @param {string} name @param {unknown} value */
export function set(node, name, value) {
  if (node[name] !== value) node[name] = value;
}

/** Give an element these children, in the nodes that it has. @param {Element} parent @param {Node[]} children */
export function update(parent, children) {
  children.forEach((next, i) => {
    const node = parent.childNodes[i];
    if (!node) parent.append(next);
    else if (node.nodeName !== next.nodeName) node.replaceWith(next);
    else if (!(node instanceof Element && next instanceof Element)) set(node, "nodeValue", next.nodeValue);
    else {
      const gone = [...node.attributes].filter(({ name }) => name !== "style" && !next.hasAttribute(name));
      for (const { name } of gone) node.removeAttribute(name);
      for (const { name, value } of next.attributes) if (node.getAttribute(name) !== value) node.setAttribute(name, value);
      update(node, [...next.childNodes]);
    }
  });
  while (parent.childNodes.length > children.length) parent.lastChild?.remove();
}

/** @template {Element} T @param {T} made @param {string | Node[]} content @param {Attributes} attributes */
function fill(made, content, attributes) {
  for (const key in attributes) made.setAttribute(key, String(attributes[key]));
  made.append(...(typeof content === "string" ? [content] : content));
  return made;
}
