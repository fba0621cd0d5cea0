// Images that are the same or nearly so: leaks between splits, and labels that disagree.

import { ask } from "./api.js";
import { el, fill, format, plural, tell } from "./dom.js";
import { loadSprite, showThumb, shortName } from "./grid.js";
import { isMarked, mark, whenMarked } from "./marks.js";
import { SampleDialog } from "./sample.js";

const EVALUATED = /(^|-)(val|valid|validation|test|dev)$/;

export class LookalikesView {
  constructor(main) {
    this.summary = el("div", { class: "summary" });
    this.groups = el("div", {});
    this.element = el("div", { class: "scrolled", tabindex: "0", role: "region", "aria-label": "Images that look alike" }, this.summary, this.groups);
    fill(main, this.element);
    this.members = new Map();
    this.forget = whenMarked(() => this.showMarks());
    this.load();
  }

  close() {
    this.isClosed = true;
    clearTimeout(this.waiting);
    this.forget();
    this.observer?.disconnect();
    this.dialog?.element.close();
  }

  refresh() {}

  async load() {
    let found;
    try {
      const progress = await ask("measure");
      if (this.isClosed) return;
      if (progress.num_measured < progress.num_to_measure) {
        fill(this.summary, el("p", {}, `${format(progress.num_measured)} of ${format(progress.num_to_measure)} images are measured`,
          el("progress", { max: progress.num_to_measure, value: progress.num_measured, "aria-label": "Measured images" })));
        this.waiting = setTimeout(() => this.load(), 1000);
        return;
      }
      found = await ask("lookalikes");
    } catch (error) {
      if (!this.isClosed) tell(error.message);
      return;
    }
    if (this.isClosed) return;
    this.show(found);
  }

  show(found) {
    const leaked = () => found.groups.filter((group) => group.is_leak).flatMap((group) => copiesToDrop(group.rows));
    fill(this.summary,
      el("h2", {}, found.num_groups ? `${plural(found.num_groups, "group")} of images that are the same, or nearly so` : "No two images are the same, or nearly so."),
      found.num_groups > 0 && el("p", {}, found.num_leaks ? `${format(found.num_leaks)} between splits: what is learned from one is asked in another. ` : "None is between splits. ", found.num_disagreeing ? `${format(found.num_disagreeing)} with different labels.` : "All have one label each."),
      found.num_leaks > 0 && el("p", {}, el("button", { type: "button", onclick: () => mark(leaked(), true) }, "Mark all copies but one of each group between splits")),
      found.num_groups > found.groups.length && el("p", { class: "faint" }, `The first ${format(found.groups.length)} are shown.`));
    this.observer?.disconnect();
    this.observer = new IntersectionObserver((entries) => {
      for (const entry of entries) if (entry.isIntersecting) { this.observer.unobserve(entry.target); entry.target.loadThumbs(); }
    }, { root: this.element, rootMargin: "300px" });
    this.members.clear();
    fill(this.groups, found.groups.map((group) => this.makeGroup(group)));
    for (const group of this.groups.children) this.observer.observe(group);
    this.showMarks();
  }

  makeGroup(group) {
    const kinds = [group.is_same ? "same bytes" : group.is_mirrored ? "nearly the same, mirrored" : "nearly the same", group.is_leak && "between splits", group.disagrees && "labels differ"].filter(Boolean);
    const title = `${plural(group.count, "image")}: ${kinds.join(", ")}`;
    const thumbs = [];
    const members = group.rows.map((row) => {
      const thumb = el("button", { type: "button", class: "thumb", "aria-label": `Open sample ${row.id}`, title: row.source, onclick: () => this.open(row.id) });
      thumbs.push(thumb);
      const tick = el("input", { type: "checkbox", onchange: (event) => mark([row], event.target.checked) });
      const member = el("div", { class: "member" }, thumb,
        el("div", { class: "caption" }, row.class ?? shortName(row.source)),
        el("div", { class: "caption faint" }, `${row.id} · ${row.splits.join(", ")}`),
        el("label", { class: "check" }, tick, "mark"));
      this.members.set(row.id, [...(this.members.get(row.id) ?? []), { member, tick }]);
      return member;
    });
    const element = el("section", { class: "group", "aria-label": title },
      kinds.map((kind) => el("span", { class: kind === "between splits" || kind === "labels differ" ? "badge bad" : "badge" }, kind)),
      group.count > group.rows.length && el("span", { class: "faint" }, `${format(group.count)} images, ${group.rows.length} shown`),
      el("div", { class: "members" }, members));
    element.loadThumbs = async () => {
      try {
        const sprite = await loadSprite(group.rows.map((row) => row.id), 136);
        thumbs.forEach((thumb, position) => showThumb(thumb, sprite, position, thumbs.length));
      } catch (error) { if (!this.isClosed) tell(error.message); }
    };
    return element;
  }

  showMarks() {
    for (const [id, shown] of this.members) {
      for (const { member, tick } of shown) {
        member.classList.toggle("marked", isMarked(id));
        tick.checked = isMarked(id);
      }
    }
  }

  open(id) {
    this.dialog = new SampleDialog(null, () => { this.dialog = undefined; });
    this.dialog.show(id);
  }
}

// All but one copy; the one that stays is in a split that is evaluated, if there is any: a training can spare it.
function copiesToDrop(rows) {
  const kept = rows.find((row) => row.splits.some((split) => EVALUATED.test(split))) ?? rows[0];
  return rows.filter((row) => row !== kept);
}
