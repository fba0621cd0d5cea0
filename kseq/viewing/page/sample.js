// One sample large, with all its fields; next and previous by key.

import { address, ask, state, version } from "./api.js";
import { announce, el, fill, format, formatBytes, tell } from "./dom.js";
import { drawing, image, inWords } from "./figure.js";
import { canRelabel, drop, isMarked, mark, relabel, whenMarked } from "./marks.js";

// Which layers were switched off, for the next sample too.
const hiddenLayers = new Set();
let isActualSize = false;

export class SampleDialog {
  // `list` says `idAt(position)`, `total` and `moved(position)`, for next and previous; null for one sample alone.
  constructor(list = null, onClose = () => {}) {
    this.list = list;
    this.title = el("h2", { id: "sample-title" });
    this.stage = el("div", { class: "stage" });
    this.facts = el("div", { class: "facts", tabindex: "0", role: "region", "aria-label": "Fields" });
    this.layers = el("span", { class: "layers" });
    const button = (text, label, action, extra = {}) =>
      el("button", { type: "button", "aria-label": label, title: label, onclick: action, ...extra }, text);
    this.previous = button("←", "Previous sample (left arrow)", () => this.step(-1));
    this.next = button("→", "Next sample (right arrow)", () => this.step(1));
    this.marking = button("Mark", "Mark this sample (m)", () => this.toggleMark());
    this.size = button("Actual size", "Switch between actual size and fit (z)", () => this.toggleSize());
    this.element = el("dialog", { class: "sample", "aria-labelledby": "sample-title", onkeydown: (event) => this.pressed(event) },
      el("div", { class: "top" }, this.title, this.layers, list && this.previous, list && this.next, this.size, this.marking,
        canRelabel() && button("Relabel…", "Relabel this sample (r)", () => relabel([this.row])),
        button("Drop…", "Drop this sample (d)", () => drop([this.row]), { class: "danger" }),
        button("Close", "Close (Escape)", () => this.element.close())),
      this.stage, this.facts);
    this.resized = new ResizeObserver(() => this.place());
    this.resized.observe(this.stage);
    this.forget = whenMarked(() => this.showMark());
    this.element.addEventListener("close", () => {
      this.resized.disconnect();
      this.forget();
      this.element.remove();
      onClose();
    });
    document.body.append(this.element);
    this.element.showModal();
  }

  async show(id, position = null) {
    this.position = position;
    this.id = id;
    let sample;
    try {
      sample = await ask("sample", { id });
    } catch (error) {
      fill(this.stage, el("p", { class: "problem" }, error.message));
      return;
    }
    if (this.id !== id || !this.element.open) return;
    this.sample = sample;
    const label = sample.fields.find((field) => field.kind === "label");
    const name = label?.names?.[0];
    this.row = { id, class: name ?? null, source: sample.source ?? "", splits: sample.splits };
    const place = position === null ? "" : `, ${format(position + 1)} of ${format(this.list.total)}`;
    this.title.textContent = `Sample ${id}${name ? `: ${name}` : ""}`;
    this.previous.disabled = position === 0;
    this.next.disabled = this.list !== null && position >= this.list.total - 1;
    announce(`Sample ${id}${name ? `, ${name}` : ""}${place}${sample.problem ? `, ${sample.problem}` : ""}`);
    this.showMark();
    this.draw();
    this.describe(place);
    this.list?.moved(position, id);
  }

  draw() {
    const { fields } = this.sample;
    const main = fields.find((field) => field.name === state.about.image);
    if (!main?.height) {
      fill(this.stage, el("p", { class: "problem" }, this.sample.problem ?? "The image cannot be read."));
      return;
    }
    const url = (name) => address("image", { id: this.id, field: name, v: version() });
    const layers = [{ name: main.name, kind: "image" }];
    const picture = image(url(main.name), `Image of sample ${this.id}`, main.width * main.height <= 65536 ? "pixels" : "");
    picture.addEventListener("error", () => fill(this.stage, el("p", { class: "problem" }, this.sample.problem ?? "The image cannot be decoded.")));
    this.figure = el("div", { class: "figure" }, picture);
    for (const field of fields) {
      if (field.is_pixels && !field.is_image) {
        const mask = image(url(field.name), "", "mask");
        mask.dataset.layer = field.name;
        this.figure.append(mask);
        layers.push(field);
      } else if (field.is_image && field.name !== main.name) {
        const other = image(url(field.name), "", "");
        other.dataset.layer = field.name;
        this.figure.append(other);
        layers.push(field);
        if (!hiddenLayers.has(`shown ${field.name}`)) hiddenLayers.add(field.name);
      }
    }
    const drawn = fields.filter((field) => field.shapes);
    for (const field of drawn) {
      const shapes = drawing(main.height, main.width, [field, ...fields.filter((one) => one.names)]);
      shapes.dataset.layer = field.name;
      this.figure.append(shapes);
      layers.push(field);
    }
    this.main = main;
    fill(this.stage, this.figure);
    fill(this.layers, layers.slice(1).map((layer) => el("label", { class: "check" },
      el("input", { type: "checkbox", checked: !hiddenLayers.has(layer.name), onchange: (event) => this.switchLayer(layer.name, event.target.checked) }),
      layer.name)));
    this.showLayers();
    this.place();
  }

