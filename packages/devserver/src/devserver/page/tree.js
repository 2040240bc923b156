// The rows: each run in order, its calls in the order of the stack. Of a chain of calls, only as
// many rows as fit on the screen: its beginning, its end, and what happens next.

import { isPending } from "./words.js";

const LEAST = 9; // rows of a long chain, at least
const MOST_LOST = 3; // calls that were cut off and have a row even so

export class Tree {
  #model;
  #runs;
  /** @type {Set<string>} ids of the first calls of long chains that are shown whole */
  #unfolded = new Set();
  /** @type {Matches} what the filter wants of a call */
  #matches;
  /** @type {WeakMap<Call, {key: string, rows: Row[]}>} the rows of each root */
  #known = new WeakMap();
  #changes = 0; // how often the user has folded or filtered
  #key = "";
  /** @type {Row[]} */
  rows = [];

  /** @param {Model} model @param {Runs} runs */
  constructor(model, runs) {
    this.#model = model;
    this.#runs = runs;
  }

  /** @param {Matches} matches */
  filter(matches) {
    this.#matches = matches;
    this.#changes += 1;
  }

  /** Make sure that a call has a row. @param {Call} call @param {number} room */
  reveal(call, room) {
    this.update(room);
    const fold = this.rows.find(({ hidden }) => hidden?.includes(call));
    if (!fold) return;
    this.#unfolded.add(fold.chain ?? "");
    this.#changes += 1;
    this.update(room);
  }

  /** Bring the rows up to date: those of the roots below which something has happened. @param {number} room rows on the screen */
  update(room) {
    const key = `${this.#model.version} ${this.#changes} ${room}`;
    if (key === this.#key) return;
    this.#key = key;
    this.rows = [];
    this.#runs.update();
    for (const run of this.#runs.list.toReversed()) {
      const rows = run.roots.toReversed().flatMap((root) => this.#rowsOf(root, Math.floor((room - 1) / run.roots.length)));
      if (!rows.length) continue;
      this.rows.push({ kind: "run", key: `run ${run.roots[0].id}`, call: run.roots[0], level: 1, indent: 0 }, ...rows);
    }
  }

  /** @param {Call} root @param {number} room */
  #rowsOf(root, room) {
    const key = `${root.version} ${this.#changes} ${room}`;
    const known = this.#known.get(root);
    if (known?.key === key) return known.rows;
    /** @type {Row[]} */
    const rows = [];
    const shown = this.#matches && matching(root, this.#matches);
    if (!shown || shown.has(root)) this.#addBelow(rows, root, room, shown);
    this.#known.set(root, { key, rows });
    return rows;
  }

  /** @param {Row[]} rows @param {Call} root @param {number} room @param {Set<Call> | undefined} shown */
  #addBelow(rows, root, room, shown) {
    const callsOf = (/** @type {Call} */ call) => (shown ? call.children.filter((it) => shown.has(it)) : call.children);
    /** @type {Start[]} */
    const stack = [{ call: root, level: 2, indent: 0 }];
    for (let start = stack.pop(); start; start = stack.pop()) {
      // A chain: each of its calls has made one other call.
      const chain = [start.call];
      let calls = callsOf(start.call);
      for (; calls.length === 1; calls = callsOf(calls[0])) chain.push(calls[0]);
      this.#addChain(rows, chain, start, shown ? Infinity : Math.max(room, LEAST));
      const { indent, level } = start;
      stack.push(...calls.toReversed().map((call) => ({ call, level: level + chain.length, indent: indent + 1 })));
    }
  }

  /** @param {Row[]} rows @param {Call[]} chain @param {Start} start @param {number} room */
  #addChain(rows, chain, { level, indent }, room) {
    const isWhole = chain.length <= room || this.#unfolded.has(chain[0].id);
    const kept = isWhole ? undefined : keptOf(chain, room);
    for (let i = 0; i < chain.length; i += 1) {
      const call = chain[i];
      /** @type {Row} */
      const row = { kind: "call", key: call.id, call, level: level + i, indent };
      rows.push(row);
      if (!kept || kept.has(i)) continue;
      const first = i;
      while (i + 1 < chain.length && !kept.has(i + 1)) i += 1;
      const hidden = chain.slice(first, i + 1);
      Object.assign(row, { kind: "fold", key: `fold ${call.id}`, chain: chain[0].id, hidden, pending: hidden.filter(isPending).length });
    }
  }
}

/** Which calls of a chain have a row, if there is room for so many rows. @param {Call[]} chain @param {number} room */
function keptOf(chain, room) {
  const last = chain.length - 1;
  const done = chain.findIndex(({ completedOn }) => completedOn !== undefined);
  const front = done < 0 ? last : done; // where a call is made or finished next
  const lost = chain.flatMap((call, i) => (call.lost.length ? [i] : [])).slice(-MOST_LOST);
  const kept = new Set([0, front, last, ...lost]);
  // Each gap takes a row too.
  const size = () => kept.size + [...kept].filter((i) => i < last && !kept.has(i + 1)).length;
  for (let by = 1; by <= last; by += 1) {
    for (const i of [front - by, front + by]) {
      if (i < 0 || i > last || kept.has(i)) continue;
      kept.add(i);
      if (size() <= room) continue;
      kept.delete(i);
      return kept;
    }
  }
  return kept;
}

/** The calls below a root that the filter wants, and all that lead to them. @param {Call} root @param {(call: Call) => boolean} matches */
function matching(root, matches) {
  /** @type {Set<Call>} */
  const shown = new Set();
  const all = [root];
  for (const call of all) {
    all.push(...call.children);
    if (!matches(call)) continue;
    for (let it = /** @type {Call | undefined} */ (call); it && !shown.has(it); it = it.parentNode) shown.add(it);
  }
  return shown;
}
