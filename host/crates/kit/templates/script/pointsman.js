// What a handler needs of Pointsman. Leave this file as it is.
//
// `handler` makes every error that a handler throws, or a value that is no
// error, a failure: nothing that JavaScript can throw becomes a trap. Arguments
// are checked here, since the contract's functions trap on what they do not take.

import { now, sleep } from "pointsman:handler/clock@0.2.0";
import { get } from "pointsman:handler/config@0.2.0";
import { log as writeLine } from "pointsman:handler/log@0.2.0";
import { bytes } from "pointsman:handler/random@0.2.0";

/** Any value as a text that UTF-8 can carry: half a surrogate pair would be a trap. */
const toText = (value) => String(value).replace(/[\ud800-\udfff]/gu, "\ufffd");

/** `value` where it is a number from 0 to `max`; `what` says in the error what it is. */
function amount(value, what, max) {
  if (typeof value !== "number") throw new TypeError(`${what} must be a number, not a ${typeof value}`);
  if (!(value >= 0 && value <= max)) throw new RangeError(`${what} must be from 0 to ${max}, not ${value}`);
  return value;
}

/** When to try again, in whole milliseconds and never too early; undefined where the host decides. */
function wait(retryAfterMs) {
  if (retryAfterMs === undefined || retryAfterMs === null) return undefined;
  return Math.ceil(amount(retryAfterMs, "`retryAfterMs`", Number.MAX_SAFE_INTEGER));
}

const write = (level, message) => writeLine(level, toText(message));

/** The command is wrong for this handler: it will not be tried again. */
export class Rejected extends Error {
  name = "Rejected";
}

/** It cannot be done now: it will be tried again, `retryAfterMs` from now at the earliest. */
export class Unavailable extends Error {
  name = "Unavailable";

  constructor(message, { retryAfterMs } = {}) {
    super(message);
    this.retryAfterMs = wait(retryAfterMs);
  }
}

/** Log lines, one function a level. */
export const log = {
  trace: (message) => write("trace", message),
  debug: (message) => write("debug", message),
  info: (message) => write("info", message),
  warn: (message) => write("warn", message),
  error: (message) => write("error", message),
};

// The engine has no console: what packages print becomes log lines.
const print = (level) => (...parts) => write(level, parts.map(String).join(" "));
globalThis.console ??= {
  trace: print("trace"),
  debug: print("debug"),
  log: print("info"),
  info: print("info"),
  warn: print("warn"),
  error: print("error"),
};

/** The value of `key` in this handler's configuration, or undefined. */
export const config = (key) => get(toText(key)) ?? undefined;

/** The wall clock in milliseconds since 1970. */
export const nowMs = () => Number(now());

/** Waits that many milliseconds. It costs no CPU time and counts towards the timeout. */
export const sleepMs = (durationMs) =>
  sleep(Math.ceil(amount(durationMs, "the duration in milliseconds", Number.MAX_SAFE_INTEGER)));

/** `count` random bytes, at most 65,536 at once. */
export function randomBytes(count) {
  if (!Number.isInteger(amount(count, "the count of bytes", 65_536))) {
    throw new RangeError(`the count of bytes must be a whole number, not ${count}`);
  }
  return Uint8Array.from(bytes(count));
}

/** What `field` can ask for. */
const TYPES = ["string", "number", "boolean", "array", "object"];

/** One attribute of a command. Rejects it where the attribute is missing or of another type. */
export function field(command, name, type) {
  if (!TYPES.includes(type)) throw new TypeError(`\`field\` knows no type \`${toText(type)}\`, only ${TYPES.join(", ")}`);
  const value = Object.hasOwn(command.attributes, name) ? command.attributes[name] : undefined;
  if (value === undefined) throw new Rejected(`the command has no \`${name}\``);
  const found = value === null ? "null" : Array.isArray(value) ? "array" : typeof value;
  if (found !== type) throw new Rejected(`\`${name}\` of the command is of type ${found}, not ${type}`);
  return value;
}

/** Makes a function from a command to an answer what the component exports. */
export function handler(handle) {
  if (typeof handle !== "function") throw new TypeError(`\`handler\` takes a function, not ${typeof handle}`);
  return {
    handle(command) {
      try {
        let answer = handle({ ...command, attributes: JSON.parse(command.attributes) });
        if (typeof answer?.then === "function") answer = loop().settled(answer, unlookedAt);
        return answer === undefined || answer === null ? undefined : text(answer);
      } catch (error) {
        throw failure(error);
      } finally {
        loop()?.forget();
      }
    },
  };
}

/** What runs promises and timers; `pointsman build` adds it to a handler that has any. */
const loop = () => globalThis[Symbol.for("pointsman.loop")];

/** Says that a promise was rejected and that nobody awaited it. */
function unlookedAt(reason) {
  write("error", `a promise was rejected, and nobody awaited it: ${toText(reason)}`);
  if (reason?.stack) write("error", String(reason.stack).trimEnd());
}

/** The answer as JSON; what JSON cannot hold (a function, a symbol, NaN) is an error, not nothing. */
function text(answer) {
  const json = JSON.stringify(answer, (key, value) => {
    if (typeof value === "number" && !Number.isFinite(value)) {
      throw new Rejected(`the answer holds ${value}${key && ` in \`${key}\``}, which is not JSON`);
    }
    return value;
  });
  if (json === undefined) throw new Rejected(`the handler answered with a ${typeof answer}, which is not JSON`);
  return json;
}

/** What the contract knows for anything that was thrown. */
function failure(error) {
  try {
    if (error instanceof Unavailable) {
      return { tag: "unavailable", val: { message: toText(error.message), retryAfterMs: waitOf(error) } };
    }
    // A `fetch` that failed, and that the handler did not catch.
    if (error?.[Symbol.for("pointsman.unavailable")] === true) {
      return { tag: "unavailable", val: { message: toText(error.message), retryAfterMs: undefined } };
    }
    if (error instanceof Rejected) return { tag: "rejected", val: toText(error.message) };
    if (error?.stack) write("error", String(error.stack).trimEnd());
    return { tag: "rejected", val: toText(error) };
  } catch {
    return { tag: "rejected", val: "the handler threw a value that cannot be looked at" };
  }
}

/** The wait of an error, which may have been set to anything since it was made. It stays unavailable all the same. */
function waitOf(error) {
  try {
    return wait(error.retryAfterMs);
  } catch (wrong) {
    write("error", wrong.message);
    return undefined;
  }
}
