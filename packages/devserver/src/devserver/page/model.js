// What the page knows: calls, the attempts at them, and who waits for whom. The events of
// `GET /watch` build it. Nothing here draws. All times are ms since the epoch.

import { Processes } from "./processes.js";
import { isPending, kindOf } from "./words.js";

const MOST = 10_000; // calls; with more, the page forgets finished ones

export class Model {
  /** @type {Map<string, Call>} by id, without timers */
  promises = new Map();
  /** @type {Call[]} the calls without a known parent, in the order of creation */
  roots = [];
  processes = new Processes();
  /** @type {Record<string, number>} */
  counts = { pending: 0, resolved: 0, rejected: 0 };
  leftOut = false;
  version = 0; // grows with every event
  /** @type {Set<Call>} calls that may have an open attempt */
  #open = new Set();
  #ahead = 0; // how many ms the server's clock is ahead of the browser's
  #most = MOST; // calls; with more, it forgets some
  /** @type {number | undefined} the server's time when the server was last heard, while it is gone */
  #frozen;

  // The server's time. It stands still while the server is gone, since nothing can happen then.
  get now() {
    return this.#frozen ?? Date.now() + this.#ahead;
  }

  /** Stop the clock, at a time or now. @param {number} [time] */
  freeze(time) {
    this.#frozen = time ?? this.#frozen ?? this.now;
  }

  /** @param {Message} message */
  apply(message) {
    this.#frozen = undefined;
    this.#ahead = message.now - Date.now();
    if (message.isFirst) {
      this.promises.clear();
      this.roots = [];
      this.processes.clear();
      this.counts = { pending: 0, resolved: 0, rejected: 0 };
      this.leftOut = message.leftOut ?? false;
      this.#open.clear();
      this.#most = MOST;
    }
    this.version += 1;
    for (const promise of message.promises ?? []) this.#takePromise(promise);
    for (const task of message.tasks ?? []) this.#takeTask(task);
    for (const attempt of message.attempts ?? []) this.#takeAttempt(attempt);
    for (const callback of message.callbacks ?? []) this.#takeCallback(callback);
    for (const use of message.uses ?? []) this.#takeUse(use);
    this.processes.take(message.events ?? [], message.processes);
  }

  /**
   * If there are too many calls, forget finished ones, the oldest first. @param {(promise: Call) => boolean}
   * isKept which calls stay
   */
  forget(isKept) {
    if (this.promises.size <= this.#most) return;
    const gone = new Set();
    for (const root of this.roots) {
      if (this.promises.size <= MOST / 2) break;
      if (this.#forgetBelow(root, isKept)) gone.add(root);
    }
    this.roots = this.roots.filter((root) => !gone.has(root));
    this.#most = Math.max(MOST, this.promises.size + MOST / 2);
    this.leftOut = true;
  }

  /** The attempts at a call, in order. @param {Call} promise */
  attempts(promise) {
    promise.attempts ??= attemptsOf(promise);
    return promise.attempts;
  }

  /**
   * The attempt at a call that has not ended: a worker has it, or the server wants to send it. @param {Call}
   * promise
   */
  openAttempt(promise) {
    return isPending(promise) ? this.attempts(promise).find(({ endedOn }) => endedOn === undefined) : undefined;
  }

  // All open attempts.
  openAttempts() {
    const found = [];
    for (const call of this.#open) {
      const attempt = this.openAttempt(call);
      if (attempt) found.push({ call, attempt });
      else this.#open.delete(call);
    }
    return found;
  }

  /** The ids of the promises that a pending call waits for, and the timer if it pauses. @param {Call} promise */
  waits(promise) {
    const [timer] = promise.timers.values();
    const ids = [...promise.waits].filter((id) => {
      const other = this.promises.get(id);
      return other ? isPending(other) : !promise.endedTimers.has(id) && !promise.timers.has(id);
    });
    return { timer, ids };
  }

  /** @param {SentPromise} sent */
  #takePromise(sent) {
    if (sent.timeout !== undefined) return this.#takeTimer(sent);
    const old = this.promises.get(sent.id);
    if (old) {
      this.counts[kindOf(old)] -= 1;
      Object.assign(old, sent);
    }
    const promise = old ?? this.#add(sent);
    this.counts[kindOf(promise)] += 1;
    return this.#touch(promise, sent.completedOn ?? sent.createdOn);
  }

  /** @param {SentPromise} sent */
  #add(sent) {
    const parentNode = sent.parent === undefined ? undefined : this.promises.get(sent.parent);
    /** @type {any} */
    const added = {
      ...sent, parentNode, children: [], timers: new Map(), endedTimers: new Set(), tasks: new Map(), lost: [], uses: [], attempts: undefined,
      waits: new Set(), callers: new Set(), refs: new Set(),
      active: sent.createdOn, version: 0, // of a root: about all below it
    };
    added.root = parentNode ? parentNode.root : added;
    this.promises.set(sent.id, added);
    (parentNode?.children ?? this.roots).push(added);
    return /** @type {Call} */ (added);
  }

