// Runs: roots whose times overlap share one run, and thereby one axis of time.

const IDLE = 10_000; // ms after which a pending root that does nothing holds no run open

export class Runs {
  #model;
  #version = -1;
  #zoomed; // the run that is zoomed, and its window
  list = []; // the oldest first

  constructor(model) {
    this.#model = model;
  }

  of(promise) {
    this.update();
    return promise.root.run;
  }

  get newest() {
    this.update();
    return this.list.at(-1);
  }

  update() {
    if (this.#version === this.#model.version) return;
    this.#version = this.#model.version;
    const { now } = this.#model;
    this.list = [];
    for (const root of this.#model.roots) {
      const end = root.completedOn ?? Math.min(now, root.active + IDLE);
      let run = this.list.at(-1);
      if (!run || root.createdOn > run.end) {
        run = { roots: [], from: root.createdOn, end, isPending: false };
        this.list.push(run);
      }
      run.roots.push(root);
      run.end = Math.max(run.end, end, root.active);
      run.isPending ||= root.completedOn === undefined;
      root.run = run;
    }
  }

  // Show only a part of a run's time, or all of it again.
  zoom(run, axis) {
    this.#zoomed = axis && { id: run.roots[0].id, axis };
  }

  // The axis that a run's lanes have.
  axis(run) {
    return this.#zoomed?.id === run.roots[0].id ? this.#zoomed.axis : this.whole(run);
  }

  // The whole axis of a run: its first and last moment. That of a run which goes on ends a little
  // in the future, so that the scale does not change with every moment.
  whole(run) {
    const elapsed = (run.isPending ? Math.max(this.#model.now, run.end) : run.end) - run.from;
    const length = run.isPending ? ceiling(elapsed * 1.08 + 400) : Math.max(elapsed * 1.02, 1);
    return { from: run.from, to: run.from + length };
  }
}

// The next of 1, 1.5, 2, 3, 5 and 7.5 times a power of ten.
function ceiling(ms) {
  const power = 10 ** Math.floor(Math.log10(ms));
  return power * ([1, 1.5, 2, 3, 5, 7.5].find((step) => step * power >= ms) ?? 10);
}

// Times at which an axis has a tick, and the tick's text: the time since the start.
export function ticks({ from, to }, start, most) {
  const power = 10 ** Math.floor(Math.log10((to - from) / most));
  const step = power * [1, 2, 5, 10].find((it) => (to - from) / (it * power) <= most);
  const found = [];
  for (let ms = Math.ceil((from - start) / step) * step; ms <= to - start; ms += step) {
    const s = ms / 1000;
    found.push({ at: start + ms, text: `${s >= 100 || step >= 1000 ? Math.round(s) : Number(s.toFixed(3))} s` });
  }
  return found;
}
