// The rows of the tree: each root's run in order, long chains and folded parts left out.

const SHORTEST_FOLD = 60; // calls in a row; shorter chains are shown whole
const HEAD = 4; // of a long chain: the rows at its beginning, at its end, and around its front
const TAIL = 2;
const AROUND = 7;
const MOST_TAKEN = 20; // and as many of those that were taken over

export class Tree {
  #model;
  #folded = new Set(); // ids of promises whose calls are hidden
  #unfolded = new Set(); // ids of the first calls of long chains that are shown whole
  #filter = () => true;
  #isFiltered = false;
  #key = "";
  rows = [];

  constructor(model) {
    this.#model = model;
  }

  use(model) {
    this.#model = model;
    this.#key = "";
  }

  filter(matches) {
    this.#isFiltered = matches !== undefined;
    this.#filter = matches ?? (() => true);
    this.#key = "";
  }

  isFolded(id) {
    return this.#folded.has(id);
  }

  fold(id, isFolded) {
    if (isFolded) this.#folded.add(id);
    else this.#folded.delete(id);
    this.#key = "";
  }

  unfold(chain) {
    this.#unfolded.add(chain);
    this.#key = "";
  }

  // Make sure that a promise has a row.
  reveal(promise) {
    for (let it = promise.parentNode; it; it = it.parentNode) this.#folded.delete(it.id);
    this.#key = "";
    this.update();
    if (this.rows.some((row) => row.promise === promise && row.kind === "call")) return;
    const fold = this.rows.find((row) => row.kind === "fold" && row.hidden.has(promise));
    if (fold) this.unfold(fold.chain);
    this.update();
  }

  // Bring the rows up to date. Nothing is sorted: the model keeps all in the order of creation.
  update() {
    // A filter looks at states, and a long chain follows its front: these change without new rows.
    const isMoving = this.#isFiltered || this.#model.promises.size > SHORTEST_FOLD;
    const key = `${this.#model.structure} ${isMoving ? this.#model.version : ""}`;
    if (key === this.#key) return false;
    this.#key = key;
    const shown = this.#isFiltered ? this.#matching() : undefined;
    this.rows = [];
    for (let i = this.#model.roots.length - 1; i >= 0; i -= 1) {
      const root = this.#model.roots[i];
      if (!shown || shown.has(root)) this.#addRun(root, shown);
    }
    return true;
  }

  // The promises that the filter wants, and all that lead to them.
  #matching() {
    const shown = new Set();
    for (const promise of this.#model.promises.values()) {
      if (!this.#filter(promise)) continue;
      for (let it = promise; it && !shown.has(it); it = it.parentNode) shown.add(it);
    }
    return shown;
  }

  #addRun(root, shown) {
    const hasHeader = root.children.length > 0;
    if (hasHeader) this.rows.push({ kind: "run", key: `run ${root.id}`, promise: root, level: 1 });
    if (hasHeader && this.#folded.has(`run ${root.id}`)) return;
    const stack = [{ promise: root, level: hasHeader ? 2 : 1, indent: 0, rails: [] }];
    while (stack.length) {
      const { chain, end } = chainFrom(stack.pop(), shown, this.#folded);
      this.#addChain(chain);
      const last = end.promise;
      if (this.#folded.has(last.id)) continue;
      const calls = shown ? last.children.filter((it) => shown.has(it)) : last.children;
      // Trunks of branches that go on below the next rows.
      for (let i = calls.length - 1; i >= 0; i -= 1) {
        const isLast = i === calls.length - 1;
        stack.push({
          promise: calls[i], level: end.level + 1, indent: end.indent + 1, branch: isLast ? "last" : "middle",
          rails: isLast ? end.rails : [...end.rails, end.indent],
        });
      }
    }
  }

  // Add the rows of calls that each have called the next one and nothing else.
  #addChain(chain) {
    const first = chain[0].promise.id;
    if (chain.length < SHORTEST_FOLD || this.#unfolded.has(first) || this.#isFiltered) {
      for (const row of chain) this.rows.push(row);
      return;
    }
    const kept = this.#kept(chain);
    let hidden = [];
    const flush = () => {
      if (!hidden.length) return;
      const { level, indent, rails, key } = hidden[0];
      const promises = new Set(hidden.map(({ promise }) => promise));
      this.rows.push({
        kind: "fold", key: `fold ${key}`, chain: first, promise: hidden[0].promise, level, indent, rails,
        hidden: promises, isChained: true, hasCalls: true,
      });
      hidden = [];
    };
    chain.forEach((row, i) => {
      if (kept.has(i)) {
        flush();
        this.rows.push(row);
      } else {
        hidden.push(row);
      }
    });
    flush();
  }

  #kept(chain) {
    const last = chain.length - 1;
    const done = chain.findIndex(({ promise }) => promise.completedOn !== undefined);
    const front = done < 0 ? last : done; // where a call is created or finished next
    const kept = new Set();
    const keep = (from, to) => {
      for (let i = Math.max(from, 0); i <= Math.min(to, last); i += 1) kept.add(i);
    };
    keep(0, HEAD - 1);
    keep(last - TAIL + 1, last);
    keep(front - AROUND, front + AROUND);
    let taken = 0;
    for (const [i, { promise }] of chain.entries()) {
      if (taken < MOST_TAKEN && promise.lost.length) {
        keep(i, i);
        taken += 1;
      }
    }
    return kept;
  }
}

// Follow a call down while each call has made one other call.
function chainFrom(start, shown, folded) {
  const chain = [];
  let { promise, level, branch } = start;
  const { indent, rails } = start;
  for (;;) {
    const calls = shown ? promise.children.filter((it) => shown.has(it)) : promise.children;
    const isFolded = folded.has(promise.id);
    chain.push({
      kind: "call", key: promise.id, promise, level, indent, rails, branch,
      isChained: chain.length > 0, hasCalls: calls.length > 0 && !isFolded,
    });
    if (calls.length !== 1 || isFolded) break;
    [promise] = calls;
    level += 1;
    branch = undefined;
  }
  return { chain, end: { promise, level, indent, rails } };
}
