// The page: it follows `GET /watch`, and shows what the model makes of it.
// Everything that comes from promises is put in as text, never as HTML.

import { saveHtml, saveSvg } from "/export.js";
import { Feed } from "/feed.js";
import { Filter } from "/filter.js";
import { eventAt } from "/history.js";
import { Model } from "/model.js";
import { Moment } from "/moment.js";
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

const at = (id) => document.querySelector(`#${id}`);
const live = new Model(); // which follows the server
let model = live; // what the page shows: this one, or an earlier moment
const tree = new Tree(model);
const runs = new Runs(model);
const strip = new Strip(model);
// A saved page contains its run, and does not need a server.
const recorded = at("recorded") && JSON.parse(at("recorded").textContent);
const panel = new Panel(model, (id) => {
  const promise = model.promises.get(id);
  if (promise) rows.show(promise);
}, recorded?.inFull);
const rows = new Rows(at("promises"), { model, tree, runs, open: (id) => panel.open(id) });
const filter = new Filter(model, (matches) => {
  tree.filter(matches);
  schedule();
});
const zoom = new Zoom(runs, focused, schedule);
const moment = new Moment(go);
if (!recorded) new Feed(hear, lost);

let next; // the frame in which the page is drawn again, if something has changed
let drawnOn = 0; // when it was drawn last
let isLate = false; // whether the model is not that of the moment that the user has chosen
let said = { at: 0, shape: "" };
let told = {}; // what the list of events was made from
let event = -1; // the place of the event that `j` and `k` go from

function hear(message) {
  lost("");
  live.apply(message);
  if (recorded) live.freeze(message.now);
  if (model !== live) return; // the page shows an earlier moment
  panel.changed(new Set([
    ...(message.promises ?? []).map(({ id }) => id),
    ...(message.tasks ?? []).map(({ rootPromiseId }) => rootPromiseId),
  ]));
  // What the user looks at stays.
  live.forget((promise) => promise.id === panel.id || rows.has(promise));
  schedule();
}

// Draw the page in the next frame, however much has changed until then.
function schedule() {
  next ??= requestAnimationFrame(draw);
}

function lost(text) {
  at("lost").hidden = !text;
  setText(at("lost"), text);
  setText(at("link"), text ? "disconnected" : "live");
  at("link").classList.toggle("bad", Boolean(text));
  document.body.classList.toggle("stale", Boolean(text));
  at("save-html").disabled = Boolean(text);
  if (!text) return;
  live.freeze();
  schedule();
}

// The run that the sentence and the strip are about: that of the open promise, or the newest one.
function focused() {
  const open = model.promises.get(panel.id);
  return open ? runs.of(open) : runs.newest;
}

// Show the page as it was at the time of `moment`, or as it is now.
function go() {
  isLate = true;
  schedule();
}

function turnBack() {
  isLate = false;
  const { time } = moment;
  if (time !== undefined && model === live) runs.keep(focused());
  model = live;
  if (time !== undefined) {
    model = new Model();
    model.apply(eventAt(live, time));
    model.freeze(time);
  }
  for (const part of [tree, runs, strip, rows, panel, filter]) part.use(model);
  if (time === undefined) runs.keep(undefined);
  document.body.classList.toggle("past", time !== undefined);
}

function draw() {
  cancelAnimationFrame(next);
  next = undefined;
  drawnOn = Date.now();
  if (isLate) turnBack();
  const { counts } = model;
  for (const name in counts) setText(at(name), counts[name].toLocaleString("en"));
  const title = counts.pending ? `${counts.pending} pending – devserver` : "devserver";
  if (document.title !== title) document.title = title;
  at("empty").hidden = model.promises.size > 0;
  at("start").hidden = [...model.processes].some(({ isConnected, isClient }) => isConnected && !isClient);
  at("tree").hidden = model.promises.size === 0;
  at("left-out").hidden = !model.leftOut;
  // The rows measure their position. Writing to the document before that would make it slow.
  rows.draw();
  const run = focused();
  const axis = run ? runs.axis(run) : { from: model.now - 1, to: model.now };
  strip.draw(run, run ? runs.whole(run) : axis, axis);
  const end = run && (run.isPending ? live.now : run.end);
  moment.draw(run, model === live ? end : Math.max(moment.end, moment.time), live.deaths);
  if (model === live) moment.end = end;
  at("nothing").hidden = tree.rows.length > 0 || model.promises.size === 0;
  tell(run);
  drawRates();
  drawEvents();
  panel.draw();
}

