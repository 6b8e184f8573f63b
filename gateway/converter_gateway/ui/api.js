// Calls of the HTTP API, and its event stream. The token is in the sessionStorage of this tab only.

const BASE = new URL("../api/v1/converter/", location.href);
const TOKEN = "converter-token";
const NAMESPACE = "converter-namespace";

export class ApiError extends Error {
  /** `reason` is the `code` in the body of the answer: one word, or none. */
  constructor(code, message, retryAfter = 0, reason = "") {
    super(message);
    this.code = code;
    this.retryAfter = retryAfter;
    this.reason = reason;
  }

  /** Whether the namespace has no file server. Any other error is about one file only. */
  get withoutFiles() {
    return this.reason === "file_server_missing";
  }
}

let token = sessionStorage.getItem(TOKEN) ?? "";
let namespace = sessionStorage.getItem(NAMESPACE) ?? "";

/** Take the token and the namespace out of the fragment of the address. Whether one was there. */
export function takeFragment() {
  const given = new URLSearchParams(location.hash.slice(1));
  if (given.has("token")) setToken(given.get("token"));
  if (given.has("namespace")) setNamespace(given.get("namespace"));
  const taken = given.has("token") || given.has("namespace");
  if (taken) history.replaceState(null, "", location.pathname + location.search);
  return taken;
}

export function setToken(value) {
  token = value.trim();
  if (token) sessionStorage.setItem(TOKEN, token);
  else sessionStorage.removeItem(TOKEN);
}

export function setNamespace(value) {
  namespace = value;
  sessionStorage.setItem(NAMESPACE, value);
}

export const currentNamespace = () => namespace;
export const hasToken = () => token !== "";

// After so many failed connections in a row, another program may own the address by now. The page
// then sends the token no more, until somebody asks it to.
const FAILURES = 5;
const TOGETHER = 400; // milliseconds: calls that fail at the same time are one failure
let refused = 0;
let failedAt = -Infinity;
let onLost = () => {};
/** Whether the page sends nothing until reconnect(). */
export const isLost = () => refused >= FAILURES;
export const reconnect = () => (refused = 0);
/** `heard()` is called when the page gives up. */
export const whenLost = (heard) => (onLost = heard);

function countFailure() {
  const now = performance.now();
  if (now - failedAt < TOGETHER || isLost()) return;
  failedAt = now;
  refused += 1;
  if (isLost()) onLost();
}

function headers(more, there) {
  const all = { ...more };
  if (token) all.Authorization = `Bearer ${token}`;
  if (there) all["X-Namespace"] = there;
  return all;
}

async function send(path, options = {}, there = namespace) {
  if (isLost()) throw new ApiError(0, "The page is not connected.");
  let response;
  try {
    response = await fetch(new URL(path, BASE), { cache: "no-store", ...options, headers: headers(options.headers, there) });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    countFailure();
    throw new ApiError(0, "The HTTP API does not answer.");
  }
  refused = 0;
  if (!response.ok) {
    const body = await response.json().catch(() => ({}));
    const after = Number(response.headers.get("retry-after")) || 0;
    throw new ApiError(response.status, body.error ?? `HTTP ${response.status}`, after, body.code ?? "");
  }
  return response;
}

/** GET. `query` may hold lists. */
export async function get(path, query = {}, there = namespace) {
  const asked = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    for (const one of [value].flat()) if (one !== "" && one !== undefined) asked.append(name, one);
  }
  return (await send(asked.size ? `${path}?${asked}` : path, {}, there)).json();
}

/** POST, with a body or without one. With a key, it is safe to send it again. */
export async function post(path, body = undefined, key = "", there = namespace) {
  const options = { method: "POST", headers: key ? { "Idempotency-Key": key } : {} };
  if (body !== undefined) {
    options.body = JSON.stringify(body);
    options.headers["Content-Type"] = "application/json";
  }
  return (await send(path, options, there)).json();
}

