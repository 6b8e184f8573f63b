// The log of a conversion. Its element stays while the rest of the detail is painted again.

import * as api from "./api.js";
import { h, safe, safeLines } from "./text.js";

export const ENDED = ["Succeeded", "Failed", "Cancelled"];
const OVERLAP = 512; // bytes that are read again: a log that is too long is replaced by a shorter one
const EVERY = 10000; // how often what is new is read, until the conversion has ended

export class Log {
  /** `act` has failed(error), for an error that needs a token. */
  constructor(act) {
    this.act = act;
    this.note = h("p", { class: "hint", hidden: true });
    this.text = document.createTextNode("");
    this.pre = h("pre", { tabindex: 0, "aria-label": "Log", id: "log-text", hidden: true }, this.text);
    this.details = h("details", { id: "log", ontoggle: () => this.load() }, h("summary", { id: "log-title" }, "Log"), h("div", { class: "log" }, this.note, this.pre));
    this.element = h("section", { hidden: true }, this.details);
    this.timer = setInterval(() => this.load(), EVERY);
    this.source = "";
    this.problem = "";
    this.full = null; // the log of the attempt, as far as it has been read
    this.forget(0);
    this.done = false; // it does not change any more, or it cannot be read
    this.loading = false;
    this.closed = false;
  }

  close() {
    this.closed = true;
    clearInterval(this.timer);
  }

  show(job) {
    this.job = job;
    this.element.hidden = !(job.attempts ?? []).length;
    this.fill();
  }

  /** Read the log: one request at a time, and only while somebody looks. */
  async load() {
    if (this.loading || this.done || this.closed || !this.details.open || document.hidden) return;
    this.loading = true;
    const { job } = this;
    const ended = ENDED.includes(job.phase);
    try {
      await this.read(job.job_id, job.attempts.at(-1).number);
      this.problem = "";
      this.done = ended;
    } catch (error) {
      if (error.code === 401 && !this.closed) this.act.failed(error);
      this.done = error.withoutFiles || (ended && error.code === 404);
      this.problem = error.withoutFiles ? "This namespace has no file server, which gives the whole." : error.code === 503 ? "The file server does not answer. The page tries again." : safe(error.message);
    } finally {
      this.loading = false;
    }
    if (!this.closed) this.fill();
  }

  /** Begin again with the log of an attempt. */
  forget(attempt) {
    this.attempt = attempt;
    this.size = 0; // bytes that have been read
    this.tail = new Uint8Array(); // the last of them
    this.decoder = new TextDecoder();
  }

  /** Read what is new. The whole log if the end of what was read has changed. */
  async read(id, attempt) {
    if (attempt !== this.attempt) this.forget(attempt);
    const from = this.size - this.tail.length;
    let part = await api.getLog(id, attempt, from).catch((error) => {
      if (error.code !== 416) throw error;
      return null;
    });
    const goesOn = part && part.start === from && this.tail.every((byte, place) => part.bytes[place] === byte);
    if (!goesOn) {
      if (!part || part.start) part = await api.getLog(id, attempt);
      this.forget(attempt);
    }
    const fresh = part.bytes.subarray(this.tail.length);
    const before = this.size ? this.full : "";
    this.full = before + this.decoder.decode(fresh, { stream: true });
    this.size += fresh.length;
    this.tail = new Uint8Array([...this.tail, ...fresh.slice(-OVERLAP)]).slice(-OVERLAP);
  }

  /** What to say above the log. */
  words() {
    if (this.problem) return this.full === null && this.job.logs ? `The end of the log. ${this.problem}` : this.problem;
    if (this.full === null) return "Reading the log…";
    return this.full ? "" : "The log is empty.";
  }

  /** Change only what has changed. A log that has grown keeps what is selected in it. */
  fill() {
    const note = this.words();
    if (this.note.textContent !== note) this.note.textContent = note;
    this.note.hidden = !note;
    const source = this.full ?? this.job.logs ?? "";
    if (source === this.source) return;
    this.source = source;
    const text = safeLines(source);
    if (this.text.data && text.startsWith(this.text.data)) this.text.appendData(text.slice(this.text.data.length));
    else this.text.data = text;
    this.pre.hidden = !text;
  }
}
