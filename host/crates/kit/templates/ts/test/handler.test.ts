// `npm test` runs this in Node.js; `pointsman test .` runs `cases/` in the sandbox.

import assert from "node:assert/strict";
import { test } from "node:test";

import { greet } from "../src/handler";
import type { Command } from "../src/pointsman.js";

const command: Command = { id: "1", attributes: { name: "Ada" }, attempt: 1, deliveryId: "1.greet" };

test("greets by name", () => {
  assert.deepEqual(greet(command), { greeting: "hello Ada" });
});
