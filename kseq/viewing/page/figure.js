// An image with what is drawn over it: boxes, points, masks.

import { el, svg } from "./dom.js";

// Neighbouring numbers get colours far from each other.
export function colorOf(number) {
  return `hsl(${(number * 137.5 + 205) % 360} 90% 60%)`;
}

// Boxes with the names of their classes, and points, as an SVG in pixels of the image, which is `lines` lines of text high.
export function drawing(height, width, values, lines = 40) {
  const drawn = svg("svg", { viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true", preserveAspectRatio: "none" });
  const size = Math.max(height, width) / lines;
  const names = values.find((value) => value.names && value.kind === "labels") ?? values.find((value) => value.names && Array.isArray(value.numbers));
  for (const value of values) {
    for (const [position, [left, top, right, bottom]] of (value.shapes?.boxes ?? []).entries()) {
      const number = names?.classes?.[position];
      const color = colorOf(number ?? position);
      const box = { x: left, y: top, width: Math.max(0, right - left), height: Math.max(0, bottom - top), stroke: color };
      drawn.append(svg("rect", box));
      if (number !== undefined) {
        drawn.append(svg("text", { x: left, y: Math.max(size, top - size / 4), "font-size": size }, names.names[position]));
      }
    }
    for (const [object, points] of (value.shapes?.points ?? []).entries()) {
      for (const [x, y, isSeen] of points) {
        if (isSeen) drawn.append(svg("circle", { cx: x, cy: y, r: size / 5, stroke: colorOf(object) }));
      }
    }
  }
  return drawn;
}

// What a sample or a row of a batch holds beside its pixels, in words.
export function inWords(value) {
  if (value.text !== undefined) return value.text;
  if (value.names) return value.names.join(", ") || "none";
  if (value.shapes?.boxes) return `${value.shapes.boxes.length + value.shapes.num_left_out} boxes`;
  return JSON.stringify(value.numbers);
}

export function image(url, alt, className = "") {
  return el("img", { src: url, alt, class: className, decoding: "async" });
}
