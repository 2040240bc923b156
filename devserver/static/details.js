// One promise in full, and the search: what the public API has, asked for when a person asks.

import { processName, seconds, stateName } from "/known.js";

const SEARCH_LIMIT = 100; // the most that the API gives at once

export class Details {
  #dialog = document.querySelector("#details");
  #known;
  #id;

  constructor(known) {
    this.#known = known;
    this.#dialog.addEventListener("click", (event) => {
      if (event.target === this.#dialog) this.#dialog.close(); // beside it
    });
  }

  async open(id) {
    this.#id = id;
    document.querySelector("#details-title").textContent = id;
    document.querySelector("#fields").replaceChildren();
    if (!this.#dialog.open) this.#dialog.showModal();
    await this.#load();
  }

  // Read the promise again, if it is the one that is shown.
  async changed(ids) {
    if (this.#dialog.open && ids.has(this.#id)) await this.#load();
  }

  async #load() {
    const id = this.#id;
    let fields;
    try {
      fields = this.#fields(await get(`/promises/${encodeURIComponent(id)}`));
    } catch (error) {
      fields = [["Not to be had", error.message]];
    }
    if (id !== this.#id) return; // another one was opened meanwhile
    const list = document.querySelector("#fields");
    list.replaceChildren();
    for (const [name, text, isData] of fields) {
      const term = document.createElement("dt");
      const value = document.createElement("dd");
      term.textContent = name;
      value.textContent = text;
      if (isData) value.className = "data";
      list.append(term, value);
    }
  }

  #fields(promise) {
    const known = this.#known.promises.get(promise.id);
    const workers = (known?.workers ?? []).map(processName);
    const took = promise.completedOn
      ? ` (after ${seconds(promise.completedOn - promise.createdOn)})`
      : "";
    return [
      ["State", stateName(promise)],
      ["Parameter", decoded(promise.param), true],
      ["Value", decoded(promise.value), true],
      ["Ran by", workers.join(", then taken over by ") || "nobody so far"],
      ["Created", time(promise.createdOn)],
      ["Completed", promise.completedOn ? time(promise.completedOn) + took : "not yet"],
      ["Times out", time(promise.timeout)],
      ...Object.entries(promise.tags ?? {}).map(([name, value]) => [name, value, true]),
    ];
  }
}

export class Search {
  #open;
  #query = document.querySelector("#query");
  #timer;

  constructor(open) {
    this.#open = open;
    this.#query.addEventListener("input", () => {
      clearTimeout(this.#timer);
      this.#timer = setTimeout(() => this.#search(), 200);
    });
    document.querySelector("#search").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#search();
    });
  }

  async #search() {
    const text = this.#query.value;
    let found = [];
    let title = "";
    if (text) {
      const pattern = encodeURIComponent(`*${text}*`);
      try {
        found = (await get(`/promises?id=${pattern}&limit=${SEARCH_LIMIT}`)).promises;
        if (!found.length) title = `No promise has “${text}” in its id`;
        else if (found.length < SEARCH_LIMIT) title = `${found.length} found`;
        else title = `The newest ${SEARCH_LIMIT} found`;
      } catch (error) {
        title = error.message;
      }
    }
    if (text !== this.#query.value) return; // the person has typed on meanwhile
    document.querySelector("#results").hidden = !text;
    document.querySelector("#results-title").textContent = title;
    document.querySelector("#said").textContent = title;
    document.querySelector("#found").replaceChildren(...found.map((promise) => this.#result(promise)));
  }

  #result(promise) {
    const item = document.createElement("li");
    const button = document.createElement("button");
    const state = document.createElement("span");
    button.textContent = promise.id;
    button.className = "link";
    button.addEventListener("click", () => this.#open(promise.id));
    state.textContent = stateName(promise);
    item.append(button, " ", state);
    return item;
  }
}

async function get(path) {
  let response;
  try {
    response = await fetch(path);
  } catch {
    throw new Error("The server does not answer");
  }
  const answer = await response.json().catch(() => ({}));
  if (!response.ok || !Object.keys(answer).length) {
    throw new Error(answer.error?.message ?? "The server has no answer to that");
  }
  return answer;
}

// A parameter or a value as text. It is not read as JSON, which would round large numbers.
function decoded(value) {
  if (!value?.data) return "none";
  const bytes = Uint8Array.from(atob(value.data), (character) => character.charCodeAt(0));
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    const hex = Array.from(bytes.slice(0, 256), (byte) => byte.toString(16).padStart(2, "0"));
    return `${bytes.length} bytes, no text: ${hex.join(" ")}${bytes.length > 256 ? " …" : ""}`;
  }
}

function time(ms) {
  const date = new Date(ms);
  return Number.isNaN(date.getTime()) ? `${ms} ms` : date.toLocaleString("en-GB");
}
