// What the model gets: the batches of a setting of ShardSequence.

import { address, ask, state, version } from "./api.js";
import { announce, choices, el, fill, foldable, format, formatNumber, labelled } from "./dom.js";
import { drawing, image, inWords } from "./figure.js";
import { SampleDialog } from "./sample.js";

const same = (...names) => Object.fromEntries(names.map((name) => [name, name]));

const AUGMENTATIONS = { crop: "random crops", center: "crop of the centre", flip: "flips", affine: "turns and shifts", color: "colours", erase: "erasing" };

export class BatchesView {
  constructor(main, place, go) {
    this.go = go;
    this.place = place;
    const { about } = state;
    const [height, width] = about.image_shape;
    const has = (name) => name in about.splits;
    const splits = [...Object.keys(about.splits).filter((name) => name !== "all"), "all"];
    this.defaults = { split: has("train") ? "train" : "all", size: 32, height: height ?? 224, width: width ?? 224 };
    const control = (name, element) => {
      element.name = name;
      element.addEventListener("change", () => this.changed());
      return element;
    };
    const number = (name, most, least = 1) => control(name, el("input", { type: "number", min: least, max: most, step: 1, value: place[name] ?? this.defaults[name] ?? 0 }));
    const choice = (name, options, standard) => control(name, choices(options, place[name] ?? standard));
    this.controls = [
      ["Split", choice("split", same(...splits), this.defaults.split)],
      ["Batch size", number("size", 256)],
      ["Height", number("height", 2048)],
      ["Width", number("width", 2048)],
      ["Other shapes are", choice("fit", { stretch: "stretched", crop: "cropped", pad: "padded" }, "stretch")],
      ["Interpolation", choice("interpolation", same("bilinear", "nearest", "bicubic", "area", "lanczos3", "lanczos5", "gaussian", "mitchellcubic"), "bilinear")],
      ["dtype", choice("dtype", same("uint8", "float32", "float16"), "uint8")],
      ["Scale", choice("scale", same("1", "1/255"), "1")],
      ["Shuffle", choice("shuffle", { default: "as the split wants", true: "yes", false: "no", block: "by blocks" }, "default")],
      ["Remainder", choice("remainder", same("keep", "drop", "pad"), "keep")],
      ["Balance", choice("balance", { none: "no", class: "classes" }, "none")],
      ["Seed", number("seed", 2 ** 31, 0)],
    ];
    if (!about.label) this.controls = this.controls.filter(([name]) => name !== "Balance");
    const chosen = (place.augment ?? "").split(",");
    this.augment = Object.entries(AUGMENTATIONS).map(([name, text]) => {
      const box = control(`augment-${name}`, el("input", { type: "checkbox", checked: chosen.includes(name) }));
      return [name, box, el("label", { class: "check" }, box, text)];
    });
    this.antialias = control("antialias", el("input", { type: "checkbox", checked: place.antialias === "1" }));
    this.sliders = {
      epoch: this.slider("Epoch", Number(place.epoch ?? 0), 20),
      number: this.slider("Batch", Number(place.number ?? 0), 0),
    };
    this.problem = el("p", { class: "problem", role: "alert" });
    this.code = el("code", { class: "code" });
    this.arrays = el("div", { class: "tables" });
    this.rows = el("div", { class: "rows" });
    fill(main,
      foldable("Settings", el("form", { class: "bar", "aria-label": "Settings of the Sequence", onsubmit: (event) => event.preventDefault() },
        this.controls.map(([name, element]) => labelled(name, element)),
        el("label", { class: "check" }, this.antialias, "Antialias"),
        el("fieldset", {}, el("legend", {}, "Augment"), this.augment.map(([, , label]) => label)))),
      el("div", { class: "scrolled", tabindex: "0", role: "region", "aria-label": "Batch" },
        this.code,
        el("div", { class: "sliders" }, this.sliders.epoch.element, this.sliders.number.element),
        this.problem, this.arrays, this.rows));
    this.load();
  }

  close() {
    this.isClosed = true;
    this.controller?.abort();
    this.dialog?.element.close();
  }

  refresh(place) {
    this.place = place;
    for (const [, element] of this.controls) if (place[element.name] !== undefined) element.value = place[element.name];
    const chosen = (place.augment ?? "").split(",");
    for (const [name, box] of this.augment) box.checked = chosen.includes(name);
    this.antialias.checked = place.antialias === "1";
    this.sliders.epoch.set(Number(place.epoch ?? 0));
    this.sliders.number.set(Number(place.number ?? 0));
    this.load();
  }

