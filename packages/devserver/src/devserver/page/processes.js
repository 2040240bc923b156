// The processes that the server has seen: their names, their colours, whether they are connected,
// and which of them are workers.

import { fitted } from "./words.js";

const TIME_TO_RETURN = 6000; // ms that a worker may take to reconnect after a server start
const COLOURS = 8;
const MOST_MARK = 12; // characters of an id that a program has chosen

export class Processes {
  /** @type {Map<string, Process>} */
  #all = new Map();
  /** @type {Map<string, string> | undefined} what the processes of a group are; found when needed */
  #kinds;
  /** @type {{at: number, activeUntil?: number}[]} starts of the server */
  starts = [];
  /** @type {SentEvent[]} */
  events = [];

  /** The process with this id, even if no event has named it. @param {string} id */
  named(id) {
    return this.#all.get(id) ?? this.#add(id, "", 0, 0);
  }

  [Symbol.iterator]() {
    return this.#all.values();
  }

  clear() {
    this.#all.clear();
    this.#kinds = undefined;
    this.starts = [];
    this.events = [];
  }

  /** @param {SentEvent[]} events @param {{group: string, id: string, isSilent: boolean}[] | undefined} connected */
  take(events, connected) {
    this.events.push(...events);
    for (const { type, createdOn, processId, group = "", number = 0, activeUntil } of events) {
      if (type === "started") this.starts.push({ at: createdOn, activeUntil });
      if (processId === undefined) continue;
      const process = this.#all.get(processId) ?? this.#add(processId, group, number, createdOn);
      // Its connection or its task may have been reported before this event.
      if (!process.number) Object.assign(process, { group, number, firstOn: createdOn });
      process.leftOn = type === "connected" ? undefined : createdOn;
      if (type === "connected") process.connectedOn = createdOn;
    }
    if (connected) {
      for (const process of this) process.isConnected = process.isSilent = false;
      for (const { id, group, isSilent } of connected) {
        Object.assign(this.#all.get(id) ?? this.#add(id, group, 0, 0), { isConnected: true, isSilent });
      }
    }
    this.#kinds = undefined;
    this.#name();
  }

  /** A process has claimed a task. @param {string} id */
  claimed(id) {
    const process = this.named(id);
    if (!process.hasClaimed) this.#kinds = undefined;
    process.hasClaimed = true;
  }

  /** The process at an address such as poll://uni@group/id waits for a result. @param {string} address */
  asked(address) {
    const id = /^poll:\/\/\w+@[^/]+\/(.+)$/.exec(address)?.[1];
    if (id === undefined) return;
    this.named(id).hasAsked = true;
    this.#kinds = undefined;
  }

  /**
   * Whether a process is a worker: it or another one of its group has claimed a task. In a group without claims,
   * processes that have not asked for a result may still become workers. @param {Process} process
   */
  isWorker({ group }) {
    if (!this.#kinds) {
      this.#kinds = new Map();
      for (const it of this) if (it.hasAsked) this.#kinds.set(it.group, "client");
      for (const it of this) if (it.hasClaimed) this.#kinds.set(it.group, "worker");
    }
    return this.#kinds.get(group) !== "client";
  }

  /** When a process disconnected for good, if it did. @param {Process} process @param {number} now */
  goneOn(process, now) {
    if (process.leftOn !== undefined) return process.leftOn;
    if (process.isConnected) return undefined;
    // It was connected when the server stopped, and it has not come back.
    const start = this.starts.find(({ at }) => at > process.connectedOn);
    const last = this.starts.at(-1);
    if (!start || !last || now < last.at + TIME_TO_RETURN) return undefined;
    return start.activeUntil ?? start.at;
  }

  /** @param {string} id @param {string} group @param {number} number @param {number} firstOn */
  #add(id, group, number, firstOn) {
    // Some programs begin their process ids with the operating system's number of the process.
    const pid = /^(\d{1,10})(-|$)/.exec(id)?.[1];
    // The SDK chooses random ids of 32 digits, of which the first ones are enough.
    const mark = pid ? `pid ${pid}` : `id ${/^[\da-f]{32}$/.test(id) ? id.slice(0, 6) : fitted(id, MOST_MARK)}`;
    /** @type {Process} */
    const process = {
      id, group, number, firstOn, mark, name: mark, colour: 0, connectedOn: firstOn,
      isConnected: false, isSilent: false, hasClaimed: false, hasAsked: false,
    };
    this.#all.set(id, process);
    return process;
  }

  #name() {
    const workers = [...this].filter((it) => it.number && this.isWorker(it));
    const groups = [...new Set(workers.map(({ group }) => group))];
    const words = groups.map(wordOf);
    for (const process of workers) {
      const { group, number } = process;
      const word = wordOf(group);
      process.name = `${words.indexOf(word) === words.lastIndexOf(word) ? word : group} ${number}`;
      process.colour = (number - 1 + 3 * groups.indexOf(group)) % COLOURS;
    }
  }
}

/** The last word of a group's name: `worker` for `factorial-worker`. @param {string} group */
const wordOf = (group) => /[^-_.:/]+$/.exec(group)?.[0] ?? group;
