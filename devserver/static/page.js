// The page: it listens to `GET /watch`, and shows what it hears.
// Whatever comes from promises is put in as text, never as HTML.

import { Details, Search } from "/details.js";
import { heldBy, isPending, isTimer, Known, processName, processRest, some } from "/known.js";
import { Outline, setText } from "/outline.js";

const MAX_NEWS = 200;
const MAX_PROMISES = 10000; // with more, the page begins anew with the newest ones
const MAX_LISTED = 12; // calls of one process
const SILENCE = 12000; // ms after which a server that says nothing hangs: it speaks every 5 s
const HELD = "Held: begun, not done. A call that waits rests in the server; nobody runs it.";
const NEWS_ICONS = {
  connected: "+", left: "−", gone: "✕", takeover: "↪", called: "→", result: "✓", server: "!",
};

const at = (id) => document.querySelector(`#${id}`);
const known = new Known();
const details = new Details(known);
const open = (id) => details.open(id);
const outline = new Outline(at("promises"), known, open);
new Search(open);

let source;
let heard = Date.now();
let isWaiting = false; // for the next frame

function listen() {
  source?.close();
  source = new EventSource("/watch");
  source.addEventListener("message", ({ data }) => hear(JSON.parse(data)));
  source.addEventListener("error", () => {
    lost(`The server at ${location.host} is gone. This page waits for it, and goes on by itself.`);
    // The browser tries again after a lost connection, and not after an answer that is no stream.
    if (source.readyState === EventSource.CLOSED) setTimeout(listen, 1000);
  });
}

function hear(event) {
  heard = Date.now();
  lost("");
  tell(known.apply(event));
  details.changed(new Set([...event.promises, ...event.runs].map((it) => it.id ?? it.promise)));
  if (known.promises.size > MAX_PROMISES) listen();
  if (isWaiting) return;
  isWaiting = true;
  requestAnimationFrame(() => {
    isWaiting = false;
    draw();
  });
}

function lost(text) {
  at("lost").hidden = !text;
  setText(at("lost"), text);
  setText(at("link"), text ? "server gone" : "live");
  at("link").classList.toggle("bad", Boolean(text));
}

function tell(news) {
  for (const { kind, text } of news) {
    const item = document.createElement("li");
    const icon = document.createElement("span");
    const time = document.createElement("time");
    const words = document.createElement("span");
    item.className = kind;
    icon.textContent = NEWS_ICONS[kind];
    icon.ariaHidden = "true";
    time.textContent = new Date().toLocaleTimeString("en-GB");
    words.textContent = text;
    item.append(icon, time, words);
    at("news").prepend(item);
  }
  while (at("news").childElementCount > MAX_NEWS) at("news").lastElementChild.remove();
  const said = news.filter(({ kind }) => kind !== "called").map(({ text }) => text);
  if (said.length) setText(at("said"), said.slice(-5).join(". "));
}

function draw() {
  const counts = { pending: 0, resolved: 0, rejected: 0, timers: 0 };
  for (const promise of known.promises.values()) {
    if (isTimer(promise)) counts.timers += 1;
    else if (isPending(promise)) counts.pending += 1;
    else if (promise.state === "RESOLVED") counts.resolved += 1;
    else counts.rejected += 1;
  }
  for (const name in counts) setText(at(name), counts[name].toLocaleString("en"));
  document.title = counts.pending ? `${counts.pending} pending – devserver` : "devserver";
  at("empty").hidden = known.promises.size > 0;
  at("tree").hidden = known.promises.size === 0;
  at("left-out").hidden = !known.leftOut;
  setText(at("left-out"), "Older promises are left out here; the search finds them.");
  drawConnected();
  drawGone();
  drawRates();
  outline.update();
}

function drawRates() {
  for (const [name, rate] of Object.entries(known.rates)) {
    setText(at(name), rate >= 100 ? rate.toFixed(0) : rate.toFixed(1));
  }
}

