// The live page. The server sorts, filters and counts; events say when to ask it again.

import * as api from "./api.js";
import { ask, askConversion, askToken, closeDialog, showQueues } from "./forms.js";
import { choose, forget, forgetAll, grow, MOVED, paintSoon, REFRESH, refresh, repaint, useLists } from "./lists.js";
import { $, belongs, GROUPS, may, notice, problem, say, state } from "./state.js";
import { h, safe, typeName } from "./text.js";
import { Detail } from "./views.js";

const AGES = 10000; // how often "2 min ago" is painted again
const LOOK = 3; // after so many of them, the server is asked again: no event tells that an old conversion was deleted

let stream = new AbortController();
let opener = null;
let session = 0; // of the namespace and the token: answers for another one do not count

/** Show an error. Asks for a token if there is no valid one. */
function failed(error, show = notice) {
  if (error.name === "AbortError") return;
  if (error.code === 401) {
    stream.abort();
    askToken(api.hasToken() ? "The token is not valid, or it has expired." : "This page shows what your token may see.", (token, namespace) => {
      api.setToken(token);
      api.setNamespace(namespace);
      start();
    });
    return;
  }
  show(safe(error.message));
}

const actionFailed = (error) => failed(error, problem);

const detail = new Detail($("detail"), {
  may,
  failed: actionFailed,
  close: closeDetail,
  open: openJob,
  filesMissing: () => state.missing,
  noFile: () => ((state.missing = true), refreshDetail()),
  cancel: async (job) => {
    if (!(await ask("Cancel this conversion?", safe(job.job_id), "Cancel it"))) return;
    await act(() => api.post(`cancel/${encodeURIComponent(job.job_id)}`), "It is being cancelled.");
  },
  retry: async (job) => {
    const made = await act(() => api.post(`retry/${encodeURIComponent(job.job_id)}`), "A retry has started.");
    if (made) openJob(made.job_id);
  },
});

async function act(send, done) {
  problem("");
  try {
    const answer = await send();
    say(done);
    refresh();
    refreshDetail();
    return answer;
  } catch (error) {
    actionFailed(error);
    return null;
  }
}

// One conversion

async function openJob(id) {
  if (!state.selected) opener = document.activeElement;
  state.selected = id;
  $("detail").hidden = false;
  document.body.classList.add("with-detail");
  await refreshDetail();
  $("detail-title")?.focus({ preventScroll: true });
  repaint();
}

function closeDetail() {
  state.selected = "";
  detail.close();
  $("detail").hidden = true;
  document.body.classList.remove("with-detail");
  repaint();
  opener?.focus?.({ preventScroll: true });
}

let detailTimer = 0;
async function refreshDetail() {
  const id = state.selected;
  const mine = session;
  if (!id || api.isLost()) return;
  try {
    const job = await api.get(`conversions/${encodeURIComponent(id)}`);
    if (state.selected === id && mine === session) detail.show(job);
  } catch (error) {
    if (state.selected !== id || mine !== session) return;
    if (error.code === 404) forgetRow(id);
    else failed(error);
  }
}

/** Take a conversion that was deleted off the page. */
function forgetRow(id) {
  if (state.selected === id) {
    closeDetail();
    problem(`${safe(id)} no longer exists.`);
  }
  forget(id);
}

function refreshDetailSoon() {
  detailTimer ||= setTimeout(() => {
    detailTimer = 0;
    refreshDetail();
  }, 700);
}

// Events

function onEvent(type, job) {
  const moved = state.jobs.get(job.job_id)?.phase !== job.phase;
  refresh(moved ? MOVED : REFRESH);
  if (type === "reset") {
    refreshDetailSoon();
    return;
  }
  if (job.reason === "Deleted") {
    forgetRow(job.job_id);
    return;
  }
  const before = state.jobs.get(job.job_id);
  if (before) {
    const { logs, plan, ...short } = job; // a list has neither
    // What an event leaves out is as the list said, and estimates only while the phase is the same.
    const { queue, retry, queue_position } = before;
    const { estimated_start_at, estimated_end_at } = before.phase === job.phase ? before : {};
    state.jobs.set(job.job_id, { queue, retry, queue_position, estimated_start_at, estimated_end_at, ...short });
    if (!belongs(state.jobs.get(job.job_id))) state.order = state.order.filter((id) => id !== job.job_id);
    paintSoon();
  }
  if (job.job_id === state.selected) refreshDetailSoon();
}

function onState(now) {
  if (now instanceof Error) {
    $("live").textContent = "";
    if (now.code === 403) $("live").textContent = "No live changes: your token may not watch.";
    else failed(now);
    return;
  }
  $("live").dataset.state = now;
  $("live").textContent = now === "live" ? "Live" : "Reconnecting…";
  if (now === "live") refresh();
}

function listen() {
  stream.abort();
  stream = new AbortController();
  if (may("watch")) api.follow(onEvent, onState, stream.signal);
  else onState(new api.ApiError(403, ""));
}

