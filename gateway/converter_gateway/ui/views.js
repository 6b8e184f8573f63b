// How a conversion looks: as a row, and with everything about it.

import * as api from "./api.js";
import { ENDED, Log } from "./log.js";
import { about, ago, duration, fileName, h, kindOf, marked, moment, reasonWords, roughly, safe, size, titleOf, typeName } from "./text.js";

const WORDS = { Queued: "Waiting", Starting: "Starting", Running: "Running", Succeeded: "Finished", Failed: "Failed", Cancelled: "Cancelled" };
const LARGEST_PREVIEW = 8 * 1024 * 1024;
const IMAGES = /\.(jpe?g|png|webp|avif|gif)$/i;
const LARGEST_PLAYED = 64 * 1024 * 1024; // the browser has all of it in memory
const VIDEOS = /\.(mp4|webm)$/i;
const AUDIO = /\.(mp3|m4a|opus|ogg|flac|wav)$/i;

export const phaseName = (job) => WORDS[job.phase] ?? safe(job.phase);

function bar(job) {
  const known = typeof job.progress === "number";
  const attributes = { class: "bar", "aria-label": "Progress", max: 100 };
  if (known) attributes.value = job.progress;
  return h("progress", attributes);
}

/** When it will end or start, as far as it is known. */
function when(job) {
  if (job.phase === "Running" || job.phase === "Starting") {
    if (job.estimated_end_at) return `ends ${about(job.estimated_end_at)}`;
    if (job.eta_seconds) return `about ${roughly(job.eta_seconds)} left`;
  }
  if (job.phase === "Queued" && job.estimated_start_at) return `starts ${about(job.estimated_start_at)}`;
  return "";
}

