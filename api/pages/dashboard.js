// Which page is shown, and when it is asked for anew: every 2 seconds, more rarely when answers take
// long or news are pushed, and not at all when nobody looks.

import { accounts } from "./accounts.js";
import { Refused, get } from "./api.js";
import { h, show } from "./dom.js";
import { overview } from "./overview.js";
import { saga } from "./saga.js";
import { sagas } from "./sagas.js";

const EVERY_MS = 2_000;
const AWAY_MS = 8_000;
const TIMES = 10;
const PUSHED_MS = 30_000;

const main = document.getElementById("main");
const connection = document.getElementById("connection");
const live = document.getElementById("live");
let current = null;
let timer = 0;
let paused = false;

/** A page is a function of (query, id, context) that gives {title, nodes, refresh}: the nodes stay
 *  as long as the page is shown, `refresh` asks the API and updates them. One that news are pushed to
 *  has `pushed`, whether they are at the moment, and `leave`, which ends it until the next refresh. */
function pageOf(hash) {
  const [path, text] = hash.replace(/^#/, "").split("?");
  const query = Object.fromEntries(new URLSearchParams(text ?? ""));
  const [, name, id] = path.split("/");
  if (name === "sagas" && id) return [saga, query, decodeURIComponent(id), "#/sagas"];
  if (name === "sagas") return [sagas, query, null, "#/sagas"];
  if (name === "accounts") return [accounts, query, null, "#/accounts"];
  return [overview, query, null, "#/"];
}

function open() {
  if (location.hash === "#main") return;
  current?.leave?.();
  const [make, query, id, section] = pageOf(location.hash);
  current = make(query, id, { digits, refresh, say });
  document.title = `${current.title} – Makegood`;
  const heading = h("h1", { tabindex: "-1" }, current.title);
  main.replaceChildren(heading, ...current.nodes);
  for (const link of document.querySelectorAll("nav a")) {
    if (link.getAttribute("href") === section) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  heading.focus({ preventScroll: true });
  scrollTo(0, 0);
  refresh();
}

async function refresh() {
  clearTimeout(timer);
  const page = current;
  const began = performance.now();
  let pause;
  try {
    await page.refresh();
    pause = Math.max(EVERY_MS, TIMES * (performance.now() - began));
    if (page === current) say("", connection);
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    pause = AWAY_MS;
    if (page === current) say(error.message, connection);
  }
  if (page !== current) return;
  clearTimeout(timer);
  if (!paused && !document.hidden) {
    timer = setTimeout(refresh, page.pushed?.() ? Math.max(PUSHED_MS, pause) : pause);
  } else page.leave?.();
}

function rest() {
  clearTimeout(timer);
  current.leave?.();
}

function say(text, place = document.getElementById("news")) {
  if (place.textContent !== text) show(place, text);
}

live.addEventListener("click", () => {
  paused = !paused;
  live.textContent = paused ? "Resume updates" : "Pause updates";
  if (paused) rest();
  else refresh();
});
document.addEventListener("visibilitychange", () => {
  if (document.hidden) rest();
  else if (!paused) refresh();
});
addEventListener("hashchange", open);

// ISO 4217 code -> digits after the point.
const digits = await get("/dashboard/currencies.json").catch(() => ({}));
open();
