// The promises as a list in which only those rows are in the document that can be seen: thousands
// cost no more than dozens. It scrolls with the page, and goes by the arrow keys.

import { isPending, processName, seconds, shortValue, stateName } from "/known.js";

const MARGIN = 8; // rows above and below the screen
const ICONS = { PENDING: "○", RESOLVED: "✓" };

export class Outline {
  #list;
  #known;
  #open; // called with the id of a promise whose details are wanted
  #lines = [];
  #rows = new Map(); // by id, those in the document
  #chosen; // the id of the row that the keyboard was in last

  constructor(list, known, open) {
    this.#list = list;
    this.#known = known;
    this.#open = open;
    list.addEventListener("keydown", (event) => this.#key(event));
    list.addEventListener("focusin", (event) => {
      this.#chosen = event.target.dataset.id;
    });
    list.addEventListener("click", (event) => {
      const row = event.target.closest("li");
      if (!row) return;
      row.focus({ preventScroll: true });
      open(row.dataset.id);
    });
    for (const type of ["scroll", "resize"]) {
      addEventListener(type, () => requestAnimationFrame(() => this.draw()), { passive: true });
    }
  }

  // Take in that promises came or went.
  update() {
    this.#lines = this.#known.outline();
    this.draw();
  }

  // The id of the row that the Tab key leads to: where the keyboard was, or the first one.
  get #current() {
    return this.#known.promises.has(this.#chosen) ? this.#chosen : this.#lines[0]?.promise.id;
  }

  // Draw the rows that can be seen.
  draw() {
    const height = this.#rowHeight();
    const top = this.#list.getBoundingClientRect().top;
    const first = Math.max(0, Math.floor(-top / height) - MARGIN);
    const last = Math.min(this.#lines.length, Math.ceil((innerHeight - top) / height) + MARGIN);
    this.#list.style.height = `${this.#lines.length * height}px`;

    const wanted = new Map();
    for (let i = first; i < last; i += 1) wanted.set(this.#lines[i].promise.id, i);
    // That row stays off the screen too, or the keyboard would lose its place.
    const current = this.#current;
    if (current !== undefined && !wanted.has(current)) {
      const i = this.#lines.findIndex(({ promise }) => promise.id === current);
      if (i >= 0) wanted.set(current, i);
    }
    for (const [id, row] of this.#rows) {
      if (!wanted.has(id)) {
        row.remove();
        this.#rows.delete(id);
      }
    }
    const inOrder = [...wanted].sort((a, b) => a[1] - b[1]);
    inOrder.forEach(([id, i], k) => {
      const row = this.#rows.get(id) ?? newRow();
      this.#rows.set(id, row);
      if (this.#list.children[k] !== row) this.#list.insertBefore(row, this.#list.children[k]);
      row.style.transform = `translateY(${i * height}px)`;
      row.tabIndex = id === current ? 0 : -1;
      this.#fill(row, this.#lines[i], i);
    });
  }

  #rowHeight() {
    const rem = parseFloat(getComputedStyle(document.documentElement).fontSize);
    return Math.round(parseFloat(getComputedStyle(this.#list).getPropertyValue("--row")) * rem);
  }

  #fill(row, { promise, level, indent }, i) {
    const { workers } = promise;
    const last = this.#known.lastWorker(promise);
    const isBehind = this.#known.isLeftBehind(promise);
    row.className = [
      kindOf(promise),
      last ? `w${last.colour}` : "",
      level === 0 ? "root" : "",
      isBehind ? "behind" : "",
      workers.length > 1 ? "taken" : "",
    ].join(" ");
    row.dataset.id = promise.id;
    row.style.setProperty("--indent", indent);
    row.ariaLevel = level + 1;
    row.ariaPosInSet = i + 1;
    row.ariaSetSize = this.#lines.length;
    const [state, id, what, age, worker, takeover] = row.children;
    setText(state, `${ICONS[promise.state] ?? "✕"} ${stateName(promise)}`);
    setText(id, promise.id);
    setText(what, isPending(promise) ? this.#known.waiting(promise) : shortValue(promise));
    setText(age, seconds((promise.completedOn ?? this.#known.now) - promise.createdOn));
    setText(worker, last ? `${last.state === "gone" ? "✕ " : ""}${processName(last.id)}` : "");
    const takenOver = workers.length > 1 ? `↪ from ${processName(workers.at(-2))}` : "";
    setText(takeover, isBehind ? "left behind" : takenOver);
  }

  #key(event) {
    const current = this.#current;
    const i = this.#lines.findIndex(({ promise }) => promise.id === current);
    const end = this.#lines.length - 1;
    const moves = {
      ArrowDown: i + 1,
      ArrowUp: i - 1,
      PageDown: i + 10,
      PageUp: i - 10,
      Home: 0,
      End: end,
    };
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    if (event.key === "Enter" || event.key === " ") {
      event.preventDefault();
      this.#open(current);
    } else if (event.key in moves) {
      event.preventDefault();
      this.#go(Math.min(Math.max(moves[event.key], 0), end));
    }
  }

  #go(i) {
    this.#chosen = this.#lines[i].promise.id;
    const height = this.#rowHeight();
    const top = this.#list.getBoundingClientRect().top + i * height;
    if (top < height) scrollBy(0, top - height);
    if (top > innerHeight - 2 * height) scrollBy(0, top - innerHeight + 2 * height);
    this.draw();
    this.#rows.get(this.#chosen).focus({ preventScroll: true });
  }
}

export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

function kindOf(promise) {
  if (isPending(promise)) return "pending";
  return promise.state === "RESOLVED" ? "resolved" : "rejected";
}

function newRow() {
  const row = document.createElement("li");
  row.setAttribute("role", "treeitem");
  for (const name of ["state", "id", "what", "age", "worker", "takeover"]) {
    const cell = document.createElement("span");
    cell.className = name;
    row.append(cell);
  }
  return row;
}
