// Greets by name.

import { type Command, config, field, handler, type Json, log, Unavailable } from "./pointsman.js";

/** Has a name of its own for `test/`. */
export function greet(command: Command): Json {
  // A wrong command is rejected, for good: so is any other error.
  const name = field(command, "name", "string");
  // What may pass is `Unavailable`: the command is tried again.
  if (config("closed") === "true") {
    throw new Unavailable("the desk is closed", { retryAfterMs: 30_000 });
  }
  log.info(`greeting ${name}`);
  return { greeting: `${config("greeting") ?? "hello"} ${name}` };
}

export const commandHandler = handler(greet);
