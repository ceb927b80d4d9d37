// Check Files: a window with every file and package that the open graph needs. Nothing is downloaded without a press.
import { api } from "../../scripts/api.js";
import { app } from "../../scripts/app.js";
import { after, element } from "./widgets.js";
import { translated } from "./words.js";

const ID = "SameSubject.CheckFiles";
const ENGLISH = {
  title: "Check Files", offered: "%3 can be downloaded.", summary: "%1 of %2 are missing or wrong.", all: "All %2 are here.", nothing: "No node of this graph needs a file.",
  name: "File or package", nodes: "For", size: "Size", licence: "Licence", state: "State", actions: "Actions",
  found: "found", missing: "missing", "other size": "other size", unknown: "not known", inside: "Holds:",
  waiting: "waiting", downloading: "downloading", checking: "checking the hash", unpacking: "unpacking",
  done: "done", stopped: "stopped", failed: "failed",
  download: "Download", verify: "Verify", stop: "Stop", again: "Check again", close: "Close",
}; // prettier-ignore
const STYLES = {
  window: "width: min(1100px, 92vw); max-height: 88vh; padding: 16px; overflow: auto; box-sizing: border-box; font: 14px sans-serif; color: var(--fg-color, #fff); background: var(--comfy-menu-bg, #353535); border: 1px solid var(--border-color, #4e4e4e); border-radius: 8px",
  title: "margin: 0 0 4px; font-size: 18px",
  table: "width: 100%; margin: 12px 0; border-collapse: collapse",
  head: "padding: 4px 8px; text-align: start; border-bottom: 1px solid var(--border-color, #4e4e4e)",
  cell: "padding: 6px 8px; vertical-align: top; overflow-wrap: anywhere; border-bottom: 1px solid var(--border-color, #4e4e4e); font-weight: normal; text-align: start",
  note: "margin: 4px 0 0; font-size: 12px; overflow-wrap: anywhere",
  button: "margin: 0 6px 4px 0; white-space: nowrap; padding: 4px 10px; font: inherit; color: var(--input-text, #ddd); background: var(--comfy-input-bg, #222); border: 1px solid var(--border-color, #4e4e4e); border-radius: 4px; cursor: pointer",
  report: "height: 100%; margin: 0; padding: 4px; overflow: auto; box-sizing: border-box; white-space: pre-wrap; overflow-wrap: anywhere; font: 11px sans-serif; color: var(--input-text, #ddd); background: var(--comfy-input-bg, #222)",
};
const ENDED = ["done", "stopped", "failed"];
const jobs = {}; // by a file's name: what the server said last of its download or check
let shown = null; // the window, while it is open

async function ask(what, sent) {
  const body = JSON.stringify({ ...sent, client_id: api.clientId });
  const headers = { "Content-Type": "application/json" };
  const answer = await api.fetchApi(`/same_subject/files/${what}`, { method: "POST", headers, body });
  const said = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Error(said.error ?? `${answer.status} ${answer.statusText}`);
  return said;
}

/** Bytes as people read them. */
function amount(bytes) {
  const [unit, name] = [[1e9, "GB"], [1e6, "MB"], [1e3, "kB"]].find(([size]) => bytes >= size) ?? [1, "B"]; // prettier-ignore
  return `${Number((bytes / unit).toPrecision(3))} ${name}`;
}

class FilesWindow {
  constructor(words) {
    this.words = words;
    for (const [name, job] of Object.entries(jobs)) if (ENDED.includes(job.state)) delete jobs[name];
    this.cells = {};
    this.box = element("dialog", STYLES.window, { ariaLabel: words.title });
    this.summary = element("p", "margin: 0", { role: "status" });
    this.rows = element("tbody", "");
    this.again = this.button(words.again, () => this.check());
    const heads = [words.name, words.nodes, words.size, words.licence, words.state, words.actions];
    const head = element("tr", "");
    head.append(...heads.map((textContent) => element("th", STYLES.head, { textContent, scope: "col" })));
    const table = element("table", STYLES.table);
    table.append(element("thead", ""), this.rows);
    table.firstChild.append(head);
    const close = this.button(words.close, () => this.box.close());
    this.box.append(element("h2", STYLES.title, { textContent: words.title }), this.summary, table, this.again, close);
    this.box.onkeydown = (event) => event.stopPropagation(); // keys are for this window, not for the graph behind it
    this.box.onclose = () => {
      this.box.remove();
      shown = null;
    };
    document.body.append(this.box);
    this.box.showModal();
    this.check();
  }

  button(textContent, onclick, properties) {
    return element("button", STYLES.button, { type: "button", textContent, onclick, ...properties });
  }

