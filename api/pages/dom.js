// Makes and updates elements. Everything that is shown is set as text: nothing is ever parsed.

const SVG = "http://www.w3.org/2000/svg";
const DRAWN = new Set(["svg", "g", "rect", "path", "text", "title"]);

/** An element; of `attributes` null and false are left out. Children: nodes, texts or null. */
export function h(name, attributes, ...children) {
  const made = DRAWN.has(name)
    ? document.createElementNS(SVG, name)
    : document.createElement(name);
  for (const [key, value] of Object.entries(attributes ?? {})) {
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (value !== null && value !== undefined && value !== false) {
      made.setAttribute(key, value === true ? "" : String(value));
    }
  }
  made.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return made;
}

/** Make `place` hold `wanted`, keeping the elements that are there, by their `data-key` if they
 *  have one: focus, selection and what was opened stay. `wanted` must have no listeners: an element
 *  that is kept keeps its own. */
export function show(place, ...wanted) {
  const known = new Set(Array.from(place.childNodes, key));
  let at = place.firstChild;
  for (const node of wanted.flat()) {
    if (key(node) !== undefined && known.has(key(node))) {
      while (at && key(at) !== key(node)) at = drop(at);
    }
    if (at && at.nodeName === node.nodeName && key(at) === key(node)) {
      patch(at, node);
      at = at.nextSibling;
    } else place.insertBefore(node instanceof Node ? node : document.createTextNode(node), at);
  }
  while (at) at = drop(at);
}

function drop(node) {
  const next = node.nextSibling;
  node.remove();
  return next;
}

function patch(old, wanted) {
  if (old.nodeType === Node.TEXT_NODE) {
    if (old.data !== wanted.data) old.data = wanted.data;
    return;
  }
  for (const { name } of [...old.attributes]) {
    if (!wanted.hasAttribute(name) && name !== "open") old.removeAttribute(name);
  }
  for (const { name, value } of wanted.attributes) {
    if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  }
  show(old, ...wanted.childNodes);
}

const key = (node) => node.dataset?.key;

/** A table; `columns`: [title, class]; `rows`: [key, cells]. */
export function table(caption, columns, rows) {
  const cell = (content, i) => h("td", { class: columns[i][1] }, content);
  return h(
    "table",
    null,
    h("caption", null, caption),
    h("thead", null, h("tr", null, columns.map(([t, c]) => h("th", { scope: "col", class: c }, t)))),
    h("tbody", null, rows.map(([k, cells]) => h("tr", { "data-key": k }, cells.map(cell)))),
  );
}

const TONES = {
  completed: "good", succeeded: "good",
  running: "busy", requested: "busy",
  compensating: "back", undoing: "back", undone: "back", compensated: "back",
  parked: "bad", refused: "bad", timed_out: "bad", undo_failed: "bad",
};
export const tone = (state) => TONES[state] ?? "";
export const badge = (state) => h("span", { class: `state ${tone(state)}` }, words(state));
export const words = (name) => name.replaceAll("_", " ");

export const sagaLink = (id) => h("a", { class: "id", href: `#/sagas/${encodeURIComponent(id)}` }, id);

export function when(text) {
  if (!text) return "";
  const shown = new Date(text).toLocaleString(undefined, { dateStyle: "short", timeStyle: "medium" });
  return h("time", { datetime: text, title: text }, shown);
}

/** Digits by threes, of a whole number or BigInt. */
export const grouped = (number) => String(number).replace(/\B(?=(\d{3})+$)/g, ",");

/** Minor units as people write them, e.g. 1,234.50 EUR; exact, for it is never a float. */
export function money(minor, currency, digits) {
  if (minor === null || minor === undefined) return "";
  if (typeof minor === "number" && !Number.isSafeInteger(minor)) {
    return `about ${minor.toPrecision(15)} minor units ${currency}`;
  }
  const places = digits[currency];
  if (places === undefined) return `${grouped(minor)} minor units ${currency}`;
  const text = String(minor).replace("-", "").padStart(places + 1, "0");
  const whole = grouped(text.slice(0, text.length - places));
  const sign = minor < 0 ? "−" : "";
  return `${sign}${whole}${places ? `.${text.slice(-places)}` : ""} ${currency}`;
}

export const json = (value, indent) =>
  JSON.stringify(value, (_, v) => (typeof v === "bigint" ? String(v) : v), indent);

/** One of `fields` as people read it. An amount is in the currency that its name goes with, as
 *  `target_amount_minor` with `target_currency`; of any other it is not known which. */
export function field(name, fields, digits) {
  const value = fields[name];
  if (name.endsWith("_minor") && ["number", "bigint"].includes(typeof value)) {
    const currency = fields[name.replace(/amount_minor$/, "currency")];
    return money(value, typeof currency === "string" ? currency : "", digits);
  }
  if (typeof value !== "string") return json(value);
  return /^\d{4}-\d\d-\d\dT/.test(value) ? when(value) : value;
}

/** The name of a field in words. */
export const titled = (name) => words(name.replace(/_minor$/, ""));

export function duration(ms) {
  if (ms === null || ms === undefined) return "–";
  if (ms < 1000) return `${ms < 10 ? Math.round(ms * 10) / 10 : Math.round(ms)} ms`;
  const s = ms / 1000;
  if (s < 120) return `${s.toFixed(s < 10 ? 2 : 1)} s`;
  const m = s / 60;
  if (m < 120) return `${m.toFixed(1)} min`;
  return m < 2880 ? `${(m / 60).toFixed(1)} h` : `${(m / 1440).toFixed(1)} d`;
}
