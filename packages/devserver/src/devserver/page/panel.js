// The details: one promise in full, with its own address, #/promise/ID.

import { find, make, set, update } from "./document.js";
import { doing } from "./rows.js";
import { content, isPending, seconds, shortValue, stateName } from "./words.js";

const HASH = /^#\/promise\/(.+)$/;
const MOST_LINKS = 100;

export class Panel {
  #model;
  #closed;
  #saved;
  /** @type {FullPromise | undefined} */
  #promise;
  #error = "";
  /** @type {string | undefined} of the promise that is shown */
  id;

  /**
   * @param {Model} model @param {(id: string | undefined) => void} closed gets the id of the promise that was
   * shown @param {FullPromise[] | undefined} saved the promises of a saved page
   */
  constructor(model, closed, saved) {
    this.#model = model;
    this.#saved = saved && new Map(saved.map((promise) => [promise.id, promise]));
    this.#closed = closed;
    find("close").addEventListener("click", () => this.close());
    find("copy").addEventListener("click", async () => {
      await navigator.clipboard?.writeText(this.id ?? "");
      set(find("copy"), "textContent", "Copied");
    });
    addEventListener("keydown", ({ key }) => {
      if (key === "Escape" && this.id !== undefined) this.close();
    });
    addEventListener("hashchange", () => this.#follow());
    this.#follow();
  }

  /** @param {string} id */
  open(id) {
    history.pushState(null, "", `#/promise/${encodeURIComponent(id)}`);
    this.#follow();
    find("panel-title").focus({ preventScroll: true });
  }

  close() {
    const { id } = this;
    history.pushState(null, "", location.pathname);
    this.#follow();
    this.#closed(id);
  }

  draw() {
    if (this.id === undefined) return;
    const known = this.#model.promises.get(this.id);
    if (known && this.#promise && known.state !== this.#promise.state) {
      this.#promise = { ...this.#promise, state: known.state };
      void this.#load(); // its value
    }
    update(find("panel-body"), this.#error ? [make("p", this.#error)] : this.#promise ? this.#content(this.#promise) : []);
  }

  #follow() {
    const found = HASH.exec(location.hash)?.[1];
    const id = found && (new URLSearchParams(`id=${found}`).get("id") ?? undefined); // also if it is malformed
    if (id === this.id && id !== undefined) return;
    this.id = id;
    find("panel").hidden = id === undefined;
    document.body.classList.toggle("has-panel", id !== undefined);
    set(find("panel-title"), "textContent", id ?? "");
    set(find("copy"), "textContent", "Copy id");
    this.#promise = undefined;
    this.#error = "";
    update(find("panel-body"), []);
    if (id !== undefined) void this.#load();
  }

  async #load() {
    const id = /** @type {string} */ (this.id);
    let promise;
    let error = "";
    try {
      promise = this.#saved ? this.#savedOne(this.#saved, id) : await get(`/promises/${encodeURIComponent(id)}`);
    } catch (failure) {
      error = /** @type {Error} */ (failure).message;
    }
    if (id !== this.id) return; // the user has opened another one
    this.#promise = promise;
    this.#error = error;
    this.draw();
  }

