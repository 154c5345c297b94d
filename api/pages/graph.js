// A saga's steps as a picture: from left to right, each behind those it waits for.

import { h, tone, words } from "./dom.js";

const MOST = 60;
const WIDTH = 150;
const HEIGHT = 46;
const GAP_X = 56;
const GAP_Y = 18;

/** null when there are too many steps to be seen. */
export function graph(steps) {
  if (steps.length > MOST) return null;
  const places = new Map();
  const filled = [];
  for (const step of steps) {
    const column = Math.max(-1, ...step.after.map((name) => places.get(name)?.column ?? -1)) + 1;
    filled[column] = (filled[column] ?? 0) + 1;
    places.set(step.name, { column, row: filled[column] - 1 });
  }
  const most = Math.max(...filled);
  for (const place of places.values()) {
    // Columns with fewer steps stand in the middle.
    const free = (most - filled[place.column]) / 2;
    place.x = 2 + place.column * (WIDTH + GAP_X);
    place.y = 2 + (place.row + free) * (HEIGHT + GAP_Y);
  }
  const width = filled.length * (WIDTH + GAP_X) - GAP_X + 4;
  const height = most * (HEIGHT + GAP_Y) - GAP_Y + 4;
  const label = steps.map((step) => `${step.name} ${words(step.state)}`).join(", ");
  return h("svg", { role: "img", "aria-label": `Steps: ${label}`, width, height,
    viewBox: `0 0 ${width} ${height}` },
  steps.flatMap((step) => step.after.map((name) => edge(places.get(name), places.get(step.name)))),
  steps.map((step) => node(step, places.get(step.name))));
}

function edge(from, to) {
  const [x1, y1, x2, y2] = [from.x + WIDTH, from.y + HEIGHT / 2, to.x - 6, to.y + HEIGHT / 2];
  const bend = (x2 - x1) / 2;
  return h("g", null,
    h("path", { d: `M${x1} ${y1} C${x1 + bend} ${y1} ${x2 - bend} ${y2} ${x2} ${y2}` }),
    h("path", { class: "tip", d: `M${x2 + 6} ${y2} l-8 -4 v8 z` }));
}

function node(step, { x, y }) {
  const attempts = step.attempt > 1 ? `, attempt ${step.attempt}` : "";
  return h("g", { class: `node ${tone(step.state)}` },
    h("title", null, step.name),
    h("rect", { x, y, width: WIDTH, height: HEIGHT, rx: 7 }),
    h("text", { class: "name", x: x + 10, y: y + 19 }, cut(step.name) + (step.pivot ? " ◆" : "")),
    h("text", { x: x + 10, y: y + 36 }, words(step.state) + attempts));
}

const cut = (name) => (name.length > 17 ? `${name.slice(0, 16)}…` : name);
