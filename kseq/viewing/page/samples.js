// The view of samples: what to show, in which order, and the grid.

import { ask, state } from "./api.js";
import { announce, choices, el, fill, foldable, format, labelled, plural } from "./dom.js";
import { Grid } from "./grid.js";
import { SampleDialog } from "./sample.js";

const TILES = { 72: "many, no names", 96: "small", 160: "medium", 224: "large" };
let tile = 160;
let isPlain = false;

export class SamplesView {
  // `place` has the parameters of the address; `go(place, replaces)` makes another address.
  constructor(main, place, go) {
    this.go = go;
    this.place = place;
    const { about } = state;
    this.problem = el("p", { class: "problem count", role: "alert" });
    this.count = el("p", { class: "count" });
    this.chips = el("div", { class: "chips", "aria-label": "Conditions" });
    this.grid = new Grid(tile, (position) => this.open(position));
    this.grid.isPlain = isPlain;
    const splits = { "": `all (${format(about.num_samples)})` };
    for (const [name, size] of Object.entries(about.splits)) if (name !== "all") splits[name] = `${name} (${format(size)})`;
    this.split = choices(splits, place.split ?? "", { onchange: () => this.set({ split: this.split.value }) });
    const classes = { "": "all", ...Object.fromEntries(about.class_names.map((name, number) => [`c${number}`, name])) };
    this.class = choices(classes, place.class ? `c${place.class}` : "", { onchange: () => this.set({ class: this.class.value.slice(1) }) });
    this.order = choices(about.orders, place.order ?? "packed", { onchange: () => this.set({ order: this.order.value, seed: this.order.value === "random" ? String(Math.floor(Math.random() * 1e6)) : "" }) });
    this.source = el("input", { type: "search", value: place.source ?? "", placeholder: "part of a name", spellcheck: "false", onchange: () => this.set({ source: this.source.value }) });
    this.where = el("input", {
      value: "", placeholder: about.label ? `${about.label}=${about.class_names.slice(0, 2).join(",")}` : "field>0.5", spellcheck: "false", autocomplete: "off",
      onkeydown: (event) => { if (event.key === "Enter") this.addCondition(); },
    });
    const size = choices(TILES, String(tile), { onchange: () => { tile = Number(size.value); this.grid.setTile(tile); } });
    const drawing = el("input", { type: "checkbox", checked: !isPlain, onchange: () => { isPlain = !drawing.checked; this.grid.setTile(tile, isPlain); } });
    this.again = el("button", { type: "button", onclick: () => this.set({ seed: String(Math.floor(Math.random() * 1e6)) }) }, "Shuffle again");
    fill(main,
      foldable("Which samples", el("form", { class: "bar", role: "search", "aria-label": "Which samples", onsubmit: (event) => event.preventDefault() },
        labelled("Split", this.split),
        about.label && labelled("Class", this.class),
        labelled("Order", this.order), this.again,
        labelled("Source", this.source),
        labelled("Condition, as kseq drop --where", this.where, "field wide"),
        el("button", { type: "button", onclick: () => this.addCondition() }, "Add"),
        labelled("Thumbnails", size),
        about.draws && el("label", { class: "check" }, drawing, "boxes"))),
      this.chips, this.problem, this.count, this.grid.element);
    this.refresh(place, Number(place.at ?? 0));
  }

  close() {
    this.isClosed = true;
    clearTimeout(this.waiting);
    this.grid.close();
    this.dialog?.element.close();
  }

  get conditions() {
    return (this.place.where ?? "").split("\n").filter(Boolean);
  }

  addCondition() {
    const text = this.where.value.trim();
    if (!text) return;
    this.where.value = "";
    this.set({ where: [...this.conditions, text].join("\n") });
  }

  set(changes) {
    this.go({ view: "samples", ...this.place, at: "", open: "", ...changes });
  }

  // Another address of the same view.
  async refresh(place, position = 0) {
    this.place = place;
    this.split.value = place.split ?? "";
    this.class.value = place.class ? `c${place.class}` : "";
    this.order.value = place.order ?? "packed";
    this.source.value = place.source ?? "";
    this.again.hidden = this.order.value !== "random";
    fill(this.chips, this.conditions.map((text, number) => el("button", {
      type: "button", "aria-label": `Remove the condition ${text}`,
      onclick: () => this.set({ where: this.conditions.filter((_, other) => other !== number).join("\n") }),
    }, `${text} ✕`)));
    const { split, class: number, order, source, where, seed } = place;
    this.query = { split, class: number, order, source, where, seed };
    clearTimeout(this.waiting);
    this.problem.textContent = "";
    try {
      const found = await ask("rows", { ...this.query, start: 0, count: 1 });
      if (this.isClosed || this.place !== place) return;
      this.total = found.total;
      await this.countUp(position);
    } catch (error) {
      if (this.isClosed) return;
      this.problem.textContent = error.message;
      this.count.textContent = "";
      this.total = 0;
      this.grid.show(this.query, 0);
      return;
    }
    if (place.open !== undefined && place.open !== "") this.openId(Number(place.open));
  }

  // Orders that are measured in the background grow until all is measured.
  async countUp(position) {
    const place = this.place;
    const isMeasured = state.about.measured_orders.includes(place.order);
    let note = "";
    if (isMeasured) {
      const progress = await ask("measure");
      if (this.isClosed || this.place !== place) return;
      if (progress.num_measured < progress.num_to_measure) {
        note = `; ${format(progress.num_measured)} of ${format(progress.num_to_measure)} images are measured so far`;
        this.waiting = setTimeout(async () => {
          try {
            const found = await ask("rows", { ...this.query, start: 0, count: 1 });
            if (this.isClosed || this.place !== place) return;
            this.total = found.total;
            await this.countUp(this.grid.active);
          } catch (error) { this.problem.textContent = error.message; }
        }, 1500);
      } else {
        // The first answer may be older than the last measure.
        const found = await ask("rows", { ...this.query, start: 0, count: 1 });
        if (this.isClosed || this.place !== place) return;
        this.total = found.total;
      }
    }
    this.count.textContent = `${plural(this.total, "sample")}${note}`;
    announce(this.count.textContent);
    this.grid.show(this.query, this.total, position);
  }

  async idAt(position) {
    const known = this.grid.rowAt(position);
    if (known) return known.id;
    return (await ask("rows", { ...this.query, start: position, count: 1 })).rows[0]?.id;
  }

  async open(position) {
    const id = await this.idAt(position);
    if (id !== undefined) this.show(id, position);
  }

  async openId(id) {
    const { position } = await ask("position", { ...this.query, id }).catch(() => ({ position: null }));
    if (this.isClosed || this.dialog !== undefined) return;
    const at = Number(this.place.at);
    // The sample was dropped, or does not fit any more: the one that took its place comes next.
    if (position === null && this.place.isMended && at < this.total) await this.open(at);
    else this.show(id, position);
  }

  show(id, position) {
    const list = position === null ? null : {
      total: this.total,
      idAt: (other) => this.idAt(other),
      moved: (other, otherId) => {
        this.grid.activate(other);
        this.go({ view: "samples", ...this.place, at: other, open: otherId }, true);
      },
    };
    this.dialog = new SampleDialog(list, () => {
      this.dialog = undefined;
      if (this.isClosed) return;
      this.go({ view: "samples", ...this.place, open: "" }, true);
      this.grid.element.focus();
    });
    this.dialog.show(id, position);
  }
}
