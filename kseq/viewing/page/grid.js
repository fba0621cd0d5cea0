// A grid of thumbnails of which only the visible part exists, however many there are.

import { address, ask, state, version } from "./api.js";
import { announce, el, fill, format, tell } from "./dom.js";
import { isMarked, mark, whenMarked } from "./marks.js";

// A page of samples comes in one request, and its thumbnails in one image. So many pages are kept.
const PAGE = 48;
const KEPT_PAGES = 60;
const MOST_REQUESTS = 3;

// Browsers draw no element that is higher than some millions of pixels. A longer grid is scrolled through such a room piece by
// piece: small steps are exact, and a jump goes where it would in a room of the true height.
const MOST_HEIGHT = 2_000_000;

// Thumbnails of less than so many pixels have no names below, and lie close together: as many as possible, for a first look.
const LEAST_NAMED = 96;
const GAP = 8;
const CLOSE_GAP = 2;
const CAPTION = 46;

export class Grid {
  constructor(tile, onOpen) {
    this.onOpen = onOpen;
    this.tile = tile;
    // Whether thumbnails have nothing drawn over them.
    this.isPlain = false;
    this.query = {};
    this.total = 0;
    this.active = 0;
    this.offset = 0;
    this.lastTop = 0;
    this.pages = new Map();
    this.loading = new Map();
    this.rows = new Map();
    this.generation = 0;
    this.room = el("div", { class: "room", role: "presentation" });
    this.element = el("div", {
      class: "grid", role: "grid", tabindex: "0", "aria-label": "Samples", "aria-multiselectable": "true",
      onscroll: () => this.scrolled(), onkeydown: (event) => this.pressed(event), onclick: (event) => this.clicked(event),
    }, this.room);
    this.observer = new ResizeObserver(() => this.measure());
    this.observer.observe(this.element);
    this.forget = whenMarked(() => this.paintMarks());
  }

  close() {
    this.observer.disconnect();
    this.forget();
    for (const controller of this.loading.values()) controller.abort();
  }

  // Shows a selection; `total` samples of it, with the one at a position in sight.
  show(query, total, position = 0) {
    this.generation += 1;
    for (const controller of this.loading.values()) controller.abort();
    this.loading.clear();
    this.pages.clear();
    this.query = query;
    this.total = total;
    this.active = Math.min(position, Math.max(0, total - 1));
    this.measure(true);
    this.reveal(this.active);
    this.draw();
  }

  setTile(tile, isPlain = this.isPlain) {
    this.tile = tile;
    this.isPlain = isPlain;
    this.pages.clear();
    this.measure(true);
    this.reveal(this.active);
    this.draw();
  }

  measure(isForced = false) {
    const style = getComputedStyle(this.element);
    const padding = window.matchMedia("(max-width: 45rem)").matches ? 19.2 : 32;
    const width = this.element.clientWidth - padding;
    const isBare = this.tile < LEAST_NAMED;
    this.gap = isBare ? CLOSE_GAP : GAP;
    const least = Math.min(this.tile, Math.max(80, Math.floor((width - this.gap) / 2)));
    const columns = Math.max(1, Math.floor((width + this.gap) / (least + this.gap)));
    // The tiles of a row fill it.
    const tile = Math.max(40, Math.floor((width + this.gap) / columns) - this.gap);
    this.element.style.setProperty("--tile", `${tile}px`);
    this.element.style.setProperty("--gap", `${this.gap}px`);
    this.element.classList.toggle("bare", isBare);
    const isSame = columns === this.columns && tile === this.shownTile && style.height === this.shownHeight;
    if (isSame && !isForced) return;
    const isFirst = this.columns === undefined;
    this.columns = columns;
    this.shownTile = tile;
    this.shownHeight = style.height;
    this.rowHeight = tile + (isBare ? 0 : CAPTION) + this.gap;
    this.numRows = Math.ceil(this.total / columns);
    this.fullHeight = this.numRows * this.rowHeight + this.gap;
    this.roomHeight = Math.min(this.fullHeight, MOST_HEIGHT);
    this.room.style.height = `${this.roomHeight}px`;
    this.element.setAttribute("aria-rowcount", this.numRows);
    this.element.setAttribute("aria-colcount", columns);
    for (const row of this.rows.values()) row.remove();
    this.rows.clear();
    if (!isFirst) this.reveal(this.active);
    this.draw();
  }

  // How far the grid is scrolled, in pixels of its true height.
  get top() { return this.element.scrollTop + this.offset; }

  get most() { return Math.max(0, this.fullHeight - this.element.clientHeight); }

  // Scrolls to a place of the true height.
  goTo(top) {
    const wanted = Math.min(Math.max(0, top), this.most);
    const room = Math.max(1, this.roomHeight - this.element.clientHeight);
    const place = this.most <= room ? wanted : (wanted / this.most) * room;
    this.element.scrollTop = place;
    // The browser rounds.
    this.offset = wanted - this.element.scrollTop;
    this.lastTop = this.element.scrollTop;
  }

