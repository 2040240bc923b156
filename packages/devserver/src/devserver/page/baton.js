// The lanes of the workers: which one runs which call when, and how the baton goes from one to
// the next. Above many steps, it shows when each worker was busy, and how deep the stack was.

import { find, make, path, rect, set, text, update } from "./document.js";
import { behind, CHARACTER, killLines, labels, stepShapes, times } from "./lane.js";
import { scale } from "./runs.js";
import { doubt, isLost, nameOf, verb } from "./story.js";
import { count, listed, seconds } from "./words.js";

const MOST_WORKERS = 8; // with a lane; of more, those that matter most
const MOST_STEPS = 100; // in sight, that are drawn one by one
const HEAD = 38; // px: a line for what went wrong, and one for the time
const AREA = 40; // px: the depth of the stack
const BLOCK = 13; // px: the height of a step
const BELOW = 6; // px below a step in its lane
const GAP = 60; // px from the lanes to the rows, at most

export class Baton {
  #model;
  #runs;

  /** @param {Model} model @param {Runs} runs */
  constructor(model, runs) {
    this.#model = model;
    this.#runs = runs;
  }

  /** Draw the lanes of a run, or the workers' names if there is none. @param {Run | undefined} run @param {number} width */
  draw(run, width) {
    const { processes } = this.#model;
    const story = run && this.#runs.story(run);
    const steps = story ? [...story.steps.values()].flat() : [];
    const ran = Map.groupBy(steps, ({ process }) => process);
    const workers = [...processes].filter((it) => processes.isWorker(it) && (it.isConnected || ran.has(it)));
    const failed = new Set(story?.incidents.map(({ process }) => process));
    // Of many workers: those that failed, then those that ran the most, in their own order.
    const weight = (/** @type {Process} */ it) => (failed.has(it) ? Infinity : ran.get(it)?.length ?? 0);
    const shown = workers.sort((a, b) => weight(b) - weight(a)).slice(0, MOST_WORKERS)
      .sort((a, b) => (a.group < b.group ? -1 : a.group > b.group ? 1 : a.number - b.number));
    this.#list(shown, run);
    this.#note(workers.length - shown.length);
    const lane = shown.length > 4 ? 27 : 36;
    find("workers").style.setProperty("--height", `${lane}px`);
    const places = new Map(shown.map((process, i) => [process, HEAD + i * lane]));
    update(find("lanes"), run && story ? this.#shapes(run, story, steps, { lane, places, width }) : []);
  }

  /** @param {Run} run @param {Story} story @param {Step[]} steps @param {{lane: number, places: Map<Process, number>, width: number}} place */
  #shapes(run, story, steps, { lane, places, width }) {
    const model = this.#model;
    const axis = this.#runs.axis(run);
    const inSight = steps.filter(({ from, to }) => from <= axis.to && (to ?? model.now) >= axis.from);
    const isDense = inSight.length > MOST_STEPS;
    const height = HEAD + places.size * lane + (isDense ? AREA : 0);
    set(find("lanes").style, "height", `${height}px`);
    find("lanes").setAttribute("viewBox", `0 0 ${width} ${height}`);
    const parts = [...behind(this.#runs, run, width, height), ...times(this.#runs, run, width, 29, height)];
    /** @type {Element[]} */
    const names = [];
    const adders = new Map([...places].map(([process, y]) => [process, labels(names, width, y + lane - BLOCK - BELOW - 3)]));
    const layout = { model, axis, x: scale(axis, width), width, lane, places, height, adders };
    for (const [process, y] of places) parts.push(life(process, y, layout));
    if (isDense) {
      for (const [process, y] of places) parts.push(...busy(inSight.filter((it) => it.process === process), y, layout));
      parts.push(...depth(story.calls, layout));
    } else {
      for (const pass of story.passes) parts.push(...arrow(pass, layout));
      for (const step of inSight) {
        const top = places.get(step.process);
        const place = { y: (top ?? 0) + lane - BLOCK - BELOW, height: BLOCK, start: run.from };
        if (top !== undefined) parts.push(...stepShapes(step, model, axis, width, place));
      }
    }
    parts.push(...killLines(story.incidents, axis, width, 18, height + GAP));
    const add = labels(parts, width, 13);
    for (const incident of story.incidents.toReversed()) drawIncident(parts, add, incident, layout);
    for (const { from, to } of this.#runs.outages(axis)) add((layout.x(from) + layout.x(to)) / 2, `server down ${seconds(to - from)}`, "down");
    if (!isDense) drawNames(inSight, layout);
    return [...parts, ...names];
  }

  /** @param {Process[]} shown @param {Run | undefined} run */
  #list(shown, run) {
    update(find("workers"), shown.map((process) => {
      const { name, mark, id, colour } = process;
      const [kind, words] = this.#status(process, run);
      return make("li", [
        make("span", [make("b", name), make("span", mark === name ? "" : mark, { class: "mark" })], { class: "name", title: id }),
        make("span", words, { class: "status", title: words }),
      ], { class: `w${colour} ${kind}` });
    }));
  }

  /** What a worker does now, or what happened to it. @param {Process} process @param {Run | undefined} run */
  #status(process, run) {
    const model = this.#model;
    const gone = model.processes.goneOn(process, model.now);
    if (gone !== undefined) {
      const wasKilled = run && this.#runs.story(run).incidents.some((it) => it.process === process && it.kind === "killed");
      return [wasKilled ? "killed" : "left", `${wasKilled ? "killed" : "disconnected"}${run ? ` at ${seconds(gone - run.from)}` : ""}`];
    }
    if (!process.isConnected) return ["away", "has not reconnected yet"];
    const open = model.openAttempts().filter(({ attempt }) => attempt.processId === process.id);
    const doubts = open.flatMap(({ call, attempt }) => doubt(attempt, model, nameOf(call)) ?? []);
    if (doubts.length) return ["silent", doubts[0]];
    if (process.isSilent) return ["silent", "does not answer"];
    const names = open.filter(({ attempt }) => attempt.claimedOn !== undefined).map(({ call }) => nameOf(call));
    return names.length ? ["busy", `runs ${listed(names)}`] : ["idle", process.hasClaimed ? "idle" : "connected"];
  }

  /** @param {number} more workers that have no lane */
  #note(more) {
    const { processes } = this.#model;
    const connected = [...processes].filter(({ isConnected }) => isConnected);
    const clients = connected.filter((it) => !processes.isWorker(it)).length;
    set(find("others"), "textContent", [
      more > 0 ? `${count(more, "more worker")}` : "",
      connected.length === clients ? "no worker connected" : "",
      clients ? `${count(clients, "client")} connected` : "",
    ].filter(Boolean).join(", "));
  }
}

