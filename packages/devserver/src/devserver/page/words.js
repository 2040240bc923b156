// How the page words numbers, states and lists.

/** @param {{state: string}} promise */
export const isPending = (promise) => promise.state === "PENDING";

/** @param {{state: string}} promise */
export function kindOf(promise) {
  if (isPending(promise)) return "pending";
  return promise.state === "RESOLVED" ? "resolved" : "rejected";
}

/** @param {{state: string}} promise */
export function stateName({ state }) {
  /** @type {Record<string, string>} */
  const names = { REJECTED_CANCELED: "canceled", REJECTED_TIMEDOUT: "timed out" };
  return names[state] ?? state.toLowerCase();
}

/**
 * The beginning of a promise's value, and its length if that is not all of it. @param {{value?: string, size?:
 * number}} promise
 */
export function shortValue({ value = "", size }) {
  return value + (size === undefined ? "" : `… (${size.toLocaleString("en")} bytes)`);
}

/** A length of time. @param {number} ms */
export function seconds(ms) {
  if (ms < 1000) return `${Math.max(0, Math.round(ms))} ms`;
  const s = ms / 1000;
  if (s < 100) return `${s.toFixed(1)} s`;
  if (s < 6000) return `${Math.round(s / 60)} min`;
  return s < 172800 ? `${Math.round(s / 3600)} h` : `${Math.round(s / 86400)} d`;
}

/** "1 call", "1,000 calls". @param {number} number @param {string} noun */
export function count(number, noun) {
  return `${number.toLocaleString("en")} ${noun}${number === 1 ? "" : "s"}`;
}

/** "19, 16 and 13"; of many only the first ones, and how many more there are. @param {string[]} names */
export function listed(names, most = 4) {
  if (names.length > most + 1) return `${names.slice(0, most).join(", ")} and ${names.length - most} more`;
  return names.length < 2 ? names.join("") : `${names.slice(0, -1).join(", ")} and ${names.at(-1)}`;
}

/**
 * An id without what it has in common with its root's id: factorial-19 is 19 below factorial-20. @param {string}
 * id @param {string} rootId
 */
export function shortId(id, rootId) {
  const prefix = /^.*[-_./:](?=[^-_./:]+$)/.exec(rootId)?.[0];
  return prefix && id !== prefix && id.startsWith(prefix) ? id.slice(prefix.length) : id;
}

/**
 * A text without its middle if it has more characters than fit: ids differ at their ends. @param {string} text
 * @param {number} most
 */
export function fitted(text, most) {
  const tail = Math.ceil((most - 1) * 0.6);
  return text.length <= most ? text : `${text.slice(0, most - 1 - tail)}…${text.slice(-tail)}`;
}

/**
 * The parameter or the value of a promise as text. JSON.parse would round large numbers. @param {{data?: string,
 * text?: string} | undefined} value
 */
export function content(value) {
  if (value?.text !== undefined) return value.text;
  if (!value?.data) return "none";
  const bytes = Uint8Array.from(atob(value.data), (character) => character.charCodeAt(0));
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    const hex = Array.from(bytes.slice(0, 256), (byte) => byte.toString(16).padStart(2, "0"));
    return `${bytes.length} bytes, not text: ${hex.join(" ")}${bytes.length > 256 ? " …" : ""}`;
  }
}