  scrolled() {
    const place = this.element.scrollTop;
    if (this.fullHeight > this.roomHeight && Math.abs(place - this.lastTop) > 2 * this.element.clientHeight) {
      const room = this.roomHeight - this.element.clientHeight;
      this.offset = (place / room) * this.most - place;
    }
    this.lastTop = place;
    if (this.fullHeight > this.roomHeight) this.keepRoom(place);
    this.draw();
  }

  // At an end of the room but not of the grid, there must be room to go on.
  keepRoom(place) {
    const room = this.roomHeight - this.element.clientHeight;
    const top = place + this.offset;
    const isStuckAbove = place < 50 && top > 100;
    const isStuckBelow = place > room - 50 && top < this.most - 100;
    if (isStuckAbove || isStuckBelow || top < 0 || top > this.most || (place <= 0 && top > 0) || (place >= room && top < this.most)) {
      const wanted = Math.min(Math.max(0, top), this.most);
      const step = isStuckAbove ? 20_000 : isStuckBelow ? -20_000 : 0;
      this.element.scrollTop = Math.min(room, Math.max(0, place + step));
      this.offset = wanted - this.element.scrollTop;
      this.lastTop = this.element.scrollTop;
    }
  }

  reveal(position) {
    const row = Math.floor(position / this.columns);
    const top = row * this.rowHeight;
    const height = this.element.clientHeight;
    if (top < this.top) this.goTo(top);
    else if (top + this.rowHeight > this.top + height) this.goTo(top + this.rowHeight + this.gap - height);
  }

  draw() {
    if (!this.columns) return;
    const height = this.element.clientHeight || 600;
    const first = Math.max(0, Math.floor(this.top / this.rowHeight) - 1);
    const last = Math.min(this.numRows - 1, Math.ceil((this.top + height) / this.rowHeight) + 1);
    for (const [number, row] of this.rows) {
      if (number < first || number > last) {
        row.remove();
        this.rows.delete(number);
      }
    }
    for (let number = first; number <= last; number += 1) {
      let row = this.rows.get(number);
      if (!row) {
        row = this.makeRow(number);
        this.rows.set(number, row);
        this.room.append(row);
      }
      row.style.transform = `translateY(${number * this.rowHeight + this.gap - this.offset}px)`;
    }
    this.paintActive();
    this.load(first * this.columns, Math.min(this.total, (last + 1) * this.columns));
  }

  makeRow(number) {
    const row = el("div", { role: "row", "aria-rowindex": number + 1 });
    for (let column = 0; column < this.columns; column += 1) {
      const position = number * this.columns + column;
      if (position >= this.total) break;
      const cell = el("div", { role: "gridcell", class: "cell", id: `cell-${position}`, "aria-colindex": column + 1, "data-position": position },
        el("div", { class: "thumb" }), el("div", { class: "tick", "aria-hidden": "true" }),
        el("div", { class: "caption name" }, "\u00a0"), el("div", { class: "caption more" }, "\u00a0"));
      row.append(cell);
      this.paint(cell);
    }
    return row;
  }

  rowAt(position) {
    const page = this.pages.get(Math.floor(position / PAGE));
    return page && page.rows[position % PAGE];
  }

  paint(cell) {
    const position = Number(cell.dataset.position);
    const page = this.pages.get(Math.floor(position / PAGE));
    const row = page && page.rows[position % PAGE];
    if (!row) return;
    const splits = row.splits.join(", ");
    cell.dataset.id = row.id;
    cell.querySelector(".name").textContent = row.class ?? shortName(row.source);
    cell.querySelector(".more").textContent = [row.id, splits].filter((part) => part !== "").join(" · ");
    cell.title = [row.class, row.source].filter(Boolean).join(": ");
    cell.setAttribute("aria-label", [`Sample ${row.id}`, row.class, splits, row.source].filter(Boolean).join(", "));
    cell.setAttribute("aria-selected", isMarked(row.id));
    if (page.sprite) showThumb(cell.querySelector(".thumb"), page.sprite, position % PAGE, page.rows.length);
  }

  paintActive() {
    for (const cell of this.room.querySelectorAll(".cell.active")) cell.classList.remove("active");
    const cell = document.getElementById(`cell-${this.active}`);
    if (cell) {
      cell.classList.add("active");
      this.element.setAttribute("aria-activedescendant", cell.id);
    } else this.element.removeAttribute("aria-activedescendant");
  }

  paintMarks() {
    for (const cell of this.room.querySelectorAll(".cell[data-id]")) {
      cell.setAttribute("aria-selected", isMarked(Number(cell.dataset.id)));
    }
  }

