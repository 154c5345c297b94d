// One saga: how it stands, its steps, all that has happened to it, and an operator's ways back.

import { Refused, get, newKey, parse, post } from "./api.js";
import { badge, duration, field, grouped, h, json, money, sagaLink, show, table, titled, when, words } from "./dom.js";
import { graph } from "./graph.js";
import { legSheets } from "./legs.js";

const PAGE = 200;
const STEPS = 100;
const GATHER_MS = 50;
const ENDED = ["completed", "compensated"];
const ACTIONS = {
  retry: ["Retry", "Asks once more for the step it is parked for, under the same effect id: what was applied is not applied again."],
  compensate: ["Compensate", "Takes the saga back, or replays the compensations that have failed. Refused once what can't be taken back is applied, or may be."],
  cancel: ["Cancel", "Takes the saga back because nobody wants it any more; possible up to its pivot."],
};

export function saga(_, id, { digits, refresh, say }) {
  const path = `/sagas/${encodeURIComponent(id)}`;
  const head = h("div");
  const buttons = Object.entries(ACTIONS).map(([action, [title]]) =>
    h("button", { type: "button", disabled: true, onclick: () => confirm(action) }, `${title} …`));
  const steps = h("section", { class: "sheet", "aria-label": "Steps" });
  const sheets = legSheets(path, digits, () => {
    news = true;
    return refresh();
  });
  const entries = h("tbody");
  const more = h("button", { type: "button", hidden: true, onclick: async () => {
    wanted += PAGE;
    await refresh();
  } }, "More events");
  const line = h("section", { class: "sheet", "aria-label": "Timeline" },
    h("h2", null, "Timeline"),
    h("table", null,
      h("caption", null, "Everything that has happened, the oldest first; times from the start"),
      h("thead", null, h("tr", null, [["time", "right"], ["what"], ["offset", "right"]]
        .map(([t, c]) => h("th", { scope: "col", class: c }, t)))),
      entries),
    h("p", { class: "actions" }, more));
  let wanted = PAGE;
  let shown = 0;
  let next = 0;
  let startedAt = null;
  let news = false;
  let stream = null;
  let refused = false;
  let gathering = 0;

  function add(found) {
    // Answers that cross may tell the same twice: what is shown already is left out.
    const fresh = found.filter((entry) => entry.offset >= next);
    if (!fresh.length) return;
    entries.append(...fresh.map((entry) => told(entry, startedAt)));
    shown += fresh.length;
    next = fresh.at(-1).offset + 1;
    news = true;
  }

  async function follow() {
    while (shown < wanted) {
      const page = await get(`${path}/timeline`, { from: next, limit: PAGE });
      startedAt = page.started_at;
      add(page.entries);
      more.hidden = page.next === null;
      if (page.next === null) return;
    }
  }

  const pushed = () => stream?.readyState === EventSource.OPEN;

  /** From now on news are pushed; where that is refused, they are asked for as before. */
  function listen() {
    stream = new EventSource(`${path}/events?from=${next}`);
    stream.onmessage = ({ data }) => {
      add([parse(data)]);
      soon();
    };
    stream.addEventListener("end", () => {
      leave();
      soon();
    });
    stream.onerror = () => {
      if (stream?.readyState === EventSource.CLOSED) {
        refused = true;
        leave();
      }
      soon();
    };
  }

  function soon() {
    clearTimeout(gathering);
    gathering = setTimeout(refresh, GATHER_MS);
  }

  function leave() {
    clearTimeout(gathering);
    stream?.close();
    stream = null;
  }

  function confirm(action) {
    // Made once: pressing twice, or again after no answer, asks for the same thing.
    ask(path, action, newKey(), refresh, (state) => {
      answered = state;
      say(`${ACTIONS[action][0]} accepted: the saga is ${state}`);
    });
  }

  let last = null;
  let answered = null;

  async function stand() {
    const found = await get(path);
    if (last !== null && last.state !== found.state) {
      // What an action was answered with is not said again: it would wipe the answer away.
      if (found.state !== answered) say(`The saga is ${found.state}`);
      answered = null;
    }
    last = found;
    show(head, facts(found, digits));
    buttons.forEach((button) => { button.disabled = ENDED.includes(found.state); });
    show(steps, ...stepNodes(found.steps));
    await sheets.refresh(found);
    if (!stream && !refused && more.hidden && !ENDED.includes(found.state)) listen();
  }

  return {
    title: `Saga ${id}`,
    nodes: [head, h("p", { class: "actions" }, buttons), steps, sheets.node, line],
    pushed,
    leave,
    async refresh() {
      if (!pushed()) await follow();
      if (last !== null && ENDED.includes(last.state) && !news) return;
      news = false;
      try {
        await stand();
      } catch (error) {
        // What was to be shown is still to be shown.
        news = true;
        throw error;
      }
    },
  };
}

// After the name of a list that was cut off: how many elements it has besides.
const LEFT_OUT = ".left_out";

