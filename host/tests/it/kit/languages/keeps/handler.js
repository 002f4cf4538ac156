import { field, handler } from "./pointsman.js";
import { emit } from "./pointsman/emit.js";
import { sql } from "./pointsman/sql.js";
import { state } from "./pointsman/state.js";

const main = sql("main");

const WAYS = {
  insert: (command) =>
    main.execute("INSERT INTO customer VALUES ($1, $2)", [field(command, "id", "number"), field(command, "name", "string")]),
  customers: () => main.query("SELECT id, name FROM customer ORDER BY id").map(({ id, name }) => `${id} ${name}`),
  transaction: (command) =>
    main.transaction(() => {
      main.execute("INSERT INTO customer VALUES (8, 'kept?')");
      if (command.attributes.fail) throw new Error("no");
      return "kept";
    }),
  many: () => {
    const numbers = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000) SELECT i FROM n";
    let count = 0;
    for (const { i } of main.each(numbers)) count += i > 0 ? 1 : 0;
    return count;
  },
  values: () => {
    const values = [null, true, 7, 2n ** 62n, 0.5, "Zoë", new Uint8Array([0, 255])];
    const row = main.query("SELECT $1 AS a, $2 AS b, $3 AS c, CAST($4 AS text) AS d, $5 AS e, $6 AS f, $7 AS g", values)[0];
    return [row.a, row.b, row.c, String(row.d), row.e, row.f, [...row.g]];
  },
  caught: () => {
    try {
      main.execute("INSERT INTO customer VALUES (7, 'again')");
    } catch (error) {
      return [error.kind, error.code];
    }
  },
  rounded: () => main.query("SELECT 9007199254740993 AS n"),
  twice: () => {
    const numbers = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000) SELECT i FROM n";
    for (const _ of main.each(numbers)) main.query("SELECT 1 AS i");
  },
  unnamed: (command) => state.get(command.attributes.key),
  wrong: () => main.query("SELECT $1", [{}]),
  count: () => state.increment("calls"),
  large: () => {
    state.set("large", Number.MAX_SAFE_INTEGER);
    try {
      state.increment("large", 2);
    } catch (error) {
      return [error.name, state.get("large")];
    }
  },
  state: () => {
    state.set("a", { b: [1, null] });
    state.set("p/1", 1, { ttlMs: 3_600_000 });
    state.set("p/2", 2);
    return [
      state.get("a"),
      state.get("none") ?? null,
      state.compareAndSet("turn", undefined, 1),
      state.compareAndSet("turn", undefined, 2),
      state.compareAndSet("turn", 1, undefined),
      state.delete("a"),
      [...state.list("p/")],
    ];
  },
  emit: () => emit({ do: "nothing" }, { delayMs: 3_600_000, orderingKey: "k", priority: 5 }),
  nothing: () => undefined,
};

export const commandHandler = handler((command) => WAYS[field(command, "do", "string")](command));