  /** Ask what the graph needs now, and show it. */
  async check() {
    try {
      this.prompt = (await app.graphToPrompt()).output;
      const { rows } = await ask("check", { prompt: this.prompt });
      rows.sort((one, other) => (one.state == "found") - (other.state == "found")); // what is missing stands first
      const focused = document.activeElement?.closest?.("tr")?.dataset.name;
      this.cells = {};
      this.rows.replaceChildren(...rows.map((row) => this.row(row)));
      const wrong = rows.filter((row) => row.state != "found").length;
      const said = !rows.length ? this.words.nothing : wrong ? this.words.summary : this.words.all;
      const bytes = rows.filter((row) => row.download).reduce((sum, row) => sum + (row.bytes ?? 0), 0);
      const numbers = { "%1": wrong, "%2": rows.length, "%3": amount(bytes) };
      this.summary.textContent = `${said}${bytes ? ` ${this.words.offered}` : ""}`.replace(/%\d/g, (place) => numbers[place]);
      const row = focused && this.cells[focused]?.line;
      if (focused) (row?.querySelector("button") ?? this.again).focus();
    } catch (problem) {
      this.summary.textContent = problem.message;
    }
  }

  row(row) {
    const line = element("tr", "");
    line.dataset.name = row.name;
    const name = element("th", STYLES.cell, { textContent: row.name, scope: "row" });
    if (row.contents.length) name.append(element("p", STYLES.note, { textContent: `${this.words.inside} ${row.contents.join(", ")}` }));
    const size = row.kind != "file" ? "" : row.bytes ? amount(row.bytes) : this.words.unknown;
    const texts = [row.nodes.join(", "), size, row.licence || (row.kind == "file" ? this.words.unknown : "")];
    const [state, actions] = [element("td", STYLES.cell), element("td", STYLES.cell)];
    line.append(name, ...texts.map((textContent) => element("td", STYLES.cell, { textContent })), state, actions);
    line.children[2].style.whiteSpace = "nowrap";
    this.cells[row.name] = { row, line, state, actions };
    if (row.job) jobs[row.name] = row.job;
    this.show(row.name);
    return line;
  }

  /** The state of a row, how far its job is, and what can be done. */
  show(name) {
    const { row, state, actions } = this.cells[name];
    const { words } = this;
    const job = jobs[name];
    const running = job && !ENDED.includes(job.state);
    const bold = row.state == "found" ? "" : "font-weight: bold";
    state.replaceChildren(element("span", bold, { textContent: running ? words[job.state] : words[row.state] }));
    if (running && job.total) {
      const share = `${Math.floor((100 * job.got) / job.total)} %`;
      state.append(element("progress", "width: 100%", { value: job.got, max: job.total, ariaLabel: name }), ` ${share}`);
    }
    const notes = running ? [] : [job?.message, row.path, row.remedy].filter(Boolean);
    state.append(...notes.map((textContent) => element("p", STYLES.note, { textContent })));
    const wanted = running ? ["stop"] : ["download", "verify"].filter((action) => row[action]);
    if (wanted.join() == [...actions.children].map((one) => one.dataset.action).join()) return; // what has the focus stays
    const had = actions.contains(document.activeElement);
    actions.replaceChildren(...wanted.map((action) => this.action(action, name)));
    if (had) (actions.firstChild ?? this.again).focus();
  }

  action(action, name) {
    const button = this.button(this.words[action], () => this.act(action, name), { ariaLabel: `${this.words[action]} ${name}` });
    button.dataset.action = action;
    return button;
  }

  async act(action, name) {
    if (action != "stop") this.hear({ name, state: "waiting" });
    try {
      await ask(action, { prompt: this.prompt, name });
    } catch (problem) {
      this.hear({ name, state: "failed", message: problem.message });
    }
  }

  hear(job) {
    jobs[job.name] = job;
    if (!this.cells[job.name]) return;
    this.show(job.name);
    if (job.state != "done") return;
    if (this.cells[job.name].row.state == "missing") app.refreshComboInNodes();
    this.check();
  }
}

/** Open the window, one at a time. */
async function open() {
  const words = await translated("checkFiles", ENGLISH);
  shown ??= new FilesWindow(words);
}

api.addEventListener("same_subject.files", ({ detail }) => {
  jobs[detail.name] = detail;
  shown?.hear(detail);
});

app.registerExtension({
  name: "same-subject.check-files",
  commands: [{ id: ID, label: ENGLISH.title, icon: "pi pi-list-check", function: open }],
  menuCommands: [{ path: ["Extensions", "Same Subject"], commands: [ID] }],
  settings: [
    {
      id: ID, category: ["Same Subject", "Files", "Check Files"], name: "Files that the open graph needs", defaultValue: null,
      type: () => element("button", STYLES.button, { type: "button", textContent: ENGLISH.title, onclick: open }),
    },
  ], // prettier-ignore
  nodeCreated(node) {
    if (node.comfyClass !== "CheckFiles") return;
    node.addWidget("button", ENGLISH.title, null, open, { serialize: false });
    const box = element("div", STYLES.report, { tabIndex: 0, role: "status" });
    node.addDOMWidget("report", "same-subject-report", box, { serialize: false, getMinHeight: () => 80 });
    after(node, "onExecuted", (message) => (box.textContent = message?.text?.[0] ?? ""));
  },
});
