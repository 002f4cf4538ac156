// What the handler remembers from one call to the next; `[state]` of its settings grants it. Leave this file as it is.
//
// A handler that does not import this file carries nothing of it.

import * as host from "pointsman:handler/state@0.2.0";

import { payload, text, whole } from "./host.js";

/** Nothing was done. Uncaught, what may pass makes the command unavailable, and the rest rejects it. */
export class StateError extends Error {
  name = "StateError";

  constructor(kind, message) {
    super(message);
    /** "denied", "invalid" or "unavailable". */
    this.kind = kind;
    if (kind === "unavailable") this[Symbol.for("pointsman.unavailable")] = true;
  }
}

function ask(call, ...values) {
  try {
    return call(...values);
  } catch (thrown) {
    const error = payload(thrown);
    if (typeof error?.tag === "string") throw new StateError(error.tag, error.val);
    throw thrown;
  }
}

function written(value) {
  const json = JSON.stringify(value);
  if (json === undefined) throw new TypeError(`a ${typeof value} is not JSON`);
  return json;
}

const read = (json) => (json === undefined || json === null ? undefined : JSON.parse(json));

function ttl(options) {
  const ms = options?.ttlMs;
  if (ms === undefined) return undefined;
  if (typeof ms !== "number" || !(ms > 0 && ms <= Number.MAX_SAFE_INTEGER)) {
    throw new RangeError(`\`ttlMs\` must be a number above 0, not ${ms}`);
  }
  return whole(Math.ceil(ms));
}

/** The value of `key`, or undefined. */
const get = (key) => read(ask(host.get, text(key, "a key")));

/** Sets `key`; with `ttlMs` it is gone once so many milliseconds are over. */
const set = (key, value, options) => ask(host.set, text(key, "a key"), written(value), ttl(options));

/** Removes `key`; whether it was there. */
const remove = (key) => ask(host["delete"] ?? host.delete_, text(key, "a key"));

/** Sets `key` to `value`, or removes it, if it stands for `expected` now; undefined is nothing. Whether it did. */
const compareAndSet = (key, expected, value, options) =>
  ask(
    host.compareAndSet,
    text(key, "a key"),
    expected === undefined ? undefined : written(expected),
    value === undefined ? undefined : written(value),
    ttl(options),
  );

/**
 * Adds to the whole number that `key` stands for, which is 0 where there is none. The sum. One of more than 53 bits is an
 * error, and what was added is taken back.
 */
function increment(key, by = 1, options) {
  if (!Number.isSafeInteger(by)) throw new TypeError(`what is added must be a whole number, not ${by}`);
  const sum = Number(ask(host.increment, text(key, "a key"), whole(by), ttl(options)));
  if (Number.isSafeInteger(sum)) return sum;
  ask(host.increment, key, whole(-by), undefined);
  throw new RangeError(`the sum of \`${key}\` has more than 53 bits: nothing was added`);
}

/** The entries whose keys begin with `prefix`, as `[key, value]`, in the order of their keys. */
function* list(prefix = "") {
  let after;
  for (;;) {
    const entries = ask(host.list, text(prefix, "a prefix"), after, 1_000);
    if (entries.length === 0) return;
    for (const { key, value } of entries) yield [key, read(value)];
    after = entries[entries.length - 1].key;
  }
}

export const state = { get, set, delete: remove, compareAndSet, increment, list };
