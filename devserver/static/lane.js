// The lane of a promise: what happened to it when, as segments and marks on an axis of time.

import { line, rect, text } from "/shapes.js";

export const ROW = 26; // a call's row, px, of which the lane takes the middle; also in the style sheet
const HEIGHT = 14;
const TOP = 6;

// The segments of a promise's lane: { kind, from, to, process }.
//   queued, sent   its task waits for a worker, or is on its way to one
//   claimed        a worker runs it
//   waits, sleeps  it is stored, and uses no worker
//   orphan, needed the same as waits and queued, after its last worker has died
function segmentsOf(promise, model) {
  const end = promise.completedOn ?? model.now;
  const segments = [];
  let at = promise.createdOn;
  let holder;

  const push = (kind, to, process) => {
    if (to > at) segments.push({ kind, from: at, to, process });
    at = Math.max(at, to);
  };
  const add = (kind, until, process) => {
    const to = Math.min(until, end);
    const died = holder && kind !== "claimed" ? model.diedOn(holder, promise) : undefined;
    if (died === undefined || died >= to) return push(kind, to, process);
    push(kind, died, process);
    return push(kind === "waits" || kind === "sleeps" ? "orphan" : "needed", to, holder);
  };

  for (const attempt of model.attempts(promise)) {
    const process = attempt.processId && model.processes.named(attempt.processId);
    if (attempt.availableOn > at) add(attempt.isTimer ? "sleeps" : "waits", attempt.availableOn, holder);
    add("queued", attempt.sentOn ?? attempt.claimedOn ?? attempt.endedOn ?? end);
    add("sent", attempt.claimedOn ?? attempt.endedOn ?? end, process);
    if (attempt.claimedOn !== undefined) {
      holder = process;
      add("claimed", attempt.endedOn ?? end, process);
    }
  }
  add(promise.timers.size ? "sleeps" : "waits", end, holder);
  return segments;
}

// The moments at which another process took over a promise: { at, until, process, from }.
export function takeoversOf(promise, model) {
  const attempts = model.attempts(promise);
  if (attempts.length < 2) return [];
  const takeovers = [];
  let holder;
  for (const { claimedOn, endedOn, processId } of attempts) {
    if (claimedOn === undefined) continue;
    if (holder !== undefined && holder !== processId) {
      takeovers.push({
        at: claimedOn, until: endedOn ?? model.now,
        process: model.processes.named(processId), from: model.processes.named(holder),
      });
    }
    holder = processId;
  }
  return takeovers;
}

// The shapes of a promise's lane that is `width` pixels wide.
export function callLane(promise, model, axis, width) {
  const x = scale(axis, width);
  const parts = backdrop(model, axis, width, ROW);
  for (const { kind, from, to, process } of segmentsOf(promise, model)) {
    if (to < axis.from || from > axis.to) continue;
    const left = x(from);
    const wide = Math.max(x(to) - left, kind === "claimed" ? 3 : 0.5);
    const colour = process && !process.isClient ? ` w${process.colour}` : "";
    const isAsleep = kind === "sleeps";
    parts.push(rect(left, TOP, wide, HEIGHT, (isAsleep ? "waits" : kind) + colour));
    if (isAsleep) {
      const mid = TOP + HEIGHT / 2;
      parts.push(line(left + 2, mid, left + Math.max(wide - 1, 2), mid, `sleeps${colour}`));
    }
  }
  parts.push(...killLines(model, axis, width, ROW, promise));
  const end = promise.completedOn === undefined ? width : x(promise.completedOn);
  for (const { at, until, process } of takeoversOf(promise, model)) {
    if (at < axis.from || at > axis.to) continue;
    const after = Math.max(x(until), x(at) + 3) + 4;
    if (end - after > 84) parts.push(text(after, 18, `↪ ${process.name}`, `taken roomy w${process.colour}`));
    else parts.push(text(x(at) - 2, 18, "↪", `taken w${process.colour}`));
  }
  return parts;
}

// The shapes that go through the lanes of all calls, also of those that are left out of the tree.
export function throughOf(model, axis, width) {
  return [...backdrop(model, axis, width, ROW), ...killLines(model, axis, width, ROW)];
}

// A line for each death, with a cross on the promises that the process had.
export function killLines(model, axis, width, height, promise) {
  const x = scale(axis, width);
  const parts = [];
  const drawn = new Set(); // pixels: a line for each of many deaths at once would be slow
  for (const { at, had } of model.deaths) {
    if (at < axis.from || at > axis.to) continue;
    const isHad = had.has(promise);
    const pixel = Math.round(x(at));
    if (drawn.has(pixel) && !isHad) continue;
    drawn.add(pixel);
    parts.push(line(x(at), 0, x(at), height, isHad ? "kill had" : "kill"));
    if (isHad) parts.push(text(x(at), 18, "✕", "cross"));
  }
  return parts;
}

// What lies behind every lane of a run: the times at which the server was down.
export function backdrop(model, axis, width, height) {
  const x = scale(axis, width);
  return outages(model, axis).map(({ from, to }) =>
    rect(x(from), 0, Math.max(x(to) - x(from), 2), height, "outage"));
}

// The times within an axis at which the server was down.
export function outages(model, axis) {
  return model.processes.starts
    .filter(({ at, activeUntil }) => activeUntil !== undefined && at > axis.from && activeUntil < axis.to)
    .map(({ at, activeUntil }) => ({ from: Math.max(activeUntil, axis.from), to: Math.min(at, axis.to) }));
}

// From a time on an axis to a place in px.
export function scale({ from, to }, width) {
  const factor = width / (to - from);
  return (time) => Math.round(Math.min(Math.max((time - from) * factor, 0), width) * 10) / 10;
}
