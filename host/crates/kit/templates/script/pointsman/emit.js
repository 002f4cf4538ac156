// Follow-up commands; `[emit]` of the handler's settings grants them. Leave this file as it is.
//
// A handler that does not import this file carries nothing of it.

import { emit as host } from "pointsman:handler/emit@0.2.0";

import { payload, text, whole } from "./host.js";

/** A command was not taken. Uncaught, it rejects the command that is handled. */
export class EmitError extends Error {
  name = "EmitError";

  constructor(kind, message) {
    super(message);
    /** "denied" or "invalid". */
    this.kind = kind;
  }
}

function delay(ms) {
  if (ms === undefined) return undefined;
  if (typeof ms !== "number" || !(ms >= 0 && ms <= Number.MAX_SAFE_INTEGER)) {
    throw new RangeError(`\`delayMs\` must be a number of 0 or more, not ${ms}`);
  }
  return whole(Math.ceil(ms));
}

/** Emits a command, which enters the queue once the handler has succeeded. Its id. */
export function emit(command, options) {
  const { delayMs, orderingKey, priority } = options ?? {};
  const json = JSON.stringify(command);
  if (json === undefined) throw new TypeError(`a command is an object, not a ${typeof command}`);
  if (priority !== undefined && !(Number.isInteger(priority) && priority >= -(2 ** 31) && priority < 2 ** 31)) {
    throw new RangeError(`\`priority\` must be a whole number of 32 bits, not ${priority}`);
  }
  const how = {
    delayMs: delay(delayMs),
    orderingKey: orderingKey === undefined ? undefined : text(orderingKey, "`orderingKey`"),
    priority,
  };
  try {
    return host(json, how);
  } catch (thrown) {
    const error = payload(thrown);
    if (typeof error?.tag === "string") throw new EmitError(error.tag, error.val);
    throw thrown;
  }
}
