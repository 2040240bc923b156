// What the page knows: promises, the attempts at them, and who waits for whom. The events of
// `GET /watch` build it. Nothing here draws.

import { Processes } from "/processes.js";
import { isPending } from "/words.js";

const MOST = 10_000; // promises; with more, the page forgets finished ones

export class Model {
  promises = new Map(); // by id, without timers
  roots = []; // the promises without a known parent, in the order of creation
  processes = new Processes();
  counts = { pending: 0, resolved: 0, rejected: 0, timers: 0 };
  leftOut = false;
  version = 0; // grows with every event
  sent = new Set(); // promises whose task was sent to a process that has not claimed it
  #ahead = 0; // how many ms the server's clock is ahead of the browser's
  #most = MOST; // promises; with more, it forgets some
  #frozen; // the server's time when the server was last heard, while it is gone
  #deaths = { key: "", list: [] };

  // The server's time. It stands still while the server is gone, since nothing can happen then.
  get now() {
    return this.#frozen ?? Date.now() + this.#ahead;
  }

  // Stop the clock, at a time or now.
  freeze(time) {
    this.#frozen = time ?? this.#frozen ?? this.now;
  }

  apply(event) {
    this.#frozen = undefined;
    this.#ahead = event.now - Date.now();
    if (event.isFirst) {
      this.promises.clear();
      this.roots = [];
      this.processes.clear();
      this.counts = { pending: 0, resolved: 0, rejected: 0, timers: 0 };
      this.leftOut = event.leftOut ?? false;
      this.sent.clear();
      this.#most = MOST;
      this.#deaths = { key: "", list: [] };
    }
    this.version += 1;
    this.#takePromises(event.promises ?? []);
    for (const task of event.tasks ?? []) this.#takeTask(task);
    for (const attempt of event.attempts ?? []) this.#takeAttempt(attempt);
    for (const callback of event.callbacks ?? []) this.#takeCallback(callback);
    this.processes.take(event.events ?? [], event.processes);
  }

  // If there are too many promises, forget finished ones, the oldest first, apart from those that
  // `isKept` accepts.
  forget(isKept) {
    if (this.promises.size <= this.#most) return;
    const gone = new Set();
    for (const root of this.roots) {
      if (this.promises.size <= MOST / 2) break;
      if (this.#forgetBelow(root, isKept)) gone.add(root);
    }
    this.roots = renumbered(this.roots.filter((root) => !gone.has(root)));
    this.#most = Math.max(MOST, this.promises.size + MOST / 2);
    this.leftOut = true;
  }

  // The attempts at a promise, in order. Each one: when its task became available, when the
  // server sent it, when and by which process it was claimed, when and how it ended.
  attempts(promise) {
    promise.attempts ??= attemptsOf(promise);
    return promise.attempts;
  }

  // The process that claimed a promise's task last.
  lastWorker(promise) {
    const last = this.attempts(promise).findLast(({ claimedOn }) => claimedOn !== undefined);
    return last && this.processes.named(last.processId);
  }

  // The ids of the promises that a pending promise waits for, and the timer if it sleeps.
  waits(promise) {
    const [timer] = promise.timers.values();
    const ids = [...promise.waits].filter((id) => {
      const other = this.promises.get(id);
      return other ? isPending(other) : !promise.endedTimers.has(id) && !promise.timers.has(id);
    });
    return { timer, ids };
  }

  // The processes that disconnected for good while promises that they had claimed last were
  // pending, the oldest first. Each one has these promises and their roots.
  get deaths() {
    const version = `${this.version} ${Math.floor(this.now / 1000)}`; // a return may be overdue
    if (this.#deaths.version === version) return this.#deaths.list;
    const gone = new Map();
    for (const process of this.processes) {
      const at = this.processes.goneOn(process, this.now);
      if (at !== undefined) gone.set(process.id, { process, at, had: new Set(), roots: new Set() });
    }
    // What a process had when it died does not change later.
    const key = [...gone.values()].map(({ process, at }) => `${process.id} ${at}`).join("\n");
    if (key !== this.#deaths.key) this.#deaths = { key, list: this.#findDeaths(gone) };
    this.#deaths.version = version;
    return this.#deaths.list;
  }

  // When the process that had a promise died, if it did.
  diedOn(process, promise) {
    const death = this.deaths.find((it) => it.process === process);
    return death?.had.has(promise) ? death.at : undefined;
  }

  #findDeaths(gone) {
    if (!gone.size) return [];
    for (const promise of this.promises.values()) {
      const claims = this.attempts(promise).filter(({ claimedOn }) => claimedOn !== undefined);
      claims.forEach(({ processId, claimedOn }, i) => {
        const death = gone.get(processId);
        if (!death || claimedOn > death.at) return;
        if (claims[i + 1]?.claimedOn <= death.at || promise.completedOn <= death.at) return;
        death.had.add(promise);
        death.roots.add(promise.root);
      });
    }
    return [...gone.values()].filter(({ had }) => had.size).sort((a, b) => a.at - b.at);
  }

  #takePromises(told) {
    for (const promise of told) {
      const old = this.promises.get(promise.id);
      const parent = this.promises.get(promise.parent);
      if (promise.timeout !== undefined) {
        // The SDK makes a timer's id from its owner's.
        this.#takeTimer(promise, this.promises.get(promise.id.slice(0, promise.id.lastIndexOf("."))));
        continue;
      }
      if (old) {
        this.counts[kindOf(old)] -= 1;
        if (isPending(old) && !isPending(promise)) old.root.finished += 1;
        Object.assign(old, promise);
      } else {
        this.#add(promise, parent);
      }
      this.counts[kindOf(promise)] += 1;
      this.#touch(this.promises.get(promise.id), promise.completedOn ?? promise.createdOn);
    }
  }

  #add(promise, parent) {
    const siblings = parent ? parent.children : this.roots;
    const added = {
      ...promise, parentNode: parent, children: [], timers: new Map(), endedTimers: new Set(),
      tasks: new Map(), lost: [], attempts: undefined, waits: new Set(),
      callers: new Set(), refs: new Set(), place: siblings.length,
      active: promise.createdOn, calls: 0, finished: 0, version: 0, // of a root: about its run
    };
    added.root = parent ? parent.root : added;
    this.promises.set(promise.id, added);
    siblings.push(added);
    added.root.calls += 1;
    if (!isPending(added)) added.root.finished += 1;
  }

  // Forget a call and all below it, apart from what is pending or kept and what leads there.
  // Returns whether nothing is left.
  #forgetBelow(promise, isKept) {
    const all = [promise];
    for (const it of all) all.push(...it.children);
    const left = new Set();
    for (const it of all) {
      for (let up = isPending(it) || isKept(it) ? it : undefined; up && !left.has(up); up = up.parentNode) left.add(up);
    }
    for (const it of all) if (!left.has(it)) this.promises.delete(it.id);
    for (const it of left) it.children = renumbered(it.children.filter((child) => left.has(child)));
    promise.root.version = this.version;
    return left.size === 0;
  }

