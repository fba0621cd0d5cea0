// Charts: classes and splits, sizes, bytes, brightness, colours, boxes, and what packing left out.

import { ask, state } from "./api.js";
import { el, fill, format, formatNumber, plural, svg, tell } from "./dom.js";

const HEIGHT = 150;
const WIDTH = 340;

export class ChartsView {
  constructor(main, place, go) {
    this.go = go;
    this.progress = el("div", { class: "summary" });
    this.charts = el("div", { class: "charts" });
    this.element = el("div", { class: "scrolled", tabindex: "0", role: "region", "aria-label": "Charts" }, this.progress, this.charts);
    fill(main, this.element);
    this.load();
  }

  close() {
    this.isClosed = true;
    clearTimeout(this.waiting);
  }

  refresh() {}

  async load() {
    let found;
    try {
      found = await ask("charts");
    } catch (error) {
      if (!this.isClosed) tell(error.message);
      return;
    }
    if (this.isClosed) return;
    const isComplete = found.num_measured >= found.num_to_measure;
    fill(this.progress, !isComplete && el("p", {}, `Brightness and colours: ${format(found.num_measured)} of ${format(found.num_to_measure)} images are measured`,
      el("progress", { max: found.num_to_measure, value: found.num_measured, "aria-label": "Measured images" })));
    const top = this.element.scrollTop;
    const opened = new Set([...this.charts.querySelectorAll("details[open]")].map((one) => one.dataset.of));
    fill(this.charts,
      classTable(found.classes),
      found.histograms.map((one) => histogram(one, opened)),
      scatter(found.scatter),
      found.boxes && histogram(found.boxes.per_image, opened),
      found.boxes && found.boxes.per_class.length > 0 && barTable("Boxes of each class", "class", found.boxes.per_class.map((one) => [one.name, one.count])),
      found.boxes && found.boxes.facts.length > 0 && barTable("What is remarkable of boxes", "boxes", found.boxes.facts),
      rejectedTable(found.rejected));
    this.element.scrollTop = top;
    if (!isComplete) this.waiting = setTimeout(() => this.load(), 2500);
  }
}

function section(title, isWide, ...children) {
  return el("section", { class: isWide ? "chart all" : "chart", "aria-label": title }, el("h3", {}, title), ...children);
}

function classTable({ names, splits, counts }) {
  const shown = Object.keys(splits).filter((name) => name !== "all");
  const numbers = shown.length ? shown : ["all"];
  if (!names.length || !numbers.every((split) => counts[split])) {
    return barTable("Samples of each split", "split", Object.entries(splits));
  }
  const totals = names.map((_, number) => numbers.reduce((sum, split) => sum + counts[split][number], 0));
  const most = Math.max(1, ...totals);
  const link = (number) => `#${new URLSearchParams({ view: "samples", class: number })}`;
  return section("Samples of each class and split", true, el("div", { class: "tables" }, el("table", {},
    el("thead", {}, el("tr", {}, el("th", { scope: "col" }, "class"), numbers.map((split) => el("th", { scope: "col" }, split)), el("th", { scope: "col" }, "sum"), el("th", { class: "measure-cell" }, el("span", { class: "quiet" }, "bar")))),
    el("tbody", {}, names.map((name, number) => el("tr", {},
      el("td", {}, el("a", { href: link(number) }, name)),
      numbers.map((split) => el("td", {}, format(counts[split][number]))),
      el("td", {}, format(totals[number])),
      el("td", { class: "measure-cell" }, bar(totals[number] / most))))),
    el("tfoot", {}, el("tr", {}, el("td", {}, "all"), numbers.map((split) => el("td", {}, format(splits[split]))), el("td", {}, format(numbers.reduce((sum, split) => sum + splits[split], 0))), el("td", {}))))));
}

function bar(share) {
  const drawn = el("span", { class: "measure", "aria-hidden": "true" });
  drawn.style.width = `${share * 100}%`;
  return drawn;
}

