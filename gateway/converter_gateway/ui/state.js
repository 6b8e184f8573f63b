// What the page knows, and the texts that it says. Nothing here asks the server.

import { ENDED } from "./log.js";

export const GROUPS = {
  now: { title: "Overview", phases: [] },
  running: { title: "Running", phases: ["Starting", "Running"], first: 6, none: "Nothing runs." },
  waiting: { title: "Waiting", phases: ["Queued"], first: 3, none: "Nothing waits." },
  failed: { title: "Failed", phases: ["Failed"], first: 3, none: "Nothing has failed." },
  finished: { title: "Finished", phases: ["Succeeded"], first: 5, none: "Nothing has finished yet." },
  cancelled: { title: "Cancelled", phases: ["Cancelled"], none: "Nothing was cancelled." },
  all: { title: "All", phases: [], none: "There are no conversions." },
};

export const $ = (id) => document.getElementById(id);
export const state = {
  group: "now",
  search: "",
  type: "",
  rights: { conversionjobs: [], conversionqueues: [], namespaces: [] },
  data: { types: {} },
  jobs: new Map(), // what is known of each conversion on the page
  order: [], // of the list: the ids that are loaded
  marks: new Map(), // the id of a row to the token that continues after it
  fresh: new Set(), // the ids that the last questions have found
  continue: "",
  counts: {},
  selected: "",
  missing: false, // no file server
};
export const may = (verb) => state.rights.conversionjobs.includes(verb);
export const count = (group) => {
  const phases = GROUPS[group].phases;
  return (phases.length ? phases : Object.keys(state.counts)).reduce((sum, phase) => sum + (state.counts[phase] ?? 0), 0);
};

export function say(text) {
  $("said").textContent = text;
}

/** An error of an action. It stays until it is dismissed, or until the next action. */
export function problem(text) {
  $("problem-text").textContent = text;
  $("problem").hidden = !text;
}

/** An error of a question that the page repeats. It goes when an answer comes. */
export function notice(text) {
  $("notice").textContent = text;
  $("notice").hidden = !text;
}

/** Remember a conversion of a list. */
export const known = (job) => {
  const before = state.jobs.get(job.job_id);
  // A list may be older than an event. Another conversion may have the same name by now.
  if (before?.created_at === job.created_at && ENDED.includes(before.phase) && !ENDED.includes(job.phase)) return before;
  // The same object, if nothing has changed: its row is then not painted again.
  if (before && JSON.stringify(before) === JSON.stringify(job)) return before;
  state.jobs.set(job.job_id, job);
  return job;
};

/** Whether a conversion belongs into the group that is shown. */
export const belongs = (job) => job && (!GROUPS[state.group].phases.length || GROUPS[state.group].phases.includes(job.phase));