  /**
   * Forget a call and all below it, apart from what is pending or kept and what leads there. Returns whether
   * nothing is left. @param {Call} promise @param {(promise: Call) => boolean} isKept
   */
  #forgetBelow(promise, isKept) {
    const all = [promise];
    for (const it of all) all.push(...it.children);
    /** @type {Set<Call>} */
    const left = new Set();
    for (const it of all) {
      const stays = isPending(it) || isKept(it);
      for (let up = stays ? it : undefined; up && !left.has(up); up = up.parentNode) left.add(up);
    }
    for (const it of all) if (!left.has(it)) this.promises.delete(it.id);
    for (const it of left) it.children = it.children.filter((child) => left.has(child));
    promise.root.version = this.version;
    return left.size === 0;
  }

  /** @param {SentPromise} timer */
  #takeTimer(timer) {
    // The SDK makes a timer's id from its owner's.
    const owner = this.promises.get(timer.id.slice(0, timer.id.lastIndexOf(".")));
    if (!owner) return;
    owner.timers.delete(timer.id);
    if (isPending(timer)) owner.timers.set(timer.id, timer);
    else owner.endedTimers.add(timer.id);
    this.#touch(owner, timer.completedOn ?? timer.createdOn);
  }

  /** @param {SentTask} task */
  #takeTask(task) {
    if (task.processId !== undefined && task.claimedOn !== undefined) this.processes.claimed(task.processId);
    const promise = this.promises.get(task.rootPromiseId);
    if (!promise) return; // older than what is shown
    promise.tasks.set(task.sortId, task);
    if (task.completedOn === undefined) this.#open.add(promise);
    this.#touch(promise, Math.max(task.createdOn, task.claimedOn ?? 0, task.completedOn ?? 0));
    if (task.leafPromiseId !== undefined && !task.isTimer) this.#connect(promise, task.leafPromiseId);
  }

  /** @param {SentAttempt} attempt */
  #takeAttempt(attempt) {
    if (attempt.claimedOn !== undefined) this.processes.claimed(attempt.processId);
    const promise = this.promises.get(attempt.rootPromiseId);
    if (!promise) return;
    promise.lost.push(attempt);
    this.#touch(promise, attempt.endedOn);
  }

  /** @param {{promiseId: string, rootPromiseId: string, recv?: string}} callback */
  #takeCallback({ rootPromiseId, promiseId, recv }) {
    if (recv !== undefined) this.processes.asked(recv);
    const promise = this.promises.get(rootPromiseId);
    if (!promise || rootPromiseId === promiseId) return;
    promise.waits.add(promiseId);
    this.#connect(promise, promiseId);
    this.#touch(promise, promise.active);
  }

  /** @param {SentUse} use */
  #takeUse(use) {
    const promise = this.promises.get(use.promiseId);
    if (!promise) return;
    promise.uses.push(use);
    const caller = this.promises.get(use.callerId ?? "");
    if (caller) this.#connect(caller, use.promiseId);
    this.#touch(promise, promise.active);
  }

  /**
   * A call that waits for one which another call has made: a shared call. @param {Call} caller @param {string} id
   */
  #connect(caller, id) {
    const called = this.promises.get(id);
    if (!called || called.parentNode === caller || called === caller) return;
    called.callers.add(caller.id);
    caller.refs.add(id);
  }

  /** @param {Call} promise @param {number} time when something happened to it */
  #touch(promise, time) {
    promise.attempts = undefined;
    promise.root.version = this.version;
    promise.root.active = Math.max(promise.root.active, time);
  }
}

/** In the order of the tasks, not of the times: the server's clock may have been set back. @param {Call} promise */
function attemptsOf(promise) {
  /** @type {Attempt[]} */
  const attempts = [];
  for (const task of [...promise.tasks.values()].sort((a, b) => a.sortId - b.sortId)) {
    let availableOn = task.createdOn;
    const { isTimer, leafPromiseId: leaf } = task;
    for (const lost of promise.lost) {
      if (lost.task !== task.sortId) continue;
      attempts.push({ ...lost, availableOn, isTimer, leaf });
      availableOn = lost.endedOn;
    }
    // If a promise is completed before the server sends its task, the task has no attempt.
    if (task.completedOn !== undefined && task.processId === undefined) continue;
    attempts.push({
      ...task, availableOn, leaf, endedOn: task.completedOn,
      outcome: task.completedOn === undefined ? undefined : "completed",
    });
  }
  return attempts;
}