function barTable(title, head, pairs) {
  const most = Math.max(1, ...pairs.map(([, count]) => count));
  return section(title, false, el("div", { class: "tables" }, el("table", {},
    el("thead", {}, el("tr", {}, el("th", { scope: "col" }, head), el("th", { scope: "col" }, "count"), el("th", { class: "measure-cell" }, el("span", { class: "quiet" }, "bar")))),
    el("tbody", {}, pairs.map(([name, count]) => el("tr", {}, el("td", {}, name), el("td", {}, format(count)), el("td", { class: "measure-cell" }, bar(count / most))))))));
}

function histogram({ title, unit, counts, edges, median, least, most }, opened) {
  const highest = Math.max(1, ...counts);
  const width = WIDTH / counts.length;
  const summary = `from ${formatNumber(least)} to ${formatNumber(most)}${unit && ` ${unit}`}, half of them below ${formatNumber(median)}`;
  if (least === most) return section(title, false, el("p", {}, `${formatNumber(least)}${unit && ` ${unit}`}, all of them`));
  const drawn = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT + 18}`, role: "img", "aria-label": `${title}: ${summary}` });
  counts.forEach((count, number) => {
    const height = (count / highest) * HEIGHT;
    const one = svg("rect", { x: number * width + 0.5, y: HEIGHT - height, width: Math.max(1, width - 1), height });
    one.append(svg("title", {}, `${formatNumber(edges[number])} to ${formatNumber(edges[number + 1])}: ${format(count)}`));
    drawn.append(one);
  });
  drawn.append(svg("line", { x1: 0, x2: WIDTH, y1: HEIGHT, y2: HEIGHT }));
  drawn.append(svg("text", { x: 0, y: HEIGHT + 14 }, formatNumber(least)), svg("text", { x: WIDTH, y: HEIGHT + 14, "text-anchor": "end" }, formatNumber(most)));
  return section(title, false, drawn, el("p", { class: "faint" }, summary),
    el("details", { "data-of": title, open: opened.has(title) }, el("summary", {}, "As a table"), el("table", {},
      el("thead", {}, el("tr", {}, el("th", { scope: "col" }, "from"), el("th", { scope: "col" }, "to"), el("th", { scope: "col" }, "images"))),
      el("tbody", {}, counts.map((count, number) => el("tr", {}, el("td", {}, formatNumber(edges[number])), el("td", {}, formatNumber(edges[number + 1])), el("td", {}, format(count))))))));
}

function scatter(points) {
  const most = Math.max(1, ...points.flat());
  const drawn = svg("svg", { viewBox: `-4 -4 ${WIDTH + 8} ${WIDTH + 26}`, role: "img", "aria-label": "Width and height of images, one point for each" });
  drawn.append(svg("line", { x1: 0, x2: WIDTH, y1: WIDTH, y2: WIDTH }), svg("line", { x1: 0, x2: 0, y1: 0, y2: WIDTH }), svg("line", { x1: 0, x2: WIDTH, y1: WIDTH, y2: 0 }));
  const drawnPoints = new Set();
  for (const [width, height] of points) {
    const key = `${width},${height}`;
    if (drawnPoints.has(key)) continue;
    drawnPoints.add(key);
    drawn.append(svg("circle", { cx: (width / most) * WIDTH, cy: WIDTH - (height / most) * WIDTH, r: 3 }));
  }
  drawn.append(svg("text", { x: WIDTH, y: WIDTH + 16, "text-anchor": "end" }, `width, up to ${format(most)}`), svg("text", { x: 4, y: 8 }, "height"));
  return section("Width and height", false, drawn);
}

function rejectedTable({ count, reasons, files }) {
  if (!count) return section("Left out when it was packed", false, el("p", {}, "Nothing."));
  return section("Left out when it was packed", true,
    el("p", {}, plural(count, "file")),
    el("div", { class: "tables" }, el("table", {},
      el("thead", {}, el("tr", {}, el("th", { scope: "col" }, "reason"), el("th", { scope: "col" }, "files"))),
      el("tbody", {}, reasons.map(([reason, number]) => el("tr", {}, el("td", {}, reason), el("td", {}, format(number))))))),
    el("details", {}, el("summary", {}, files.length < count ? `The first ${format(files.length)} files` : "The files"),
      el("div", { class: "tables" }, el("table", {}, el("tbody", {}, files.map(([path, reason]) => el("tr", {}, el("td", {}, path), el("td", {}, reason))))))));
}