  load(first, last) {
    const wanted = [];
    for (let page = Math.floor(first / PAGE); page * PAGE < last; page += 1) wanted.push(page);
    for (const [page, controller] of this.loading) if (!wanted.includes(page)) controller.abort();
    for (const page of wanted) {
      const known = this.pages.get(page);
      if (known) {
        // Used last, forgotten last.
        this.pages.delete(page);
        this.pages.set(page, known);
      } else if (!this.loading.has(page) && this.loading.size < MOST_REQUESTS) this.loadPage(page);
    }
    while (this.pages.size > KEPT_PAGES) this.pages.delete(this.pages.keys().next().value);
  }

  async loadPage(number) {
    const controller = new AbortController();
    const generation = this.generation;
    this.loading.set(number, controller);
    try {
      const found = await ask("rows", { ...this.query, start: number * PAGE, count: PAGE }, controller.signal);
      if (generation !== this.generation) return;
      const page = { rows: found.rows, sprite: null };
      this.pages.set(number, page);
      this.paintPage(number);
      if (found.rows.length) {
        const ids = found.rows.map((row) => row.id);
        page.sprite = await loadSprite(ids, this.tile, controller.signal, this.isPlain);
        this.paintPage(number);
      }
    } catch (error) {
      if (generation !== this.generation) return;
      if (error.name === "AbortError") this.pages.delete(number);
      else {
        // Not asked for again and again.
        if (!this.pages.has(number)) this.pages.set(number, { rows: [], sprite: null });
        tell(error.message);
      }
    } finally {
      if (this.loading.get(number) === controller) this.loading.delete(number);
      if (generation === this.generation && this.element.isConnected) requestAnimationFrame(() => this.draw());
    }
  }

  paintPage(number) {
    for (let position = number * PAGE; position < (number + 1) * PAGE; position += 1) {
      const cell = document.getElementById(`cell-${position}`);
      if (cell) this.paint(cell);
    }
  }

  activate(position) {
    this.active = Math.min(Math.max(0, position), this.total - 1);
    this.reveal(this.active);
    this.draw();
  }

  pressed(event) {
    if (!this.total || event.ctrlKey || event.metaKey || event.altKey) return;
    const inSight = Math.max(1, Math.floor(this.element.clientHeight / this.rowHeight)) * this.columns;
    const steps = {
      ArrowLeft: -1, ArrowRight: 1, ArrowUp: -this.columns, ArrowDown: this.columns, PageUp: -inSight, PageDown: inSight,
      Home: -this.total, End: this.total,
    };
    if (event.key in steps) {
      const before = this.active;
      this.activate(this.active + steps[event.key]);
      if (event.shiftKey) this.markRange(before, this.active, true);
    } else if (event.key === "Enter") this.onOpen(this.active);
    else if (event.key === " ") this.toggle(this.active);
    else return;
    event.preventDefault();
  }

  toggle(position) {
    const row = this.rowAt(position);
    if (row) mark([row], !isMarked(row.id));
  }

  markRange(first, last, isOn) {
    const rows = [];
    for (let position = Math.min(first, last); position <= Math.max(first, last); position += 1) {
      const row = this.rowAt(position);
      if (row) rows.push(row);
    }
    mark(rows, isOn);
  }

  clicked(event) {
    const cell = event.target.closest(".cell");
    if (!cell) return;
    const position = Number(cell.dataset.position);
    const before = this.active;
    this.active = position;
    this.paintActive();
    if (event.shiftKey) this.markRange(before, position, true);
    else if (event.target.closest(".tick") || event.ctrlKey || event.metaKey) this.toggle(position);
    else this.onOpen(position);
  }
}

export function shortName(source) {
  return source.split("/").pop() || source;
}

const SIDES = [96, 128, 160, 224, 320];

// An image that holds the thumbnails of some samples, loaded.
export function loadSprite(ids, tile, signal = null, isPlain = false) {
  const wanted = tile * Math.min(2, window.devicePixelRatio || 1);
  const side = SIDES.find((one) => one >= wanted) ?? 320;
  const url = address("thumbs", { ids: ids.join(","), side, v: version(), plain: isPlain ? 1 : "" });
  return new Promise((resolve, reject) => {
    const image = new Image();
    const stop = () => { image.src = ""; reject(new DOMException("", "AbortError")); };
    signal?.addEventListener("abort", stop, { once: true });
    image.onload = () => { signal?.removeEventListener("abort", stop); resolve(url); };
    image.onerror = () => { signal?.removeEventListener("abort", stop); reject(new Error("The thumbnails cannot be read: look at the samples one by one.")); };
    image.src = url;
  });
}

export function showThumb(element, sprite, position, count) {
  const columns = Math.min(count, state.about.sprite_columns);
  const rows = Math.ceil(count / state.about.sprite_columns);
  const column = position % state.about.sprite_columns;
  const row = Math.floor(position / state.about.sprite_columns);
  element.style.backgroundImage = `url("${sprite}")`;
  element.style.backgroundSize = `${columns * 100}% ${rows * 100}%`;
  element.style.backgroundPosition = `${columns > 1 ? (column / (columns - 1)) * 100 : 0}% ${rows > 1 ? (row / (rows - 1)) * 100 : 0}%`;
}

export { PAGE };
