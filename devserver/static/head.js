// The head of a run's lanes: the axis of time, and above it what the red lines and grey bands mean.

import { backdrop, outages, scale } from "/lane.js";
import { ticks } from "/runs.js";
import { line, text } from "/shapes.js";
import { seconds } from "/words.js";

export const HEIGHT = 42; // px; also in the style sheet
const CHARACTER = 6.3; // px of a label, about
const LABELS = 15; // baselines, px
const TICKS = 33;

// The shapes of a head. `start` is the beginning of the run, from which the times count.
export function headOf(model, { axis, start, width }) {
  const x = scale(axis, width);
  const parts = backdrop(model, axis, width, HEIGHT);
  const labels = place(width, LABELS, parts);
  const drawn = new Set();
  for (const { process, at } of model.deaths) {
    if (at < axis.from || at > axis.to || drawn.has(Math.round(x(at)))) continue;
    drawn.add(Math.round(x(at)));
    parts.push(line(x(at), LABELS + 4, x(at), HEIGHT, "kill"));
    const words = [`✕ ${process.name} died at ${seconds(at - start)}`, `✕ ${seconds(at - start)}`, "✕"];
    words.some((it) => labels(x(at), it, "killed"));
  }
  for (const { from, to } of outages(model, axis)) {
    labels((x(from) + x(to)) / 2, `server down ${seconds(to - from)}`, "down");
  }
  const numbers = place(width, TICKS, parts);
  for (const tick of ticks(axis, start, Math.max(width / 80, 2))) {
    if (numbers(x(tick.at), tick.text, "tick")) {
      parts.push(line(x(tick.at), HEIGHT - 5, x(tick.at), HEIGHT, "tick"));
    }
  }
  return parts;
}

// Returns a function that adds a label to a line of labels, about a place, if there is room for it.
function place(width, y, parts) {
  const taken = []; // { from, to } in px
  return (at, words, className) => {
    const wide = words.length * CHARACTER;
    const from = Math.min(Math.max(at - wide / 2, 0), width - wide);
    if (taken.some((it) => from < it.to + 6 && from + wide > it.from - 6)) return false;
    taken.push({ from, to: from + wide });
    parts.push(text(from, y, words, className));
    return true;
  };
}
