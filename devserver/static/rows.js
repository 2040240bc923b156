// The tree's rows in the document: only those that are on the screen, so thousands cost no more
// than dozens. The rows scroll with the page, and the arrow keys move between them.

import { headOf } from "/head.js";
import { callLane, ROW, takeoversOf, throughOf } from "/lane.js";
import { element, paint } from "/shapes.js";
import { heightOf } from "/tree.js";
import { count, isPending, seconds, shortId, shortValue, stateName } from "/words.js";

const MARGIN = 200; // px above and below the screen in which there are rows too
const STEP = 14; // of the indentation, px
const TAIL = 8; // characters at the end of an id that are always shown
const ICONS = { PENDING: "○", RESOLVED: "✓" };

export class Rows {
  #list;
  #model;
  #tree;
  #runs;
  #open; // called with the id of a promise that the user wants to see in full
  #rows = new Map(); // by key, those in the document
  #shown = []; // the same with their rows of the tree, from the top to the bottom
  #width = 0; // of the lanes, px; 0 if not known
  #chosen; // the key of the row that had the keyboard's focus last

  constructor(list, { model, tree, runs, open }) {
    this.#list = list;
    this.#model = model;
    this.#tree = tree;
    this.#runs = runs;
    this.#open = open;
    list.addEventListener("keydown", (event) => this.#press(event));
    list.addEventListener("focusin", (event) => {
      this.#chosen = event.target.closest("li")?.dataset.key;
    });
    list.addEventListener("click", (event) => this.#click(event));
    addEventListener("scroll", () => requestAnimationFrame(() => this.#scroll()), { passive: true });
  }

  // Whether a promise has a row in the document.
  has(promise) {
    return this.#rows.has(promise.id);
  }

  // Bring a promise's row onto the screen.
  show(promise, hasFocus = true) {
    this.#tree.reveal(promise);
    const i = this.#tree.rows.findIndex((row) => row.kind === "call" && row.promise === promise);
    if (i >= 0) this.#go(i, hasFocus);
  }

  // Bring the rows that are on the screen up to date.
  draw() {
    const top = this.#list.getBoundingClientRect().top;
    const anchor = top < 0 ? this.#tree.rows.slice(this.#firstAt(-top), this.#firstAt(-top) + 50) : [];
    const before = anchor.map(({ y }) => y);
    const { scrollX, scrollY } = window;
    this.#tree.update();
    this.#list.style.height = `${this.#tree.height}px`;
    // If rows have been added or removed above those that the user looks at, scroll by as much.
    const moved = this.#moved(anchor, before);
    if (moved) scrollTo(scrollX, scrollY + moved);
    this.#place(top - moved);
    for (const [item, row] of this.#shown) this.#fill(item, row);
  }

  // Show the rows that have come onto the screen. The others are as they were.
  #scroll() {
    const added = this.#place(this.#list.getBoundingClientRect().top);
    for (const [item, row] of this.#shown) if (added.has(item)) this.#fill(item, row);
  }

  // How far the first of some rows that still exists has moved.
  #moved(anchor, before) {
    const now = new Map(anchor.length ? this.#tree.rows.map((row) => [row.key, row.y]) : []);
    const i = anchor.findIndex(({ key }) => now.has(key));
    return i < 0 ? 0 : now.get(anchor[i].key) - before[i];
  }

  // The index of the first row that ends below a height.
  #firstAt(y) {
    const { rows } = this.#tree;
    let [low, high] = [0, rows.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (rows[middle].y + heightOf(rows[middle]) <= y) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  // Put an element for each row on the screen into the document. Returns the new ones.
  #place(top) {
    const { rows } = this.#tree;
    const wanted = new Map();
    for (let i = this.#firstAt(-top - MARGIN); i < rows.length && rows[i].y < innerHeight - top + MARGIN; i += 1) {
      wanted.set(rows[i].key, i);
    }
    // The focused row stays in the document off the screen too, or the keyboard loses its place.
    const current = this.#current;
    if (current >= 0) wanted.set(rows[current].key, current);
    for (const [key, item] of this.#rows) {
      if (wanted.has(key)) continue;
      item.remove();
      this.#rows.delete(key);
    }
    const added = new Set();
    this.#shown = [...wanted].sort((a, b) => a[1] - b[1]).map(([key, i], k) => {
      const item = this.#rows.get(key) ?? newRow();
      if (!this.#rows.has(key)) added.add(item);
      this.#rows.set(key, item);
      if (this.#list.children[k] !== item) this.#list.insertBefore(item, this.#list.children[k]);
      const place = `translateY(${rows[i].y}px)`;
      if (item.style.transform !== place) item.style.transform = place;
      const tabIndex = i === current ? 0 : -1;
      if (item.tabIndex !== tabIndex) item.tabIndex = tabIndex;
      return [item, rows[i]];
    });
    this.#width ||= this.#list.querySelector(".lane")?.clientWidth ?? 0;
    return added;
  }

  // The lanes have another width now.
  resize() {
    this.#width = 0;
  }

  // The index of the row that the Tab key leads to: where the keyboard was, or the first one.
  get #current() {
    const { rows } = this.#tree;
    const i = this.#chosen === undefined ? -1 : rows.findIndex(({ key }) => key === this.#chosen);
    return i >= 0 ? i : Math.min(rows.length - 1, 0);
  }

  #fill(item, row) {
    const { promise, kind } = row;
    item.dataset.key = row.key;
    item.dataset.id = promise.id;
    const siblings = kind === "run" || !promise.parentNode ? this.#model.roots : promise.parentNode.children;
    const isAlone = kind === "call" && !promise.parentNode && row.level === 2; // below its run's row
    const place = promise.parentNode ? promise.place + 1 : siblings.length - promise.place;
    setAttribute(item, "aria-level", row.level);
    setAttribute(item, "aria-setsize", isAlone ? 1 : siblings.length);
    setAttribute(item, "aria-posinset", isAlone ? 1 : place);
    const canFold = kind === "run" || (kind === "call" && promise.children.length > 0);
    const foldKey = kind === "run" ? row.key : promise.id;
    setAttribute(item, "aria-expanded", canFold ? !this.#tree.isFolded(foldKey) : undefined);
    const state = isPending(promise) ? "pending" : promise.state === "RESOLVED" ? "resolved" : "rejected";
    setClass(item, `${kind} ${state}${row.level === 1 ? " root" : ""}`);
    if (kind === "run") this.#fillRun(item, row);
    else if (kind === "fold") this.#fillFold(item, row);
    else this.#fillCall(item, row);
  }

  #fillRun(item, { promise, key }) {
    const run = this.#runs.of(promise);
    const [, name, lane, what, age, worker] = item.children;
    setLabel(name, promise.id, this.#tree.isFolded(key) ? "▸" : "▾");
    const kills = this.#model.deaths.filter(({ roots }) => roots.has(promise)).length;
    const summary = [count(promise.calls, "call"), kills ? count(kills, "kill") : ""].filter(Boolean);
    setText(what, summary.join(", "));
    setText(age, seconds((promise.completedOn ?? this.#model.now) - promise.createdOn));
    setText(worker, "");
    setClass(worker, "worker");
    paint(lane, headOf(this.#model, { axis: this.#runs.axis(run), start: run.from, width: this.#width }));
  }

  #fillFold(item, row) {
    const [rails, name, lane, what, , worker] = item.children;
    drawRails(rails, row);
    indent(name, row);
    setLabel(name, `… ${row.hidden.length.toLocaleString("en")} more`, "");
    setText(what, row.pending ? `${row.pending.toLocaleString("en")} pending` : "all finished");
    setClass(worker, "worker");
    paint(lane, throughOf(this.#model, this.#runs.axis(this.#runs.of(row.promise)), this.#width));
  }

  #fillCall(item, row) {
    const { promise } = row;
    const [rails, name, lane, what, age, worker] = item.children;
    drawRails(rails, row);
    indent(name, row);
    const isAlone = row.level === 1;
    setLabel(name, isAlone ? promise.id : shortId(promise.id, promise.root.id), ICONS[promise.state] ?? "✕", promise.id);
    setRefs(name, promise);
    const words = this.#what(promise);
    setText(what, words);
    setTitle(what, words);
    setText(age, seconds((promise.completedOn ?? this.#model.now) - promise.createdOn));
    const last = this.#model.lastWorker(promise);
    setText(worker, last ? `${takeoversOf(promise, this.#model).length ? "↪ " : ""}${last.name}` : "");
    setTitle(worker, last?.label ?? "");
    setClass(worker, `worker${last && !last.isClient ? ` w${last.colour}` : ""}`);
    const axis = this.#runs.axis(this.#runs.of(promise));
    paint(lane, callLane(promise, this.#model, axis, this.#width));
  }

  // A promise's value, or what it does or waits for.
  #what(promise) {
    if (promise.state === "RESOLVED") return shortValue(promise);
    if (!isPending(promise)) return `${stateName(promise)} ${shortValue(promise)}`;
    return doing(promise, this.#model);
  }

  #click(event) {
    const item = event.target.closest("li");
    if (!item) return;
    const row = this.#tree.rows.find(({ key }) => key === item.dataset.key);
    if (!row) return;
    const ref = event.target.closest("[data-ref]");
    item.focus({ preventScroll: true });
    if (ref) this.show(this.#model.promises.get(ref.dataset.ref));
    else if (row.kind === "fold" || (row.kind === "run" && !event.target.closest(".full"))) this.#toggle(row);
    else this.#open(row.promise.id);
  }

  #toggle(row, isFolded) {
    if (row.kind === "fold") {
      this.#tree.unfold(row.chain);
    } else {
      const key = row.kind === "run" ? row.key : row.promise.id;
      this.#tree.fold(key, isFolded ?? !this.#tree.isFolded(key));
    }
    this.draw();
  }

  #press(event) {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    const i = this.#current;
    const row = this.#tree.rows[i];
    const end = this.#tree.rows.length - 1;
    const moves = { ArrowDown: i + 1, ArrowUp: i - 1, PageDown: i + 10, PageUp: i - 10, Home: 0, End: end };
    if (event.key in moves) {
      event.preventDefault();
      this.#go(Math.min(Math.max(moves[event.key], 0), end));
    } else if (event.key === "Enter" || event.key === " ") {
      event.preventDefault();
      if (row.kind === "fold") this.#toggle(row);
      else this.#open(row.promise.id);
    } else if (event.key === "ArrowRight" || event.key === "ArrowLeft") {
      event.preventDefault();
      this.#sideways(row, i, event.key === "ArrowRight");
    }
  }

  // As in every tree: left folds or goes to the parent, right unfolds or goes to the first call.
  #sideways(row, i, isRight) {
    const { rows } = this.#tree;
    if (row.kind === "fold") {
      if (isRight) this.#toggle(row);
      return;
    }
    const canFold = row.kind === "run" || row.promise.children.length > 0;
    const isFolded = this.#tree.isFolded(row.kind === "run" ? row.key : row.promise.id);
    if (canFold && isFolded === isRight) this.#toggle(row, !isRight);
    else if (isRight && rows[i + 1]?.level > row.level) this.#go(i + 1);
    else if (!isRight) {
      const parent = rows.findLastIndex((it, k) => k < i && it.level < row.level);
      if (parent >= 0) this.#go(parent);
    }
  }

  #go(i, hasFocus = true) {
    this.#chosen = this.#tree.rows[i].key;
    const top = this.#list.getBoundingClientRect().top + this.#tree.rows[i].y;
    if (top < 2 * ROW) scrollBy(0, top - 2 * ROW);
    if (top > innerHeight - 3 * ROW) scrollBy(0, top - innerHeight + 3 * ROW);
    this.draw();
    if (hasFocus) this.#rows.get(this.#chosen).focus({ preventScroll: true });
  }
}

// What happens with a pending promise now.
export function doing(promise, model) {
  const open = model.attempts(promise).filter(({ endedOn }) => endedOn === undefined);
  const claimed = open.find(({ claimedOn }) => claimedOn !== undefined);
  if (claimed) return model.now - claimed.claimedOn < 1000 ? "runs" : `runs for ${seconds(model.now - claimed.claimedOn)}`;
  const sent = open.find(({ sentOn }) => sentOn !== undefined);
  if (sent) {
    const to = model.processes.named(sent.processId).name;
    const ago = model.now - sent.sentOn;
    return ago < 500 ? `sent to ${to}` : `sent to ${to} ${seconds(ago)} ago, not claimed`;
  }
  if (open.length) return "waits for a worker";
  const { timer, ids } = model.waits(promise);
  if (timer) return `sleeps ${seconds(timer.timeout - model.now)} more`;
  if (!ids.length) return promise.tasks.size ? "waits" : "pending";
  const more = ids.length > 1 ? ` and ${ids.length - 1} more` : "";
  return `waits for ${shortId(ids[0], promise.root.id)}${more}`;
}

export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

function setClass(node, name) {
  if (node.className !== name) node.className = name;
}

function setTitle(node, title) {
  if (node.title !== title) node.title = title;
}

function setAttribute(node, name, value) {
  if (value === undefined) node.removeAttribute(name);
  else if (node.getAttribute(name) !== String(value)) node.setAttribute(name, value);
}

function indent(name, row) {
  const padding = `${26 + row.indent * STEP}px`;
  if (name.style.paddingInlineStart !== padding) name.style.paddingInlineStart = padding;
}

// Put an id into its cell. If it is too long, its middle is left out: ids differ at the end.
function setLabel(cell, label, icon, title = label) {
  const [mark, head, tail] = cell.children;
  setText(mark, icon);
  const cut = Math.max(label.length - TAIL, 0);
  setText(head, label.slice(0, cut));
  setText(tail, label.slice(cut));
  setTitle(cell, title);
}

// The calls that a promise shares with others stand once in the tree, below their first caller.
function setRefs(cell, promise) {
  const wanted = [...promise.refs].slice(0, 3);
  const refs = cell.querySelector(".refs");
  if (refs.dataset.of === wanted.join("\n")) return;
  refs.dataset.of = wanted.join("\n");
  refs.replaceChildren(...wanted.map((id) => {
    const ref = document.createElement("span");
    ref.dataset.ref = id;
    ref.textContent = `↗ ${shortId(id, promise.root.id)}`;
    ref.title = `${promise.id} also waits for ${id}, which another call created`;
    return ref;
  }));
}

function drawRails(svg, { indent: depth, rails, branch, isChained, hasCalls }) {
  const key = `${depth} ${rails} ${branch} ${isChained} ${hasCalls}`;
  if (svg.dataset.key === key) return;
  svg.dataset.key = key;
  const x = (column) => 17 + column * STEP;
  const lines = rails.map((column) => `M${x(column)} 0V${ROW}`);
  if (branch) lines.push(`M${x(depth - 1)} 0V${ROW / 2 - 4}q0 4 4 4H${x(depth) - 7}`);
  if (isChained) lines.push(`M${x(depth)} 0V${ROW / 2 - 7}`);
  if (hasCalls) lines.push(`M${x(depth)} ${ROW / 2 + 7}V${ROW}`);
  svg.replaceChildren(element("path", { d: lines.join("") || "M0 0" }));
}

function newRow() {
  const row = document.createElement("li");
  row.setAttribute("role", "treeitem");
  const rails = element("svg", { class: "rails", "aria-hidden": "true" });
  const name = document.createElement("span");
  name.className = "id";
  for (const part of ["mark", "head", "tail", "refs"]) {
    const span = document.createElement("span");
    span.className = part;
    name.append(span);
  }
  const lane = element("svg", { class: "lane", "aria-hidden": "true" });
  row.append(rails, name, lane);
  for (const part of ["what", "age", "worker"]) {
    const cell = document.createElement("span");
    cell.className = part;
    row.append(cell);
  }
  return row;
}
