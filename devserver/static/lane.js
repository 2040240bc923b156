// The lane of a promise: what happened to it when, as segments and marks on an axis of time.

const NS = "http://www.w3.org/2000/svg";
const HEIGHT = 14;
const TOP = 6;

// The segments of a promise's lane: { kind, from, to, process }.
//   queued, sent   its task waits for a worker, or is on its way to one
//   claimed        a worker runs it
//   waits, sleeps  it is stored, and uses no worker
//   orphan, needed the same as waits and queued, after its last worker has died
export function segmentsOf(promise, model) {
  const end = promise.completedOn ?? model.now;
  const segments = [];
  let at = promise.createdOn;
  let holder;

  const push = (kind, to, process) => {
    if (to > at) segments.push({ kind, from: at, to, process });
    at = Math.max(at, to);
  };
  const add = (kind, until, process) => {
    const to = Math.min(until, end);
    const died = holder && kind !== "claimed" ? model.diedOn(holder, promise) : undefined;
    if (died === undefined || died >= to) return push(kind, to, process);
    push(kind, died, process);
    return push(kind === "waits" || kind === "sleeps" ? "orphan" : "needed", to, holder);
  };

  for (const attempt of model.attempts(promise)) {
    const process = attempt.processId && model.processes.named(attempt.processId);
    if (attempt.availableOn > at) add(attempt.isTimer ? "sleeps" : "waits", attempt.availableOn, holder);
    add("queued", attempt.sentOn ?? attempt.claimedOn ?? attempt.endedOn ?? end);
    add("sent", attempt.claimedOn ?? attempt.endedOn ?? end, process);
    if (attempt.claimedOn !== undefined) {
      holder = process;
      add("claimed", attempt.endedOn ?? end, process);
    }
  }
  add(promise.timers.size ? "sleeps" : "waits", end, holder);
  return segments;
}

// The moments at which another process took over a promise: { at, until, process, from }.
export function takeoversOf(promise, model) {
  const takeovers = [];
  let holder;
  for (const { claimedOn, endedOn, processId } of model.attempts(promise)) {
    if (claimedOn === undefined) continue;
    if (holder !== undefined && holder !== processId) {
      takeovers.push({
        at: claimedOn, until: endedOn ?? model.now,
        process: model.processes.named(processId), from: model.processes.named(holder),
      });
    }
    holder = processId;
  }
  return takeovers;
}

// Draw a promise's lane into an <svg> of a width in pixels.
export function drawLane(svg, promise, model, axis, width) {
  const x = scale(axis, width);
  const parts = backdrop(model, axis, width, 26);
  for (const { kind, from, to, process } of segmentsOf(promise, model)) {
    if (to < axis.from || from > axis.to) continue;
    const left = x(from);
    const wide = Math.max(x(to) - left, kind === "claimed" ? 3 : 0.5);
    const colour = process && !process.isClient ? ` w${process.colour}` : "";
    if (kind === "sleeps") {
      const mid = TOP + HEIGHT / 2;
      parts.push(rect(left, wide, `waits${colour}`));
      parts.push(shape("line", { x1: left + 2, x2: left + Math.max(wide - 1, 2), y1: mid, y2: mid, class: `sleeps${colour}` }));
    } else {
      parts.push(rect(left, wide, kind + colour));
    }
  }
  parts.push(...killLines(model, axis, width, 26, promise));
  const end = promise.completedOn === undefined ? width : x(promise.completedOn);
  for (const { at, until, process } of takeoversOf(promise, model)) {
    if (at < axis.from || at > axis.to) continue;
    const after = Math.max(x(until), x(at) + 3) + 4;
    if (end - after > 84) parts.push(text(after, 18, `↪ ${process.name}`, `taken roomy w${process.colour}`));
    else parts.push(text(x(at) - 2, 18, "↪", `taken w${process.colour}`));
  }
  svg.replaceChildren(...parts);
}

// Draw the lane of calls that are left out of the tree: only what goes through all lanes.
export function drawThrough(svg, model, axis, width) {
  svg.replaceChildren(...backdrop(model, axis, width, 26), ...killLines(model, axis, width, 26));
}

// A line for each death, with a cross on the promises that the process had.
export function killLines(model, axis, width, height, promise) {
  const x = scale(axis, width);
  const parts = [];
  const drawn = new Set(); // pixels: a line for each of many deaths at once would be slow
  for (const { at, had } of model.deaths) {
    if (at < axis.from || at > axis.to) continue;
    const isHad = had.has(promise);
    const pixel = Math.round(x(at));
    if (drawn.has(pixel) && !isHad) continue;
    drawn.add(pixel);
    parts.push(shape("line", { x1: x(at), x2: x(at), y1: 0, y2: height, class: isHad ? "kill had" : "kill" }));
    if (isHad) parts.push(text(x(at), 18, "✕", "cross"));
  }
  return parts;
}

// What lies behind every lane of a run: the times at which the server was down.
export function backdrop(model, axis, width, height) {
  const x = scale(axis, width);
  return outages(model, axis).map(({ from, to }) =>
    shape("rect", { x: x(from), y: 0, width: Math.max(x(to) - x(from), 2), height, class: "outage" }));
}

// The times within an axis at which the server was down.
export function outages(model, axis) {
  return model.processes.starts
    .filter(({ at, activeUntil }) => activeUntil !== undefined && at > axis.from && activeUntil < axis.to)
    .map(({ at, activeUntil }) => ({ from: Math.max(activeUntil, axis.from), to: Math.min(at, axis.to) }));
}

export function scale({ from, to }, width) {
  return (time) => Math.min(Math.max(((time - from) / (to - from)) * width, 0), width);
}

export function shape(name, attributes) {
  const made = document.createElementNS(NS, name);
  for (const key in attributes) made.setAttribute(key, attributes[key]);
  return made;
}

export function text(x, y, words, className) {
  const made = shape("text", { x, y, class: className });
  made.textContent = words;
  return made;
}

const rect = (x, width, className) =>
  shape("rect", { x, y: TOP, width, height: HEIGHT, class: className });
