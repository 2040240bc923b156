// The head of a run's lanes: the axis of time, and what the red lines and grey bands mean.

import { backdrop, outages, scale, shape, text } from "/lane.js";
import { ticks } from "/runs.js";
import { seconds } from "/words.js";

const CHARACTER = 6.3; // px of a label, about

// `start` is the beginning of the run, from which the times count.
export function drawHead(svg, model, { axis, start, width }) {
  const x = scale(axis, width);
  const parts = backdrop(model, axis, width, 26);
  const labels = []; // { from, to } in px: where a label is
  const place = (at, words, className) => {
    const wide = words.length * CHARACTER;
    const from = Math.min(Math.max(at - wide / 2, 0), width - wide);
    if (labels.some((it) => from < it.to + 6 && from + wide > it.from - 6)) return false;
    labels.push({ from, to: from + wide });
    parts.push(text(from, 17, words, className));
    return true;
  };
  const drawn = new Set();
  for (const { process, at } of model.deaths) {
    if (at < axis.from || at > axis.to || drawn.has(Math.round(x(at)))) continue;
    drawn.add(Math.round(x(at)));
    parts.push(shape("line", { x1: x(at), x2: x(at), y1: 20, y2: 26, class: "kill" }));
    const long = `✕ ${process.name} died at ${seconds(at - start)}`;
    if (!place(x(at), long, "killed")) place(x(at), "✕", "killed");
  }
  for (const { from, to } of outages(model, axis)) {
    place((x(from) + x(to)) / 2, `server down ${seconds(to - from)}`, "down");
  }
  for (const tick of ticks(axis, start, Math.max(width / 80, 2))) {
    if (place(x(tick.at), tick.text, "tick")) {
      parts.push(shape("line", { x1: x(tick.at), x2: x(tick.at), y1: 21, y2: 26, class: "tick" }));
    }
  }
  svg.replaceChildren(...parts);
}
