// Texts and elements. Nothing here makes HTML of a text: texts become text nodes only.

/** An element. `attributes` may hold listeners (onclick). `children` are nodes and texts. */
export function h(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (key === "class") element.className = value;
    else element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== ""));
  return element;
}

// Control characters, and those that turn the direction of a text or are invisible.
const HIDDEN = /[\u0000-\u001f\u007f-\u009f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]/g;
const escape = (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, "0")}`;

/** A text in one line, with control characters as escapes. */
export const safe = (text) => String(text ?? "").replace(HIDDEN, escape);

/** A text of several lines, such as a log. */
export const safeLines = (text) =>
  String(text ?? "").split(/\r\n|\r|\n/).map((line) => safe(line.replaceAll("\t", "    "))).join("\n");

/** The nodes of a text in which `code` is marked. */
export function marked(text) {
  return safe(text).split("`").map((part, number) => (number % 2 ? h("code", {}, part) : part));
}

/** Bytes with a unit. */
export function size(bytes) {
  if (bytes === undefined || bytes === null) return "";
  let value = bytes;
  for (const unit of ["B", "KiB", "MiB", "GiB", "TiB"]) {
    if (value < 1024 || unit === "TiB") return `${value < 10 && unit !== "B" ? value.toFixed(1) : Math.round(value)} ${unit}`;
    value /= 1024;
  }
  return "";
}

/** Seconds as 1.4 s, 12 s, 3 min 5 s or 2 h 4 min. */
export function duration(seconds) {
  if (seconds === undefined || seconds === null || Number.isNaN(seconds)) return "";
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  if (whole < 172800) return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
  return `${Math.floor(whole / 86400)} days`;
}

/** Seconds that are only estimated: in whole minutes, if there are more than one. */
export const roughly = (seconds) => duration(seconds < 90 ? Math.max(1, Math.round(seconds)) : Math.ceil(seconds / 60) * 60).replace(/ 0 s$/, "");

const CLOCK = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
const DAY = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });

/** How long ago a time was. */
export function ago(time) {
  const seconds = (Date.now() - Date.parse(time)) / 1000;
  return Number.isNaN(seconds) ? "" : seconds < 5 ? "just now" : `${duration(Math.floor(Math.max(10, seconds)))} ago`;
}

/** A time of the day, "about" because it is estimated. Empty without one. */
export function about(time) {
  const at = Date.parse(time ?? "");
  if (Number.isNaN(at)) return "";
  const left = (at - Date.now()) / 1000;
  return left > 43200 ? `about ${DAY.format(at)}` : `about ${CLOCK.format(at)}`;
}

/** A date and time in the browser's zone. */
export const moment = (time) => (Number.isNaN(Date.parse(time ?? "")) ? "" : DAY.format(Date.parse(time)));

const UPPER = { mp4: "MP4", webm: "WebM", mp3: "MP3" };
/** A conversion type in words, such as "Video to MP4". */
export function typeName(type) {
  const words = String(type ?? "").split("_").map((word) => UPPER[word] ?? word);
  const text = words.join(" ");
  return safe(text.charAt(0).toUpperCase() + text.slice(1));
}

/** A reason in words: WaitingForSlot is "Waiting for slot". */
export function reasonWords(reason) {
  const words = safe(reason).replace(/([a-z])([A-Z])/g, "$1 $2");
  return words.charAt(0) + words.slice(1).replace(/[A-Z](?=[a-z])/g, (char) => char.toLowerCase());
}

/** What a conversion makes, in words. */
export function kindOf(job) {
  if (job.profile) return `Profile ${safe(job.profile)}`;
  if (job.conversion_type) return typeName(job.conversion_type);
  return job.outputs?.length ? `${job.outputs.length} outputs` : "Several outputs";
}

/** The last part of a path. */
export const fileName = (path) => safe(String(path ?? "").split("/").filter(Boolean).at(-1) ?? "");

// Names that the HTTP API has made up. They say nothing to people.
const MADE_UP = /^([0-9a-f]{8})-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|^content-([0-9a-f]{8})[0-9a-f]{32}/;

/** The name of a conversion for people, and what else its row says about it. */
export function titleOf(job) {
  const made = MADE_UP.exec(job.job_id);
  const name = fileName(job.input_file);
  if (!made || !name) return [safe(job.job_id), `${kindOf(job)} · ${name}`];
  return [name, `${kindOf(job)} · ${made[1] ?? made[2]}`];
}
