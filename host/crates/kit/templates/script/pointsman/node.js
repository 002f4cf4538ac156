// Stands for the host in the unit tests of a handler: `node --import ./src/pointsman/node.js --test`.
// Leave this file as it is. The handler's configuration is `globalThis.pointsmanConfig`.

import { register } from "node:module";

/** A module whose functions are those of `globalThis.pointsmanHost`. */
function standIn(name, functions) {
  return `
    function ask(name, values) {
      const found = globalThis.pointsmanHost?.${name}?.[name];
      if (!found) throw { tag: "denied", val: "a unit test has no ${name}: set globalThis.pointsmanHost.${name}." + name };
      return found(...values);
    }
    ${functions.map((name) => `export const ${name} = (...values) => ask("${name}", values);`).join("\n")}`;
}

const contract = {
  "pointsman:handler/clock@0.2.0": `
    export const now = () => Date.now();
    export const sleep = (ms) => void Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);`,
  "pointsman:handler/config@0.2.0": `
    export const get = (key) => globalThis.pointsmanConfig?.[key];`,
  "pointsman:handler/log@0.2.0": `
    export const log = (level, message) => console.error(level + ": " + message);`,
  "pointsman:handler/random@0.2.0": `
    export const number = () => crypto.getRandomValues(new BigUint64Array(1))[0];
    export const bytes = (count) => crypto.getRandomValues(new Uint8Array(count));`,
  // A handler's own tests replace these: `globalThis.pointsmanHost = { sql: { query() { … } } }`.
  "pointsman:handler/sql@0.2.0": standIn("sql", ["begin", "commit", "execute", "next", "query", "rollback"]),
  "pointsman:handler/state@0.2.0": standIn("state", ["compareAndSet", "get", "increment", "list", "set"]) + `
    const remove = (...values) => ask("delete", values);
    export { remove as delete };`,
  "pointsman:handler/emit@0.2.0": standIn("emit", ["emit"]),
};

const hooks = `
  const contract = ${JSON.stringify(contract)};
  export const resolve = (specifier, context, next) =>
    contract[specifier] === undefined
      ? next(specifier, context)
      : { shortCircuit: true, url: "data:text/javascript," + encodeURIComponent(contract[specifier]) };`;

register(`data:text/javascript,${encodeURIComponent(hooks)}`);
