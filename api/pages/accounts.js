// Accounts by id, with what they hold, and what has left the bank less what has entered it.

import { get } from "./api.js";
import { h, money, show, table, when } from "./dom.js";

const SIZE = 50;

export function accounts(query, _, { digits }) {
  const { id = "", from = "" } = query;
  const form = h("form", { class: "filters", role: "search", "aria-label": "Accounts",
    onsubmit: (event) => {
      event.preventDefault();
      location.hash = address({ id: new FormData(form).get("id") });
    } },
  h("label", null, "Id begins with",
    h("input", { name: "id", value: id, autocomplete: "off", spellcheck: "false", maxlength: 64 })),
  h("button", { class: "primary" }, "Show"), h("a", { href: "#/accounts" }, "All"));
  const list = h("section", { class: "sheet", "aria-label": "Accounts that match" });
  const world = h("section", { class: "sheet", "aria-label": "The world" });
  return {
    title: "Accounts",
    nodes: [form, list, world],
    async refresh() {
      const [page, { balances_minor }] = await Promise.all([
        get("/accounts", { id, from, limit: SIZE }), get("/world")]);
      show(list, ...listed(page, id, from, digits));
      show(world, h("h2", null, "The world"),
        table("Withdrawals less deposits: with all accounts and transfers under way they sum to 0",
          [["currency"], ["balance", "right"]],
          Object.entries(balances_minor).sort().map(([currency, minor]) =>
            [currency, [currency, money(minor, currency, digits)]])));
    },
  };
}

function listed({ accounts: found, next }, id, from, digits) {
  const rows = found.map((a) => [a.id, [
    h("a", { class: "id", href: `#/sagas?${new URLSearchParams({ account: a.id })}`,
      "aria-label": `Sagas of ${a.id}` }, a.id),
    h("span", { class: `state ${a.status === "frozen" ? "back" : ""}` }, a.status),
    ...[a.balance_minor, a.held_minor, a.available_minor].map((m) => money(m, a.currency, digits)),
    when(a.updated_at)]]);
  return [table(found.length ? `${found.length} accounts by id; each leads to its sagas` : "No account matches",
    [["id"], ["status"], ["balance", "right"], ["held", "right"], ["available", "right"], ["changed"]],
    rows),
  h("p", { class: "actions" },
    from ? h("a", { href: address({ id }) }, "First") : null,
    next ? h("a", { href: address({ id, from: next }) }, "Next") : null)];
}

function address(query) {
  const given = Object.entries(query).filter(([, value]) => value);
  return given.length ? `#/accounts?${new URLSearchParams(given)}` : "#/accounts";
}
