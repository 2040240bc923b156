// The rows of the tree: each root's run in order, long chains and folded parts left out.

import { HEIGHT } from "/head.js";
import { ROW } from "/lane.js";
import { isPending } from "/words.js";

const HEIGHTS = { run: HEIGHT, call: ROW, fold: ROW }; // of the rows, px
const SHORTEST_FOLD = 60; // calls in a row; shorter chains are shown whole
const HEAD = 4; // of a long chain: the rows at its beginning, at its end, and around its front
const TAIL = 2;
const AROUND = 7;
const MOST_TAKEN = 20; // and as many of those that were taken over

export const heightOf = ({ kind }) => HEIGHTS[kind];

export class Tree {
  #model;
  #folded = new Set(); // ids of promises whose calls are hidden
  #unfolded = new Set(); // ids of the first calls of long chains that are shown whole
  #matches; // what the filter wants of a promise
  #known = new WeakMap(); // the rows of each root, and what they were made from
  #changes = 0; // how often the user has folded or filtered
  #key = "";
  rows = []; // each one with `y`, its distance from the top of the tree
  height = 0; // of all rows

  constructor(model) {
    this.#model = model;
  }

  filter(matches) {
    this.#matches = matches;
    this.#changes += 1;
  }

  isFolded(id) {
    return this.#folded.has(id);
  }

  fold(id, isFolded) {
    if (isFolded) this.#folded.add(id);
    else this.#folded.delete(id);
    this.#changes += 1;
  }

  unfold(chain) {
    this.#unfolded.add(chain);
    this.#changes += 1;
  }

  // Make sure that a promise has a row.
  reveal(promise) {
    for (let it = promise.parentNode; it; it = it.parentNode) this.#folded.delete(it.id);
    this.#folded.delete(`run ${promise.root.id}`);
    this.#changes += 1;
    this.update();
    if (this.rows.some((row) => row.promise === promise && row.kind === "call")) return;
    const fold = this.rows.find((row) => row.kind === "fold" && row.hidden.includes(promise));
    if (fold) this.unfold(fold.chain);
    this.update();
  }

  // Bring the rows up to date. Only the runs in which something has happened get new ones.
  update() {
    const key = `${this.#model.version} ${this.#changes}`;
    if (key === this.#key) return;
    this.#key = key;
    this.rows = [];
    this.height = 0;
    for (let i = this.#model.roots.length - 1; i >= 0; i -= 1) {
      for (const row of this.#rowsOf(this.#model.roots[i])) {
        row.y = this.height;
        this.height += heightOf(row);
        this.rows.push(row);
      }
    }
  }

  #rowsOf(root) {
    const key = `${root.version} ${this.#changes}`;
    const known = this.#known.get(root);
    if (known?.key === key) return known.rows;
    const rows = [];
    const shown = this.#matches && matching(root, this.#matches);
    if (!shown || shown.has(root)) this.#addRun(rows, root, shown);
    this.#known.set(root, { key, rows });
    return rows;
  }

  #addRun(rows, root, shown) {
    const hasHeader = root.children.length > 0;
    if (hasHeader) rows.push({ kind: "run", key: `run ${root.id}`, promise: root, level: 1 });
    if (hasHeader && this.#folded.has(`run ${root.id}`)) return;
    const stack = [{ promise: root, level: hasHeader ? 2 : 1, indent: 0, rails: [] }];
    while (stack.length) {
      const start = stack.pop();
      const chain = this.#chainFrom(start.promise, shown);
      this.#addChain(rows, chain, start, shown);
      const last = chain.at(-1);
      if (this.#folded.has(last.id)) continue;
      const calls = callsOf(last, shown);
      const { indent, rails } = start;
      // Trunks of branches that go on below the next rows.
      for (let i = calls.length - 1; i >= 0; i -= 1) {
        const isLast = i === calls.length - 1;
        stack.push({
          promise: calls[i], level: start.level + chain.length, indent: indent + 1,
          branch: isLast ? "last" : "middle", rails: isLast ? rails : [...rails, indent],
        });
      }
    }
  }

  // Follow a call down while each call has made one other call.
  #chainFrom(promise, shown) {
    const chain = [];
    for (let it = promise; it;) {
      chain.push(it);
      const calls = callsOf(it, shown);
      it = calls.length === 1 && !this.#folded.has(it.id) ? calls[0] : undefined;
    }
    return chain;
  }

  // Add the rows of calls that each have called the next one and nothing else.
  #addChain(rows, chain, { level, indent, rails, branch }, shown) {
    const isWhole = chain.length < SHORTEST_FOLD || this.#unfolded.has(chain[0].id) || shown;
    const kept = isWhole ? undefined : this.#kept(chain);
    for (let i = 0; i < chain.length; i += 1) {
      const promise = chain[i];
      const isChained = i > 0;
      const place = { promise, level: level + i, indent, rails, isChained };
      if (!kept || kept.has(i)) {
        const hasCalls = callsOf(promise, shown).length > 0 && !this.#folded.has(promise.id);
        rows.push({ kind: "call", key: promise.id, ...place, hasCalls, branch: isChained ? undefined : branch });
        continue;
      }
      const first = i;
      while (i + 1 < chain.length && !kept.has(i + 1)) i += 1;
      const hidden = chain.slice(first, i + 1);
      const pending = hidden.filter(isPending).length;
      rows.push({ kind: "fold", key: `fold ${promise.id}`, ...place, chain: chain[0].id, hidden, pending, hasCalls: true });
    }
  }

  #kept(chain) {
    const last = chain.length - 1;
    const done = chain.findIndex((promise) => promise.completedOn !== undefined);
    const front = done < 0 ? last : done; // where a call is created or finished next
    const kept = new Set();
    const keep = (from, to) => {
      for (let i = Math.max(from, 0); i <= Math.min(to, last); i += 1) kept.add(i);
    };
    keep(0, HEAD - 1);
    keep(last - TAIL + 1, last);
    keep(front - AROUND, front + AROUND);
    let taken = 0;
    for (let i = 0; i < chain.length && taken < MOST_TAKEN; i += 1) {
      if (!chain[i].lost.length) continue;
      kept.add(i);
      taken += 1;
    }
    return kept;
  }
}

// The promises of a run that the filter wants, and all that lead to them.
function matching(root, matches) {
  const shown = new Set();
  const all = [root];
  for (const promise of all) {
    all.push(...promise.children);
    if (!matches(promise)) continue;
    for (let it = promise; it && !shown.has(it); it = it.parentNode) shown.add(it);
  }
  return shown;
}

const callsOf = (promise, shown) => (shown ? promise.children.filter((it) => shown.has(it)) : promise.children);