function facts(found, digits) {
  const { source, target, amount_minor, currency, ...others } = found.params;
  const simple = [source, target, currency].every((value) => typeof value === "string");
  const rows = [
    ["State", h("span", null, badge(found.state), found.reason ? ` ${words(found.reason)}` : "",
      found.step ? ` at ${found.step}` : "")],
    ["Definition", `${found.definition} version ${found.version}`],
    ...(found.parent ? [["Step of", h("span", null, sagaLink(found.parent.id),
      `, as ${found.parent.step}`)]] : []),
    ...(simple ? [["Transfer", `${money(amount_minor, currency, digits)} from ${source} to ${target}`]] : []),
    ...Object.entries(simple ? others : found.params).filter(([name]) => !name.endsWith(LEFT_OUT))
      .map(([name, value]) => [titled(name),
        // Each element has a row of its own.
        Array.isArray(value) && found.steps.some((step) => step.legs)
          ? `${grouped(value.length + (found.params[name + LEFT_OUT] ?? 0))}, listed below`
          : field(name, found.params, digits)]),
    ["Started", when(found.started_at)],
    ["Ended", found.finished_at ? h("span", null, when(found.finished_at),
      ` after ${duration(new Date(found.finished_at) - new Date(found.started_at))}`)
      : h("span", null, "not yet; deadline ", when(found.deadline_at))],
    ["Known up to", found.as_of],
  ];
  return h("dl", null, rows.flatMap(([name, value]) => [h("dt", null, name), h("dd", null, value)]));
}

function stepNodes(steps) {
  const trouble = ["refused", "timed_out", "undo_failed", "requested", "undoing"];
  const shown = steps.length <= STEPS ? steps
    : steps.filter((step) => trouble.includes(step.state)).slice(0, STEPS);
  const drawn = graph(steps);
  return [
    h("h2", null, "Steps"),
    ...(drawn ? [drawn] : []),
    table(shown.length === steps.length ? `${steps.length} steps; ◆ is the pivot`
      : `${shown.length} of ${steps.length} steps: those that wait or have failed`,
    [["step"], ["state"], ["attempt", "right"], ["reason"], ["waits until"], ["result"]],
    shown.map((step) => [step.name, [step.name + (step.pivot ? " ◆" : ""), badge(step.state),
      step.attempt || "", words(step.reason), when(step.answer_due_at ?? step.retry_at),
      step.saga ? sagaLink(step.saga) : Object.keys(step.result).length ? json(step.result) : legs(step.legs)]])),
  ];
}

function legs(found) {
  if (!found) return "";
  const others = ["refused", "undone", "under_way", "in_doubt"].filter((name) => found[name]);
  return [`${found.applied} of ${found.count} legs applied`,
    ...others.map((name) => `${found[name]} ${words(name)}`)].join(", ");
}

const KIND = {
  StepSucceeded: "good", SagaCompleted: "good",
  StepRefused: "bad", StepTimedOut: "bad", SagaParked: "bad", RecoveryRefused: "bad",
  CompensationStarted: "back", SagaCompensated: "back",
};

function told(entry, startedAt) {
  const after = new Date(entry.at) - new Date(startedAt);
  return h("tr", { "data-key": entry.offset },
    h("td", { class: "right" }, h("time", { datetime: entry.at, title: entry.at },
      `${after < 0 ? "−" : "+"}${(Math.abs(after) / 1000).toFixed(3)} s`)),
    h("td", null,
      h("details", null,
        h("summary", null, h("span", { class: `state ${KIND[entry.type] ?? ""}` }, entry.type), ` ${entry.text}`),
        h("pre", null, json(entry.event, 2)))),
    h("td", { class: "quiet right" }, String(entry.offset)));
}

function ask(path, action, key, closed, done) {
  const [title, meaning] = ACTIONS[action];
  const problem = h("p", { class: "problem", role: "alert" });
  const send = h("button", { class: "primary" }, `${title} it`);
  const dialog = h("dialog", { "aria-labelledby": "asking" },
    h("form", { onsubmit: async (event) => {
      event.preventDefault();
      const { who, why } = Object.fromEntries(new FormData(event.target));
      send.disabled = true;
      show(problem, "");
      try {
        const { state } = await post(`${path}/${action}`, key, { who, why });
        sessionStorage.setItem("who", who);
        dialog.close();
        done(state);
      } catch (error) {
        if (!(error instanceof Refused)) throw error;
        show(problem, error.message);
        // Another reason or name is another request.
        if (error.status >= 400 && error.status < 500) key = newKey();
      } finally {
        send.disabled = false;
      }
    } },
    h("h2", { id: "asking" }, `${title} this saga?`),
    h("p", null, meaning),
    h("label", null, "Who asks", h("input", { name: "who", required: true, maxlength: 100,
      value: sessionStorage.getItem("who") ?? "", autocomplete: "off" })),
    h("label", null, "Why, e.g. a ticket; kept in the journal for good",
      h("textarea", { name: "why", required: true, maxlength: 500, rows: 2 })),
    problem,
    h("div", { class: "actions" },
      h("button", { type: "button", onclick: () => dialog.close() }, "Leave it"), send)));
  dialog.addEventListener("close", () => {
    dialog.remove();
    closed();
  });
  document.body.append(dialog);
  dialog.showModal();
}
