// Zooming the axis of a run: the wheel over a lane with Ctrl, a drag over the strip, or + - 0.

const LEAST = 5; // ms: the shortest window

export class Zoom {
  #runs;
  #focused; // returns the run that the strip shows
  #changed;
  #button = document.querySelector("#whole");

  constructor(runs, focused, changed) {
    this.#runs = runs;
    this.#focused = focused;
    this.#changed = changed;
    document.querySelector("main").addEventListener("wheel", (event) => this.#wheel(event), { passive: false });
    const strip = document.querySelector("#workers");
    strip.addEventListener("pointerdown", (event) => this.#drag(event, strip));
    strip.addEventListener("dblclick", () => this.reset());
    this.#button.addEventListener("click", () => this.reset());
  }

  // Show a part of the focused run's time, or with an undefined window all of it.
  set(window) {
    const run = this.#focused();
    if (!run) return;
    const whole = this.#runs.whole(run);
    let shown;
    if (window) {
      const length = Math.max(window.to - window.from, LEAST);
      const from = Math.min(Math.max(window.from, whole.from), whole.to - length);
      if (length < whole.to - whole.from) shown = { from, to: from + length };
    }
    this.#runs.zoom(run, shown);
    this.#button.hidden = shown === undefined;
    this.#changed();
  }

  reset() {
    this.set(undefined);
  }

  // Zoom by a factor about a time, or about the middle.
  by(factor, about) {
    const run = this.#focused();
    if (!run) return;
    const { from, to } = this.#runs.axis(run);
    const center = about ?? (from + to) / 2;
    this.set({ from: center - (center - from) * factor, to: center + (to - center) * factor });
  }

  #wheel(event) {
    const lane = event.target.closest("svg.lane");
    if (!lane || !(event.ctrlKey || event.metaKey)) return;
    event.preventDefault();
    const run = this.#focused();
    if (!run) return;
    const axis = lane.closest("#workers") ? this.#runs.whole(run) : this.#runs.axis(run);
    this.by(1.003 ** event.deltaY, timeAt(lane, axis, event.clientX));
  }

  #drag(event, strip) {
    const lane = strip.querySelector("svg.lane");
    const run = this.#focused();
    if (!lane || !run || !event.target.closest("svg.lane")) return;
    const axis = this.#runs.whole(run);
    const start = timeAt(lane, axis, event.clientX);
    strip.setPointerCapture(event.pointerId);
    const move = ({ clientX }) => {
      const end = timeAt(lane, axis, clientX);
      if (Math.abs(end - start) > LEAST) this.set({ from: Math.min(start, end), to: Math.max(start, end) });
    };
    strip.addEventListener("pointermove", move);
    strip.addEventListener("pointerup", () => strip.removeEventListener("pointermove", move), { once: true });
  }
}

function timeAt(lane, { from, to }, clientX) {
  const { left, width } = lane.getBoundingClientRect();
  return from + Math.min(Math.max((clientX - left) / width, 0), 1) * (to - from);
}