  switchLayer(name, isOn) {
    if (isOn) {
      hiddenLayers.delete(name);
      hiddenLayers.add(`shown ${name}`);
    } else hiddenLayers.add(name);
    this.showLayers();
  }

  showLayers() {
    for (const layer of this.figure.querySelectorAll("[data-layer]")) layer.style.display = hiddenLayers.has(layer.dataset.layer) ? "none" : "";
  }

  place() {
    if (!this.main || !this.figure) return;
    const { height, width } = this.main;
    const fitting = Math.min((this.stage.clientWidth - 8) / width, (this.stage.clientHeight - 8) / height);
    const share = isActualSize ? 1 : fitting;
    this.figure.style.width = `${Math.max(1, width * share)}px`;
    this.figure.style.height = `${Math.max(1, height * share)}px`;
    this.size.textContent = isActualSize ? "Fit" : "Actual size";
  }

  describe(place) {
    const { sample } = this;
    const list = (pairs) => el("dl", {}, pairs.filter(Boolean).map(([name, value]) => [el("dt", {}, name), el("dd", {}, value)]));
    fill(this.facts,
      sample.problem && el("p", { class: "problem" }, sample.problem),
      list([
        ["id", `${sample.id}${place}`],
        ["splits", sample.is_dropped ? "none: it was dropped" : sample.splits.join(", ") || "none"],
        ["source", sample.source ?? "cannot be read"],
        sample.shard && ["shard", `${sample.shard}, row ${format(sample.row)}`],
      ]),
      sample.fields.map((field) => [
        el("h3", {}, field.name),
        el("p", { class: "faint" }, field.form),
        field.problem && el("p", { class: "problem" }, field.problem),
        field.is_pixels && field.height && list([
          ["size", `${field.height} × ${field.width} (height × width)`],
          ["stored", formatBytes(field.num_bytes)],
          ["xxh3", field.hash],
        ]),
        !field.is_pixels && !field.problem && list([
          ["value", inWords(field)],
          field.shapes?.boxes && ["x1 y1 x2 y2", field.shapes.boxes.slice(0, 20).map((box) => el("div", {}, box.map((side) => Math.round(side * 10) / 10).join("  ")))],
        ]),
      ]));
  }

  showMark() {
    if (!this.row) return;
    const isOn = isMarked(this.row.id);
    this.marking.textContent = isOn ? "Unmark" : "Mark";
    this.marking.setAttribute("aria-pressed", isOn);
  }

  toggleMark() {
    mark([this.row], !isMarked(this.row.id));
  }

  toggleSize() {
    isActualSize = !isActualSize;
    this.place();
  }

  async step(step) {
    if (!this.list || this.position === null) return;
    const position = this.position + step;
    if (position < 0 || position >= this.list.total) return;
    this.position = position;
    try {
      const id = await this.list.idAt(position);
      if (this.position === position && id !== undefined) await this.show(id, position);
    } catch (error) {
      tell(error.message);
    }
  }

  pressed(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input:not([type=checkbox]), select")) return;
    const actions = {
      ArrowLeft: () => this.step(-1), ArrowRight: () => this.step(1), m: () => this.toggleMark(), z: () => this.toggleSize(),
      r: () => canRelabel() && this.row && relabel([this.row]), d: () => this.row && drop([this.row]),
      o: () => this.layers.querySelectorAll("input").forEach((input) => input.click()),
    };
    if (!(event.key in actions)) return;
    event.preventDefault();
    actions[event.key]();
  }
}
