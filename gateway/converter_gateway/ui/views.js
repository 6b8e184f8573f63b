// How a conversion looks: as a row, and with everything about it.

import * as api from "./api.js";
import { about, ago, duration, fileName, h, kindOf, marked, moment, reasonWords, roughly, safe, safeLines, size, titleOf, typeName } from "./text.js";

export const ENDED = ["Succeeded", "Failed", "Cancelled"];
const WORDS = { Queued: "Waiting", Starting: "Starting", Running: "Running", Succeeded: "Finished", Failed: "Failed", Cancelled: "Cancelled" };
const LARGEST_PREVIEW = 8 * 1024 * 1024;
const PICTURES = /\.(jpe?g|png|webp|avif|gif)$/i;

export const phaseName = (job) => WORDS[job.phase] ?? safe(job.phase);

function bar(job) {
  const known = typeof job.progress === "number";
  const attributes = { class: "bar", "aria-label": "Progress", max: 100 };
  if (known) attributes.value = job.progress;
  return h("progress", attributes);
}

/** When it will end or start, as far as it is known. */
function when(job) {
  if (job.phase === "Running") {
    if (job.estimated_end_at) return `ends ${about(job.estimated_end_at)}`;
    if (job.eta_seconds) return `about ${roughly(job.eta_seconds)} left`;
  }
  if (job.phase === "Queued" && job.estimated_start_at) return `starts ${about(job.estimated_start_at)}`;
  return "";
}

function facts(job) {
  switch (job.phase) {
    case "Running":
      return [typeof job.progress === "number" ? `${job.progress}%` : "", safe(job.speed), when(job)];
    case "Queued":
      return [job.queue_position ? `No. ${job.queue_position}` : "", reasonWords(job.reason), when(job)];
    case "Succeeded":
      return [job.dry_run ? "Dry run" : size(job.output_size), duration(job.duration_seconds), ago(job.ended_at)];
    case "Failed":
      return [reasonWords(job.reason), ago(job.ended_at)];
    default:
      return [reasonWords(job.reason), ago(job.ended_at ?? job.created_at)];
  }
}

/** Fill a row. It is a button, whose text a screen reader reads as a whole. */
export function paintRow(row, job, selected) {
  row.dataset.phase = job.phase;
  row.setAttribute("aria-pressed", selected ? "true" : "false");
  const [title, sub] = titleOf(job);
  const second = job.phase === "Failed" && job.error ? safe(job.error) : sub;
  row.replaceChildren(
    h("span", { class: "dot" }),
    h("span", { class: "what" }, h("span", { class: "name" }, title), h("span", { class: "sub" }, second)),
    h(
      "span",
      { class: "facts" },
      h("span", { class: "phase" }, phaseName(job)),
      h("span", { class: "sub" }, facts(job).filter(Boolean).join(" · ")),
    ),
    ...(job.phase === "Running" ? [bar(job)] : []),
  );
}

/** Everything about one conversion. `act` has cancel(job), retry(job), open(id), close() and may(verb). */
export class Detail {
  constructor(element, act) {
    this.element = element;
    this.act = act;
    this.urls = [];
    this.previews = new Map();
  }

  close() {
    for (const url of this.urls.splice(0)) URL.revokeObjectURL(url);
    this.previews.clear();
    this.log = undefined;
    this.shown = "";
  }

  show(job) {
    if (this.shown !== job.job_id) this.close();
    this.shown = job.job_id;
    const open = [...this.element.querySelectorAll("details[open]")].map((one) => one.id);
    const focused = document.activeElement?.closest?.("#detail [id]")?.id;
    this.element.replaceChildren(this.head(job), this.body(job));
    for (const id of open) document.getElementById(id)?.setAttribute("open", "");
    if (focused) document.getElementById(focused)?.focus({ preventScroll: true });
  }