/** A worker's time: from its connection to its end. @param {Process} process @param {number} y @param {Layout} layout */
function life(process, y, { model, x, lane }) {
  const gone = model.processes.goneOn(process, model.now);
  const from = x(process.firstOn);
  const to = Math.max(x(Math.min(gone ?? model.now, model.now)), from);
  return path(`M${from} ${y + lane - BELOW - BLOCK / 2}H${to}`, `life w${process.colour}`);
}

/** The pixels in which a worker was busy. @param {Step[]} steps @param {number} y @param {Layout} layout */
function busy(steps, y, { model, x, width, lane }) {
  const covered = new Uint8Array(Math.ceil(width) + 3);
  for (const { from, to } of steps) {
    const left = Math.floor(x(from));
    covered.fill(1, left, Math.max(Math.ceil(x(to ?? model.now)), left + 2));
  }
  const parts = [];
  for (let from = covered.indexOf(1); from >= 0;) {
    const to = covered.indexOf(0, from);
    parts.push(rect({ x: from, y: y + lane - BLOCK - BELOW, width: to - from, height: BLOCK }, `step w${steps[0].process.colour}`));
    from = covered.indexOf(1, to);
  }
  return parts;
}

/** How many calls were stored at each time, as an area. @param {Call[]} calls @param {Layout} layout */
function depth(calls, { model, axis, x, width, height }) {
  const change = new Int32Array(Math.ceil(width) + 2);
  const right = Math.ceil(x(Math.min(model.now, axis.to)));
  for (const { createdOn, completedOn } of calls) {
    change[Math.round(x(createdOn))] += 1;
    if (completedOn !== undefined) change[Math.round(x(completedOn))] -= 1;
  }
  let sum = 0;
  const sums = Array.from(change.subarray(0, right + 1), (by) => (sum += by));
  const most = Math.max(...sums, 1);
  const points = sums.map((number, i) => `L${i} ${Math.round(height - (number / most) * (AREA - 13))}`).join("");
  const words = "calls stored on the server";
  const left = Math.min(Math.max(sums.indexOf(most) - words.length * CHARACTER / 2, 0), width - words.length * CHARACTER);
  return [path(`M0 ${height}${points}L${right} ${height}Z`, "depth"), text(left, height - AREA + 10, words, "tick")];
}

