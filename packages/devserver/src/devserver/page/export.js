// Save HTML: the page with one run in it, as a file that opens without a server.

import { get } from "./panel.js";
import { content } from "./words.js";

const MOST_CALLS = 1000; // of which a saved page has the whole values and parameters
const MOST_CHARACTERS = 20_000; // of one of these

/**
 * What `GET /watch` would send first if the store contained only this run. @param {Model} model @param {Call[]}
 * calls of the run @returns {Message & {promises: SentPromise[]}}
 */
export function messageOf(model, calls) {
  return {
    now: model.now, isFirst: true,
    promises: calls.flatMap((call) => [call, ...call.timers.values()])
      .map(({ sortId, id, parent, state, createdOn, completedOn, value, size, timeout }) =>
        ({ sortId, id, parent, state, createdOn, completedOn, value, size, timeout })),
    tasks: calls.flatMap(({ tasks }) => [...tasks.values()]),
    attempts: calls.flatMap(({ lost }) => lost),
    callbacks: calls.flatMap(({ id, waits }) => [...waits].map((promiseId) => ({ promiseId, rootPromiseId: id }))),
    uses: calls.flatMap(({ uses }) => uses),
    events: model.processes.events,
    processes: [...model.processes].filter(({ isConnected }) => isConnected)
      .map(({ group, id, isSilent }) => ({ group, id, isSilent })),
  };
}

/**
 * @param {ReturnType<typeof messageOf>} message the file's page shows that instead of a server @param {string}
 * name of the file
 */
export async function saveHtml(message, name) {
  const inFull = await Promise.all(message.promises.slice(0, MOST_CALLS).map(({ id }) => full(id)));
  const read = async (/** @type {string} */ path) => (await fetch(path)).text();
  const json = (/** @type {unknown} */ data) => JSON.stringify(data).replaceAll("<", "\\u003c");
  const icon = `data:image/svg+xml,${encodeURIComponent(await read("/icon.svg"))}`;
  const scripts = [
    `<script type="application/json" id="recorded">${json({ ...message, inFull })}</script>`,
    `<script type="importmap">${json({ imports: await modulesFrom("page.js", read) })}</script>`,
    '<script type="module">import "page/page.js";</script>',
  ];
  // As text: in a document of this page, its policy would refuse the style.
  let page = await read("/");
  for (const [tag, instead] of [
    ['<link rel="stylesheet" href="/page.css">', `<style>${await read("/page.css")}</style>`],
    ['href="/icon.svg"', `href="${icon}"`],
    ['<script type="module" src="/page.js"></script>', scripts.join("\n")],
  ]) page = page.replace(tag, () => instead);
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([page], { type: "text/html" }));
  link.download = `${name}.html`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

/**
 * A promise as the API gives it, with its value and parameter as text. @param {string} id @returns {Promise<FullPromise>}
 */
async function full(id) {
  const promise = await get(`/promises/${encodeURIComponent(id)}`);
  return { ...promise, value: asText(promise.value), param: asText(promise.param) };
}

/** @param {{data?: string}} value */
function asText(value) {
  const words = content(value);
  if (words.length <= MOST_CHARACTERS) return { text: words };
  const rest = (words.length - MOST_CHARACTERS).toLocaleString("en");
  return { text: `${words.slice(0, MOST_CHARACTERS)}… (${rest} more characters are not in this file)` };
}

/**
 * A module and all that it imports, as data URLs under the names that an import map gives them. @param {string}
 * path @param {(path: string) => Promise<string>} read
 */
async function modulesFrom(path, read) {
  /** @type {Record<string, string>} */
  const modules = {};
  const todo = [path];
  for (let next = todo.pop(); next; next = todo.pop()) {
    if (modules[`page/${next}`]) continue;
    const code = (await read(`/${next}`)).replace(/from "\.\/([\w-]+\.js)"/g, (_, imported) => {
      todo.push(imported);
      return `from "page/${imported}"`;
    });
    modules[`page/${next}`] = `data:text/javascript,${encodeURIComponent(code)}`;
  }
  return modules;
}