  head(job) {
    const ended = ENDED.includes(job.phase);
    const buttons = [];
    if (!ended && this.act.may("patch") && !job.cancelling) {
      buttons.push(h("button", { type: "button", id: "cancel", onclick: () => this.act.cancel(job) }, "Cancel"));
    }
    if (ended && !job.retry && this.act.may("create")) {
      const label = job.phase === "Succeeded" ? "Run again" : "Retry";
      const main = job.phase === "Succeeded" ? "" : "primary";
      buttons.push(h("button", { type: "button", id: "retry", class: main, onclick: () => this.act.retry(job) }, label));
    }
    if (job.retry) {
      buttons.push(h("button", { type: "button", id: "open-retry", onclick: () => this.act.open(job.retry) }, "Open its retry"));
    }
    return h(
      "div",
      { class: "detail-head" },
      h("button", { type: "button", id: "close", class: "close", "aria-label": "Close", onclick: () => this.act.close() }, "×"),
      h("p", { class: "badge", "data-phase": job.phase }, h("span", { class: "dot" }), job.cancelling ? "Being cancelled" : phaseName(job)),
      h("h2", { id: "detail-title", tabindex: "-1" }, titleOf(job)[0]),
      h("p", { class: "sub" }, kindOf(job)),
      buttons.length ? h("div", { class: "buttons" }, buttons) : null,
    );
  }

  body(job) {
    return h(
      "div",
      { class: "detail-body" },
      job.phase === "Running" || job.phase === "Starting" ? this.progress(job) : null,
      job.phase === "Queued" ? this.waiting(job) : null,
      this.why(job),
      this.outputs(job),
      this.timeline(job),
      this.logs(job),
      this.more(job),
    );
  }

  progress(job) {
    const words = [typeof job.progress === "number" ? `${job.progress}%` : "Running", job.speed ? `${safe(job.speed)} speed` : "", when(job)];
    return h("section", { class: "card" }, bar(job), h("p", { class: "sub" }, words.filter(Boolean).join(" · ")));
  }

  waiting(job) {
    const place = job.queue_position ? `Number ${job.queue_position} in queue ${safe(job.queue)}` : `In queue ${safe(job.queue)}`;
    return h("section", { class: "card" }, h("p", { class: "large" }, place), when(job) ? h("p", { class: "sub" }, when(job)) : null);
  }

  why(job) {
    const told = job.phase === "Failed" || job.phase === "Queued" || job.phase === "Starting" || job.phase === "Cancelled";
    if (!told || !job.reason) return null;
    return h(
      "section",
      { class: `card why ${job.phase === "Failed" ? "bad" : ""}` },
      h("h3", {}, safe(job.reason)),
      job.message ? h("p", { class: "message" }, safe(job.message)) : null,
      job.meaning && job.meaning !== job.message ? h("p", {}, marked(job.meaning)) : null,
      job.cure ? h("p", {}, h("strong", {}, "What to do: "), marked(job.cure)) : null,
    );
  }

  outputs(job) {
    const planned = job.plan ?? [];
    const items = (job.dry_run ? planned : (job.outputs ?? [])).map((output, index) => this.output(job, output, index));
    if (!items.length) return null;
    const missing = this.act.filesMissing() && job.phase === "Succeeded" && !job.dry_run;
    return h(
      "section",
      {},
      h("h3", {}, job.dry_run ? "Plan" : items.length === 1 ? "Output" : "Outputs"),
      h("ul", { class: "outputs" }, items),
      missing ? h("p", { class: "hint" }, "No previews and downloads: this namespace has no file server.") : null,
    );
  }

  output(job, output, index) {
    const dimensions = output.width && output.height ? `${output.width}×${output.height}` : "";
    const words = [
      output.state === "Pending" ? "" : safe(output.state ?? output.action),
      size(output.size),
      dimensions,
      output.duration_seconds ? duration(output.duration_seconds) : "",
      safe(output.container),
      safe(output.video_codec),
      safe(output.audio_codec),
      output.estimated_seconds ? `about ${duration(output.estimated_seconds)} on one CPU` : "",
      output.estimated_size ? `about ${size(output.estimated_size)}` : "",
      output.memory ? `${size(output.memory)} of memory` : "",
    ];
    const made = output.state === "Succeeded" && !this.act.filesMissing();
    return h(
      "li",
      { class: "output" },
      made && PICTURES.test(output.output_file) && (output.size ?? 0) <= LARGEST_PREVIEW ? this.preview(job, output, index) : null,
      h("p", { class: "path" }, safe(output.output_file)),
      h("p", { class: "sub" }, [typeName(output.conversion_type), ...words].filter(Boolean).join(" · ")),
      output.reason ? h("p", { class: "message" }, `${safe(output.reason)}: ${safe(output.message)}`) : null,
      (output.warnings ?? []).map((warning) => h("p", { class: "warning" }, safe(warning))),
      made ? h("button", { type: "button", id: `save-${index}`, onclick: () => this.save(job, output, index) }, "Download") : null,
    );
  }

