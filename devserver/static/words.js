// How the page words numbers, states and lists.

export const isPending = (promise) => promise.state === "PENDING";

export function stateName(promise) {
  const names = { REJECTED_CANCELED: "canceled", REJECTED_TIMEDOUT: "timed out" };
  return names[promise.state] ?? promise.state.toLowerCase();
}

// The beginning of a promise's value, and its length if that is not all of it.
export function shortValue(promise) {
  const size = promise.size === undefined ? "" : `… (${promise.size.toLocaleString("en")} bytes)`;
  return (promise.value ?? "") + size;
}

export function seconds(ms) {
  const s = Math.max(0, ms) / 1000;
  if (s < 100) return `${s.toFixed(1)} s`;
  if (s < 6000) return `${Math.round(s / 60)} min`;
  return s < 172800 ? `${Math.round(s / 3600)} h` : `${Math.round(s / 86400)} d`;
}

export function count(number, noun) {
  return `${number.toLocaleString("en")} ${noun}${number === 1 ? "" : "s"}`;
}

// "19, 16 and 13"; of many only the first ones, and how many more there are.
export function listed(names, most = 8) {
  if (names.length > most + 1) return `${names.slice(0, most).join(", ")} and ${names.length - most} more`;
  if (names.length < 2) return names.join("");
  return `${names.slice(0, -1).join(", ")} and ${names.at(-1)}`;
}

// An id without what it has in common with its root's id: factorial-19 is 19 below factorial-20.
export function shortId(id, rootId) {
  const prefix = /^.*[-_./:](?=[^-_./:]+$)/.exec(rootId)?.[0];
  return prefix && id !== prefix && id.startsWith(prefix) ? id.slice(prefix.length) : id;
}

// The parameter or the value of a promise as text. JSON.parse would round large numbers.
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
