// What happened, in words: the sentence at the top of the page, and the list of events.

import { outages, takeoversOf } from "/lane.js";
import { count, isPending, listed, seconds, shortId, shortValue, stateName } from "/words.js";

const AT_ONCE = 100; // ms within which a takeover counts as immediate
const UNCLAIMED = 1000; // ms after which the page says that a message is not claimed
const MOST_TAKEN = 4; // calls of one survivor that the sentence names
const MOST_NAMES = 4; // calls that it names in any other list
const MOST_VALUE = 24; // characters of a value
const MOST_DEATHS = 3; // that the sentence tells, the newest ones

// Say what happened in a run, in a few sentences.
export function sentence(model, run) {
  if (!run) return "";
  const root = run.roots.at(-1);
  const deaths = model.deaths.filter(({ roots }) => [...roots].some((it) => it.run === run));
  const parts = deaths.slice(-MOST_DEATHS).map((death) => tellDeath(model, death, run));
  if (deaths.length > MOST_DEATHS) parts.unshift(`${deaths.length - MOST_DEATHS} other workers died earlier.`);
  for (const { from, to } of outages(model, { from: run.from, to: run.end })) {
    parts.push(`The server was down from ${seconds(from - run.from)} to ${seconds(to - run.from)}.`);
  }
  parts.push(...unclaimed(model, run));
  if (isPending(root)) {
    if (!parts.length) parts.push(progress(model, root));
  } else {
    parts.push(outcome(root));
  }
  return parts.join(" ");
}

// The events of all runs, the newest first: { at, kind, text, promise }.
export function events(model) {
  const found = [];
  const shownFrom = model.roots[0]?.createdOn ?? Infinity;
  for (const process of model.processes) {
    if (process.isClient || process.number === undefined) continue;
    found.push({ at: process.firstOn, kind: "connected", text: `${process.label} connected` });
    const gone = model.processes.goneOn(process, model.now);
    const death = model.deaths.find((it) => it.process === process);
    if (death) {
      const had = [...death.had];
      const ids = listed(had.map(({ id }) => id));
      found.push({ at: gone, kind: "died", text: `${process.label} died; it had ${ids}`, promise: had[0] });
    } else if (gone !== undefined) {
      found.push({ at: gone, kind: "left", text: `${process.label} disconnected` });
    }
  }
  for (const root of model.roots) {
    found.push({ at: root.createdOn, kind: "called", text: `${root.id} was called`, promise: root });
  }
  for (const promise of model.promises.values()) {
    for (const { at, process, from } of takeoversOf(promise, model)) {
      const text = `${process.name} took over ${promise.id} from ${from.name}`;
      found.push({ at, kind: "takeover", text, promise });
    }
  }
  for (const root of model.roots) {
    if (isPending(root)) continue;
    found.push({ at: root.completedOn, kind: "result", text: outcome(root).replace(/\.$/, ""), promise: root });
  }
  for (const { at, activeUntil } of model.processes.starts) {
    if (activeUntil !== undefined) found.push({ at, kind: "server", text: "The server restarted" });
  }
  // Of events in the same millisecond, those that were found first are the older ones.
  return found.filter(({ at }) => at >= shownFrom - 60_000).sort((a, b) => a.at - b.at).reverse();
}

function tellDeath(model, death, run) {
  const key = `${model.version} ${run.from}`;
  if (death.told?.key !== key) death.told = { key, words: describe(model, death, run) };
  return death.told.words;
}

