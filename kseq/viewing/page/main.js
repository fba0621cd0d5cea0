// The page: which view is shown, by the part of the address after #.

import { ask, state, whenChanged } from "./api.js";
import { BatchesView } from "./batches.js";
import { ChartsView } from "./charts.js";
import { announce, el, fill, formatBytes, plural, tell } from "./dom.js";
import { LookalikesView } from "./lookalikes.js";
import { forgetBeyond, undo, whenMended } from "./marks.js";
import { SamplesView } from "./samples.js";

const VIEWS = { samples: ["Samples", SamplesView], batches: ["What the model gets", BatchesView], charts: ["Charts", ChartsView], lookalikes: ["Leaks", LookalikesView] };
const main = document.getElementById("main");

let view = null;
let viewName = null;

function readPlace() {
  const place = Object.fromEntries(new URLSearchParams(location.hash.slice(1)));
  return { ...place, view: place.view in VIEWS ? place.view : "samples" };
}

// Another address; `replaces` the one that is there, for what is no step of its own.
function go(place, replaces = false) {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(place)) {
    if (value !== "" && value !== undefined && value !== null && name !== "isMended") query.set(name, value);
  }
  const hash = `#${query}`;
  if (hash === location.hash) return;
  if (replaces) {
    history.replaceState(null, "", hash);
    if (view && place.view === viewName) view.place = readPlace();
  } else location.hash = hash;
}

function showPlace() {
  const place = readPlace();
  if (place.view === viewName && view) {
    view.refresh(place, Number(place.at ?? 0));
  } else {
    view?.close();
    viewName = place.view;
    view = new VIEWS[viewName][1](main, place, go);
  }
  showTabs();
}

function showTabs() {
  fill(document.getElementById("tabs"), Object.entries(VIEWS).map(([name, [title]]) =>
    el("a", { href: `#view=${name}`, "aria-current": name === viewName ? "page" : null }, title)));
}

function showHeader() {
  const { about } = state;
  document.title = `${about.name} – kseq view`;
  document.getElementById("name").textContent = about.name;
  document.getElementById("summary").textContent = [
    plural(about.num_samples, "sample"), formatBytes(about.num_bytes), about.num_dropped && `${about.num_dropped} dropped`,
    about.num_rejected && `${plural(about.num_rejected, "file")} left out`, about.read_only && "read-only",
  ].filter(Boolean).join(", ");
  const last = about.changes.at(-1);
  fill(document.getElementById("actions"),
    !about.read_only && (last || canRedo) && el("button", { type: "button", title: last ?? "", onclick: undo }, canRedo ? "Undo or redo" : `Undo: ${last}`),
    el("button", { type: "button", onclick: showHelp, "aria-label": "Keys" }, "?"));
}

let canRedo = false;

async function reload() {
  state.about = await ask("about");
  forgetBeyond(state.about.num_ids);
  showHeader();
  const place = readPlace();
  const { scrollTop } = main.querySelector(".scrolled") ?? {};
  const at = view?.grid?.active;
  const { dialog } = view ?? {};
  const id = dialog?.id;
  view?.close();
  viewName = place.view;
  view = new VIEWS[viewName][1](main, { ...place, at: at ?? place.at, open: id ?? place.open ?? "", isMended: true }, go);
  if (scrollTop) requestAnimationFrame(() => { const scrolled = main.querySelector(".scrolled"); if (scrolled) scrolled.scrollTop = scrollTop; });
}

let isReloading = false;

whenChanged(async () => {
  if (isReloading) return;
  isReloading = true;
  try {
    await reload();
    tell("The dataset was changed: this is how it is now.", true);
  } catch (error) {
    tell(error.message);
  } finally {
    isReloading = false;
  }
});

whenMended(async (text) => {
  isReloading = true;
  try {
    canRedo = text.startsWith("Taken back");
    await reload();
    tell(text, true);
    announce(text);
  } finally {
    isReloading = false;
  }
});

function showHelp() {
  const keys = [
    ["Arrow keys, Page Up, Page Down, Home, End", "move in the grid"], ["Enter", "open the sample"],
    ["Space", "mark the sample"], ["Shift and arrow keys", "mark on the way"], ["← →", "in a sample: the one before, the next"],
    ["m, r, d", "in a sample: mark, relabel, drop it"], ["o", "in a sample: boxes and masks on or off"], ["z", "in a sample: actual size"],
    ["Escape", "close"], ["?", "this list"],
  ];
  const dialog = el("dialog", { "aria-label": "Keys", onclose: () => dialog.remove() },
    el("h2", {}, "Keys"),
    el("table", {}, keys.map(([key, does]) => el("tr", {}, el("td", {}, key), el("td", {}, does)))),
    el("form", { method: "dialog" }, el("div", { class: "buttons" }, el("button", {}, "Close"))));
  document.body.append(dialog);
  dialog.showModal();
}

document.addEventListener("keydown", (event) => {
  if (event.key === "?" && !event.target.matches("input, select") && !document.querySelector("dialog[open]")) showHelp();
});
// Somebody may have changed the dataset while another window was in front.
window.addEventListener("focus", () => { if (state.about) ask("state").catch((error) => tell(error.message)); });
setInterval(() => { if (state.about && !document.hidden) ask("state").catch((error) => tell(error.message)); }, 5000);
window.addEventListener("hashchange", showPlace);

try {
  state.about = await ask("about");
  showHeader();
  showPlace();
} catch (error) {
  tell(error.message);
}