  /** @param {Map<string, FullPromise>} saved @param {string} id @returns {FullPromise} */
  #savedOne(saved, id) {
    const known = this.#model.promises.get(id);
    const found = saved.get(id);
    if (found) return found;
    if (!known) throw new Error("This file does not contain a promise with this id.");
    return { ...known, value: { text: shortValue(known) }, param: { text: "not in this file" } };
  }

  /** @param {FullPromise} promise */
  #content(promise) {
    const known = this.#model.promises.get(promise.id);
    const begin = known?.root.createdOn ?? promise.createdOn;
    const took = promise.completedOn === undefined ? "not yet" : `${time(promise.completedOn)}, after ${seconds(promise.completedOn - promise.createdOn)}`;
    const into = known && known !== known.root ? ` (${seconds(promise.createdOn - begin)} into the run)` : "";
    const parts = [
      list([
        ["State", isPending(promise) && known ? `pending: ${doing(known, this.#model)}` : stateName(promise)],
        ["Value", content(promise.value), "data"],
        ["Parameter", content(promise.param), "data"],
        ["Created", time(promise.createdOn) + into],
        ["Finished", took],
        ...(promise.timeout === undefined ? [] : [["Times out", time(promise.timeout)]]),
      ]),
    ];
    if (known) {
      parts.push(make("h3", "Attempts"), this.#attempts(known, begin));
      /** @type {[string, (string | undefined)[]][]} */
      const groups = [
        ["Waits for", isPending(known) ? this.#model.waits(known).ids : []],
        ["Called by", [known.parent, ...known.callers]],
        ["Calls", [...known.children.map(({ id }) => id), ...known.refs]],
      ];
      for (const [title, ids] of groups) {
        const links = ids.filter((id) => id !== undefined).slice(0, MOST_LINKS);
        if (links.length) parts.push(make("h3", title), make("ul", links.map((id) => make("li", [permalink(id)])), { class: "links" }));
      }
      const uses = known.uses.map(({ createdOn, callerId }) => [`${seconds(createdOn - begin)} into the run`, callerId ? `by ${callerId}` : "by a client"]);
      if (uses.length) parts.push(make("h3", "Stored result used again"), list(uses));
    }
    const tags = Object.entries(promise.tags ?? {});
    if (tags.length) parts.push(make("h3", "Tags"), list(tags.map(([name, value]) => [name, value, "data"])));
    return parts;
  }

  /** @param {Call} call @param {number} begin of the run */
  #attempts(call, begin) {
    const attempts = this.#model.attempts(call).filter(({ processId }) => processId !== undefined);
    if (!attempts.length) return make("p", "No worker has claimed it.");
    const head = ["worker", "from", "until", "ended"].map((name) => make("th", name, { scope: "col" }));
    const rows = attempts.map((attempt, i) => {
      const { name, mark, colour } = this.#model.processes.named(attempt.processId ?? "");
      const from = attempt.claimedOn ?? attempt.sentOn ?? attempt.availableOn;
      return make("tr", [
        make("td", name, { class: `worker w${colour}`, title: mark }),
        make("td", seconds(from - begin)),
        make("td", attempt.endedOn === undefined ? "" : seconds(attempt.endedOn - begin)),
        make("td", how(attempt, call, i === attempts.length - 1)),
      ]);
    });
    return make("table", [make("thead", [make("tr", head)]), make("tbody", rows)]);
  }
}

/** How an attempt ended. @param {Attempt} attempt @param {Call} call @param {boolean} isLast */
function how({ outcome, claimedOn, endedOn }, call, isLast) {
  if (outcome === undefined) return claimedOn === undefined ? "sent, not claimed" : "running";
  if (outcome === "completed") {
    return isLast && call.completedOn !== undefined && call.completedOn <= (endedOn ?? 0) + 1 ? "finished" : "waited";
  }
  /** @type {Record<string, string>} */
  const words = { disconnected: "worker was killed", expired: "lease expired", dropped: "returned by the worker" };
  return (claimedOn === undefined ? "not claimed: " : "") + words[outcome];
}

/** Ask the API. Throws an error with the text that the user sees. @param {string} path */
export async function get(path) {
  let response;
  try {
    response = await fetch(path);
  } catch {
    throw new Error("The server does not answer.");
  }
  const answer = await response.json().catch(() => ({}));
  if (response.status === 404) throw new Error("The server does not have a promise with this id.");
  if (!response.ok || !Object.keys(answer).length) {
    throw new Error(answer.error?.message ?? "The server's answer cannot be read.");
  }
  return answer;
}

/** @param {string} id */
const permalink = (id) => make("a", id, { href: `#/promise/${encodeURIComponent(id)}` });

/** @param {string[][]} fields names, values and the values' classes */
function list(fields) {
  return make("dl", fields.flatMap(([name, words, kind = ""]) => [make("dt", name), make("dd", words, { class: kind })]));
}

/** @param {number} ms */
function time(ms) {
  const date = new Date(ms);
  return Number.isNaN(date.getTime()) ? `${ms} ms` : date.toLocaleString("en-GB");
}
