// The samples that the user has marked, and what can be done with them.

import { change, state } from "./api.js";
import { announce, el, fill, format, labelled, choices, plural, tell } from "./dom.js";

const marked = new Map();
const listeners = new Set();

export const isMarked = (id) => marked.has(id);
export const markedIds = () => [...marked.keys()];
export function whenMarked(callback) { listeners.add(callback); return () => listeners.delete(callback); }

export function mark(rows, isOn) {
  for (const row of rows) {
    if (isOn) marked.set(row.id, row);
    else marked.delete(row.id);
  }
  show();
  announce(`${plural(marked.size, "sample")} marked`);
}

export function clearMarks() {
  marked.clear();
  show();
}

// Sample ids that are no more: another dataset lies there now.
export function forgetBeyond(numIds) {
  for (const id of marked.keys()) if (id >= numIds) marked.delete(id);
  show();
}

function show() {
  const footer = document.getElementById("marks");
  footer.hidden = marked.size === 0;
  fill(footer,
    el("strong", {}, `${format(marked.size)} marked`),
    canRelabel() && el("button", { type: "button", onclick: () => relabel([...marked.values()]) }, "Relabel…"),
    el("button", { type: "button", class: "danger", onclick: () => drop([...marked.values()]) }, "Drop…"),
    el("button", { type: "button", onclick: () => saveMarked() }, "Save list"),
    el("button", { type: "button", onclick: clearMarks }, "Unmark all"));
  for (const listener of listeners) listener();
}

export function canRelabel() {
  return state.about.fields.some((field) => field.can_relabel);
}

function openDialog(...children) {
  const dialog = el("dialog", { onclose: () => dialog.remove() }, ...children);
  document.body.append(dialog);
  dialog.showModal();
  return dialog;
}

const cancel = () => el("button", { type: "button", onclick: (event) => event.target.closest("dialog").close() }, "Cancel");

export function relabel(rows) {
  const fields = state.about.fields.filter((field) => field.can_relabel);
  const names = el("datalist", { id: "class-names" });
  const name = el("input", { list: "class-names", required: true, autocomplete: "off", spellcheck: "false", "aria-describedby": "hint" });
  const hint = el("p", { id: "hint", class: "faint" });
  const field = choices(Object.fromEntries(fields.map((one) => [one.name, one.name])), fields[0].name);
  const adds = el("input", { type: "checkbox" });
  const problem = el("p", { class: "problem", role: "alert" });
  const choose = () => {
    const chosen = fields.find((one) => one.name === field.value);
    fill(names, chosen.class_names.map((className) => el("option", { value: className })));
    hint.textContent = chosen.is_list ? "Several names with | between them; leave it to one name for one label." : "";
    return chosen;
  };
  field.addEventListener("change", choose);
  choose();
  const readOnly = state.about.read_only;
  const submit = async (event) => {
    event.preventDefault();
    const chosen = choose();
    const value = chosen.is_list ? name.value.split("|").map((part) => part.trim()).filter(Boolean) : name.value;
    if (!adds.checked && [value].flat().some((part) => !chosen.class_names.includes(part))) {
      problem.textContent = `There is no class ${[value].flat().join(", ")}. Tick the box below to make it one.`;
      return;
    }
    if (readOnly) {
      const lines = rows.map((row) => ({ id: row.id, [chosen.name]: value }));
      save("relabel.jsonl", lines.map((line) => JSON.stringify(line)).join("\n") + "\n");
      event.target.closest("dialog").close();
      const options = `${chosen.name === "label" ? "" : ` --field ${chosen.word}`}${adds.checked ? " --add-classes" : ""}`;
      tell(`Saved relabel.jsonl. To apply it: kseq relabel ${state.about.path_word} relabel.jsonl${options}`, true);
      return;
    }
    problem.textContent = "";
    await apply("relabel", { ids: rows.map((row) => row.id), field: chosen.name, class: value, add: adds.checked }, event.target, problem);
  };
  openDialog(el("form", { onsubmit: submit },
    el("h2", {}, `Relabel ${plural(rows.length, "sample")}`),
    fields.length > 1 && labelled("Field", field),
    labelled("Class", name), names, hint,
    el("label", { class: "check" }, adds, "Make it a new class if there is none of this name"),
    problem,
    el("div", { class: "buttons" }, cancel(), el("button", { class: "strong" }, readOnly ? "Save list" : "Relabel"))));
  name.focus();
}

export function drop(rows) {
  const problem = el("p", { class: "problem", role: "alert" });
  const readOnly = state.about.read_only;
  const submit = async (event) => {
    event.preventDefault();
    if (readOnly) {
      save("drop.csv", `id\n${rows.map((row) => row.id).join("\n")}\n`);
      event.target.closest("dialog").close();
      tell(`Saved drop.csv. To apply it: kseq drop ${state.about.path_word} --rejected-by drop.csv`, true);
      return;
    }
    await apply("drop", { ids: rows.map((row) => row.id) }, event.target, problem);
  };
  openDialog(el("form", { onsubmit: submit },
    el("h2", {}, `Drop ${plural(rows.length, "sample")}?`),
    el("p", {}, "They leave all splits. Undo brings them back, until the next change."),
    problem,
    el("div", { class: "buttons" }, cancel(), el("button", { class: "danger" }, readOnly ? "Save list" : "Drop"))));
}

async function apply(name, body, form, problem) {
  const button = form.querySelector(".buttons button:last-child");
  button.disabled = true;
  try {
    const { done } = await change(name, body);
    form.closest("dialog").close();
    if (name === "drop") for (const id of body.ids) marked.delete(id);
    await reload(`${done}. Undo takes it back.`);
  } catch (error) {
    problem.textContent = error.message;
    button.disabled = false;
  }
}

export async function undo() {
  try {
    const { done } = await change("undo", {});
    await reload(done);
  } catch (error) {
    tell(error.message);
  }
}

let reload = async () => {};
export function whenMended(callback) { reload = callback; }

function saveMarked() {
  const cell = (text) => `"${String(text ?? "").replaceAll('"', '""')}"`;
  const lines = [...marked.values()].map((row) => [row.id, cell(row.class), cell(row.source)].join(","));
  save("marked.csv", `id,label,source\n${lines.join("\n")}\n`);
}

function save(name, text) {
  const url = URL.createObjectURL(new Blob([text], { type: "text/plain;charset=utf-8" }));
  el("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10000);
}
