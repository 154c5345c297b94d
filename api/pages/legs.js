// The legs of steps that are done for each element of a list: whom a payroll pays, when an order
// pays next. Thousands of them, so they are shown some at a time.

import { get } from "./api.js";
import { badge, field, h, sagaLink, show, table, titled, words } from "./dom.js";

const PAGE = 50;
const MOST = 1000;
const STATES = ["pending", "waiting", "requested", "succeeded", "refused", "timed_out", "undoing", "undone", "undo_failed"];

/** `changed` is called when something else is to be shown; `refresh` then has to be called. */
export function legSheets(path, digits, changed) {
  const node = h("div");
  const sheets = new Map();

  function sheetOf(step) {
    const state = h("select", { onchange: changed }, h("option", { value: "" }, "any"),
      STATES.map((one) => h("option", { value: one }, words(one))));
    const list = h("div");
    const more = h("button", { type: "button", onclick: () => {
      made.wanted += PAGE;
      changed();
    } }, "More legs");
    const made = { state, list, more, wanted: PAGE };
    node.append(h("section", { class: "sheet", "aria-label": `Legs of ${step}` },
      h("h2", null, `Legs of ${step}`),
      h("form", { class: "filters", onsubmit: (event) => event.preventDefault() },
        h("label", null, "State", state)),
      list, h("p", { class: "actions" }, more)));
    sheets.set(step, made);
    return made;
  }

  return {
    node,
    async refresh({ steps, params }) {
      for (const { name, legs } of steps.filter((step) => step.legs)) {
        const sheet = sheets.get(name) ?? sheetOf(name);
        const { state, list, more, wanted } = sheet;
        const asked = state.value;
        const limit = Math.min(wanted, MOST);
        const page = await get(`${path}/legs`, { step: name, state: asked, limit });
        // Answers that cross: another one is on its way.
        if (state.value !== asked || sheet.wanted !== wanted) continue;
        more.hidden = page.next === null || limit === MOST;
        show(list, listed(page.legs, legs.count, params, digits));
      }
    },
  };
}

function listed(found, count, params, digits) {
  const fieldsOf = ({ element }) => (element !== null && typeof element === "object" ? element : { element });
  const names = Object.keys(found.length ? fieldsOf(found[0]) : { element: null });
  return table(`${found.length} of ${count} legs`,
    [["leg", "right"], ...names.map((name) => [titled(name), name.endsWith("_minor") ? "right" : null]), ["state"], ["reason"], ["saga"]],
    found.map((one) => [one.leg, [String(one.leg),
      ...names.map((name) => field(name, { ...params, ...fieldsOf(one) }, digits)),
      badge(one.state), words(one.reason), one.saga ? sagaLink(one.saga) : ""]]));
}