/** From the lane of one worker to that of another. @param {Pass} pass @param {Layout} layout */
function arrow({ from, to, at, isReturn }, { axis, x, lane, places }) {
  const [start, end] = [places.get(from.process), places.get(to.process)];
  if (start === undefined || end === undefined || start === end || to.from < axis.from || at > axis.to) return [];
  const [top, bottom] = [lane - BLOCK - BELOW, lane - BELOW];
  const [y1, y2] = end > start ? [start + bottom, end + top - 1] : [start + top, end + bottom + 1];
  return [path(`M${x(at)} ${y1}L${x(to.from) + 1} ${y2}`, isReturn ? "pass return" : "pass")];
}

/**
 * What went wrong: on top in words, and from the step that was cut off to where it starts again.
 * @param {Element[]} parts @param {ReturnType<typeof labels>} add @param {Incident} incident @param {Layout} layout
 */
function drawIncident(parts, add, incident, { axis, x, width, lane, places, adders }) {
  const { at, kind, process, losses, stored } = incident;
  if (at < axis.from || at > axis.to) return;
  const cut = losses.filter(({ attempt }) => attempt.claimedOn !== undefined);
  const ran = cut.map(({ call }) => nameOf(call));
  const start = `${process.name} ${verb(incident)}`;
  const lost = `${listed(ran)} cut off`;
  const untouched = `, ${count(stored, "stored call")} untouched`;
  const words = ran.length ? [`${start}: ${lost}${untouched}`, `${start}: ${lost}`, `${lost}, ${stored} untouched`, lost] : [start + untouched, start];
  [...words, ""].some((it) => add(x(at), `✕ ${it}`, "killed", 0.2));
  const y = places.get(process);
  if (y === undefined) return;
  const middle = y + lane - BELOW - BLOCK / 2;
  for (const { again } of losses) {
    const end = again && places.get(again.process);
    if (!again || end === undefined || end === y) continue;
    parts.push(path(`M${x(at)} ${middle}L${x(again.from) + 1} ${end > y ? end + lane - BLOCK - BELOW - 1 : end + lane - BELOW + 1}`, "again"));
  }
  if (ran.length) parts.push(text(x(at), middle + 5, "✕", "cross"));
  for (const { call, again } of cut.slice(0, 1)) {
    const note = again && `${nameOf(call)} again on ${again.process.name}, ${seconds(again.from - at)} later`;
    const isRoom = note && x(at) + 12 + note.length * CHARACTER < width;
    // The lane of a worker that was killed is empty from here on.
    if (kind === "killed" && isRoom) parts.push(text(x(at) + 12, middle + 4, note, "note killed"));
    else if (note) adders.get(process)?.(x(at) - 8, note, "note killed", 1);
  }
}

/** The names of the steps: first of those that were cut off and those that run. @param {Step[]} steps @param {Layout} layout */
function drawNames(steps, { x, adders }) {
  const weight = (/** @type {Step} */ { attempt, to }) => (to === undefined || isLost(attempt) ? 0 : 1);
  for (const step of steps.toSorted((a, b) => weight(a) - weight(b) || a.from - b.from)) {
    adders.get(step.process)?.(x(step.from), nameOf(step.call), `name w${step.process.colour}${isLost(step.attempt) ? " killed" : ""}`, 0);
  }
}
