// The filter: which rows the tree shows.

import { stateName } from "/words.js";

export class Filter {
  #query = document.querySelector("#query");
  #model;

  // `changed` gets what a promise has to match, or undefined if there is no filter.
  constructor(model, changed) {
    this.#model = model;
    this.#query.addEventListener("input", () => changed(this.#matches()));
    document.querySelector("#search").addEventListener("submit", (event) => event.preventDefault());
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
      this.#model.attempts(promise).some(({ processId, claimedOn }) =>
        claimedOn !== undefined && this.#model.processes.named(processId).label.includes(text));
  }
}
