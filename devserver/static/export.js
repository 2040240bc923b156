// Exports: the lanes as one SVG file, and the page as one HTML file that opens without a server.

import { headOf, HEIGHT as HEAD } from "/head.js";
import { laneOf, ROW } from "/lane.js";
import { get } from "/panel.js";
import { element, paint, text } from "/shapes.js";
import { content, shortId, shortValue } from "/words.js";

const LABEL = 160; // px left of the lanes
const LANE = 800;
const VALUE = 260;
const MOST_CALLS = 1000; // of which a saved page has the whole values and parameters
const MOST_CHARACTERS = 20_000; // of one of these
const COLOURS = ["--text", "--quiet", "--surface", "--line", "--lane", "--kill", "--bad", "--hatch", "--down"];

export async function saveSvg(model, runs, run) {
  const calls = [...model.promises.values()].filter(({ root }) => run.roots.includes(root));
  const axis = runs.axis(run);
  const width = LABEL + LANE + VALUE;
  const height = HEAD + calls.length * ROW;
  const svg = element("svg", { width, height, viewBox: `0 0 ${width} ${height}`, "font-family": "system-ui, sans-serif" });
  svg.append(document.querySelector("#hatch").closest("defs").cloneNode(true));
  svg.append(element("rect", { width: "100%", height: "100%", class: "ground" }));
  const add = (y, lane, labels) => {
    const group = svg.appendChild(element("g", { class: "lane", transform: `translate(${LABEL} ${y})` }));
    paint(group, lane);
    paint(svg.appendChild(element("g", { transform: `translate(0 ${y})` })), labels);
  };
  add(0, headOf(model, { axis, start: run.from, width: LANE }), []);
  calls.forEach((call, i) => add(HEAD + i * ROW, laneOf(call, model, axis, LANE), [
    text(12, 18, shortId(call.id, call.root.id), "label"),
    text(LABEL + LANE + 12, 18, shortValue(call), "label"),
  ]));
  // The style goes in as text: as an element of this page, its policy would refuse it.
  const picture = new XMLSerializer().serializeToString(svg);
  const style = `<style>${laneStyle()}</style>`;
  save(`${run.roots[0].id}.svg`, "image/svg+xml", picture.replace("<defs", () => `${style}<defs`));
}

// The part of the style sheet that concerns lanes, with this page's colours.
function laneStyle() {
  const sheet = [...document.styleSheets].flatMap((it) => [...it.cssRules]);
  const rules = sheet.filter(({ selectorText }) => selectorText && /^(\.lane|\.hatch)/.test(selectorText));
  const computed = getComputedStyle(document.documentElement);
  const colours = COLOURS.map((name) => `${name}: ${computed.getPropertyValue(name)};`).join(" ");
  const workers = [0, 1, 2, 3, 4, 5, 6, 7].map((i) => {
    const probe = document.createElement("i");
    probe.className = `w${i}`;
    document.body.append(probe);
    const colour = getComputedStyle(probe).getPropertyValue("--worker");
    probe.remove();
    return `.w${i} { --worker: ${colour}; }`;
  });
  const own = [".ground { fill: var(--surface); }", ".label { font-size: 12px; fill: var(--text); }"];
  return [`svg { ${colours} }`, ...workers, ...rules.map(({ cssText }) => cssText), ...own].join("\n");
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
