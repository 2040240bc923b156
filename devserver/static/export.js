// Save HTML: the page with one run in it, as a file that opens without a server.

import { get } from "/panel.js";
import { content } from "/words.js";

const MOST_CALLS = 1000; // of which a saved page has the whole values and parameters
const MOST_CHARACTERS = 20_000; // of one of these

// What `GET /watch` would send first if the store contained only this run.
export function eventOf(model, run) {
  const calls = [...model.promises.values()].filter(({ root }) => root.run === run);
  const plain = ({ sortId, id, parent, state, createdOn, completedOn, value, size, timeout }) =>
    ({ sortId, id, parent, state, createdOn, completedOn, value, size, timeout });
  return {
    now: model.now, isFirst: true,
    promises: calls.flatMap((call) => [call, ...call.timers.values()]).map(plain),
    tasks: calls.flatMap(({ tasks }) => [...tasks.values()]),
    attempts: calls.flatMap(({ lost }) => lost),
    callbacks: calls.flatMap(({ id, waits }) => [...waits].map((promiseId) => ({ promiseId, rootPromiseId: id }))),
    events: model.processes.events,
    processes: [...model.processes].filter(({ isConnected }) => isConnected),
  };
}

// `event` is what `GET /watch` would send first. The file's page shows that instead of a server.
export async function saveHtml(event, name) {
  const promises = await Promise.all(event.promises.slice(0, MOST_CALLS).map(inFull));
  const read = async (path) => (await fetch(path)).text();
  const json = (data) => JSON.stringify(data).replaceAll("<", "\\u003c");
  const icon = `data:image/svg+xml,${encodeURIComponent(await read("/icon.svg"))}`;
  const scripts = [
    `<script type="application/json" id="recorded">${json({ ...event, inFull: promises })}</script>`,
    `<script type="importmap">${json({ imports: await modulesFrom("/page.js", read) })}</script>`,
    '<script type="module">import "page/page.js";</script>',
  ];
  // As text: in a document of this page, its policy would refuse the style.
  let page = await read("/");
  for (const [tag, instead] of [
    ['<link rel="stylesheet" href="/page.css">', `<style>${await read("/page.css")}</style>`],
    ['href="/icon.svg"', `href="${icon}"`],
    ['<script type="module" src="/page.js"></script>', scripts.join("\n")],
  ]) page = page.replace(tag, () => instead);
  save(`${name}.html`, "text/html", page);
}

// A promise as the API gives it, with its value and parameter as text.
async function inFull({ id }) {
  const promise = await get(`/promises/${encodeURIComponent(id)}`);
  return { ...promise, value: asText(promise.value), param: asText(promise.param) };
}

function asText(value) {
  const words = content(value);
  if (words.length <= MOST_CHARACTERS) return { text: words };
  const rest = (words.length - MOST_CHARACTERS).toLocaleString("en");
  return { text: `${words.slice(0, MOST_CHARACTERS)}… (${rest} more characters are not in this file)` };
}

// A module and all that it imports, as data URLs under the names that an import map gives them.
async function modulesFrom(path, read) {
  const modules = {};
  const todo = [path];
  while (todo.length) {
    const next = todo.pop();
    if (modules[`page${next}`]) continue;
    const code = (await read(next)).replace(/from "(\/[\w-]+\.js)"/g, (_, imported) => {
      todo.push(imported);
      return `from "page${imported}"`;
    });
    modules[`page${next}`] = `data:text/javascript,${encodeURIComponent(code)}`;
  }
  return modules;
}

function save(name, type, content) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([content], { type }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}
