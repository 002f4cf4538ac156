// What the modules beside this one share to call the host. Leave this file as it is.

import { now } from "pointsman:handler/clock@0.2.0";

/** Any value as a text that UTF-8 can carry: half a surrogate pair would be a trap. */
export const toText = (value) => String(value).replace(/[\ud800-\udfff]/gu, "\ufffd");

/** What the host gave as the error of one of its functions. */
export const payload = (thrown) => thrown?.payload ?? thrown;

/** A text that names something: what is none is a mistake, and not the text "undefined". */
export function text(value, what) {
  if (typeof value !== "string") throw new TypeError(`${what} must be a string, not ${value === null ? "null" : typeof value}`);
  return toText(value);
}

let big;

/** Whether the engine hands 64-bit numbers over as bigints; else as numbers, which hold 53 bits. */
export const hasBigInts = () => (big ??= typeof now() === "bigint");

/** A safe integer as the engine hands it over. */
export const whole = (value) => (hasBigInts() ? BigInt(value) : Number(value));
