// What the page knows: the promises, who has worked on them, and who is connected.
// It is told by the events of `GET /watch`, and says what is new. Nothing here draws.

const RATE_WINDOW = 5000; // ms over which calls are counted for the rates
const TIME_TO_RETURN = 6000; // ms that workers have to come back after the server has started

export const isTimer = (promise) => promise.due !== undefined;
export const isPending = (promise) => promise.state === "PENDING";

// A process id of this project begins with the number that the system knows the process by.
const OWN_ID = /^(\d+)-([0-9a-f]{12})$/;

export function processName(id) {
  const own = OWN_ID.exec(id);
  if (own) return `pid ${own[1]}`;
  return id.length > 12 ? `${id.slice(0, 8)}…` : id;
}

// What tells a process from another one that had the same number.
export const processRest = (id) => OWN_ID.exec(id)?.[2] ?? "";

export class Known {
  promises = new Map(); // by id
  processes = new Map(); // by id, in the order in which they were first seen
  leftOut = false;
  #started; // when the server did, by its own clock
  #clock = 0; // how far the server's clock is ahead of ours, ms
  #flow = []; // what came when, for the rates

  // The server's time now, ms.
  get now() {
    return Date.now() + this.#clock;
  }

  // Take in an event; return the news in it, the oldest first.
  apply(event) {
    this.#clock = event.now - Date.now();
    const isFirst = this.#started === undefined;
    const before = this.promises;
    const news = [];
    if (event.started !== undefined) {
      if (!isFirst && event.started !== this.#started) {
        news.push({ kind: "server", text: "The server has started again" });
      }
      this.promises = new Map();
      this.leftOut = event.leftOut ?? false;
      this.#started = event.started;
    }
    const called = this.#takePromises(event.promises, before);
    const takeovers = this.#takeRuns(event.runs, before);
    if (event.processes) this.#takeProcesses(event.processes, news, isFirst);
    this.#weigh();
    this.#noticeGone(event.now, news, isFirst);
    if (isFirst) return [];
    for (const promise of called) {
      if (!before.has(promise.id)) news.push({ kind: "called", text: `${promise.id} was called` });
    }
    for (const [promise, from, to] of takeovers) {
      const text = `${processName(to)} took over ${promise.id} from ${processName(from)}`;
      news.push({ kind: "takeover", text, id: promise.id });
    }
    for (const { id } of event.promises) {
      const promise = this.promises.get(id);
      if (promise && !promise.parent && !isTimer(promise) && !isPending(promise)) {
        const was = before === this.promises ? undefined : before.get(id);
        if (!was || isPending(was)) news.push({ kind: "result", text: outcome(promise), id });
      }
    }
    return news;
  }

  // How many calls are begun and done a second.
  get rates() {
    this.#flow = this.#flow.filter(({ at }) => at > Date.now() - RATE_WINDOW);
    const sum = (key) => this.#flow.reduce((total, entry) => total + entry[key], 0);
    return { begun: sum("begun") / (RATE_WINDOW / 1000), done: sum("done") / (RATE_WINDOW / 1000) };
  }

  // The promises as lines of an outline, each recursion from its root, the newest root first.
  // A chain stays at one indentation, however deep it is; only branches indent further.
  outline() {
    const lines = [];
    const seen = new Set();
    const visit = (root) => {
      const stack = [{ promise: root, level: 0, indent: 0 }];
      while (stack.length) {
        const line = stack.pop();
        if (seen.has(line.promise)) continue;
        seen.add(line.promise);
        lines.push(line);
        const calls = line.promise.children.filter((child) => !isTimer(child));
        const indent = line.indent + (line.level === 0 || calls.length > 1 ? 1 : 0);
        for (const call of calls.reverse()) {
          stack.push({ promise: call, level: line.level + 1, indent });
        }
      }
    };
    const all = [...this.promises.values()].sort((a, b) => b.place - a.place);
    for (const promise of all) if (!this.promises.has(promise.parent)) visit(promise);
    // What is left are circles, which only tags that somebody made up can have.
    for (const promise of all) if (!seen.has(promise) && !isTimer(promise)) visit(promise);
    return lines;
  }

  // What a promise that is pending is waiting for.
  waiting(promise) {
    const timer = promise.children.find(isTimer);
    if (timer || isTimer(promise)) {
      return `sleeps, ${Math.max(0, ((timer ?? promise).due - this.now) / 1000).toFixed(1)} s to go`;
    }
    if (!promise.workers.length) return "not begun";
    const called = promise.children.filter(isPending);
    const others = called.length > 1 ? ` and ${called.length - 1} more` : "";
    return called.length ? `waits for ${called[0].id}${others}` : "begun";
  }

  // Who ran a promise last, if anybody did.
  lastWorker(promise) {
    return this.processes.get(promise.workers.at(-1));
  }

  // Whether a promise is not done and whoever ran it last has gone.
  isLeftBehind(promise) {
    return isPending(promise) && this.lastWorker(promise)?.state === "gone";
  }

