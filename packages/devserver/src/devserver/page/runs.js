// Runs: roots whose times overlap share one run, and thereby one axis of time. What happened in a
// run: the steps that workers ran, the calls and returns between them, and what went wrong.

import { isPending, seconds } from "./words.js";

const IDLE = 10_000; // ms after which a pending root that does nothing holds no run open
const TOGETHER = 100; // ms within which losses of a process are one incident

export class Runs {
  #model;
  #version = -1;
  /** @type {{root: Call, axis: Axis} | undefined} the run that is zoomed, by its first root */
  #zoomed;
  /** @type {Run[]} the oldest first */
  list = [];

  /** @param {Model} model */
  constructor(model) {
    this.#model = model;
  }

  /** @param {Call} call */
  of(call) {
    this.update();
    return call.root.run;
  }

  get newest() {
    this.update();
    return this.list.at(-1);
  }

  update() {
    if (this.#version === this.#model.version) return;
    this.#version = this.#model.version;
    const { now } = this.#model;
    this.list = [];
    for (const root of this.#model.roots) {
      const end = root.completedOn ?? Math.min(now, root.active + IDLE);
      let run = this.list.at(-1);
      if (!run || root.createdOn > run.end) {
        run = { roots: [], from: root.createdOn, end, isPending: false };
        this.list.push(run);
      }
      run.roots.push(root);
      run.end = Math.max(run.end, end, root.active);
      run.isPending ||= isPending(root);
      root.run = run;
    }
  }

  /** Show only a part of a run's time, or all of it again. @param {Run} run @param {Axis} [axis] */
  zoom(run, axis) {
    this.#zoomed = axis && { root: run.roots[0], axis };
  }

  /** The axis that a run's lanes have. @param {Run} run */
  axis(run) {
    return this.#zoomed?.root === run.roots[0] ? this.#zoomed.axis : this.whole(run);
  }

  // The whole axis of a run: its first and last moment. That of a run which goes on ends a little
  // in the future, so that the scale does not change with every moment.
  /** @param {Run} run @returns {Axis} */
  whole(run) {
    const elapsed = (run.isPending ? Math.max(this.#model.now, run.end) : run.end) - run.from;
    const length = run.isPending ? ceiling(elapsed * 1.08 + 400) : Math.max(elapsed * 1.02, 1);
    return { from: run.from, to: run.from + length };
  }

  /** The times within an axis at which the server was down. @param {Axis} axis @returns {Axis[]} */
  outages({ from, to }) {
    return this.#model.processes.starts.flatMap(({ at, activeUntil }) =>
      activeUntil === undefined || at <= from || activeUntil >= to ? []
        : [{ from: Math.max(activeUntil, from), to: Math.min(at, to) }]);
  }

  /** What happened in a run. @param {Run} run @returns {Story} */
  story(run) {
    run.story ??= this.#tell(run);
    return run.story;
  }

  /** @param {Run} run */
  #tell(run) {
    const calls = [...run.roots];
    for (const call of calls) calls.push(...call.children);
    calls.sort((a, b) => a.sortId - b.sortId);
    const steps = new Map(calls.map((call) => [call, this.#stepsOf(call)]));
    /** @type {Incident[]} */
    const incidents = [];
    for (const call of calls) this.#addLosses(incidents, call, steps.get(call) ?? []);
    this.#addLeavers(incidents, new Set([...steps.values()].flat().map(({ process }) => process)), run);
    for (const it of incidents) {
      const pending = calls.filter(({ createdOn, completedOn }) => createdOn <= it.at && (completedOn ?? Infinity) > it.at);
      it.stored = pending.length - it.losses.filter(({ call }) => pending.includes(call)).length;
    }
    incidents.sort((a, b) => a.at - b.at);
    return { calls, steps, passes: this.#passes(steps), incidents };
  }

  /** @param {Call} call @returns {Step[]} */
  #stepsOf(call) {
    return this.#model.attempts(call).flatMap((attempt) => {
      const { processId, claimedOn: from, endedOn: to } = attempt;
      if (processId === undefined || from === undefined) return [];
      return [{ call, attempt, process: this.#model.processes.named(processId), from, to }];
    });
  }

  // The baton's way: from the step that made a call to that call's first step, and from its last
  // step to the step that goes on with its result.
  /** @param {Map<Call, Step[]>} steps */
  #passes(steps) {
    /** @type {Pass[]} */
    const passes = [];
    for (const [call, own] of steps) {
      const caller = call.parentNode && steps.get(call.parentNode)?.findLast(({ from }) => from <= call.createdOn);
      if (caller && own[0]) passes.push({ from: caller, to: own[0], at: call.createdOn, isReturn: false });
      for (const step of own) {
        const leaf = this.#model.promises.get(step.attempt.leaf ?? "");
        const last = leaf && steps.get(leaf)?.at(-1);
        if (leaf?.completedOn !== undefined && last) passes.push({ from: last, to: step, at: leaf.completedOn, isReturn: true });
      }
    }
    return passes;
  }

  /** @param {Incident[]} incidents @param {Call} call @param {Step[]} steps */
  #addLosses(incidents, call, steps) {
    for (const attempt of call.lost.length ? this.#model.attempts(call) : []) {
      const { outcome, processId, endedOn: at } = attempt;
      if (at === undefined || processId === undefined || (outcome !== "disconnected" && outcome !== "expired")) continue;
      const kind = outcome === "expired" ? "expired" : "killed";
      const process = this.#model.processes.named(processId);
      let incident = incidents.find((it) => it.process === process && it.kind === kind && Math.abs(it.at - at) < TOGETHER);
      if (!incident) {
        incident = { kind, process, at, losses: [], stored: 0 };
        incidents.push(incident);
      }
      incident.losses.push({ call, attempt, again: steps.find(({ from }) => from >= at) });
    }
  }

  /** Workers that disconnected in the middle of a run. @param {Incident[]} incidents @param {Set<Process>} workers @param {Run} run */
  #addLeavers(incidents, workers, run) {
    for (const process of workers) {
      const at = this.#model.processes.goneOn(process, this.#model.now);
      if (at === undefined || !run.roots.some((root) => root.createdOn <= at && (root.completedOn ?? Infinity) > at)) continue;
      if (incidents.some((it) => it.process === process && it.kind === "killed" && Math.abs(it.at - at) < TOGETHER)) continue;
      incidents.push({ kind: "left", process, at, losses: [], stored: 0 });
    }
  }
}

/** The next round number: few scales, and little of them empty. @param {number} ms */
function ceiling(ms) {
  const power = 10 ** Math.floor(Math.log10(ms));
  return power * ([1, 1.25, 1.5, 2, 2.5, 3, 4, 5, 6, 8].find((step) => step * power >= ms) ?? 10);
}

/** The ticks of an axis: the times since the start. @param {Axis} axis @param {number} start @param {number} most */
export function ticks({ from, to }, start, most) {
  const power = 10 ** Math.floor(Math.log10((to - from) / most));
  const step = power * ([1, 2, 5, 10].find((it) => (to - from) / (it * power) <= most) ?? 10);
  const found = [];
  for (let ms = Math.ceil((from - start) / step) * step; ms <= to - start; ms += step) {
    found.push({ at: start + ms, words: step >= 60_000 || to - start < 1000 ? seconds(ms) : `${Number((ms / 1000).toFixed(3))} s` });
  }
  return found;
}

/** From a time on an axis to a place in px. @param {Axis} axis @param {number} width */
export function scale({ from, to }, width) {
  const factor = width / (to - from);
  return (/** @type {number} */ time) => Math.round(Math.min(Math.max((time - from) * factor, 0), width) * 10) / 10;
}
