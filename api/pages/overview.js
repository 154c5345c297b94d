// How the bank does: sagas by state, what the last minutes brought, what needs a person.

import { get } from "./api.js";
import { badge, duration, grouped, h, show, table, words } from "./dom.js";

const STATES = ["parked", "running", "compensating", "completed", "compensated"];

export function overview() {
  const tiles = h("ul", { class: "tiles" });
  const pace = h("section", { class: "sheet", "aria-label": "The last 10 minutes" });
  const counts = h("section", { class: "sheet", "aria-label": "Sagas by state and reason" });
  return {
    title: "Overview",
    nodes: [tiles, pace, counts],
    async refresh() {
      const [counted, activity] = await Promise.all([get("/sagas/counts"), get("/sagas/activity")]);
      show(tiles, ...STATES.map((state) => tile(state, counted.counts)));
      show(pace, ...last(activity));
      show(counts, byReason(counted));
    },
  };
}

function tile(state, counts) {
  const found = counts.filter((count) => count.state === state);
  const sum = found.reduce((total, count) => total + count.count, 0);
  return h("li", { class: "tile" },
    h("a", { href: `#/sagas?state=${state}` },
      h("span", { class: "number" }, grouped(sum)),
      h("span", { class: `state ${sum && state === "parked" ? "bad" : ""}` }, state)));
}

function last({ at, minutes: found, sample, p50_ms, p95_ms, p99_ms }) {
  const minutes = everyMinute(at, found);
  const started = minutes.reduce((total, minute) => total + minute.started, 0);
  // The minute that has just begun tells nothing yet.
  const whole = minutes.at(-2);
  const number = (value, unit) => h("li", { class: "tile" },
    h("div", null, h("span", { class: "number" }, value), h("span", { class: "unit" }, unit)));
  return [
    h("h2", null, "The last 10 minutes"),
    h("ul", { class: "tiles" },
      number(grouped(started), "sagas started"),
      number((whole.started / 60).toFixed(1), "a second, in the last whole minute"),
      number(duration(p50_ms), "half took at most"),
      number(duration(p95_ms), "95 of 100 took at most"),
      number(duration(p99_ms), "99 of 100 took at most")),
    h("p", { class: "quiet" },
      `From start to end, of the newest ${grouped(sample)} that have ended.`),
    bars(minutes),
    h("p", { class: "quiet" }, "By the minute of their start, from below: ", badge("completed"), " ",
      badge("compensated"), " ", h("span", { class: "state busy" }, "not ended")),
    h("details", null, h("summary", null, "By the minute, in numbers"),
      table("Sagas by the minute of their start",
        [["minute"], ["started", "right"], ["completed", "right"], ["compensated", "right"]],
        minutes.map((m) => [m.at, [clock(m.at), ...[m.started, m.completed, m.compensated]
          .map(grouped)]]))),
  ];
}

/** The last ten, also those in which nothing was started. */
function everyMinute(at, found) {
  const now = Math.floor(new Date(at) / 60_000) * 60_000;
  const byTime = new Map(found.map((minute) => [Number(new Date(minute.at)), minute]));
  return Array.from({ length: 10 }, (_, i) => now - (9 - i) * 60_000).map((start) =>
    byTime.get(start)
      ?? { at: new Date(start).toISOString(), started: 0, completed: 0, compensated: 0 });
}

const clock = (text) => new Date(text).toLocaleTimeString(undefined, { timeStyle: "short" });

function bars(minutes) {
  const most = Math.max(1, ...minutes.map((minute) => minute.started));
  const scale = 80 / most;
  const drawn = minutes.map((minute, i) => {
    const x = 60 + i * 64;
    const rect = (name, y, count) =>
      h("rect", { class: `bar ${name}`, x, width: 44, y: 95 - (y + count) * scale, height: count * scale });
    const open = minute.started - minute.completed - minute.compensated;
    return h("g", { "data-key": minute.at },
      h("title", null, `${clock(minute.at)}: ${minute.started} started`),
      rect("ended", 0, minute.completed), rect("undone", minute.completed, minute.compensated),
      rect("", minute.completed + minute.compensated, open),
      h("text", { x: x + 22, y: 112, "text-anchor": "middle" }, clock(minute.at)));
  });
  return h("svg", { role: "img", viewBox: "0 0 700 118", width: 700,
    "aria-label": `Sagas started by the minute, at most ${grouped(most)}: completed, compensated and open` },
  h("text", { x: 0, y: 22 }, grouped(most)), h("text", { x: 0, y: 95 }, "0"), drawn);
}

function byReason({ at, counts }) {
  const rows = [...counts].sort((a, b) => STATES.indexOf(a.state) - STATES.indexOf(b.state) || b.count - a.count);
  return table(`Counted at ${new Date(at).toLocaleTimeString()}`,
    [["state"], ["definition"], ["reason"], ["sagas", "right"]],
    rows.map(({ state, definition, reason, count }) => {
      const query = new URLSearchParams({ state, definition, ...(reason ? { reason } : {}) });
      return [`${state} ${definition} ${reason}`, [badge(state), definition, words(reason),
        h("a", { href: `#/sagas?${query}`, "aria-label":
          `${count} ${state}, ${definition}${reason ? `, ${words(reason)}` : ""}` }, grouped(count))]];
    }));
}
