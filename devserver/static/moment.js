// The scrubber: shows the page as it was at an earlier moment of a run.

import { setText } from "/rows.js";
import { seconds } from "/words.js";

export class Moment {
  #form = document.querySelector("#moment");
  #slider = document.querySelector("#time");
  #clock = document.querySelector("#clock");
  #kills = document.querySelector("#kills");
  #span = { from: 0, to: 1 }; // of the run
  #go;

  // `go` is called when the user has chosen another moment.
  constructor(go) {
    this.#go = go;
    this.#slider.addEventListener("input", () => {
      const part = Number(this.#slider.value) / Number(this.#slider.max);
      this.#show(part < 1 ? this.#span.from + part * (this.#span.to - this.#span.from) : undefined);
    });
    this.#kills.addEventListener("click", ({ target }) => {
      if (target.dataset.at) this.#show(Number(target.dataset.at));
    });
    this.#form.addEventListener("submit", (event) => event.preventDefault());
  }

  time; // that the page shows; undefined for now
  end; // the last moment of the run, when it was shown as it is now

  // Bring the control up to date with a run and the deaths in it.
  draw(run, end, deaths) {
    this.#form.hidden = run === undefined;
    if (!run) return;
    this.#span = { from: run.from, to: end };
    const part = this.time === undefined ? 1 : (this.time - run.from) / Math.max(end - run.from, 1);
    this.#slider.value = String(Math.round(part * Number(this.#slider.max)));
    const words = this.time === undefined ? "now" : `at ${seconds(this.time - run.from)}`;
    setText(this.#clock, words);
    this.#slider.setAttribute("aria-valuetext", words);
    const shown = deaths.filter(({ at }) => at >= run.from && at <= end);
    const key = shown.map(({ at }) => at).join(" ");
    if (this.#kills.dataset.key === key) return;
    this.#kills.dataset.key = key;
    this.#kills.replaceChildren(...shown.slice(-5).map(({ at, process }) => {
      const button = document.createElement("button");
      button.type = "button";
      button.dataset.at = at + 1;
      button.textContent = `✕ ${seconds(at - run.from)}`;
      button.title = `The moment when ${process.name} died`;
      return button;
    }));
  }

  #show(time) {
    this.time = time;
    this.#go();
  }
}
