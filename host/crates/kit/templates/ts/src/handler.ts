// Greets by name.

import { type Command, config, field, handler, type Json, log, Unavailable } from "./pointsman.js";

/** Exported for the unit tests in `test/`. */
export function greet(command: Command): Json {
  // A wrong command is rejected and not retried. Any other error counts as rejected, too.
  const name = field(command, "name", "string");
  // A temporary failure is `Unavailable`: the command is retried.
  if (config("closed") === "true") {
    throw new Unavailable("the desk is closed", { retryAfterMs: 30_000 });
  }
  log.info(`greeting ${name}`);
  return { greeting: `${config("greeting") ?? "hello"} ${name}` };
}

export const commandHandler = handler(greet);
