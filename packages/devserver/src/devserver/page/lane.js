// The lane of a call: stored on the server in grey, run by a worker in that worker's colour.

import { path, rect, text } from "./document.js";
import { scale, ticks } from "./runs.js";
import { isLost, isLate, nameOf } from "./story.js";
import { isPending, seconds } from "./words.js";

export const ROW = 24; // a call's row, px; also in the style sheet
export const CHARACTER = 6.9; // of a label, px, about
const TOP = 6;
const HEIGHT = 12;
const MIDDLE = TOP + HEIGHT / 2;
const SHORTEST = 100; // ms: a shorter wait for a worker is not drawn
const SEEN = 8; // px: what was cut off is seen, however short it was

/** The shapes of a call's lane. @param {Call} call @param {Model} model @param {Runs} runs @param {number} width */
export function callLane(call, model, runs, width) {
  const run = runs.of(call);
  const axis = runs.axis(run);
  const x = scale(axis, width);
  const end = call.completedOn ?? model.now;
  const parts = behind(runs, run, width, ROW);
  const bar = (/** @type {number} */ from, /** @type {number} */ to, /** @type {string} */ kind, /** @type {string} */ title) => {
    const until = Math.min(to, end);
    if (until < axis.from || from > axis.to || until < from) return;
    parts.push(rect({ x: x(from), y: TOP, width: Math.max(x(until) - x(from), 1), height: HEIGHT }, kind, title));
    if (kind === "paused") parts.push(path(`M${x(from) + 3} ${MIDDLE}H${Math.max(x(until) - 2, x(from) + 3)}`, "dots"));
  };
  bar(call.createdOn, end, "stored", "stored on the server: uses no worker");
  let at = call.createdOn;
  for (const attempt of model.attempts(call)) {
    if (attempt.isTimer && attempt.availableOn > at) bar(at, attempt.availableOn, "paused", "pauses: uses no worker");
    const began = attempt.claimedOn ?? attempt.endedOn ?? end;
    if (began - attempt.availableOn > SHORTEST) bar(attempt.availableOn, began, "queued", "needs a worker");
    at = Math.max(at, attempt.endedOn ?? end);
  }
  if (isPending(call) && call.timers.size) bar(at, end, "paused", "pauses: uses no worker");
  const { steps, incidents } = runs.story(run);
  for (const step of steps.get(call) ?? []) parts.push(...stepShapes(step, model, axis, width, { y: TOP, height: HEIGHT, start: run.from }));
  parts.push(...killLines(incidents, axis, width, 0, ROW));
  for (const incident of call.lost.length ? incidents : []) {
    const loss = incident.losses.find((it) => it.call === call);
    if (loss && incident.at >= axis.from && incident.at <= axis.to) parts.push(...lossShapes(loss, incident, x));
  }
  return parts;
}

/**
 * A step, in the colour of its worker.
 * @param {Step} step @param {Model} model @param {Axis} axis @param {number} width of the lane
 * @param {{y: number, height: number, start: number}} place `start` is when the run began
 */
export function stepShapes(step, model, axis, width, { y, height, start }) {
  const { call, attempt, process, from, to = model.now } = step;
  if (to < axis.from || from > axis.to) return [];
  const x = scale(axis, width);
  // From the last heartbeat on, it is not known whether the worker still runs.
  const heard = isLate(attempt, model.now) ? (attempt.expiresAt ?? to) - (attempt.ttl ?? 0) : to;
  const state = isLost(attempt) ? "cut off" : step.to === undefined ? "running" : "";
  const title = `${nameOf(call)} on ${process.name} (${process.mark}): ${seconds(from - start)} to ${seconds(to - start)}, ${seconds(to - from)} ${state}`;
  const kind = `step w${process.colour}${isLost(attempt) ? ` lost ${attempt.outcome}` : ""}`;
  const left = isLost(attempt) ? Math.min(x(from), x(to) - SEEN) : x(from);
  const box = (/** @type {number} */ first, /** @type {number} */ last) => ({ x: first, y, width: Math.max(last - first, 3), height });
  const parts = [rect(box(left, x(heard)), kind, title)];
  if (heard < to) parts.push(rect(box(x(heard), x(to)), `${kind} lost expired`, title));
  return parts;
}

/**
 * Where a call was cut off, and from there to where it starts again.
 * @param {Loss} loss @param {Incident} incident @param {(time: number) => number} x
 */
function lossShapes({ attempt, again }, { at }, x) {
  const parts = [];
  if (again) parts.push(path(`M${x(at)} ${MIDDLE}H${x(again.from)}`, "again"));
  if (attempt.claimedOn !== undefined) parts.push(text(x(at), 17, "✕", "cross"));
  return parts;
}

/** A line for each incident. @param {Incident[]} incidents @param {Axis} axis @param {number} width @param {number} from @param {number} to */
export function killLines(incidents, axis, width, from, to) {
  const x = scale(axis, width);
  const lines = new Map(); // by pixel: a line for each of many incidents at once would be slow
  for (const { at, kind } of incidents) {
    if (at >= axis.from && at <= axis.to) lines.set(Math.round(x(at)), path(`M${x(at)} ${from}V${to}`, `kill ${kind}`));
  }
  return [...lines.values()];
}

/** What is behind a run's lanes: when the server was down. @param {Runs} runs @param {Run} run @param {number} width @param {number} height */
export function behind(runs, run, width, height) {
  const axis = runs.axis(run);
  const x = scale(axis, width);
  return runs.outages(axis).map(({ from, to }) =>
    rect({ x: x(from), y: 0, width: Math.max(x(to) - x(from), 2), height }, "outage", "the server was down"));
}

/** The times on a run's axis. @param {Runs} runs @param {Run} run @param {number} width @param {number} y of the text @param {number} bottom */
export function times(runs, run, width, y, bottom) {
  const axis = runs.axis(run);
  const x = scale(axis, width);
  /** @type {Element[]} */
  const parts = [];
  const add = labels(parts, width, y);
  for (const { at, words } of ticks(axis, run.from, Math.max(width / 90, 2))) {
    if (add(x(at), words, "tick")) parts.push(path(`M${x(at)} ${y + 5}V${bottom}`, "tick"));
  }
  return parts;
}

/** Returns a function that adds a label to a line of labels if there is room for it. @param {Element[]} parts @param {number} width @param {number} y */
export function labels(parts, width, y) {
  /** @type {Axis[]} */
  const taken = [];
  return (/** @type {number} */ at, /** @type {string} */ words, /** @type {string} */ className, align = 0.5) => {
    const wide = words.length * CHARACTER;
    const from = Math.min(Math.max(at - wide * align, 0), Math.max(width - wide, 0));
    if (wide > width || taken.some((it) => from < it.to + 5 && from + wide > it.from - 5)) return false;
    taken.push({ from, to: from + wide });
    parts.push(text(from, y, words, className));
    return true;
  };
}
