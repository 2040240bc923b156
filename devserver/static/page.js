// The page: it follows `GET /watch`, and shows what the model makes of it.
// Everything that comes from promises is put in as text, never as HTML.

import { eventOf, saveHtml } from "/export.js";
import { Feed } from "/feed.js";
import { Filter } from "/filter.js";
import { Model } from "/model.js";
import { Panel } from "/panel.js";
import { Rows, setText } from "/rows.js";
import { Runs } from "/runs.js";
import { events, sentence } from "/story.js";
import { Strip } from "/strip.js";
import { Tree } from "/tree.js";
import { Zoom } from "/zoom.js";

const MAX_EVENTS = 200;
const INTERVAL = 250; // ms between two drawings of what only time changes
const QUIET = 3000; // ms between two announcements to a screen reader
const ICONS = {
  connected: "+", left: "−", died: "✕", takeover: "↪", called: "→", result: "✓", server: "!",
};

const find = (id) => document.querySelector(`#${id}`);
const model = new Model();
const tree = new Tree(model);
const runs = new Runs(model);
const strip = new Strip(model);
// A saved page contains its run, and does not need a server.
const recorded = find("recorded") && JSON.parse(find("recorded").textContent);
const panel = new Panel(model, (id) => {
  const promise = model.promises.get(id);
  if (promise) rows.show(promise);
}, recorded?.inFull);
const rows = new Rows(find("promises"), { model, tree, runs, open: (id) => panel.open(id) });
const filter = new Filter(model, (matches) => {
  tree.filter(matches);
  schedule();
});
const zoom = new Zoom(runs, focused, schedule);
if (!recorded) new Feed(hear, lost);

let next; // the frame in which the page is drawn again, if something has changed
let drawnOn = 0; // when it was drawn last
let said = { on: 0, shape: "" };
let told = {}; // what the list of events was made from

function hear(message) {
  lost("");
  model.apply(message);
  if (recorded) model.freeze(message.now);
  panel.changed(new Set([
    ...(message.promises ?? []).map(({ id }) => id),
    ...(message.tasks ?? []).map(({ rootPromiseId }) => rootPromiseId),
  ]));
  // What the user looks at stays.
  model.forget((promise) => promise.id === panel.id || rows.has(promise));
  schedule();
}

// Draw the page in the next frame, however much has changed until then.
function schedule() {
  next ??= requestAnimationFrame(draw);
}

function lost(text) {
  find("lost").hidden = !text;
  setText(find("lost"), text);
  setText(find("link"), text ? "disconnected" : "live");
  find("link").classList.toggle("bad", Boolean(text));
  document.body.classList.toggle("stale", Boolean(text));
  find("save-html").disabled = Boolean(text);
  if (!text) return;
  model.freeze();
  schedule();
}

// The run that the sentence and the strip are about: that of the open promise, or the newest one.
function focused() {
  const open = model.promises.get(panel.id);
  return open ? runs.of(open) : runs.newest;
}

function draw() {
  cancelAnimationFrame(next);
  next = undefined;
  drawnOn = Date.now();
  const { counts } = model;
  for (const name in counts) setText(find(name), counts[name].toLocaleString("en"));
  const title = counts.pending ? `${counts.pending} pending – devserver` : "devserver";
  if (document.title !== title) document.title = title;
  find("empty").hidden = model.promises.size > 0;
  find("start").hidden = [...model.processes].some(({ isConnected, isClient }) => isConnected && !isClient);
  find("tree").hidden = model.promises.size === 0;
  find("left-out").hidden = !model.leftOut;
  // The rows measure their position. Writing to the document before that would make it slow.
  rows.draw();
  const run = focused();
  const axis = run ? runs.axis(run) : { from: model.now - 1, to: model.now };
  strip.draw(run, run ? runs.whole(run) : axis, axis);
  find("tools").hidden = !run;
  find("nothing").hidden = tree.rows.length > 0 || model.promises.size === 0;
  tell(run);
  drawEvents();
  panel.draw();
}

function tell(run) {
  // A number and its unit stay on one line.
  const words = sentence(model, run).replace(/(\d) (s|min|h|d)\b/g, "$1\u00a0$2");
  find("sentence").hidden = !words;
  setText(find("sentence"), words);
  // A screen reader hears what happened, not how the seconds pass.
  const shape = words.replace(/[\d.]+\s(s|min|h|d)\b/g, "");
  if (shape === said.shape || Date.now() - said.on < QUIET) return;
  said = { on: Date.now(), shape };
  setText(find("said"), words);
}

function drawEvents() {
  if (!find("story").open) return;
  const { version, deaths } = model;
  if (told.version === version && told.deaths === deaths) return;
  told = { version, deaths };
  const items = events(model).slice(0, MAX_EVENTS).map(({ at, kind, text, promise }) => {
    const item = document.createElement("li");
    const icon = document.createElement("span");
    const clock = document.createElement("time");
    const words = document.createElement(promise ? "button" : "span");
    item.className = kind;
    icon.textContent = ICONS[kind];
    icon.ariaHidden = "true";
    clock.textContent = new Date(at).toLocaleTimeString("en-GB");
    words.textContent = text;
    if (promise) words.dataset.id = promise.id;
    item.append(icon, clock, words);
    return item;
  });
  const next = document.createElement("ol");
  next.append(...items);
  if (next.innerHTML !== find("news").innerHTML) find("news").replaceChildren(...items);
}

find("story").addEventListener("toggle", drawEvents);
find("news").addEventListener("click", ({ target }) => {
  const promise = model.promises.get(target.dataset.id);
  if (promise) rows.show(promise);
});

addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.altKey || event.metaKey || event.target.closest("input")) return;
  if (event.key === "/") {
    event.preventDefault();
    filter.focus();
  } else if (event.key === "+" || event.key === "-") {
    zoom.by(event.key === "+" ? 1 / 1.5 : 1.5);
  } else if (event.key === "0") {
    zoom.reset();
  }
});

find("save-html").addEventListener("click", () => {
  const run = focused();
  if (run) saveHtml(eventOf(model, run), run.roots[0].id);
});

if (recorded) {
  hear(recorded);
  setText(find("link"), "saved");
  find("save-html").hidden = true; // it would need the server's files
}

setInterval(() => {
  if (!document.body.classList.contains("stale") && Date.now() - drawnOn >= INTERVAL) schedule();
}, INTERVAL);
// The lanes are as wide as the window and the panel leave room for.
new ResizeObserver(() => {
  strip.resize();
  rows.resize();
  draw();
}).observe(find("strip"));
addEventListener("hashchange", () => {
  draw();
  const promise = model.promises.get(panel.id);
  if (promise) rows.show(promise, false);
});
