// Zooming the axis of a run: a drag over the workers' lanes, or the keys + - 0.

import { find } from "./document.js";

const LEAST = 5; // ms: the shortest window
const DRAG = 6; // px: a shorter drag is a click

export class Zoom {
  #runs;
  #focused;
  #changed;

  /** @param {Runs} runs @param {() => Run | undefined} focused which run is shown @param {() => void} changed */
  constructor(runs, focused, changed) {
    this.#runs = runs;
    this.#focused = focused;
    this.#changed = changed;
    find("lanes").addEventListener("pointerdown", (/** @type {PointerEvent} */ event) => this.#drag(event));
    find("whole").addEventListener("click", () => this.set());
    addEventListener("keydown", (event) => {
      const isTyped = event.target instanceof Element && event.target.closest("input");
      if (event.ctrlKey || event.altKey || event.metaKey || isTyped) return;
      if (event.key === "+") this.#by(1 / 1.5);
      if (event.key === "-") this.#by(1.5);
      if (event.key === "0") this.set();
    });
  }

  /** Show a part of the run's time, or all of it. @param {Axis} [axis] */
  set(axis) {
    const run = this.#focused();
    if (!run) return;
    const whole = this.#runs.whole(run);
    let shown;
    if (axis) {
      const length = Math.max(axis.to - axis.from, LEAST);
      const from = Math.min(Math.max(axis.from, whole.from), whole.to - length);
      if (length < whole.to - whole.from) shown = { from, to: from + length };
    }
    this.#runs.zoom(run, shown);
    find("whole").hidden = shown === undefined;
    this.#changed();
  }

  /** Zoom by a factor about the middle. @param {number} factor */
  #by(factor) {
    const run = this.#focused();
    if (!run) return;
    const { from, to } = this.#runs.axis(run);
    const [middle, half] = [(from + to) / 2, ((to - from) / 2) * factor];
    this.set({ from: middle - half, to: middle + half });
  }

  /** @param {PointerEvent} event */
  #drag(event) {
    const lane = find("lanes");
    const run = this.#focused();
    if (!run) return;
    const axis = this.#runs.axis(run);
    lane.setPointerCapture(event.pointerId);
    lane.addEventListener("pointerup", (/** @type {PointerEvent} */ { clientX }) => {
      if (Math.abs(clientX - event.clientX) < DRAG) return;
      const { left, width } = lane.getBoundingClientRect();
      const [from, to] = [event.clientX, clientX].sort((a, b) => a - b)
        .map((x) => axis.from + Math.min(Math.max((x - left) / width, 0), 1) * (axis.to - axis.from));
      this.set({ from, to });
    }, { once: true });
  }
}