  slider(name, value, most) {
    const range = el("input", { type: "range", min: 0, max: most, step: 1, value, "aria-label": name });
    const exact = el("input", { type: "number", min: 0, step: 1, value, "aria-label": `${name}, as a number` });
    const end = el("span", { class: "faint" });
    range.addEventListener("input", () => { exact.value = range.value; this.changed(); });
    exact.addEventListener("change", () => { range.value = exact.value; this.changed(); });
    return {
      element: el("label", { class: "field" }, `${name} `, el("span", { class: "both" }, range, exact, end)),
      get value() { return Math.max(0, Math.floor(Number(exact.value) || 0)); },
      set(to) { exact.value = to; range.value = to; },
      limit(last) { range.max = last; exact.max = last; end.textContent = `of 0 to ${format(last)}`; if (this.value > last) this.set(last); range.value = this.value; },
    };
  }

  get settings() {
    const settings = Object.fromEntries(this.controls.map(([, element]) => [element.name, element.value]));
    const augment = this.augment.filter(([, box]) => box.checked).map(([name]) => name).join(",");
    return { ...settings, augment, antialias: this.antialias.checked ? "1" : "" };
  }

  changed() {
    clearTimeout(this.waiting);
    this.waiting = setTimeout(() => {
      if (this.isClosed) return;
      this.go({ view: "batches", ...this.settings, epoch: this.sliders.epoch.value, number: this.sliders.number.value }, true);
      this.load();
    }, 120);
  }

  async load() {
    this.controller?.abort();
    const controller = new AbortController();
    this.controller = controller;
    const asked = { ...this.settings, epoch: this.sliders.epoch.value, number: this.sliders.number.value };
    let batch;
    try {
      batch = await ask("batch", asked, controller.signal);
    } catch (error) {
      if (error.name === "AbortError" || this.isClosed) return;
      if (/batch number \d+ is not in/.test(error.message) && asked.number > 0) {
        // The new setting has fewer batches.
        this.sliders.number.set(0);
        this.changed();
        return;
      }
      this.problem.textContent = error.message;
      fill(this.rows);
      fill(this.arrays);
      return;
    }
    if (this.isClosed || controller.signal.aborted) return;
    this.problem.textContent = "";
    this.code.textContent = batch.code;
    this.sliders.number.limit(batch.num_batches - 1);
    this.showArrays(batch);
    this.showRows(batch, asked);
    announce(`Batch ${asked.number} of epoch ${asked.epoch}: ${batch.rows.length} samples`);
  }

  showArrays(batch) {
    const heads = ["array", "dtype", "shape", "least", "most", "mean"];
    const cells = batch.arrays.map((array) => [array.name, array.dtype, array.shape.join(" × "), ...["least", "most", "mean"].map((key) => (key in array ? formatNumber(array[key]) : ""))]);
    fill(this.arrays, el("table", {},
      el("caption", { class: "quiet" }, "Arrays of the batch"),
      el("thead", {}, el("tr", {}, heads.map((head) => el("th", { scope: "col" }, head)))),
      el("tbody", {}, cells.map((row) => el("tr", {}, row.map((cell) => el("td", {}, cell)))))));
  }

  showRows(batch, asked) {
    const [height, width] = batch.input_shape;
    fill(this.rows, batch.rows.map((row, number) => {
      const url = (field) => address("batch-image", { ...asked, row: number, field, v: version() });
      const frame = el("div", { class: "figure" });
      frame.style.aspectRatio = `${width} / ${height}`;
      const [first, ...others] = batch.images;
      frame.append(image(url(first), `Row ${number} of the batch, sample ${row.id}`, width * height <= 65536 ? "pixels" : ""));
      for (const mask of batch.masks) frame.append(image(url(mask), "", "mask"));
      if (row.targets.some((target) => target.shapes)) frame.append(drawing(height, width, row.targets, 16));
      const words = row.targets.filter((target) => !target.shapes).map((target) => `${target.name}: ${inWords(target)}`);
      if (row.weight !== undefined) words.push(`weight: ${formatNumber(row.weight)}`);
      const open = (event) => { event.preventDefault(); this.open(row.id); };
      return el("figure", {}, frame,
        others.map((name) => { const other = el("div", { class: "figure" }, image(url(name), `${name} of row ${number}`)); other.style.aspectRatio = `${width} / ${height}`; return other; }),
        el("figcaption", {}, el("a", { href: "#", onclick: open }, `sample ${row.id}`), words.map((line) => el("div", {}, line))));
    }));
  }

  open(id) {
    this.dialog = new SampleDialog(null, () => { this.dialog = undefined; });
    this.dialog.show(id);
  }
}
