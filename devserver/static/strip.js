// The strip of workers: a lane for each one, with the moments at which it ran a call.

import { backdrop, killLines, scale } from "/lane.js";
import { setText } from "/rows.js";
import { element, line, paint, rect, text } from "/shapes.js";
import { isPending, seconds } from "/words.js";

const MOST = 8; // workers with a lane; of more, those that matter most
const HEIGHT = 22;

export class Strip {
  #list = document.querySelector("#workers");
  #note = document.querySelector("#others");
  #model;
  #run; // which one the next four are about
  #roots = new Set(); // of that run
  #busy = new Map(); // by process, the times at which it ran each call
  #has = new Map(); // by process, the pending calls that it claimed last
  #last = new Map(); // by call, the process that claimed it last
  #version = 0; // of the model, which they are up to date with
  #width = 0; // of the lanes, px; 0 if not known

  constructor(model) {
    this.#model = model;
  }

  // The lanes have another width now.
  resize() {
    this.#width = 0;
  }

  // Draw the lanes on the axis of the whole run. `shown` is the part that the tree shows.
  draw(run, axis, shown) {
    const model = this.#model;
    this.#gather(run);
    const processes = [...model.processes];
    const workers = processes.filter((it) => !it.isClient && this.#matters(it, run));
    const chosen = choose(workers, this.#busy, model);
    if (!this.#list.firstChild) this.#list.append(newLane());
    this.#width ||= this.#list.querySelector(".lane").clientWidth;
    while (this.#list.children.length > chosen.length) this.#list.lastChild.remove();
    chosen.forEach((process, i) => {
      const item = this.#list.children[i] ?? this.#list.appendChild(newLane());
      this.#fill(item, process, { run, axis, shown });
    });
    const clients = processes.filter((it) => it.isClient && it.isConnected);
    const notes = [];
    if (workers.length > chosen.length) notes.push(`${workers.length - chosen.length} more workers`);
    if (!workers.length) notes.push("No worker is connected.");
    if (clients.length) notes.push(`${clients.length === 1 ? "1 client is" : `${clients.length} clients are`} connected.`);
    setText(this.#note, notes.join(" · "));
  }

  // A worker that is connected, or that was during the run.
  #matters(process, run) {
    const gone = this.#model.processes.goneOn(process, this.#model.now);
    return gone === undefined ? process.isConnected || process.firstOn > 0 : run && gone >= run.from && process.firstOn <= run.end;
  }

  // Learn what the workers have done in a run: from the calls that have changed, if it is known.
  #gather(run) {
    const { version } = this.#model;
    const id = run?.roots[0];
    if (this.#run !== id) {
      for (const known of [this.#roots, this.#busy, this.#has, this.#last]) known.clear();
      this.#run = id;
    } else if (this.#version === version) {
      return;
    }
    for (const promise of this.#model.promises.values()) {
      const isNew = promise.changed > this.#version || !this.#roots.has(promise.root);
      if (isNew && promise.root.run === run) this.#take(promise);
    }
    for (const root of run?.roots ?? []) this.#roots.add(root);
    this.#version = version;
  }

  #take(promise) {
    this.#has.get(this.#last.get(promise))?.delete(promise);
    for (const { processId, claimedOn } of this.#model.attempts(promise)) {
      if (claimedOn === undefined) continue;
      if (!this.#busy.has(processId)) this.#busy.set(processId, new Set());
      this.#busy.get(processId).add(promise);
      this.#last.set(promise, processId);
    }
    const last = this.#last.get(promise);
    if (last === undefined || !isPending(promise)) return;
    if (!this.#has.has(last)) this.#has.set(last, new Set());
    this.#has.get(last).add(promise);
  }

  #fill(item, process, { run, axis, shown }) {
    const [name, lane, status] = item.children;
    const model = this.#model;
    const gone = model.processes.goneOn(process, model.now);
    const death = model.deaths.find((it) => it.process === process);
    const states = {
      died: death && `died at ${seconds(death.at - (run?.from ?? axis.from))}`,
      left: gone !== undefined && "disconnected",
      away: !process.isConnected && "not reconnected yet",
      silent: process.isSilent && "does not answer",
    };
    const [state, words] = Object.entries(states).find(([, it]) => it) ?? ["live", ""];
    const className = `w${process.colour} ${state}`;
    if (item.className !== className) item.className = className;
    setText(name.firstChild, process.name);
    setText(name.lastChild, process.label.slice(process.name.length));
    if (name.title !== process.id) name.title = process.id;
    setText(status, words || this.#load(process));
    const end = Math.min(gone ?? model.now, model.now);
    const busy = this.#busyPixels(process, scale(axis, this.#width), end);
    paint(lane, workerLane(process, busy, { model, gone, end, death, axis, shown, width: this.#width }));
  }

  // What a connected worker does now.
  #load(process) {
    const calls = [...this.#has.get(process.id) ?? []];
    const running = calls.filter((it) => this.#model.attempts(it).at(-1).endedOn === undefined).length;
    const waiting = calls.length - running;
    const parts = [running ? `runs ${running}` : "", waiting ? `${waiting} waiting` : ""].filter(Boolean);
    return parts.length ? parts.join(", ") : "idle";
  }

  // In which pixels of its lane a process was busy: as [from, to] pairs. Moments that are close
  // to each other become one mark.
  #busyPixels(process, x, end) {
    const covered = new Uint8Array(Math.ceil(this.#width) + 2);
    for (const promise of this.#busy.get(process.id) ?? []) {
      for (const { processId, claimedOn, endedOn } of this.#model.attempts(promise)) {
        if (processId !== process.id || claimedOn === undefined) continue;
        const from = Math.floor(x(claimedOn));
        covered.fill(1, from, Math.max(Math.ceil(x(endedOn ?? end)), from + 2));
      }
    }
    const marks = [];
    for (let from = covered.indexOf(1); from >= 0;) {
      const to = covered.indexOf(0, from);
      marks.push([from, to < 0 ? covered.length : to]);
      from = to < 0 ? -1 : covered.indexOf(1, to);
    }
    return marks;
  }
}

// The shapes of a worker's lane.
function workerLane(process, busy, { model, gone, end, death, axis, shown, width }) {
  const x = scale(axis, width);
  const parts = backdrop(model, axis, width, HEIGHT);
  const left = x(process.firstOn);
  parts.push(line(left, HEIGHT / 2, Math.max(x(end), left), HEIGHT / 2, "alive"));
  for (const [from, to] of busy) parts.push(rect(from, 5, to - from, HEIGHT - 10, "busy"));
  parts.push(...killLines(model, axis, width, HEIGHT));
  if (death && death.at > axis.from && death.at < axis.to) parts.push(text(x(death.at), 16, "✕", "cross"));
  if (gone !== undefined && !death && gone > axis.from && gone < axis.to) {
    parts.push(line(x(gone), 5, x(gone), HEIGHT - 5, "leave"));
  }
  // The brush: the times that the tree does not show are veiled.
  for (const [from, to] of [[axis.from, shown.from], [shown.to, axis.to]]) {
    if (to > from) parts.push(rect(x(from), 0, x(to) - x(from), HEIGHT, "veil"));
  }
  return parts;
}

// Of many workers: those that died, then those that have run the most, in their own order.
function choose(workers, busy, model) {
  if (workers.length <= MOST) return workers.sort(inOrder);
  const dead = new Set(model.deaths.map(({ process }) => process));
  const weight = (it) => (dead.has(it) ? Infinity : (busy.get(it.id)?.size ?? 0));
  return workers.sort((a, b) => weight(b) - weight(a)).slice(0, MOST).sort(inOrder);
}

const inOrder = (a, b) => (a.group < b.group ? -1 : a.group > b.group ? 1 : (a.ordinal ?? 0) - (b.ordinal ?? 0));

function newLane() {
  const item = document.createElement("li");
  const name = document.createElement("span");
  const status = document.createElement("span");
  name.className = "name";
  name.append(document.createElement("span"), document.createElement("span"));
  status.className = "status";
  item.append(name, element("svg", { class: "lane", "aria-hidden": "true" }), status);
  return item;
}