  preview(job, output, index) {
    const known = this.previews.get(index);
    if (known) return known;
    const image = h("img", { class: "preview", alt: `Preview of ${safe(output.output_file)}`, hidden: true });
    this.previews.set(index, image);
    this.fetch(job, index).then(
      (url) => {
        image.src = url;
        image.hidden = false;
      },
      // Without a preview, the page still says everything about the output.
      (error) => error.withoutFiles && this.act.noFile(),
    );
    return image;
  }

  async fetch(job, index) {
    const url = URL.createObjectURL(await api.getOutput(job.job_id, index));
    this.urls.push(url);
    return url;
  }

  async save(job, output, index) {
    try {
      const href = await this.fetch(job, index);
      h("a", { href, download: fileName(output.output_file) }).click();
    } catch (error) {
      if (error.withoutFiles) this.act.noFile();
      this.act.failed(error);
    }
  }

  timeline(job) {
    const lines = [[job.created_at, "Created", job.caller ? `by ${safe(job.caller)}` : ""]];
    for (const attempt of job.attempts ?? []) {
      lines.push([attempt.started_at, `Attempt ${attempt.number} starts`, ""]);
      if (attempt.ended_at) {
        const words = [safe(attempt.reason), safe(attempt.message)].filter(Boolean).join(": ");
        lines.push([attempt.ended_at, `Attempt ${attempt.number} ends`, words]);
      }
    }
    if (job.ended_at) lines.push([job.ended_at, phaseName(job), job.duration_seconds ? `the last attempt ran ${duration(job.duration_seconds)}` : ""]);
    return h(
      "section",
      {},
      h("h3", {}, "Timeline"),
      h("ol", { class: "timeline" }, lines.map(([at, title, words]) =>
        h("li", {}, h("time", { datetime: safe(at) }, moment(at)), h("span", {}, h("b", {}, title), words ? ` ${words}` : "")))),
    );
  }

  logs(job) {
    if (!(job.attempts ?? []).length) return null;
    const box = h("div", { class: "log" });
    const fill = () => {
      const text = this.log?.text ?? job.logs;
      const note = !this.log ? "Reading the log…" : !this.log.problem ? "" : job.logs ? `The end of the log. ${this.log.problem}` : this.log.problem;
      box.replaceChildren(...[note ? h("p", { class: "hint" }, note) : null, text ? h("pre", { tabindex: 0, "aria-label": "Log" }, safeLines(text)) : null].filter(Boolean));
    };
    const load = async () => {
      const attempt = job.attempts.at(-1).number;
      const log = await api.getLog(job.job_id, attempt).then(
        (text) => ({ text }),
        (error) => ({ problem: error.withoutFiles ? "This namespace has no file server, which gives the whole." : safe(error.message) }),
      );
      if (this.shown !== job.job_id) return;
      this.log = log;
      fill();
    };
    fill();
    const details = h("details", { id: "log", ontoggle: () => details.open && load() }, h("summary", {}, "Log"), box);
    return h("section", {}, details);
  }

  more(job) {
    const pairs = [
      ["Name", safe(job.job_id)],
      ["Input", safe(job.input_file)],
      ["Queue", safe(job.queue)],
      ["Priority", job.priority ?? ""],
      ["Created", moment(job.created_at)],
      ["Started", moment(job.started_at)],
      ["Ended", moment(job.ended_at)],
    ].filter(([, value]) => value !== "");
    return h("section", {}, h("h3", {}, "Details"), h("dl", {}, pairs.flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, String(value))])));
  }
}
