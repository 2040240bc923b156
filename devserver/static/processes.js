// The processes that the server has seen, in the order in which they connected: their names,
// their colours, and whether they are connected.

const TIME_TO_RETURN = 6000; // ms that a worker may take to reconnect after a server start
const BATCH = 3000; // ms within which workers are taken to have been started together
const COLOURS = 8;

// The project's own process ids begin with the operating system's number of the process.
const OWN_ID = /^(\d+)-[0-9a-f]{12}$/;

export class Processes {
  #all = new Map(); // by id
  starts = []; // of the server: { at, activeUntil }
  events = []; // as `GET /watch` sent them

  get(id) {
    return this.#all.get(id);
  }

  // The process with this id, even if no event has named it.
  named(id) {
    if (!this.#all.has(id)) this.#add({ processId: id, group: "", number: undefined, createdOn: 0 });
    return this.#all.get(id);
  }

  [Symbol.iterator]() {
    return this.#all.values();
  }

  clear() {
    this.#all.clear();
    this.starts = [];
    this.events = [];
  }

  take(events, connected) {
    this.events.push(...events);
    for (const event of events) {
      if (event.type === "started") {
        this.starts.push({ at: event.createdOn, activeUntil: event.activeUntil });
        continue;
      }
      if (event.type === "stopped") continue; // the next start says when that was
      const process = this.#all.get(event.processId) ?? this.#add(event);
      // Its connection or its task may have been reported before this event.
      if (process.number === undefined) Object.assign(process, described(event));
      process.leftOn = event.type === "connected" ? undefined : event.createdOn;
      if (event.type === "connected") process.connectedOn = event.createdOn;
    }
    if (connected) {
      for (const process of this) process.isConnected = process.isSilent = false;
      for (const { id, group, isSilent } of connected) {
        const process = this.#all.get(id) ?? this.#add({ processId: id, group, number: undefined, createdOn: 0 });
        Object.assign(process, { isConnected: true, isSilent });
      }
    }
    if (events.length) this.#name();
  }

  // When a process disconnected for good, if it did.
  goneOn(process, now) {
    if (process.leftOn !== undefined) return process.leftOn;
    if (process.isConnected) return undefined;
    // It was connected when the server stopped, and it has not come back.
    const start = this.starts.find(({ at }) => at > process.connectedOn);
    if (!start || now < this.starts.at(-1).at + TIME_TO_RETURN) return undefined;
    return start.activeUntil ?? start.at;
  }

  #add(event) {
    const id = event.processId;
    const process = {
      id, ...described(event), leftOn: undefined, isConnected: false, isSilent: false,
      pid: OWN_ID.exec(id)?.[1], name: shortProcessId(id), label: shortProcessId(id), colour: 0,
    };
    this.#all.set(id, process);
    return process;
  }

  #name() {
    const groups = new Map();
    for (const process of this) {
      if (process.number === undefined) continue;
      if (!groups.has(process.group)) groups.set(process.group, []);
      groups.get(process.group).push(process);
    }
    const words = [...groups.keys()].map(wordOf);
    let workerGroups = 0;
    for (const [group, members] of groups) {
      const word = wordOf(group);
      const name = words.indexOf(word) === words.lastIndexOf(word) ? word : group;
      members.sort((a, b) => a.number - b.number);
      const numbers = members.map(({ number }) => number);
      startedInOrder(members).forEach((process, i) => {
        process.ordinal = numbers[i];
        process.name = `${name} ${numbers[i]}`;
        process.label = `${process.name} (${process.pid ? `pid ${process.pid}` : shortProcessId(process.id)})`;
        process.colour = (numbers[i] - 1 + 3 * workerGroups) % COLOURS;
      });
      if (!members[0].isClient) workerGroups += 1;
    }
  }
}

function described({ group, number, createdOn }) {
  return { group, number, firstOn: createdOn, connectedOn: createdOn, isClient: /client$/i.test(group) };
}

function shortProcessId(id) {
  const own = OWN_ID.exec(id);
  if (own) return `pid ${own[1]}`;
  return id.length > 12 ? `${id.slice(0, 8)}…` : id;
}

// The last word of a group's name: `worker` for `factorial-worker`.
const wordOf = (group) => /[^-_.:/]+$/.exec(group)?.[0] ?? group;

// Workers that were started together connect in any order. Their pids tell the order of their
// start, which is the order that the user knows.
function startedInOrder(members) {
  const sorted = [];
  let batch = [];
  for (const process of members) {
    if (batch.length && process.firstOn - batch[0].firstOn > BATCH) {
      sorted.push(...byPid(batch));
      batch = [];
    }
    batch.push(process);
  }
  return [...sorted, ...byPid(batch)];
}

const byPid = (batch) => (batch.every(({ pid }) => pid) ? batch.sort((a, b) => a.pid - b.pid) : batch);
