// Dialogs: a new conversion, the queues, a question, the token.

import * as api from "./api.js";
import { h, marked, safe, typeName } from "./text.js";

const dialog = document.getElementById("dialog");

function open(title, ...content) {
  dialog.replaceChildren(h("h2", { id: "dialog-title" }, title), ...content);
  dialog.setAttribute("aria-labelledby", "dialog-title");
  if (!dialog.open) dialog.showModal();
}

export const closeDialog = () => dialog.close();

const closer = (label) => h("button", { type: "button", onclick: closeDialog }, label);

/** Ask before something that cannot be undone. Resolves to true or false. */
export function ask(title, text, action) {
  return new Promise((resolve) => {
    let said = false;
    const yes = h("button", { type: "button", class: "primary", onclick: () => ((said = true), closeDialog()) }, action);
    dialog.addEventListener("close", () => resolve(said), { once: true });
    open(title, h("p", {}, text), h("div", { class: "buttons" }, closer("No"), yes));
  });
}

/** Ask for a token and a namespace. */
export function askToken(message, onToken) {
  const input = h("input", { id: "token", type: "password", autocomplete: "off", required: true });
  const name = h("input", { id: "token-namespace", value: api.currentNamespace(), autocomplete: "off", spellcheck: "false" });
  const form = h(
    "form",
    { onsubmit: (event) => (event.preventDefault(), closeDialog(), onToken(input.value, name.value.trim())) },
    h("p", {}, message),
    h("p", {}, marked("`kubectl conversion ui` opens this page with a token. You can also paste one here. It stays in this tab.")),
    h("label", {}, "Token", input),
    h("label", {}, "Namespace, if it is not that of the service account", name),
    h("div", { class: "buttons" }, h("button", { class: "primary" }, "Open")),
  );
  open("A token is needed", form);
  input.focus();
}

/** Names of outputs follow the input, until somebody writes another one. */
const suggestion = (input, extension) => {
  const base = input.split("/").at(-1).replace(/\.[^.]*$/, "");
  return base ? `output/${base}.${extension}` : "";
};

/** `key=value` lines as options. Numbers stay texts: the HTTP API takes both. */
function optionsOf(text) {
  const found = {};
  for (const line of text.split("\n").map((one) => one.trim()).filter(Boolean)) {
    const [key, ...value] = line.split("=");
    found[key.trim()] = value.join("=").trim();
  }
  return found;
}

export function askConversion(data, onStarted) {
  const type = h("select", { id: "new-type" }, Object.keys(data.types).map((name) => h("option", { value: name }, typeName(name))));
  const input = h("input", { id: "new-input", required: true, placeholder: "input/holiday.mov", autocomplete: "off", spellcheck: "false" });
  const output = h("input", { id: "new-output", required: true, placeholder: "output/holiday.mp4", autocomplete: "off", spellcheck: "false" });
  const options = h("textarea", { id: "new-options", rows: 3, placeholder: "quality=medium\nresolution=720p", spellcheck: "false" });
  const queue = h("input", { id: "new-queue", placeholder: "default", autocomplete: "off", spellcheck: "false" });
  const dry = h("input", { id: "new-dry", type: "checkbox" });
  const problem = h("p", { class: "problem", role: "alert" });
  const start = h("button", { class: "primary" }, "Start");
  // One key for each set of values: if an answer is lost, sending the same again starts nothing twice.
  const keys = new Map();
  let written = false;
  const suggest = () => {
    if (!written) output.value = suggestion(input.value, data.types[type.value][0]);
  };
  output.addEventListener("input", () => (written = output.value !== ""));
  input.addEventListener("input", suggest);
  type.addEventListener("change", suggest);
  const send = async (event) => {
    event.preventDefault();
    problem.textContent = "";
    start.disabled = true;
    const body = { input_file: input.value, output_file: output.value, conversion_type: type.value, options: optionsOf(options.value) };
    if (queue.value) body.queue = queue.value;
    if (dry.checked) body.dry_run = true;
    const values = JSON.stringify(body);
    if (!keys.has(values)) keys.set(values, api.randomKey());
    try {
      const started = await api.post("convert", body, keys.get(values));
      closeDialog();
      onStarted(started.job_id);
    } catch (error) {
      problem.textContent = safe(error.message);
    } finally {
      start.disabled = false;
    }
  };
  open(
    "New conversion",
    h(
      "form",
      { onsubmit: send },
      h("label", {}, "What to make", type),
      h("label", {}, "Input file", input),
      h("label", {}, "Output file", output),
      h("p", { class: "hint" }, "Paths start at the root of the shared volume."),
      h("label", {}, "Options, one in a line", options),
      h("label", {}, "Queue", queue),
      h("label", { class: "check" }, dry, "Dry run: only say what would be made"),
      problem,
      h("div", { class: "buttons" }, closer("Close"), start),
    ),
  );
  input.focus();
}

/** `onToken(error)` is called if a token is needed. Other errors are shown in the dialog. */
export async function showQueues(mayPatch, onToken) {
  const problem = h("p", { class: "problem", role: "alert" });
  const failed = (error) => {
    if (error.code === 401) onToken(error);
    else problem.textContent = safe(error.message);
  };
  const box = h("div", { class: "queues" }, h("p", { class: "hint" }, "Reading the queues…"));
  open("Queues", problem, box, h("div", { class: "buttons" }, closer("Close")));
  const load = async () => {
    try {
      const { queues } = await api.get("queues");
      box.replaceChildren(...(queues.length ? queues.map(card) : [h("p", {}, "There are no ConversionQueues. All conversions are in the queue default.")]));
    } catch (error) {
      box.replaceChildren();
      failed(error);
    }
  };
  const change = async (queue, action) => {
    problem.textContent = "";
    try {
      await api.post(`queues/${encodeURIComponent(queue.name)}/${action}`);
    } catch (error) {
      failed(error);
    }
    await load();
    document.getElementById(`queue-${queue.name}`)?.focus();
  };
  const card = (queue) => {
    const held = queue.stop_policy !== "None";
    const limit = queue.max_parallel === undefined ? "no limit of its own" : `at most ${queue.max_parallel} at a time`;
    const shares = queue.namespaces.map((share) => {
      const words = [share.weight ? `weight ${share.weight}` : "", share.max_parallel !== undefined ? `at most ${share.max_parallel}` : "", `${share.running ?? 0} run`, `${share.queued ?? 0} wait`];
      return h("li", {}, h("b", {}, safe(share.name)), ` ${words.filter(Boolean).join(", ")}`);
    });
    return h(
      "section",
      { class: "card queue" },
      h("div", {},
        h("h3", {}, safe(queue.name), held ? h("span", { class: "pill" }, queue.stop_policy === "Hold" ? "held" : "held and drained") : null),
        h("p", { class: "sub" }, `${queue.running ?? 0} run, ${queue.queued ?? 0} wait, ${limit}`),
        queue.problem ? h("p", { class: "warning" }, safe(queue.problem)) : null,
        shares.length ? h("ul", { class: "shares" }, shares) : null),
      mayPatch ? h("button", { type: "button", id: `queue-${queue.name}`, onclick: () => change(queue, held ? "resume" : "hold") }, held ? "Resume" : "Hold") : null,
    );
  };
  await load();
}
