// `npm test` runs this in Node.js; `pointsman test .` runs `cases/` in the sandbox.

import assert from "node:assert/strict";
import { afterEach, test } from "node:test";

import { greet } from "../src/handler.js";
import { Unavailable } from "../src/pointsman.js";

afterEach(() => delete globalThis.pointsmanConfig);

test("greets by name", () => {
  assert.deepEqual(greet({ attributes: { name: "Ada" } }), { greeting: "hello Ada" });
});

test("is unavailable while the desk is closed", () => {
  globalThis.pointsmanConfig = { closed: "true" };
  assert.throws(() => greet({ attributes: { name: "Ada" } }), Unavailable);
});
