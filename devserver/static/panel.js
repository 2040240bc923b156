// The side panel: one promise in full, with its own address, #/promise/ID.

import { doing } from "/rows.js";
import { content, isPending, seconds, shortValue, stateName } from "/words.js";

const HASH = /^#\/promise\/(.+)$/;

export class Panel {
  #panel = document.querySelector("#panel");
  #title = document.querySelector("#panel-title");
  #body = document.querySelector("#panel-body");
  #model;
  #saved; // in a saved page, its promises by id
  #promise; // as the API gave it
  #error = "";
  id; // of the promise that is shown

  // `closed` gets the id of the promise that was shown. `saved` are the promises of a saved page.
  constructor(model, closed, saved) {
    this.#model = model;
    this.#saved = saved && new Map(saved.map((promise) => [promise.id, promise]));
    document.querySelector("#close").addEventListener("click", () => this.close());
    addEventListener("keydown", ({ key }) => {
      if (key === "Escape" && this.id !== undefined) this.close();
    });
    this.closed = closed;
    addEventListener("hashchange", () => this.#follow());
    this.#follow();
  }

  open(id) {
    location.hash = `/promise/${encodeURIComponent(id)}`;
    this.#title.focus({ preventScroll: true });
  }

  close() {
    const { id } = this;
    history.pushState(null, "", location.pathname);
    this.#follow();
    this.closed(id);
  }

  // Read the promise again if it has changed.
  async changed(ids) {
    if (ids.has(this.id)) await this.#load();
    else this.draw();
  }

  draw() {
    if (this.id === undefined) return;
    const content = this.#error ? [paragraph(this.#error)] : this.#promise ? this.#content() : [];
    const next = document.createElement("div");
    next.append(...content);
    if (next.innerHTML !== this.#body.innerHTML) this.#body.replaceChildren(...next.childNodes);
  }

  #follow() {
    const found = HASH.exec(location.hash);
    this.id = found ? decoded(found[1]) : undefined;
    this.#panel.hidden = this.id === undefined;
    document.body.classList.toggle("has-panel", this.id !== undefined);
    this.#title.textContent = this.id ?? "";
    this.#promise = undefined;
    this.#error = "";
    this.#body.replaceChildren();
    if (this.id !== undefined) this.#load();
  }

  async #load() {
    const { id } = this;
    let promise;
    let error = "";
    try {
      promise = this.#saved ? this.#savedOne(id) : await get(`/promises/${encodeURIComponent(id)}`);
    } catch (failure) {
      error = failure.message;
    }
    if (id !== this.id) return; // the user has opened another one
    this.#promise = promise;
    this.#error = error;
    this.draw();
  }

  #savedOne(id) {
    const known = this.#model.promises.get(id);
    if (this.#saved.has(id)) return this.#saved.get(id);
    if (!known) throw new Error("This file does not contain a promise with this id.");
    return { ...known, value: { text: shortValue(known) }, param: { text: "not in this file" } };
  }

  #content() {
    const known = this.#model.promises.get(this.#promise.id);
    const promise = this.#promise;
    const begin = known?.root.createdOn ?? promise.createdOn;
    const took = promise.completedOn ? `, after ${seconds(promise.completedOn - promise.createdOn)}` : "";
    const state = isPending(promise) && known ? `pending: ${doing(known, this.#model)}` : stateName(promise);
    const parts = [
      list([
        ["State", state],
        ["Value", content(promise.value), true],
        ["Parameter", content(promise.param), true],
        ["Created", `${time(promise.createdOn)}${known && known !== known.root ? ` (${seconds(promise.createdOn - begin)} into the run)` : ""}`],
        ["Finished", promise.completedOn ? time(promise.completedOn) + took : "not yet"],
        ...(promise.timeout === undefined ? [] : [["Times out", time(promise.timeout)]]),
      ]),
    ];
    if (known) {
      parts.push(heading("Attempts"), this.#attempts(known, begin));
      const waits = isPending(known) ? this.#model.waits(known).ids : [];
      const callers = [known.parent, ...known.callers].filter(Boolean);
      const calls = [...known.children.map(({ id }) => id), ...known.refs];
      for (const [title, ids] of [["Waits for", waits], ["Called by", callers], ["Calls", calls]]) {
        if (ids.length) parts.push(heading(title), links(ids));
      }
    }
    const tags = Object.entries(promise.tags ?? {});
    if (tags.length) parts.push(heading("Tags"), list(tags.map(([name, value]) => [name, value, true])));
    return parts;
  }

  #attempts(promise, begin) {
    const model = this.#model;
    const attempts = model.attempts(promise).filter(({ processId }) => processId !== undefined);
    if (!attempts.length) return paragraph("No worker has claimed it.");
    const table = document.createElement("table");
    row(table.createTHead(), "th", ["worker", "from", "until", "ended"]);
    const body = table.createTBody();
    attempts.forEach((attempt, i) => {
      const { name, colour, isClient } = model.processes.named(attempt.processId);
      const from = attempt.claimedOn ?? attempt.sentOn;
      const cells = row(body, "td", [
        name,
        seconds(from - begin),
        attempt.endedOn === undefined ? "" : seconds(attempt.endedOn - begin),
        how(attempt, promise, i === attempts.length - 1),
      ]);
      if (!isClient) cells[0].className = `worker w${colour}`;
    });
    return table;
  }
}

// How an attempt ended.
function how(attempt, promise, isLast) {
  const { outcome, claimedOn, endedOn } = attempt;
  if (outcome === undefined) return claimedOn === undefined ? "sent, not claimed" : "running";
  if (outcome === "completed") {
    if (isLast && promise.completedOn !== undefined && promise.completedOn <= endedOn + 1) return "finished";
    return "waited";
  }
  const lost = claimedOn === undefined ? "not claimed: " : "";
  return lost + { disconnected: "worker disconnected", expired: "lease expired", dropped: "returned by the worker" }[outcome];
}

// Ask the API. Raises an error with the text that the user sees.
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

export function permalink(id) {
  const link = document.createElement("a");
  link.href = `#/promise/${encodeURIComponent(id)}`;
  link.textContent = id;
  return link;
}

function links(ids) {
  const items = document.createElement("ul");
  items.className = "links";
  for (const id of ids.slice(0, 100)) items.appendChild(document.createElement("li")).append(permalink(id));
  return items;
}

function list(fields) {
  const made = document.createElement("dl");
  for (const [name, words, isData] of fields) {
    const term = document.createElement("dt");
    const value = document.createElement("dd");
    term.textContent = name;
    value.textContent = words;
    if (isData) value.className = "data";
    made.append(term, value);
  }
  return made;
}

function row(section, kind, texts) {
  const made = section.insertRow();
  return texts.map((words) => {
    const cell = document.createElement(kind);
    if (kind === "th") cell.scope = "col";
    cell.textContent = words;
    return made.appendChild(cell);
  });
}

function heading(words) {
  const made = document.createElement("h3");
  made.textContent = words;
  return made;
}

function paragraph(words) {
  const made = document.createElement("p");
  made.textContent = words;
  return made;
}

function decoded(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

function time(ms) {
  const date = new Date(ms);
  return Number.isNaN(date.getTime()) ? `${ms} ms` : date.toLocaleString("en-GB");
}