function drawConnected() {
  const groups = new Map();
  for (const process of known.processes.values()) {
    if (process.state === "gone" || process.group === undefined) continue;
    if (!groups.has(process.group)) groups.set(process.group, []);
    groups.get(process.group).push(process);
  }
  const parts = [...groups].sort(([a], [b]) => (a < b ? 1 : -1)).map(([group, members]) => {
    const title = element("h3", group);
    title.append(element("span", ` ${members.length}`, "count"));
    const list = element("ul", "", "cards");
    list.append(...members.map(card));
    return [title, list];
  });
  parts.push([element("p", parts.length ? HELD : "Nobody is connected.", "note")]);
  replace(at("connected"), parts.flat());
}

function card(process) {
  const state = process.state === "away" ? "not back yet" : process.isSilent ? "does not answer" : "";
  const { holds, did } = process;
  const item = element("li", "", `card w${process.colour}`);
  item.append(heading(process, state));
  if (holds.length || did) {
    item.append(element("p", `holds ${holds.length}, did ${did}`, "load"));
    item.append(calls(holds.map((promise) => ({ promise }))));
  }
  return item;
}

function drawGone() {
  const gone = [...known.processes.values()].filter(({ state }) => state === "gone").reverse();
  const had = gone.filter((process) => heldBy(process).length);
  const idle = gone.filter((process) => !heldBy(process).length);
  at("gone-section").hidden = !gone.length;
  replace(at("gone"), had.map((process) => {
    const item = element("li", "", `card gone w${process.colour}`);
    const held = heldBy(process);
    const since = process.since
      ? `went away ${new Date(process.since).toLocaleTimeString("en-GB")}`
      : "went away before this page was opened";
    item.append(heading(process, since));
    item.append(element("p", `held ${held.length}, did ${process.did}`, "load"), calls(held, true));
    return item;
  }));
  at("gone-idle").hidden = !idle.length;
  setText(at("gone-idle"), `Held nothing: ${some(idle.map(({ id }) => processName(id)))}.`);
}

function heading(process, state) {
  const title = element("h4", processName(process.id));
  title.title = process.id;
  title.append(" ", element("span", processRest(process.id), "rest"));
  if (state) title.append(" ", element("span", state, "status"));
  return title;
}

// The calls that a process holds, or held, and who took each over.
function calls(held, isLeft = false) {
  const list = element("ul", "", "calls");
  for (const { promise, to } of held.slice(-MAX_LISTED)) {
    const item = element("li");
    const link = element("button", promise.id, "link");
    link.addEventListener("click", () => open(promise.id));
    item.append(link);
    if (to) item.append(element("span", ` ↪ ${processName(to)} took over`, "takeover"));
    else if (isLeft) item.append(" ", element("span", "not taken over yet", "status"));
    list.append(item);
  }
  if (held.length > MAX_LISTED) {
    list.prepend(element("li", `${(held.length - MAX_LISTED).toLocaleString("en")} more, and`));
  }
  return list;
}

function element(name, text = "", className = "") {
  const made = document.createElement(name);
  made.textContent = text;
  made.className = className;
  return made;
}

// Put in what is new only where it differs: what has the keyboard's focus keeps it.
function replace(parent, children) {
  const next = document.createElement("div");
  next.append(...children);
  if (parent.innerHTML === next.innerHTML) return;
  const focused = parent.contains(document.activeElement) ? document.activeElement.textContent : "";
  parent.replaceChildren(...next.childNodes);
  const again = [...parent.querySelectorAll("button")].find((it) => it.textContent === focused);
  if (focused) again?.focus({ preventScroll: true });
}

setInterval(() => {
  if (document.hidden) return;
  if (source.readyState === EventSource.OPEN && Date.now() - heard > SILENCE) {
    lost(`The server at ${location.host} does not answer. This page waits for it.`);
  }
  drawRates();
  outline.draw(); // the ages grow
}, 250);

listen();
