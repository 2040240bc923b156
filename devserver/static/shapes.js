// Shapes of SVG. They are plain values until `paint` puts them into the document, which changes
// only what is different from before: most lanes look almost the same a moment later.

const NS = "http://www.w3.org/2000/svg";

export const rect = (x, y, width, height, className) =>
  ({ name: "rect", attributes: { x, y, width, height, class: className } });

export const line = (x1, y1, x2, y2, className) =>
  ({ name: "line", attributes: { x1, y1, x2, y2, class: className } });

export const text = (x, y, words, className) =>
  ({ name: "text", attributes: { x, y, class: className }, words });

// Make an element hold these shapes and nothing else.
export function paint(parent, shapes) {
  shapes.forEach((shape, i) => {
    let node = parent.childNodes[i];
    if (node?.shape?.name !== shape.name) {
      const made = element(shape.name, shape.attributes);
      if (shape.words !== undefined) made.textContent = shape.words;
      if (node) node.replaceWith(made);
      else parent.append(made);
      node = made;
    } else {
      for (const key in shape.attributes) {
        if (node.shape.attributes[key] !== shape.attributes[key]) node.setAttribute(key, shape.attributes[key]);
      }
      if (node.shape.words !== shape.words) node.textContent = shape.words;
    }
    node.shape = shape;
  });
  while (parent.childNodes.length > shapes.length) parent.lastChild.remove();
}

export function element(name, attributes) {
  const made = document.createElementNS(NS, name);
  for (const key in attributes) made.setAttribute(key, attributes[key]);
  return made;
}