  #takePromises(told, before) {
    const roots = [];
    const flow = { at: Date.now(), begun: 0, done: 0 };
    for (const promise of told) {
      const old = this.promises.get(promise.id);
      const known = before.get(promise.id);
      if (!isTimer(promise)) {
        if (!known) flow.begun += 1;
        if (!isPending(promise) && (!known || isPending(known))) flow.done += 1;
      }
      const parent = this.promises.get(promise.parent);
      if (isTimer(promise) && !isPending(promise)) {
        // It is over, and nothing more is to be said of it.
        this.promises.delete(promise.id);
        if (parent) parent.children = parent.children.filter(({ id }) => id !== promise.id);
      } else if (old) {
        Object.assign(old, promise);
      } else {
        const added = { ...promise, children: [], workers: [], tasks: new Map() };
        this.promises.set(promise.id, added);
        parent?.children.push(added);
        if (!promise.parent && !isTimer(promise)) roots.push(added);
      }
    }
    if (before.size) this.#flow.push(flow);
    return roots;
  }

  // Return who took over what: [promise, from, to].
  #takeRuns(runs, before) {
    const takeovers = [];
    for (const run of runs) {
      const promise = this.promises.get(run.promise);
      if (!promise) continue; // older than what is shown
      promise.tasks.set(run.task, run);
    }
    for (const promise of new Set(runs.map((run) => this.promises.get(run.promise)))) {
      if (!promise) continue;
      const known = before.get(promise.id)?.workers.length ?? 0;
      promise.workers = workersOf(promise);
      for (const id of promise.workers) this.#process(id);
      for (let i = Math.max(known, 1); i < promise.workers.length; i += 1) {
        takeovers.push([promise, promise.workers[i - 1], promise.workers[i]]);
      }
    }
    return takeovers;
  }

  #process(id) {
    if (!this.processes.has(id)) {
      const colour = this.processes.size % 8;
      this.processes.set(id, { id, colour, state: "away", holds: [], lost: [], did: 0 });
    }
    return this.processes.get(id);
  }

  #takeProcesses(connected, news, isFirst) {
    for (const process of this.processes.values()) {
      if (process.state === "connected") process.state = "away";
    }
    for (const [group, id, isSilent] of connected) {
      const process = this.#process(id);
      if (!isFirst && process.group === undefined) {
        news.push({ kind: "connected", text: `${processName(id)} connected, in ${group}` });
      } else if (process.state === "gone") {
        news.push({ kind: "connected", text: `${processName(id)} is back` });
      } else if (isSilent && !process.isSilent) {
        news.push({ kind: "gone", text: `${processName(id)} does not answer any more` });
      }
      Object.assign(process, { group, isSilent, state: "connected", since: undefined });
    }
  }

  // Who is away although there was time enough to come back has gone.
  #noticeGone(now, news, isFirst) {
    if (now < this.#started + TIME_TO_RETURN) return;
    for (const process of this.processes.values()) {
      if (process.state !== "away") continue;
      process.state = "gone";
      if (isFirst || process.group === undefined) continue; // it had gone before we looked
      process.since = now;
      const held = heldBy(process);
      const name = `${processName(process.id)}${held.length ? "" : `, in ${process.group},`}`;
      const what = held.length ? `; it held ${some(held.map(({ promise }) => promise.id))}` : "";
      news.push({ kind: held.length ? "gone" : "left", text: `${name} went away${what}` });
    }
  }

  // Find out what each process holds, has done, and lost to others.
  #weigh() {
    for (const process of this.processes.values()) {
      Object.assign(process, { holds: [], lost: [], did: 0 });
    }
    for (const promise of this.promises.values()) {
      const { workers } = promise;
      if (!workers.length) continue;
      const last = this.processes.get(workers.at(-1));
      if (isPending(promise)) last.holds.push(promise);
      else last.did += 1;
      for (let i = 1; i < workers.length; i += 1) {
        this.processes.get(workers[i - 1]).lost.push({ promise, to: workers[i] });
      }
    }
  }
}

// What a process that went away held: what others have taken over from it, and what waits.
export function heldBy(process) {
  const waiting = process.holds.map((promise) => ({ promise, to: undefined }));
  return [...process.lost, ...waiting].sort((a, b) => a.promise.place - b.promise.place);
}

// The beginning of a promise's value, and how long it is where that is not all.
export function shortValue(promise) {
  const size = promise.size === undefined ? "" : `… (${promise.size.toLocaleString("en")} bytes)`;
  return (promise.value ?? "") + size;
}

export function stateName(promise) {
  const names = { REJECTED_CANCELED: "canceled", REJECTED_TIMEDOUT: "timed out" };
  return names[promise.state] ?? promise.state.toLowerCase();
}

export function seconds(ms) {
  const s = Math.max(0, ms) / 1000;
  if (s < 100) return `${s.toFixed(1)} s`;
  if (s < 6000) return `${Math.round(s / 60)} min`;
  return s < 172800 ? `${Math.round(s / 3600)} h` : `${Math.round(s / 86400)} d`;
}

// Name a few things, and say how many more there are.
export function some(names) {
  const more = names.length > 8 ? ` and ${names.length - 8} more` : "";
  return names.slice(0, 8).join(", ") + more;
}

function outcome(promise) {
  const took = `after ${seconds(promise.completedOn - promise.createdOn)}`;
  if (promise.state !== "RESOLVED") return `${promise.id} was ${stateName(promise)} ${took}`;
  return `${promise.id} = ${shortValue(promise)} ${took}`;
}

// Who has worked on a promise, one after the other: each one has taken it over from the one before.
function workersOf(promise) {
  const workers = [];
  for (const run of [...promise.tasks.values()].sort((a, b) => a.task - b.task)) {
    for (const id of [run.before, run.process]) {
      if (id !== undefined && id !== workers.at(-1)) workers.push(id);
    }
  }
  return workers;
}
