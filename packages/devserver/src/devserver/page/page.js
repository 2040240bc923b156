// The page: it follows `GET /watch`, and shows what the model makes of it.
// Everything that comes from promises is put in as text, never as HTML.

import { Baton } from "./baton.js";
import { find, make, set, update } from "./document.js";
import { messageOf, saveHtml } from "./export.js";
import { Feed } from "./feed.js";
import { Model } from "./model.js";
import { Panel } from "./panel.js";
import { Rows } from "./rows.js";
import { Runs } from "./runs.js";
import { sentence } from "./story.js";
import { Tree } from "./tree.js";
import { stateName } from "./words.js";
import { Zoom } from "./zoom.js";

const INTERVAL = 250; // ms between two drawings of what only time changes
const QUIET = 3000; // ms between two announcements to a screen reader

const model = new Model();
const runs = new Runs(model);
const tree = new Tree(model, runs);
const baton = new Baton(model, runs);
// A saved page contains its run, and does not need a server.
const recorded = find("recorded") && JSON.parse(find("recorded").textContent);
const panel = new Panel(model, (id) => show(id), recorded?.inFull);
const rows = new Rows(model, tree, runs, (id) => panel.open(id));
new Zoom(runs, focused, schedule);
if (!recorded) new Feed(hear, lost);

/** @type {number | undefined} the frame in which the page is drawn again */
let next;
let drawnOn = 0; // when it was drawn last
let width = 1; // of the lanes, px
let said = { on: 0, shape: "" };

/** @param {Message} message */
function hear(message) {
  lost("");
  model.apply(message);
  document.body.classList.remove("empty");
  if (recorded) model.freeze(message.now);
  // What the user looks at stays.
  model.forget((call) => call.id === panel.id || rows.has(call));
  schedule();
}

// Draw the page in the next frame, however much has changed until then.
function schedule() {
  next ??= requestAnimationFrame(draw);
}

/** @param {string} words */
function lost(words) {
  find("lost").hidden = !words;
  set(find("lost"), "textContent", words);
  set(find("link"), "textContent", words ? "disconnected" : "live");
  find("link").classList.toggle("bad", Boolean(words));
  document.body.classList.toggle("stale", Boolean(words));
  find("save-html").disabled = Boolean(words);
  if (!words) return;
  model.freeze();
  schedule();
}

// The run that the sentence and the lanes are about: that of the open call, or the newest one.
function focused() {
  const open = model.promises.get(panel.id ?? "");
  return open ? runs.of(open) : runs.newest;
}

/** @param {string | undefined} id */
function show(id, hasFocus = true) {
  const call = model.promises.get(id ?? "");
  if (call) rows.show(call, hasFocus);
}

function draw() {
  if (next !== undefined) cancelAnimationFrame(next);
  next = undefined;
  drawnOn = Date.now();
  const { counts, promises, leftOut } = model;
  const run = focused();
  for (const name in counts) {
    const isMore = leftOut && name !== "pending";
    set(find(name), "textContent", counts[name].toLocaleString("en") + (isMore ? "+" : ""));
  }
  set(document, "title", counts.pending ? `${counts.pending} pending – devserver` : "devserver");
  find("hint").hidden = promises.size > 0;
  find("start").hidden = [...model.processes].some((it) => it.isConnected && model.processes.isWorker(it));
  find("tree").hidden = promises.size === 0;
  find("left-out").hidden = !leftOut;
  find("tools").hidden = !run;
  tell(run);
  baton.draw(run, width);
  rows.opened = panel.id;
  rows.draw(width);
  find("nothing").hidden = tree.rows.length > 0 || promises.size === 0;
  panel.draw();
}

/** @param {Run | undefined} run */
function tell(run) {
  // A number and its unit stay on one line.
  const words = run ? sentence(model, runs, run).replace(/(\d) (ms|s|min|h|d)\b/g, "$1\u00a0$2") : "";
  find("sentence").hidden = !words;
  // An id moves to the next line as a whole.
  update(find("sentence"), words.split(/(\S*-\S*)/).map((part, i) => (i % 2 ? make("span", part) : new Text(part))));
  // A screen reader hears what happened, not how the seconds pass.
  const shape = words.replace(/[\d.]+\u00a0(ms|s|min|h|d)\b/g, "");
  if (shape === said.shape || Date.now() - said.on < QUIET) return;
  said = { on: Date.now(), shape };
  set(find("said"), "textContent", words);
}

// What the filter wants of a call; undefined if there is no filter.
/** @returns {Matches} */
function matches() {
  const words = find("query").value.trim().toLowerCase();
  if (!words) return undefined;
  return (call) => call.id.toLowerCase().includes(words) || stateName(call).startsWith(words)
    || (runs.story(runs.of(call)).steps.get(call) ?? []).some(({ process }) => `${process.name} (${process.mark})`.includes(words));
}

find("query").addEventListener("input", () => {
  tree.filter(matches());
  schedule();
});
find("search").addEventListener("submit", (/** @type {Event} */ event) => event.preventDefault());
addEventListener("keydown", (event) => {
  if (event.key !== "/" || event.target === find("query")) return;
  event.preventDefault();
  find("query").select();
});

find("save-html").addEventListener("click", () => {
  const run = focused();
  if (run) void saveHtml(messageOf(model, runs.story(run).calls), run.roots[0].id);
});
if (recorded) {
  hear(recorded);
  set(find("link"), "textContent", "saved");
  find("save-html").hidden = true; // it would need the server's files
}

setInterval(() => {
  if (!document.body.classList.contains("stale") && Date.now() - drawnOn >= INTERVAL) schedule();
}, INTERVAL);
// The lanes are as wide as the window and the details leave room for.
new ResizeObserver(([{ contentRect }]) => {
  width = contentRect.width || 1;
  draw();
}).observe(find("lanes"));
addEventListener("hashchange", () => {
  draw();
  show(panel.id, false);
});
