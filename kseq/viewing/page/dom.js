// Elements of the page. Texts become text nodes, never markup: names of classes and sources are whatever somebody wrote.

export function el(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name in PROPERTIES) element[PROPERTIES[name]] = value;
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  append(element, children);
  return element;
}

const PROPERTIES = { value: "value", checked: "checked", selected: "selected", disabled: "disabled", hidden: "hidden" };

function append(element, children) {
  for (const child of children.flat(Infinity)) {
    if (child !== null && child !== undefined && child !== false) element.append(child);
  }
}

const SVG = "http://www.w3.org/2000/svg";

export function svg(tag, attributes = {}, ...children) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, String(value));
  append(element, children);
  return element;
}

export function fill(element, ...children) {
  element.replaceChildren();
  append(element, children);
  return element;
}

export const format = (number) => Number(number).toLocaleString("en");

export function formatBytes(count) {
  for (const unit of ["bytes", "KiB", "MiB", "GiB", "TiB"]) {
    if (count < 1024 || unit === "TiB") return unit === "bytes" ? `${count} bytes` : `${count.toFixed(1)} ${unit}`;
    count /= 1024;
  }
}

export function formatNumber(number) {
  if (number === null || number === undefined) return "none";
  if (Number.isInteger(number)) return format(number);
  return Math.abs(number) >= 100 ? format(Math.round(number)) : String(Number(number.toPrecision(4)));
}

export function plural(count, noun) {
  return `${format(count)} ${noun}${count === 1 ? "" : "s"}`;
}

// A control with its name above it.
export function labelled(name, control, className = "field") {
  // The text of a select would be part of its name.
  if (!control.hasAttribute("aria-label")) control.setAttribute("aria-label", name);
  return el("label", { class: className }, name, control);
}

// Controls that a narrow window hides until they are asked for.
export function foldable(name, ...children) {
  return el("details", { class: "settings", open: !window.matchMedia("(max-width: 45rem)").matches }, el("summary", {}, name), children);
}

export function choices(options, value, attributes = {}) {
  const select = el("select", attributes, Object.entries(options).map(([key, text]) => el("option", { value: key }, text)));
  select.value = value;
  return select;
}

// Said to who listens, and not shown.
export function announce(text) {
  const status = document.getElementById("status");
  status.textContent = text;
}

let hiding = null;

// Shown above the view: a problem stays until the next one, what went well for some seconds.
export function tell(text, isGood = false) {
  const message = document.getElementById("message");
  // Not read out again and again.
  if (!isGood && !message.hidden && message.textContent === text) return;
  clearTimeout(hiding);
  message.hidden = !text;
  message.className = isGood ? "good" : "";
  message.textContent = text || "";
  if (isGood) hiding = setTimeout(() => { message.hidden = true; }, 8000);
}
