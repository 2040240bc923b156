// The filter: which rows the tree shows. Promises that are too old for the tree come from the API.

import { get, permalink } from "/panel.js";
import { stateName } from "/words.js";

const LIMIT = 100; // the most results that the API gives at once

export class Filter {
  #query = document.querySelector("#query");
  #results = document.querySelector("#results");
  #model;
  #timer;

  // `changed` gets what a promise has to match, or undefined if there is no filter.
  constructor(model, changed) {
    this.#model = model;
    this.#query.addEventListener("input", () => {
      changed(this.#matches());
      clearTimeout(this.#timer);
      this.#timer = setTimeout(() => this.#search(), 200);
    });
    document.querySelector("#search").addEventListener("submit", (event) => event.preventDefault());
  }

  use(model) {
    this.#model = model;
  }

  focus() {
    this.#query.focus();
    this.#query.select();
  }

  #matches() {
    const text = this.#query.value.trim().toLowerCase();
    if (!text) return undefined;
    return (promise) =>
      promise.id.toLowerCase().includes(text) ||
      stateName(promise).startsWith(text) ||
      promise.func?.toLowerCase() === text ||
      this.#model.attempts(promise).some(({ processId, claimedOn }) =>
        claimedOn !== undefined && this.#model.processes.named(processId).label.includes(text));
  }

  async #search() {
    const text = this.#query.value.trim();
    let found = [];
    let title = "";
    if (text && this.#model.leftOut) {
      try {
        found = (await get(`/promises?id=${encodeURIComponent(`*${text}*`)}&limit=${LIMIT}`)).promises;
        const isTimer = (promise) => promise.tags?.["resonate:timeout"] === "true";
        found = found.filter((promise) => !this.#model.promises.has(promise.id) && !isTimer(promise));
        if (found.length) title = "Older promises";
      } catch (error) {
        title = error.message;
      }
    }
    if (text !== this.#query.value.trim()) return; // the user has typed more
    this.#results.hidden = !title;
    document.querySelector("#results-title").textContent = title;
    document.querySelector("#found").replaceChildren(...found.map(result));
  }
}

function result(promise) {
  const item = document.createElement("li");
  const state = document.createElement("span");
  state.textContent = stateName(promise);
  item.append(permalink(promise.id), " ", state);
  return item;
}