function tell(run) {
  // A number and its unit stay on one line.
  const words = sentence(model, run).replace(/(\d) (s|min|h|d)\b/g, "$1\u00a0$2");
  at("sentence").hidden = !words;
  setText(at("sentence"), words);
  // A screen reader hears what happened, not how the seconds pass.
  const shape = words.replace(/[\d.]+\s(s|min|h|d)\b/g, "");
  if (shape === said.shape || Date.now() - said.at < QUIET) return;
  said = { at: Date.now(), shape };
  setText(at("said"), words);
}

function drawRates() {
  const { created, finished } = model.rates;
  for (const [name, rate] of [["created", created], ["finished", finished]]) {
    setText(at(name), rate >= 100 ? rate.toFixed(0) : rate.toFixed(1));
  }
}

function drawEvents() {
  if (!at("story").open) return;
  const { version, deaths } = model;
  if (told.model === model && told.version === version && told.deaths === deaths) return;
  told = { model, version, deaths };
  const items = events(model).slice(0, MAX_EVENTS).map(({ at: time, kind, text, promise }) => {
    const item = document.createElement("li");
    const icon = document.createElement("span");
    const clock = document.createElement("time");
    const words = document.createElement(promise ? "button" : "span");
    item.className = kind;
    icon.textContent = ICONS[kind];
    icon.ariaHidden = "true";
    clock.textContent = new Date(time).toLocaleTimeString("en-GB");
    words.textContent = text;
    if (promise) words.dataset.id = promise.id;
    item.append(icon, clock, words);
    return item;
  });
  const next = document.createElement("ol");
  next.append(...items);
  if (next.innerHTML !== at("news").innerHTML) at("news").replaceChildren(...items);
}

at("story").addEventListener("toggle", drawEvents);
at("news").addEventListener("click", ({ target }) => {
  const promise = model.promises.get(target.dataset.id);
  if (promise) rows.show(promise);
});

addEventListener("keydown", (press) => {
  if (press.ctrlKey || press.altKey || press.metaKey || press.target.closest("input")) return;
  if (press.key === "/") {
    press.preventDefault();
    filter.focus();
  } else if (press.key === "+" || press.key === "-") {
    zoom.by(press.key === "+" ? 1 / 1.5 : 1.5);
  } else if (press.key === "0") {
    zoom.reset();
  } else if (press.key === "j" || press.key === "k") {
    step(press.key === "j" ? 1 : -1);
  }
});

// Go to the next event or back, from the oldest on.
function step(by) {
  const all = events(model).filter(({ promise }) => promise).reverse();
  if (!all.length) return;
  event = Math.min(Math.max(event + by, 0), all.length - 1);
  rows.show(all[event].promise);
  setText(at("said"), all[event].text);
}

at("save-svg").addEventListener("click", () => {
  const run = focused();
  if (run) saveSvg(model, runs, run);
});
at("save-html").addEventListener("click", () => {
  const run = focused();
  if (!run) return;
  const roots = new Set(run.roots.map(({ id }) => id));
  const event = eventAt(live, live.now, ({ root }) => roots.has(root.id));
  saveHtml({ ...event, leftOut: false }, run.roots[0].id);
});

if (recorded) {
  hear(recorded);
  setText(at("link"), "saved");
  at("save-html").hidden = true; // it would need the server's files
}

setInterval(() => {
  if (!document.body.classList.contains("stale") && Date.now() - drawnOn >= INTERVAL) schedule();
}, INTERVAL);
// The lanes are as wide as the window and the panel leave room for.
new ResizeObserver(() => {
  strip.resize();
  rows.resize();
  draw();
}).observe(at("strip"));
addEventListener("hashchange", () => {
  draw();
  const promise = model.promises.get(panel.id);
  if (promise) rows.show(promise, false);
});
