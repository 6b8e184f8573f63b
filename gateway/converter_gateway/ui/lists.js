// The lists and the overview: what is asked for, and when.

import * as api from "./api.js";
import { WindowedList } from "./list.js";
import { $, belongs, count, GROUPS, known, may, notice, state } from "./state.js";
import { h } from "./text.js";
import { paintRow } from "./views.js";

const OVERVIEW = ["running", "waiting", "failed", "finished"];
const PAGE = 100;
export const REFRESH = 2000; // the shortest time between two questions about order and counts
export const MOVED = 800; // the same, if a conversion has to move to another place

let age = 0; // grows when "2 min ago" has to be painted again
let list = null;
let sections = new Map();
let generation = 0; // of the question: answers to older ones do not count
let view = 0; // of what is shown: answers for another view do not count
const hooks = { open: () => {}, failed: () => {} };

/** `open(id)` is called for a row that is chosen, `failed(error)` if a question has no answer. */
export const useLists = (open, failed) => Object.assign(hooks, { open, failed });

const query = (group, limit) => ({ phase: GROUPS[group].phases, search: state.search, type: state.type, limit });

/** Ask for the head of what is shown, and for the counts. */
async function reload() {
  const mine = (generation += 1);
  try {
    if (state.group === "now") await reloadOverview(mine);
    else await reloadList(mine);
    if (mine === generation) notice("");
  } catch (error) {
    if (mine === generation) hooks.failed(error);
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

/**
 * Ask again for the rows on the screen, from the last place before them whose token is known. Rows
 * that were removed, added or moved there are then right. The others are asked for when they
 * come to the screen.
 */
async function reloadList(mine) {
  const [first, end] = list.range();
  const { order, marks } = state;
  let start = first;
  while (start > 0 && !marks.has(order[start - 1])) start -= 1;
  const read = [];
  const ends = new Map();
  let answer;
  let token = start ? marks.get(order[start - 1]) : "";
  do {
    answer = await api.get("conversions", { ...query(state.group, PAGE), continue: token });
    if (mine !== generation) return;
    for (const job of answer.conversions) read.push(known(job).job_id);
    token = answer.continue ?? "";
    if (token) ends.set(read.at(-1), token);
  } while (token && start + read.length < end);
  state.fresh = new Set(read);
  // What was loaded behind them stays, if the place where it goes on is known.
  const last = token ? state.order.indexOf(read.at(-1)) : -1;
  const stays = (id) => !state.fresh.has(id) && belongs(state.jobs.get(id));
  const rest = last >= 0 ? state.order.slice(last + 1).filter(stays) : [];
  state.order = [...order.slice(0, start).filter(stays), ...read, ...rest];
  if (!rest.length) state.continue = token;
  for (const [id, after] of ends) marks.set(id, after);
  state.counts = answer.counts;
  const used = new Set([...state.order, state.selected]);
  for (const id of state.jobs.keys()) if (!used.has(id)) state.jobs.delete(id);
  for (const id of marks.keys()) if (!used.has(id)) marks.delete(id);
  paintTabs();
  paintList();
}

let loading = 0; // the view that loads more
async function loadMore() {
  if (loading === view || !state.continue || api.isLost()) return;
  loading = view;
  const mine = view;
  const token = state.continue;
  try {
    const answer = await api.get("conversions", { ...query(state.group, PAGE), continue: token });
    // Another view, or a list that now goes on at another place.
    if (mine !== view || token !== state.continue) return;
    const there = new Set(state.order);
    for (const job of answer.conversions) {
      const id = known(job).job_id;
      state.fresh.add(id);
      if (!there.has(id)) state.order.push(id);
    }
    state.continue = answer.continue ?? "";
    if (state.continue && answer.conversions.length) state.marks.set(answer.conversions.at(-1).job_id, state.continue);
    paintList();
  } catch (error) {
    if (mine === view) hooks.failed(error);
  } finally {
    if (loading === mine) loading = 0;
  }
}

/** Rows that come to the screen may be old: ask for them again. */
function shown(ids) {
  for (const id of ids) if (!state.fresh.has(id)) return refresh();
}

/** A conversion that is no more. */
export function forget(id) {
  state.jobs.delete(id);
  state.marks.delete(id);
  state.order = state.order.filter((one) => one !== id);
  paintSoon();
  refresh();
}

let painting = 0;
export function paintSoon() {
  painting ||= requestAnimationFrame(() => {
    painting = 0;
    if (list) paintList();
    else repaint();
  });
}

/** Paint the rows again. */
export function repaint() {
  if (list) list.repaint();
  else for (const row of document.querySelectorAll(".overview .row")) paint(row.dataset.id, row);
}

/** Paint the ages of the rows again. */
export function grow() {
  age += 1;
  repaint();
}

/** Answers to what was asked so far do not count any more. */
export function forgetAll() {
  view += 1;
  generation += 1;
  state.jobs.clear();
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
        if (!items.has(id)) items.set(id, h("button", { type: "button", class: "row", "data-id": id, onclick: () => hooks.open(id) }));
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
export function choose(group) {
  view += 1;
  state.marks = new Map();
  state.fresh = new Set();
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
    list = new WindowedList(`${GROUPS[group].title} conversions`, paint, hooks.open, loadMore, shown);
    $("content").replaceChildren(h("p", { class: "empty", id: "empty", hidden: true }), list.element);
  }
  paintTabs();
  reload();
}

let [timer, asked, due] = [0, 0, 0];
/** Ask the server soon, `pause` after the last time at the earliest, but not while nobody looks. */
export function refresh(pause = REFRESH) {
  const now = performance.now();
  const next = Math.max(now + 50, asked + pause);
  if (document.hidden || api.isLost() || (due > now && due <= next)) return;
  clearTimeout(timer);
  due = next;
  timer = setTimeout(() => {
    asked = due;
    reload();
  }, due - now);
}
