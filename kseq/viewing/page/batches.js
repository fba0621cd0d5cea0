// What the model gets: the batches of a setting of ShardSequence.

import { address, ask, state, version } from "./api.js";
import { announce, choices, el, fill, foldable, format, formatNumber, labelled } from "./dom.js";
import { drawing, image, inWords } from "./figure.js";
import { SampleDialog } from "./sample.js";

const FITS = { stretch: "stretched", crop: "cropped", pad: "padded" };

export class BatchesView {
  constructor(main, place, go) {
    this.go = go;
    this.place = place;
    const { about } = state;
    const [height, width] = about.image_shape;
    const splits = [...Object.keys(about.splits).filter((name) => name !== "all"), "all"];
    const same = (names) => Object.fromEntries(names.map((name) => [name, name]));
    const { settings, augmentations, fits, most_pixels: most } = about.batches;
    const sizes = { height: height ?? 224, width: width ?? 224 };
    const form = [
      { name: "split", title: "Split", words: same(splits), default: "train" in about.splits ? "train" : "all" },
      ...Object.entries(sizes).map(([name, size]) => ({ name, title: name === "height" ? "Height" : "Width", least: 1, most, default: String(size) })),
      { name: "fit", title: "Other shapes are", words: Object.fromEntries(fits.map((name) => [name, FITS[name] ?? name])), default: fits[0] },
      ...settings,
    ];
    this.controls = form.map((setting) => [setting, this.control(setting)]);
    this.augment = Object.entries(augmentations).map(([name, text]) => {
      const box = el("input", { type: "checkbox", onchange: () => this.changed() });
      return [name, box, el("label", { class: "check" }, box, text)];
    });
    this.sliders = {
      epoch: this.slider("Epoch", Number(place.epoch ?? 0), 20),
      number: this.slider("Batch", Number(place.number ?? 0), 0),
    };
    this.problem = el("p", { class: "problem", role: "alert" });
    this.code = el("code", { class: "code" });
    this.arrays = el("div", { class: "tables arrays" });
    this.rows = el("div", { class: "rows" });
    const bar = (isRare) => this.controls.filter(([setting]) => Boolean(setting.is_rare) === isRare).map(([setting, element]) => labelled(setting.title, element));
    this.own = choices({ 1: "of your Sequence", "": "chosen here" }, "1", { onchange: () => this.changed() });
    this.form = el("form", { class: "bar", "aria-label": "Settings of the Sequence", onsubmit: (event) => event.preventDefault() },
      bar(false),
      el("fieldset", {}, el("legend", {}, "Augment"), this.augment.map(([, , label]) => label)),
      el("details", { class: "rare" }, el("summary", {}, "More settings"), el("div", { class: "bar" }, bar(true))));
    this.take(place);
    fill(main,
      about.own_batches && el("div", { class: "bar" }, labelled("Settings", this.own)),
      foldable("Settings", this.form),
      el("div", { class: "scrolled", tabindex: "0", role: "region", "aria-label": "Batch" },
        el("div", { class: "batch" },
          el("div", {}, this.code, el("div", { class: "sliders" }, this.sliders.epoch.element, this.sliders.number.element), this.problem),
          this.arrays),
        this.rows));
    this.showForm();
    this.load();
  }

  close() {
    this.isClosed = true;
    this.controller?.abort();
    this.dialog?.element.close();
  }

  control({ name, words, least, most, default: value }) {
    const options = { name, onchange: () => this.changed() };
    if (words) return choices(words, value, options);
    if (least === null || least === undefined) return el("input", { type: "text", spellcheck: "false", autocomplete: "off", ...options });
    return el("input", { type: "number", min: least, max: most, step: 1, value, ...options });
  }

  // Puts what an address says into the form.
  take(place) {
    for (const [setting, element] of this.controls) element.value = place[setting.name] ?? setting.default;
    const chosen = (place.augment ?? "").split(",");
    for (const [name, box] of this.augment) box.checked = chosen.includes(name);
    this.own.value = place.own === "0" || !state.about.own_batches ? "" : "1";
    this.showForm();
  }

  showForm() {
    this.form.parentElement?.toggleAttribute("hidden", this.own.value === "1");
  }

  refresh(place) {
    this.place = place;
    this.take(place);
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
    if (this.own.value === "1") return { own: "1" };
    const settings = Object.fromEntries(this.controls.map(([setting, element]) => [setting.name, element.value]));
    const augment = this.augment.filter(([, box]) => box.checked).map(([name]) => name).join(",");
    return { ...settings, augment, own: state.about.own_batches ? "0" : "" };
  }

  changed() {
    this.showForm();
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
      el("tbody", {}, cells.map((row) => el("tr", {}, row.map((cell) => el("td", {}, cell)))))),
    batch.is_stretched && el("p", { class: "faint" }, "The images are no bytes, scaled or not: they are shown from the least number of the batch, black, to the largest, white."));
  }

  showRows(batch, asked) {
    const [height, width] = batch.size;
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
