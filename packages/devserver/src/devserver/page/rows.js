// The rows in the document: only those that are on the screen, so thousands cost no more than
// dozens. The rows scroll with the page, and the arrow keys move between them.

import { find, make, set, shape, update } from "./document.js";
import { behind, callLane, killLines, ROW, times } from "./lane.js";
import { doubt, isLate, nameOf } from "./story.js";
import { count, fitted, isPending, kindOf, seconds, shortId, shortValue, stateName } from "./words.js";

const MARGIN = 200; // px above and below the screen in which there are rows too
const MOST_PRINTED = 2000; // rows on paper
const STEP = 14; // of the indentation, px
const LEFT = 22; // px before an id
/** @type {Record<string, string>} */
const ICONS = { PENDING: "○", RESOLVED: "✓" };

export class Rows {
  #list = find("promises");
  #model;
  #tree;
  #runs;
  #open;
  /** @type {Map<string, HTMLElement>} by key, those in the document */
  #items = new Map();
  #width = 1; // of the lanes, px
  #characters = 20; // of an id that fit
  #isPrinted = false;
  /** @type {string | undefined} the key of the row that had the keyboard's focus last */
  #chosen;
  /** @type {string | undefined} the id of the call whose details are open */
  opened;

  /** @param {Model} model @param {Tree} tree @param {Runs} runs @param {(id: string) => void} open shows a call's details */
  constructor(model, tree, runs, open) {
    this.#model = model;
    this.#tree = tree;
    this.#runs = runs;
    this.#open = open;
    this.#list.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => this.#press(event));
    this.#list.addEventListener("focusin", (/** @type {any} */ event) => {
      this.#chosen = event.target.closest("li")?.dataset.key;
    });
    this.#list.addEventListener("click", (/** @type {any} */ event) => this.#click(event.target));
    addEventListener("scroll", () => requestAnimationFrame(() => this.#place(true)), { passive: true });
    addEventListener("beforeprint", () => this.#print(true));
    addEventListener("afterprint", () => this.#print(false));
  }

  /** Whether a call has a row in the document. @param {Call} call */
  has(call) {
    return this.#items.has(call.id);
  }

  /** Bring a call's row onto the screen. @param {Call} call */
  show(call, hasFocus = true) {
    this.#tree.reveal(call, this.#room);
    const i = this.#tree.rows.findIndex((row) => row.kind === "call" && row.call === call);
    if (i >= 0) this.#go(i, hasFocus);
  }

  /** Bring the rows that are on the screen up to date. @param {number} width of the lanes */
  draw(width = this.#width) {
    this.#width = width;
    const first = Math.max(Math.floor(-this.#list.getBoundingClientRect().top / ROW), 0);
    const anchor = first > 0 ? this.#tree.rows.slice(first, first + 50) : [];
    this.#tree.update(this.#room);
    set(this.#list.style, "height", `${this.#tree.rows.length * ROW + 2}px`);
    // If rows have been added or removed above those that the user looks at, scroll by as much.
    const now = new Map(anchor.length ? this.#tree.rows.map((row, i) => [row.key, i]) : []);
    const i = anchor.findIndex(({ key }) => now.has(key));
    if (i >= 0) scrollBy(0, ((now.get(anchor[i].key) ?? 0) - first - i) * ROW);
    this.#place();
    const name = this.#list.querySelector(".id");
    if (name) this.#characters = Math.floor((name.clientWidth - LEFT) / 7.9);
  }

  /** @param {boolean} isPrinted */
  #print(isPrinted) {
    this.#isPrinted = isPrinted;
    this.draw();
  }

  // How many rows fit on the screen if it is not scrolled.
  get #room() {
    return Math.floor((innerHeight - this.#list.getBoundingClientRect().top - scrollY - 8) / ROW);
  }

  // The index of the row that the Tab key leads to: where the keyboard was, or the first one.
  get #current() {
    const { rows } = this.#tree;
    const i = rows.findIndex(({ key }) => key === this.#chosen);
    return i >= 0 ? i : Math.min(rows.length - 1, 0);
  }

  // Put an element for each row on the screen into the document, and bring them up to date, or
  // only the new ones.
  #place(onlyNew = false) {
    const { rows } = this.#tree;
    const top = this.#list.getBoundingClientRect().top;
    const from = this.#isPrinted ? 0 : Math.max(Math.floor((-top - MARGIN) / ROW), 0);
    const to = this.#isPrinted ? MOST_PRINTED : Math.ceil((innerHeight - top + MARGIN) / ROW);
    const wanted = new Set(rows.slice(from, to).map((_, i) => from + i));
    // The focused row stays in the document off the screen too, or the keyboard loses its place.
    const current = this.#current;
    if (current >= 0) wanted.add(current);
    const keys = new Set([...wanted].map((i) => rows[i].key));
    for (const [key, item] of this.#items) {
      if (keys.has(key)) continue;
      item.remove();
      this.#items.delete(key);
    }
    [...wanted].sort((a, b) => a - b).forEach((i, k) => {
      const { key } = rows[i];
      const known = this.#items.get(key);
      const item = known ?? make("li", [], { role: "treeitem" });
      this.#items.set(key, item);
      if (this.#list.children[k] !== item) this.#list.insertBefore(item, this.#list.children[k]);
      set(item.style, "transform", `translateY(${i * ROW}px)`);
      set(item, "tabIndex", i === current ? 0 : -1);
      if (!known || !onlyNew) this.#fill(item, rows[i]);
    });
  }

  /** @param {HTMLElement} item @param {Row} row */
  #fill(item, row) {
    const { call, kind, indent } = row;
    const run = this.#runs.of(call);
    /** @type {{id: Node[], lane: Node[], what: Node[] | string, age?: string, worker?: Node}} */
    const cells = kind === "run" ? this.#runCells(run) : kind === "fold" ? this.#foldCells(row, run) : this.#callCells(row);
    const { id, lane, what, age, worker } = cells;
    item.dataset.key = row.key;
    item.dataset.id = call.id;
    const siblings = call.parentNode?.children ?? run.roots;
    const isOpen = kind === "call" && call.id === this.opened;
    set(item, "ariaLevel", String(row.level));
    set(item, "ariaSetSize", String(kind === "run" ? this.#runs.list.length : siblings.length));
    set(item, "ariaPosInSet", String((kind === "run" ? this.#runs.list.indexOf(run) : siblings.indexOf(call)) + 1));
    set(item, "ariaSelected", isOpen ? "true" : null);
    set(item, "className", `${kind} ${kindOf(call)}${row.level === 2 ? " root" : ""}${isOpen ? " open" : ""}`);
    update(item, [
      make("span", id, { class: "id" }),
      shape("svg", { class: "lane", viewBox: `0 0 ${this.#width} ${ROW}`, preserveAspectRatio: "none", "aria-hidden": "true" }, lane),
      make("span", typeof what === "string" ? [make("span", what, { title: what })] : what, { class: "what" }),
      ...(age === undefined ? [] : [make("span", age, { class: "age" })]),
      ...(worker ? [worker] : []),
    ]);
    const name = /** @type {HTMLElement} */ (item.children[0]);
    set(name.style, "paddingInlineStart", `${LEFT + indent * STEP}px`);
  }

  /** @param {Run} run */
  #runCells(run) {
    const { calls, incidents } = this.#runs.story(run);
    const isCut = this.#model.leftOut && run.roots.some(({ parent }) => parent !== undefined);
    const more = [incidents.length ? `, ${count(incidents.length, "interruption")}` : "", isCut ? ", older calls are not shown" : ""];
    return {
      id: [make("span", new Date(run.from).toLocaleTimeString("en-GB"))],
      lane: [...this.#through(run), ...times(this.#runs, run, this.#width, 15, ROW)],
      what: [make("span", count(calls.length, "call")), make("span", more.join(""))],
    };
  }

  /** @param {Row} row @param {Run} run */
  #foldCells({ hidden = [], pending }, run) {
    return {
      id: [make("span", "…", { class: "mark" }), make("span", `${hidden.length.toLocaleString("en")} more`)],
      lane: this.#through(run),
      what: pending ? `${pending.toLocaleString("en")} pending` : "all finished",
    };
  }

  /** @param {Row} row */
  #callCells({ call, level, indent }) {
    const model = this.#model;
    const refs = [...call.refs].slice(0, 3).map((id) => ({ id, label: `↗ ${shortId(id, call.id)}` }));
    const taken = (indent * STEP) / 8 + refs.reduce((sum, { label }) => sum + label.length + 1, 0);
    const name = fitted(level === 2 ? call.id : nameOf(call), Math.max(Math.floor(this.#characters - taken), 6));
    const words = isPending(call) ? doing(call, model) : `${call.state === "RESOLVED" ? "" : `${stateName(call)} `}${shortValue(call)}`;
    const used = ` used again${call.uses.length > 1 ? ` ${call.uses.length} times` : ""}`;
    const last = this.#runs.story(this.#runs.of(call)).steps.get(call)?.at(-1)?.process;
    const isTaken = call.lost.some(({ claimedOn }) => claimedOn !== undefined);
    return {
      id: [
        make("span", ICONS[call.state] ?? "✕", { class: "mark" }),
        make("span", name, { title: call.id }),
        ...refs.map(({ id, label }) => make("span", label, { "data-ref": id, title: `${call.id} uses ${id}, which another call made` })),
      ],
      lane: callLane(call, model, this.#runs, this.#width),
      what: [make("span", words, { title: words }), ...(call.uses.length ? [make("span", [new Text("↺"), make("span", used)], { class: "reuse", title: used })] : [])],
      age: seconds((call.completedOn ?? model.now) - call.createdOn),
      worker: last && make("span", `${isTaken ? "↪ " : ""}${last.name}`, { class: `worker w${last.colour}`, title: `${last.name} (${last.mark})` }),
    };
  }

  /** The shapes that go through the lanes of all calls, also of those that are left out. @param {Run} run */
  #through(run) {
    const { incidents } = this.#runs.story(run);
    return [...behind(this.#runs, run, this.#width, ROW), ...killLines(incidents, this.#runs.axis(run), this.#width, 0, ROW)];
  }

  /** @param {HTMLElement} target */
  #click(target) {
    const item = target.closest("li");
    const row = item && this.#tree.rows.find(({ key }) => key === item.dataset.key);
    if (!row) return;
    item.focus({ preventScroll: true });
    const ref = /** @type {HTMLElement | null} */ (target.closest("[data-ref]"))?.dataset.ref;
    const called = this.#model.promises.get(ref ?? "");
    if (called) this.show(called);
    else this.#act(row);
  }

  /** Open a call, or show what is left out. @param {Row} row */
  #act(row) {
    if (row.kind === "call") this.#open(row.call.id);
    if (row.kind === "fold") this.show(row.call);
    this.draw();
  }

  /** @param {KeyboardEvent} event */
  #press(event) {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    const { rows } = this.#tree;
    const i = this.#current;
    const parent = rows.findLastIndex((row, k) => k < i && row.level < rows[i].level);
    /** @type {Record<string, number>} */
    const moves = {
      ArrowDown: i + 1, ArrowUp: i - 1, PageDown: i + 10, PageUp: i - 10, Home: 0, End: rows.length,
      ArrowLeft: parent, ArrowRight: rows[i + 1]?.level > rows[i].level ? i + 1 : i,
    };
    if (event.key in moves) this.#go(Math.min(Math.max(moves[event.key], 0), rows.length - 1));
    else if (event.key === "Enter" || event.key === " ") this.#act(rows[i]);
    else return;
    event.preventDefault();
  }

  /** @param {number} i */
  #go(i, hasFocus = true) {
    this.#chosen = this.#tree.rows[i].key;
    const top = this.#list.getBoundingClientRect().top + i * ROW;
    const least = find("baton").getBoundingClientRect().bottom + ROW;
    if (top < least) scrollBy(0, top - least);
    if (top > innerHeight - 3 * ROW) scrollBy(0, top - innerHeight + 3 * ROW);
    this.draw();
    if (hasFocus) this.#items.get(this.#chosen)?.focus({ preventScroll: true });
  }
}

/** What happens with a pending call now. @param {Call} call @param {Model} model */
export function doing(call, model) {
  const { now } = model;
  const open = model.openAttempt(call);
  if (open && isLate(open, now)) return doubt(open, model, nameOf(call)) ?? "";
  if (open?.claimedOn !== undefined) return now - open.claimedOn < 1000 ? "runs" : `runs for ${seconds(now - open.claimedOn)}`;
  if (open?.sentOn !== undefined && open.processId !== undefined) {
    const { name } = model.processes.named(open.processId);
    return now - open.sentOn < 500 ? `sent to ${name}` : `sent to ${name} ${seconds(now - open.sentOn)} ago, not claimed`;
  }
  if (open) return "needs a worker";
  const { timer, ids } = model.waits(call);
  if (timer) return `pauses for ${seconds((timer.timeout ?? now) - now)} more`;
  if (!ids.length) return call.tasks.size ? "waits" : "pending";
  return `waits for ${shortId(ids[0], call.id)}${ids.length > 1 ? ` and ${ids.length - 1} more` : ""}`;
}