/** A random key. Browsers have randomUUID() only for https and for this machine. */
export const randomKey = () =>
  crypto.randomUUID?.() ?? [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");

/**
 * Retry all that have failed in a namespace, 100 at a time. Those that cannot be retried remain.
 * Stops if the page turns to another namespace or gets another token.
 */
export async function retryFailed(there, onProgress) {
  const mine = token;
  let retried = 0;
  const refused = [];
  for (let next = ""; ;) {
    const path = next ? `retry?continue=${encodeURIComponent(next)}` : "retry";
    const answer = await post(path, undefined, "", there);
    retried += answer.retried.length;
    refused.push(...answer.refused);
    onProgress(retried);
    next = answer.continue;
    const stopped = Boolean(next) && (there !== namespace || mine !== token);
    if (!next || stopped) return { retried, refused, stopped };
  }
}

/**
 * The log of an attempt from a byte on. `start` is the place of the first of `bytes`: 0 if the answer
 * is the whole log. An ApiError 416: the log is shorter.
 */
export async function getLog(job, attempt, from = 0) {
  const headers = from ? { Range: `bytes=${from}-` } : {};
  const response = await send(`logs/${encodeURIComponent(job)}?attempt=${attempt}`, { headers });
  const bytes = new Uint8Array(await response.arrayBuffer());
  return { start: response.status === 206 ? from : 0, bytes };
}

/** An output as a Blob. `more` is "/vtt" for the WebVTT file of a storyboard. */
export async function getOutput(job, index, more = "") {
  return (await send(`outputs/${encodeURIComponent(job)}/${index}${more}`)).blob();
}

const pause = (milliseconds, signal) =>
  new Promise((resolve) => {
    const timer = setTimeout(resolve, milliseconds);
    signal.addEventListener("abort", () => (clearTimeout(timer), resolve()), { once: true });
  });

/**
 * Follow the events of the namespace until `signal` is aborted. Resumes after the last event.
 *
 * `onEvent(type, data)` gets each event, `onState(state)` "live", "waiting" or an ApiError that
 * needs a person (401, 403). Ends when the page gives up.
 */
export async function follow(onEvent, onState, signal) {
  let last = "";
  let failures = 0;
  while (!signal.aborted) {
    let delay = Math.min(15000, 500 * 2 ** failures) * (0.75 + Math.random() / 2);
    try {
      const response = await send("events", { signal, headers: last ? { "Last-Event-ID": last } : {} });
      onState("live");
      failures = 0;
      for await (const block of blocks(response.body, signal)) {
        if (block.retry) delay = Number(block.retry);
        if (block.id) last = block.id;
        if (block.data) onEvent(block.event, JSON.parse(block.data));
      }
    } catch (error) {
      if (signal.aborted) return;
      if (error.code === 401 || error.code === 403) {
        onState(error);
        return;
      }
      failures = Math.min(failures + 1, 6);
      if (error.retryAfter) delay = error.retryAfter * 1000;
    }
    if (signal.aborted || isLost()) return;
    onState("waiting");
    await pause(delay, signal);
  }
}

// A heartbeat comes every 15 s. If nothing comes for 60 s, the connection is dead.
const SILENCE = 60000;

async function* blocks(body, signal) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  try {
    for (;;) {
      let timer;
      const silence = new Promise((_, reject) => {
        timer = setTimeout(() => reject(new ApiError(0, "the event stream is silent")), SILENCE);
      });
      const { done, value } = await Promise.race([reader.read(), silence]).finally(() => clearTimeout(timer));
      if (done || signal.aborted) return;
      text += value;
      let end;
      while ((end = text.indexOf("\n\n")) >= 0) {
        const block = {};
        for (const line of text.slice(0, end).split("\n")) {
          const colon = line.indexOf(": ");
          if (colon > 0) block[line.slice(0, colon)] = line.slice(colon + 2);
        }
        text = text.slice(end + 2);
        yield block;
      }
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}
