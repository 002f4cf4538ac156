// Creates a policy: inserts it, and counts it.

import { type Command, field, handler, log } from "./pointsman.js";
import { sql } from "./pointsman/sql.js";
import { state } from "./pointsman/state.js";

const main = sql("main");

export const commandHandler = handler((command: Command) => {
  const customer = field(command, "customer", "string");
  const product = field(command, "productType", "string");
  log.info("Creating policy...");
  main.execute("CREATE TABLE IF NOT EXISTS policy (id text PRIMARY KEY, customer text NOT NULL, product text NOT NULL, terms text)");
  // The delivery id stays the same when the command is tried again: the second attempt inserts nothing.
  const inserted = main.execute("INSERT INTO policy VALUES ($1, $2, $3, NULL) ON CONFLICT (id) DO NOTHING", [
    command.deliveryId,
    customer,
    product,
  ]);
  const created = inserted === 1 ? state.increment("created") : (state.get("created") ?? 0);
  log.info("Policy created");
  return { policy: command.deliveryId, created };
});