  #takeTimer(timer, parent) {
    if (!parent) return;
    const known = parent.timers.delete(timer.id);
    if (known) this.counts.timers -= 1;
    if (isPending(timer)) {
      parent.timers.set(timer.id, timer);
      this.counts.timers += 1;
    } else {
      parent.endedTimers.add(timer.id);
    }
  }

  #takeTask(task) {
    const promise = this.promises.get(task.rootPromiseId);
    if (!promise) return; // older than what is shown
    promise.tasks.set(task.sortId, task);
    promise.attempts = undefined;
    if (task.state === "ENQUEUED") this.sent.add(promise);
    else this.sent.delete(promise);
    this.#touch(promise, Math.max(task.createdOn, task.claimedOn ?? 0, task.completedOn ?? 0));
    if (task.leafPromiseId && !task.isTimer) this.#connect(promise, task.leafPromiseId);
  }

  #takeAttempt(attempt) {
    const promise = this.promises.get(attempt.rootPromiseId);
    if (!promise) return;
    promise.lost.push(attempt);
    promise.attempts = undefined;
    this.#touch(promise, attempt.endedOn);
  }

  #takeCallback({ rootPromiseId, promiseId }) {
    const promise = this.promises.get(rootPromiseId);
    if (!promise) return;
    promise.waits.add(promiseId);
    this.#connect(promise, promiseId);
  }

  // A promise that waits for one which another promise has called: a shared call.
  #connect(caller, id) {
    const called = this.promises.get(id);
    if (!called || called.parentNode === caller || called === caller) return;
    called.callers.add(caller.id);
    caller.refs.add(id);
  }

  #touch(promise, time) {
    promise.changed = this.version;
    promise.root.version = this.version;
    promise.root.active = Math.max(promise.root.active, time);
  }
}

function renumbered(siblings) {
  siblings.forEach((it, place) => Object.assign(it, { place }));
  return siblings;
}

function kindOf(promise) {
  if (isPending(promise)) return "pending";
  return promise.state === "RESOLVED" ? "resolved" : "rejected";
}

// In the order of the tasks, not of the times: the server's clock may have been set back.
function attemptsOf(promise) {
  const attempts = [];
  for (const task of [...promise.tasks.values()].sort((a, b) => a.sortId - b.sortId)) {
    let availableOn = task.createdOn;
    for (const lost of promise.lost) {
      if (lost.task !== task.sortId) continue;
      attempts.push({ ...lost, availableOn, isTimer: task.isTimer, leaf: task.leafPromiseId });
      availableOn = lost.endedOn;
    }
    // If a promise is completed before the server sends its task, the task has no attempt.
    if (task.completedOn !== undefined && task.processId === undefined) continue;
    attempts.push({
      availableOn, sentOn: task.sentOn, claimedOn: task.claimedOn, endedOn: task.completedOn,
      processId: task.processId, isTimer: task.isTimer, leaf: task.leafPromiseId,
      outcome: task.completedOn === undefined ? undefined : "completed",
    });
  }
  return attempts;
}
