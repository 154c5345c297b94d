// Asks the API. Whole numbers beyond 2**53 become BigInt: an amount is never rounded.

/** The API refused; the message is for people. `status` 0: it did not answer. */
export class Refused extends Error {
  constructor(status, { detail = `HTTP ${status}`, remedy = "" }) {
    super(`${detail.replace(/\.$/, "")}. ${remedy}`);
    this.status = status;
  }
}

const exact = (_, value, context) =>
  typeof value === "number" && Number.isInteger(value) && !Number.isSafeInteger(value)
    && /^-?\d+$/.test(context?.source ?? "")
    ? BigInt(context.source)
    : value;

export const parse = (text) => JSON.parse(text, exact);

async function ask(path, options) {
  let response;
  let text;
  try {
    response = await fetch(path, { ...options, credentials: "same-origin", redirect: "error" });
    text = await response.text();
  } catch {
    throw new Refused(0, { detail: "The API does not answer" });
  }
  let content = {};
  try {
    content = parse(text);
  } catch {
    if (response.ok) throw new Refused(response.status, { detail: "The answer is no JSON" });
  }
  if (!response.ok) throw new Refused(response.status, content);
  return content;
}

/** `query`: values that are empty or null are left out. */
export function get(path, query = {}) {
  const given = Object.entries(query).filter(([, value]) => value !== "" && value != null);
  const text = new URLSearchParams(given).toString();
  return ask(text ? `${path}?${text}` : path, { signal: AbortSignal.timeout(15_000) });
}

/** `key` names the request: sent twice it is done once. */
export const post = (path, key, body) =>
  ask(path, {
    method: "POST",
    headers: { "Content-Type": "application/json", "Idempotency-Key": key },
    body: JSON.stringify(body),
    signal: AbortSignal.timeout(30_000),
  });

/** 128 random bits; `crypto.randomUUID` is missing where a page comes over plain HTTP. */
export const newKey = () =>
  Array.from(crypto.getRandomValues(new Uint8Array(16)), (b) => b.toString(16).padStart(2, "0"))
    .join("");