function facts(job) {
  switch (job.phase) {
    case "Starting":
      return [reasonWords(job.reason), when(job)];
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
    this.problems = new Map();
  }

  close() {
    for (const url of this.urls.splice(0)) URL.revokeObjectURL(url);
    this.previews.clear();
    this.problems.clear();
    this.log?.close();
    this.log = null;
    this.shown = "";
  }

  show(job) {
    const another = this.shown !== job.job_id;
    if (another) this.close();
    this.shown = job.job_id;
    this.job = job;
    if (!this.log) {
      this.log = new Log(this.act);
      this.element.replaceChildren(h("div"), h("div", { class: "detail-body" }, this.log.element));
    }
    const focused = document.activeElement?.closest?.("#detail [id]")?.id;
    this.element.firstChild.replaceWith(this.head(job));
    this.fill(this.element.lastChild, job);
    if (another) this.element.scrollTop = 0; // what it is, and why, is at the top
    const there = focused && document.getElementById(focused);
    if (there && there !== document.activeElement) there.focus({ preventScroll: true });
  }

  /** Paint all but the log: who reads it would lose the place and the selection. */
  fill(body, job) {
    const log = this.log.element;
    while (log.previousSibling) log.previousSibling.remove();
    while (log.nextSibling) log.nextSibling.remove();
    log.before(...this.parts(job).filter(Boolean));
    this.log.show(job);
    body.append(this.more(job));
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

  parts(job) {
    return [
      job.phase === "Running" || job.phase === "Starting" ? this.progress(job) : null,
      job.phase === "Queued" ? this.waiting(job) : null,
      this.why(job),
      this.outputs(job),
      this.timeline(job),
    ];
  }

  progress(job) {
    const words = [typeof job.progress === "number" ? `${job.progress}%` : "Running", job.speed ? `${safe(job.speed)} speed` : "", when(job)];
    return h("section", { class: "card" }, bar(job), h("p", { class: "sub" }, words.filter(Boolean).join(" · ")));
  }

  waiting(job) {
    const place = job.queue_position ? `Number ${job.queue_position} in queue ${safe(job.queue)}` : `In queue ${safe(job.queue)}`;
    const end = job.estimated_end_at ? `ends ${about(job.estimated_end_at)}` : "";
    const times = [when(job), end].filter(Boolean).join(" · ");
    return h("section", { class: "card" }, h("p", { class: "large" }, place), times ? h("p", { class: "sub" }, times) : null);
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
    const path = output.output_file;
    const shown = made && IMAGES.test(path) && (output.size ?? 0) <= LARGEST_PREVIEW;
    const played = made && (VIDEOS.test(path) || AUDIO.test(path)) && (output.size ?? 0) <= LARGEST_PLAYED;
    const player = this.previews.get(index);
    return h(
      "li",
      { class: "output" },
      shown ? this.preview(job, output, index) : played ? player : null,
      h("p", { class: "path" }, safe(output.output_file)),
      h("p", { class: "sub" }, [typeName(output.conversion_type), ...words].filter(Boolean).join(" · ")),
      output.reason ? h("p", { class: "message" }, `${safe(output.reason)}: ${safe(output.message)}`) : null,
      (output.warnings ?? []).map((warning) => h("p", { class: "warning" }, safe(warning))),
      h("p", { class: "problem", role: "alert", id: `problem-${index}` }, this.problems.get(index)),
      made ? h(
        "div",
        { class: "buttons" },
        played && !player ? h("button", { type: "button", id: `play-${index}`, onclick: () => this.play(job, output, index) }, "Play") : null,
        h("button", { type: "button", id: `save-${index}`, onclick: () => this.save(job, index, fileName(path)) }, "Download"),
        output.conversion_type === "video_storyboard" ? h("button", { type: "button", id: `vtt-${index}`, onclick: () => this.save(job, index, `${fileName(path).replace(/\.[^.]*$/, "")}.vtt`, "/vtt") }, "Download WebVTT") : null,
      ) : null,
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
      (error) => this.noFile(job, index, "No preview. ", error),
    );
    return image;
  }

  /** Without a file server, no output has its file. Any other error is about this output only. */
  noFile(job, index, what, error) {
    if (this.shown !== job.job_id) return;
    if (error.withoutFiles) this.act.noFile();
    else if (error.code === 401) this.act.failed(error);
    else this.told(index, `${what}${error.code === 503 ? "The file server does not answer. Try again." : safe(error.message)}`);
  }

  told(index, text) {
    this.problems.set(index, text);
    const there = document.getElementById(`problem-${index}`);
    if (there) there.textContent = text;
  }

  async fetch(job, index, more = "") {
    const url = URL.createObjectURL(await api.getOutput(job.job_id, index, more));
    this.urls.push(url);
    return url;
  }

  /** The player takes the place of the button, and its focus. */
  async play(job, output, index) {
    if (this.loading(index)) return;
    this.told(index, "");
    this.load(index, true);
    try {
      const src = await this.fetch(job, index);
      if (this.shown !== job.job_id || this.previews.has(index)) return;
      const name = VIDEOS.test(output.output_file) ? "video" : "audio";
      const label = `Player of ${safe(output.output_file)}`;
      this.previews.set(index, h(name, { class: "preview", id: `play-${index}`, src, controls: true, autoplay: true, "aria-label": label }));
      this.show(this.job);
    } catch (error) {
      this.noFile(job, index, "", error);
      this.load(index, false);
    }
  }

  loading(index) {
    return document.getElementById(`play-${index}`)?.getAttribute("aria-busy") === "true";
  }

  /** The file may be large, so the button says that it loads. Disabled, it would lose the focus. */
  load(index, begins) {
    const button = document.getElementById(`play-${index}`);
    button?.setAttribute("aria-busy", String(begins));
    if (button) button.textContent = begins ? "Loading…" : "Play";
  }

  async save(job, index, download, more = "") {
    this.told(index, "");
    try {
      const href = await this.fetch(job, index, more);
      h("a", { href, download }).click();
    } catch (error) {
      this.noFile(job, index, "", error);
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