function describe(model, { process, at, had }, run) {
  const calls = [...had].filter(({ root }) => root.run === run).sort((a, b) => a.sortId - b.sortId);
  const named = (promises) => listed(promises.map(nameOf), MOST_NAMES);
  const takers = new Map(); // what each survivor took over
  const waiting = [];
  const awaited = new Map(); // by the id that they wait for
  const needed = [];
  const sleeping = [];
  for (const call of calls) {
    const next = model.attempts(call).find(({ claimedOn }) => claimedOn > at);
    if (next) {
      const heir = model.processes.named(next.processId);
      const delay = next.claimedOn - at;
      if (!takers.has(heir.name)) takers.set(heir.name, []);
      takers.get(heir.name).push({ call, delay });
    } else if (isPending(call)) {
      const { timer, ids } = model.waits(call);
      const isOpen = model.attempts(call).some(({ endedOn, claimedOn }) => endedOn === undefined && claimedOn === undefined);
      if (isOpen) needed.push(call);
      else if (timer) sleeping.push(call);
      else if (ids.length) {
        waiting.push(call);
        for (const id of ids) awaited.set(id, call);
      } else needed.push(call);
    }
  }
  for (const taken of takers.values()) taken.sort((a, b) => a.delay - b.delay);
  const clauses = [...takers].sort(([, a], [, b]) => a[0].delay - b[0].delay)
    .map(([heir, taken]) => `${heir} took over ${grouped(taken)}`);
  if (needed.length) clauses.push(`${named(needed)} ${needed.length > 1 ? "wait" : "waits"} for a worker`);
  if (sleeping.length) clauses.push(`${named(sleeping)} ${sleeping.length > 1 ? "do" : "does"} not need a worker while asleep`);
  if (waiting.length) {
    const ids = [...awaited].map(([id, { root }]) => shortId(id, root.id));
    const until = `${listed(ids, MOST_NAMES)} ${awaited.size > 1 ? "have" : "has"} finished`;
    const which = waiting.length === calls.length && calls.length > 1 ? "they" : named(waiting);
    clauses.push(`${which} ${waiting.length > 1 ? "do" : "does"} not need a worker until ${until}`);
  }
  return `${capital(process.label)} died at ${seconds(at - run.from)}. It had ${named(calls)}${clauses.length ? `; ${clauses.join("; ")}` : ""}.`;
}

// "13 at once and 19 after 4.1 s"; of many, only the first one and how long the others took.
function grouped(taken) {
  const after = ({ delay }) => (delay < AT_ONCE ? "at once" : `after ${seconds(delay)}`);
  if (taken.length > MOST_TAKEN) {
    const [first, ...others] = taken;
    const [from, to] = [seconds(others[0].delay), seconds(others.at(-1).delay)];
    return `${nameOf(first.call)} ${after(first)} and ${others.length} others after ${from === to ? from : `${from} to ${to}`}`;
  }
  const byTime = new Map();
  for (const it of taken) byTime.set(after(it), [...(byTime.get(after(it)) ?? []), nameOf(it.call)]);
  return listed([...byTime].map(([when, names]) => `${listed(names)} ${when}`));
}

const nameOf = (promise) => shortId(promise.id, promise.root.id);

const capital = (words) => words[0].toUpperCase() + words.slice(1);

// Messages that a worker has left unclaimed for long.
function unclaimed(model, run) {
  const late = new Map(); // by process
  for (const promise of model.sent) {
    if (!isPending(promise) || promise.root.run !== run) continue;
    const last = model.attempts(promise).at(-1);
    if (!last?.sentOn || last.claimedOn !== undefined || last.endedOn !== undefined) continue;
    if (model.now - last.sentOn < UNCLAIMED) continue;
    const { ids, since } = late.get(last.processId) ?? { ids: [], since: Infinity };
    late.set(last.processId, { ids: [...ids, promise.id], since: Math.min(since, last.sentOn) });
  }
  return [...late].map(([processId, { ids, since }]) => {
    const { label } = model.processes.named(processId);
    const ago = seconds(model.now - since);
    return `${capital(label)} does not answer: it has not claimed ${listed(ids, 3)}, which the server sent ${ago} ago.`;
  });
}

function progress(model, root) {
  const { id, createdOn, calls, finished } = root;
  return `${id} has been running for ${seconds(model.now - createdOn)}: ${count(calls, "call")} created, ${finished.toLocaleString("en")} finished.`;
}

function outcome(root) {
  const took = `after ${seconds(root.completedOn - root.createdOn)}`;
  if (root.state !== "RESOLVED") return `${root.id} was ${stateName(root)} ${took}.`;
  const value = shortValue(root);
  return `${root.id} = ${value.length > MOST_VALUE ? `${value.slice(0, MOST_VALUE)}…` : value} ${took}.`;
}