// The beginning

async function start() {
  const mine = (session += 1);
  stream.abort();
  closeDialog();
  notice("");
  problem("");
  if (state.selected) closeDetail();
  forgetAll();
  state.missing = false;
  try {
    const rights = await api.get("rights");
    if (mine !== session) return;
    state.rights = rights;
  } catch (error) {
    if (mine !== session || api.isLost()) return;
    failed(error);
    if (error.code === 400 && api.currentNamespace()) api.setNamespace("");
    if (error.code === 0 || error.code === 503 || error.code === 429) setTimeout(() => mine === session && start(), 2000);
    return;
  }
  const { namespace, namespaces, conversionqueues } = state.rights;
  if (namespace) api.setNamespace(namespace);
  const names = [...new Set([...namespaces, ...(namespace ? [namespace] : [])])].sort();
  $("namespace").replaceChildren(...names.map((name) => h("option", { value: name, selected: name === namespace }, safe(name))));
  document.querySelector(".namespace").hidden = names.length < 1;
  $("submit").hidden = !may("create");
  $("queues").hidden = !conversionqueues.includes("list");
  document.querySelector(".tools").hidden = !may("list");
  if (!may("list")) {
    notice(namespace ? `Your token may not list conversions in namespace ${namespace}.` : "Your token may not list conversions in any namespace that this API knows.");
    $("content").replaceChildren();
    return;
  }
  choose(state.group);
  listen();
}

async function init() {
  api.takeFragment();
  useLists(openJob, failed);
  api.whenLost(lost);
  state.data = await (await fetch("data.json")).json();
  $("tabs").append(...Object.entries(GROUPS).map(([group, { title }]) =>
    h("button", { type: "button", "data-group": group, onclick: () => choose(group) }, title, " ", h("span", { class: "count" }))));
  $("type").append(...Object.keys(state.data.types).map((name) => h("option", { value: name }, typeName(name))));
  let typing = 0;
  $("search").addEventListener("input", () => {
    clearTimeout(typing);
    typing = setTimeout(() => {
      state.search = $("search").value.trim();
      choose(state.group === "now" && state.search ? "all" : state.group);
    }, 250);
  });
  $("type").addEventListener("change", () => {
    state.type = $("type").value;
    choose(state.group === "now" && state.type ? "all" : state.group);
  });
  $("namespace").addEventListener("change", () => {
    api.setNamespace($("namespace").value);
    start();
  });
  $("submit").addEventListener("click", () => askConversion(state.data, (id) => (say("It has started."), refresh(), openJob(id))));
  $("queues").addEventListener("click", () => showQueues(state.rights.conversionqueues.includes("patch"), failed));
  $("retry-all").addEventListener("click", retryAll);
  $("dismiss").addEventListener("click", () => problem(""));
  $("reconnect").addEventListener("click", () => {
    api.reconnect();
    $("reconnect").hidden = true;
    start();
  });
  // Links within the page, such as the one that skips the header, change the fragment, too.
  addEventListener("hashchange", () => api.takeFragment() && start());
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && state.selected && !$("dialog").open) closeDetail();
    if (event.key === "/" && !/^(INPUT|TEXTAREA|SELECT)$/.test(document.activeElement.tagName)) {
      event.preventDefault();
      $("search").focus();
    }
  });
  document.addEventListener("visibilitychange", () => !document.hidden && refresh());
  let ticks = 0;
  setInterval(() => {
    if (document.hidden) return;
    grow();
    ticks += 1;
    if (ticks % LOOK === 0) refresh();
  }, AGES);
  start();
}

/** The page has given up: the address may belong to another program. Only a person goes on. */
function lost() {
  stream.abort();
  notice("The HTTP API does not answer. If kubectl conversion ui has ended, close this page. Otherwise, reconnect.");
  $("live").dataset.state = "lost";
  $("live").textContent = "Not connected";
  $("reconnect").hidden = false;
}

/** Retry all that failed in the namespace that the question names, and in no other. */
async function retryAll() {
  const there = api.currentNamespace();
  problem("");
  try {
    // Without the search and the type, which do not count here.
    const { counts } = await api.get("conversions", { limit: 1 }, there);
    if (there !== api.currentNamespace()) return;
    const all = counts.Failed ?? 0;
    if (!(await ask("Retry all that failed?", `${all} have failed in namespace ${safe(there)}. Those that have a retry are left out. The search and the type do not count.`, "Retry them"))) return;
    const { retried, refused, stopped } = await api.retryFailed(there, (number) => say(`${number} retried`));
    say(`${retried} retried.`);
    if (stopped) problem(`${retried} were retried in namespace ${safe(there)}. The rest was not, because the page has left it.`);
    else if (refused.length) problem(`${refused.length} could not be retried: ${safe(refused[0].error)}`);
  } catch (error) {
    actionFailed(error);
  }
  refresh();
}

init();
