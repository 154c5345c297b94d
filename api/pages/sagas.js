// The list of sagas, newest first, by what is asked for; the address holds the filters.

import { get } from "./api.js";
import { badge, h, money, sagaLink, show, table, when, words } from "./dom.js";

const STATES = ["running", "compensating", "parked", "completed", "compensated"];
const SIZE = 50;

export function sagas(query, _, { digits }) {
  const { before = "", ...given } = query;
  const field = (name, title, hint) => h("label", null, title,
    h("input", { name, value: given[name] ?? "", placeholder: hint, autocomplete: "off",
      spellcheck: "false", maxlength: 100 }));
  const option = (state, title) =>
    h("option", { value: state, selected: (given.state ?? "") === state }, title);
  const form = h("form", { class: "filters", role: "search", "aria-label": "Sagas",
    onsubmit: (event) => {
      event.preventDefault();
      location.hash = address(new FormData(form));
    } },
  h("label", null, "State", h("select", { name: "state" }, option("", "any"), STATES.map((s) => option(s, s)))),
  field("definition", "Definition", "any"), field("reason", "Reason", "any"),
  field("account", "Account", "source or target"), field("id", "Id begins with", "any"),
  h("button", { class: "primary" }, "Show"),
  h("a", { href: "#/sagas" }, "All"));
  const list = h("section", { class: "sheet", "aria-label": "Sagas that match" });
  return {
    title: "Sagas",
    nodes: [form, list],
    async refresh() {
      const page = await get("/sagas", { ...given, before, limit: SIZE });
      show(list, ...listed(page, given, before, digits));
    },
  };
}

function address(fields) {
  const given = [...fields].filter(([, value]) => value !== "");
  return given.length ? `#/sagas?${new URLSearchParams(given)}` : "#/sagas";
}

function listed({ sagas: found, next }, given, before, digits) {
  const rows = found.map((saga) => {
    const { source, target, amount_minor, currency } = saga.params;
    return [saga.id, [sagaLink(saga.id), saga.definition, badge(saga.state), why(saga),
      text(source), text(target),
      typeof currency === "string" ? money(amount_minor, currency, digits) : "",
      when(saga.started_at)]];
  });
  const pages = h("p", { class: "actions" },
    before ? h("a", { href: address(Object.entries(given)) }, "Newest") : null,
    next ? h("a", { href: address(Object.entries({ ...given, before: next })) }, "Older") : null);
  return [table(found.length ? `${found.length} sagas, newest first` : "No saga matches",
    [["id"], ["definition"], ["state"], ["reason"], ["from"], ["to"], ["amount", "right"], ["started"]],
    rows), pages];
}

const why = ({ reason, step }) => (step ? `${words(reason)} (${step})` : words(reason));
const text = (value) => (typeof value === "string" ? value : "");
