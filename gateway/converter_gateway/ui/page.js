// The live page. The server sorts, filters and counts; events say when to ask it again.

import * as api from "./api.js";
import { ask, askConversion, askToken, closeDialog, showQueues } from "./forms.js";
import { WindowedList } from "./list.js";
import { $, belongs, count, GROUPS, known, may, notice, say, state } from "./state.js";
import { h, safe, typeName } from "./text.js";
import { Detail, paintRow } from "./views.js";

const OVERVIEW = ["running", "waiting", "failed", "finished"];
const PAGE = 100;
const REFRESH = 2000; // the shortest time between two questions about order and counts
const MOVED = 800; // the same, if a conversion has to move to another place
const AGES = 10000; // how often "2 min ago" is painted again

let age = 0; // grows when "2 min ago" has to be painted again
let [list, sections] = [null, new Map()];
let stream = new AbortController();
let opener = null;
let generation = 0; // of the question: answers to older ones do not count

/** Show an error. Asks for a token if there is no valid one. */
function failed(error) {
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
  notice(safe(error.message));
}

const detail = new Detail($("detail"), {
  may,
  failed,
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
  try {
    const answer = await send();
    notice("");
    say(done);
    refresh();
    refreshDetail();
    return answer;
  } catch (error) {
    failed(error);
    return null;
  }
}

// Lists

const query = (group, limit) => ({ phase: GROUPS[group].phases, search: state.search, type: state.type, limit });

/** Ask for the head of what is shown, and for the counts. */
async function reload() {
  const mine = (generation += 1);
  try {
    if (state.group === "now") await reloadOverview(mine);
    else await reloadList(mine);
    if (mine === generation) notice("");
  } catch (error) {
    if (mine === generation) failed(error);
  }
}

async function reloadOverview(mine) {
  const answers = await Promise.all(OVERVIEW.map((group) => api.get("conversions", query(group, GROUPS[group].first))));
  if (mine !== generation) return;
  state.counts = answers[0].counts;
  const used = new Set([state.selected]);
  answers.forEach((answer, number) => {
    const ids = answer.conversions.map((job) => known(job).job_id);
    ids.forEach((id) => used.add(id));
    sections.get(OVERVIEW[number])?.(ids);
  });
  for (const id of state.jobs.keys()) if (!used.has(id)) state.jobs.delete(id);
  paintTabs();
}

async function reloadList(mine) {
  const answer = await api.get("conversions", query(state.group, PAGE));
  if (mine !== generation) return;
  const head = answer.conversions.map((job) => known(job).job_id);
  const fresh = new Set(head);
  // What was loaded behind the head stays, if it still belongs here.
  const last = state.order.indexOf(head.at(-1));
  const rest = answer.continue && last >= 0 ? state.order.slice(last + 1).filter((id) => !fresh.has(id) && belongs(state.jobs.get(id))) : [];
  state.order = [...head, ...rest];
  if (!rest.length) state.continue = answer.continue ?? "";
  state.counts = answer.counts;
  const used = new Set([...state.order, state.selected]);
  for (const id of state.jobs.keys()) if (!used.has(id)) state.jobs.delete(id);
  paintTabs();
  paintList();
}

let loading = false;
async function loadMore() {
  if (loading || !state.continue) return;
  loading = true;
  const mine = generation;
  try {
    const answer = await api.get("conversions", { ...query(state.group, PAGE), continue: state.continue });
    if (mine !== generation && !state.order.length) return;
    const there = new Set(state.order);
    for (const job of answer.conversions) if (!there.has(known(job).job_id)) state.order.push(job.job_id);
    state.continue = answer.continue ?? "";
    paintList();
  } catch (error) {
    failed(error);
  } finally {
    loading = false;
  }
}

const painted = new WeakMap(); // what a row shows, so that only changes cost something

function paint(id, row) {
  const job = state.jobs.get(id);
  const selected = id === state.selected;
  const shown = painted.get(row);
  if (!job || (shown?.job === job && shown.selected === selected && shown.age === age)) return;
  painted.set(row, { job, selected, age });
  paintRow(row, job, selected);
}

function paintList() {
  if (!list) return;
  const empty = !state.order.length;
  $("empty").hidden = !empty;
  if (empty) $("empty").textContent = state.search || state.type ? "Nothing matches." : GROUPS[state.group].none;
  list.set(state.order, count(state.group));
  list.repaint();
  $("retry-all").hidden = !(state.group === "failed" && !empty && may("create"));
}

function paintTabs() {
  document.title = count("running") ? `${count("running")} running · Conversions` : "Conversions";
  for (const tab of $("tabs").children) {
    const group = tab.dataset.group;
    tab.setAttribute("aria-current", group === state.group ? "page" : "false");
    tab.querySelector(".count").textContent = group === "now" ? "" : count(group).toLocaleString();
  }
}

function overviewSection(group) {
  const rows = h("div", { class: "rows" });
  const more = h("button", { type: "button", class: "link", onclick: () => choose(group) });
  const items = new Map();
  sections.set(group, (ids) => {
    if (!ids.length) rows.replaceChildren(h("p", { class: "empty" }, GROUPS[group].none));
    else {
      for (const id of items.keys()) if (!ids.includes(id)) items.delete(id);
      const nodes = ids.map((id) => {
        if (!items.has(id)) items.set(id, h("button", { type: "button", class: "row", "data-id": id, onclick: () => openJob(id) }));
        paint(id, items.get(id));
        return items.get(id);
      });
      const same = nodes.length === rows.children.length && nodes.every((node, number) => rows.children[number] === node);
      if (!same) rows.replaceChildren(...nodes);
    }
    more.textContent = `All ${count(group).toLocaleString()}`;
    more.hidden = count(group) <= ids.length;
  });
  return h("section", { class: "group", "aria-labelledby": `group-${group}` }, h("div", { class: "group-head" }, h("h2", { id: `group-${group}` }, GROUPS[group].title), more), rows);
}

/** Show another group of conversions. */
function choose(group) {
  state.group = group;
  state.order = [];
  state.continue = "";
  list?.close();
  list = null;
  sections = new Map();
  $("retry-all").hidden = true;
  if (group === "now") {
    $("content").replaceChildren(h("div", { class: "overview" }, OVERVIEW.map(overviewSection)));
  } else {
    list = new WindowedList(`${GROUPS[group].title} conversions`, paint, openJob, loadMore);
    $("content").replaceChildren(h("p", { class: "empty", id: "empty", hidden: true }), list.element);
  }
  paintTabs();
  reload();
}

let [timer, asked, due] = [0, 0, 0];
/** Ask the server soon, `pause` after the last time at the earliest, but not while nobody looks. */
function refresh(pause = REFRESH) {
  const now = performance.now();
  const next = Math.max(now + 50, asked + pause);
  if (document.hidden || (due > now && due <= next)) return;
  clearTimeout(timer);
  due = next;
  timer = setTimeout(() => {
    asked = due;
    reload();
  }, due - now);
}

// One conversion

async function openJob(id) {
  if (!state.selected) opener = document.activeElement;
  state.selected = id;
  $("detail").hidden = false;
  document.body.classList.add("with-detail");
  await refreshDetail();
  $("detail-title")?.focus({ preventScroll: true });
  repaintAll();
}

function closeDetail() {
  state.selected = "";
  detail.close();
  $("detail").hidden = true;
  document.body.classList.remove("with-detail");
  repaintAll();
  opener?.focus?.({ preventScroll: true });
}

let detailTimer = 0;
async function refreshDetail() {
  const id = state.selected;
  if (!id) return;
  try {
    const job = await api.get(`conversions/${encodeURIComponent(id)}`);
    if (state.selected === id) detail.show(job);
  } catch (error) {
    if (error.code === 404 && state.selected === id) {
      closeDetail();
      notice("This conversion no longer exists.");
    } else failed(error);
  }
}

function refreshDetailSoon() {
  detailTimer ||= setTimeout(() => {
    detailTimer = 0;
    refreshDetail();
  }, 700);
}

function repaintAll() {
  list?.repaint();
  for (const row of document.querySelectorAll(".overview .row")) paint(row.dataset.id, row);
}

// Events

let painting = 0;
function onEvent(type, job) {
  const moved = state.jobs.get(job.job_id)?.phase !== job.phase;
  refresh(moved ? MOVED : REFRESH);
  if (type === "reset") {
    refreshDetailSoon();
    return;
  }
  const before = state.jobs.get(job.job_id);
  if (before) {
    const { logs, plan, ...short } = job; // a list has neither
    state.jobs.set(job.job_id, { queue: before.queue, retry: before.retry, queue_position: before.queue_position, ...short });
    if (list && !belongs(state.jobs.get(job.job_id))) state.order = state.order.filter((id) => id !== job.job_id);
    painting ||= requestAnimationFrame(() => {
      painting = 0;
      if (list) paintList();
      else repaintAll();
    });
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
  closeDialog();
  notice("");
  if (state.selected) closeDetail();
  state.jobs.clear();
  state.missing = false;
  try {
    state.rights = await api.get("rights");
  } catch (error) {
    failed(error);
    if (error.code === 400 && api.currentNamespace()) api.setNamespace("");
    if (error.code === 0 || error.code === 503 || error.code === 429) setTimeout(start, 2000);
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
  addEventListener("hashchange", () => {
    api.takeFragment();
    start();
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && state.selected && !$("dialog").open) closeDetail();
    if (event.key === "/" && !/^(INPUT|TEXTAREA|SELECT)$/.test(document.activeElement.tagName)) {
      event.preventDefault();
      $("search").focus();
    }
  });
  document.addEventListener("visibilitychange", () => !document.hidden && refresh());
  setInterval(() => {
    age += 1;
    repaintAll();
  }, AGES);
  start();
}

async function retryAll() {
  const most = count("failed");
  if (!(await ask("Retry all that failed?", `${most} have failed in namespace ${safe(api.currentNamespace())}. Those that have a retry are left out. The search and the type do not count.`, "Retry them"))) return;
  try {
    const { retried, refused } = await api.retryFailed((number) => say(`${number} retried`));
    notice(refused.length ? `${refused.length} could not be retried: ${safe(refused[0].error)}` : "");
    say(`${retried} retried.`);
  } catch (error) {
    failed(error);
  }
  refresh();
}

init();
