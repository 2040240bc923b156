// The strip of workers: a lane for each one, with the moments at which it ran a call.

import { backdrop, killLines, scale, shape, text } from "/lane.js";
import { setText } from "/rows.js";
import { isPending, seconds } from "/words.js";

const MOST = 8; // workers with a lane; of more, those that matter most
const HEIGHT = 22;

export class Strip {
  #list = document.querySelector("#workers");
  #note = document.querySelector("#others");
  #model;
  #busy; // by process, the times at which it ran a call of the run
  #loads; // by process, how many pending calls of the run it has, and how many of them it runs
  #key;

  constructor(model) {
    this.#model = model;
  }

  use(model) {
    this.#model = model;
    this.#key = undefined;
  }

  // Draw the lanes on the axis of the whole run. `shown` is the part that the tree shows.
  draw(run, axis, shown) {
    const model = this.#model;
    this.#gather(run);
    const processes = [...model.processes];
    const workers = processes.filter((it) => !it.isClient && this.#matters(it, run));
    const chosen = choose(workers, this.#busy, model);
    // Read once, before anything is written: each later reading would lay out the page again.
    const width = this.#width();
    while (this.#list.children.length > chosen.length) this.#list.lastChild.remove();
    chosen.forEach((process, i) => {
      const item = this.#list.children[i] ?? this.#list.appendChild(newLane());
      this.#fill(item, process, { run, axis, shown, width });
    });
    const clients = processes.filter((it) => it.isClient && it.isConnected);
    const notes = [];
    if (workers.length > chosen.length) notes.push(`${workers.length - chosen.length} more workers`);
    if (!workers.length) notes.push("No worker is connected.");
    if (clients.length) notes.push(`${clients.length === 1 ? "1 client is" : `${clients.length} clients are`} connected.`);
    setText(this.#note, notes.join(" · "));
  }

  #width() {
    if (!this.#list.firstChild) this.#list.append(newLane());
    return this.#list.querySelector(".lane").clientWidth;
  }

  // A worker that is connected, or that was during the run.
  #matters(process, run) {
    const gone = this.#model.processes.goneOn(process, this.#model.now);
    return gone === undefined ? process.isConnected || process.firstOn > 0 : run && gone >= run.from && process.firstOn <= run.end;
  }

  #gather(run) {
    const key = `${this.#model.version} ${run?.from}`;
    if (key === this.#key) return;
    this.#key = key;
    this.#busy = new Map();
    this.#loads = new Map();
    const visit = (promise) => {
      let last;
      let isRunning = false;
      for (const { processId, claimedOn, endedOn } of this.#model.attempts(promise)) {
        if (claimedOn === undefined) continue;
        last = processId;
        isRunning = endedOn === undefined;
        if (!this.#busy.has(processId)) this.#busy.set(processId, []);
        this.#busy.get(processId).push({ from: claimedOn, to: endedOn });
      }
      if (last === undefined || !isPending(promise)) return;
      if (!this.#loads.has(last)) this.#loads.set(last, { has: 0, running: 0 });
      const load = this.#loads.get(last);
      load.has += 1;
      if (isRunning) load.running += 1;
    };
    const roots = new Set(run?.roots);
    for (const promise of this.#model.promises.values()) if (roots.has(promise.root)) visit(promise);
  }

  #fill(item, process, { run, axis, shown, width }) {
    const [name, lane, status] = item.children;
    const model = this.#model;
    const gone = model.processes.goneOn(process, model.now);
    const death = model.deaths.find((it) => it.process === process);
    const states = {
      died: death && `died at ${seconds(death.at - (run?.from ?? axis.from))}`,
      left: gone !== undefined && "left",
      away: !process.isConnected && "not back yet",
      silent: process.isSilent && "does not answer",
    };
    const [state, words] = Object.entries(states).find(([, it]) => it) ?? ["live", ""];
    item.className = `w${process.colour} ${state}`;
    setText(name.firstChild, process.name);
    setText(name.lastChild, process.label.slice(process.name.length));
    name.title = process.id;
    setText(status, words || this.#load(process));
    const key = `${process.id} ${model.version} ${axis.from} ${axis.to} ${shown.from} ${shown.to} ${width} ${Math.floor(model.now / 200)}`;
    if (lane.dataset.key === key) return;
    lane.dataset.key = key;
    drawBusy(lane, this.#busy.get(process.id) ?? [], { model, process, gone, death, axis, shown, width });
  }

  // What a connected worker does now.
  #load(process) {
    const { has, running } = this.#loads.get(process.id) ?? { has: 0, running: 0 };
    if (!has) return "idle";
    return running ? `runs ${running}, ${has - running} stored` : `${has} stored`;
  }
}

function drawBusy(lane, busy, { model, process, gone, death, axis, shown, width }) {
  const x = scale(axis, width);
  const end = Math.min(gone ?? model.now, model.now);
  const parts = backdrop(model, axis, width, HEIGHT);
  const left = x(process.firstOn);
  parts.push(shape("line", { x1: left, x2: Math.max(x(end), left), y1: HEIGHT / 2, y2: HEIGHT / 2, class: "alive" }));
  // Moments that fall on the same pixels become one mark.
  let at = -1;
  let mark;
  for (const { from, to } of busy.sort((a, b) => a.from - b.from)) {
    const begin = Math.floor(x(from));
    const until = Math.max(Math.ceil(x(to ?? end)), begin + 2);
    if (mark && begin <= at) {
      if (until > at) mark.setAttribute("width", until - mark.getAttribute("x"));
    } else {
      mark = shape("rect", { x: begin, y: 5, width: until - begin, height: HEIGHT - 10, class: "busy" });
      parts.push(mark);
    }
    at = Math.max(at, until);
  }
  parts.push(...killLines(model, axis, width, HEIGHT));
  if (death && death.at > axis.from && death.at < axis.to) parts.push(text(x(death.at), 16, "✕", "cross"));
  if (gone !== undefined && !death && gone > axis.from && gone < axis.to) {
    parts.push(shape("line", { x1: x(gone), x2: x(gone), y1: 5, y2: HEIGHT - 5, class: "leave" }));
  }
  // The brush: what the tree does not show is veiled.
  for (const [from, to] of [[axis.from, shown.from], [shown.to, axis.to]]) {
    if (to > from) parts.push(shape("rect", { x: x(from), y: 0, width: x(to) - x(from), height: HEIGHT, class: "veil" }));
  }
  lane.replaceChildren(...parts);
}

// Of many workers: those that died, then those that have run the most, in their own order.
function choose(workers, busy, model) {
  if (workers.length <= MOST) return workers.sort(inOrder);
  const dead = new Set(model.deaths.map(({ process }) => process));
  const weight = (it) => (dead.has(it) ? Infinity : (busy.get(it.id)?.length ?? 0));
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
  item.append(name, shape("svg", { class: "lane", "aria-hidden": "true" }), status);
  return item;
}
