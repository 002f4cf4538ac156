// Databases that the operator granted, under `[sql.<name>]` of the handler's settings. Leave this file as it is.
//
// A handler that does not import this file carries nothing of it.

import { begin, commit, execute, next, query, rollback } from "pointsman:handler/sql@0.2.0";

import { hasBigInts, payload, text, toText, whole } from "./host.js";

/** A statement failed. Uncaught, what may pass makes the command unavailable, and the rest rejects it. */
export class SqlError extends Error {
  name = "SqlError";

  constructor(kind, message, code) {
    super(code === undefined ? message : `${message} (${code})`);
    /** "denied", "refused" or "unavailable". */
    this.kind = kind;
    /** The SQLSTATE of PostgreSQL, such as "23505", or the name of SQLite's code, such as "SQLITE_CONSTRAINT_UNIQUE". */
    this.code = code;
    if (kind === "unavailable") this[Symbol.for("pointsman.unavailable")] = true;
  }
}

/** How many statements were sent: rows that are on their way end with another one. */
let statements = 0;

/** Calls the host; its errors become `SqlError`. */
function ask(call, ...values) {
  try {
    return call(...values);
  } catch (thrown) {
    const error = payload(thrown);
    if (error?.tag === "denied") throw new SqlError("denied", error.val);
    if (error?.tag === "refused" || error?.tag === "unavailable") {
      throw new SqlError(error.tag, error.val.message, error.val.code ?? undefined);
    }
    throw thrown;
  }
}

/** A parameter as the contract has it. */
function parameter(value) {
  switch (typeof value) {
    case "undefined":
      return { tag: "null" };
    case "boolean":
      return { tag: "boolean", val: value };
    case "bigint":
      if (BigInt.asIntN(64, value) !== value) throw new RangeError("a whole number of a parameter has at most 64 bits");
      if (hasBigInts()) return { tag: "integer", val: value };
      return Number.isSafeInteger(Number(value)) ? { tag: "integer", val: Number(value) } : { tag: "text", val: String(value) };
    case "number":
      return Number.isSafeInteger(value) ? { tag: "integer", val: whole(value) } : { tag: "real", val: value };
    case "string":
      return { tag: "text", val: toText(value) };
    default:
      if (value === null) return { tag: "null" };
      if (value instanceof Uint8Array) return { tag: "bytes", val: value };
      if (value instanceof Date) return { tag: "text", val: value.toISOString() };
      throw new TypeError(
        `a parameter is null, a boolean, a number, a bigint, a string, a Uint8Array or a Date, not a ${typeof value}: JSON.stringify makes a string of it`,
      );
  }
}

function parameters(values) {
  if (!Array.isArray(values)) throw new TypeError("the parameters of a statement are an array");
  return values.map(parameter);
}

/** A value of a row. */
function value({ tag, val }, column) {
  if (tag === "null") return null;
  if (tag !== "integer") return tag === "bytes" ? Uint8Array.from(val) : val;
  const number = Number(val);
  if (Number.isSafeInteger(number)) return number;
  if (typeof val === "bigint") return val;
  // The engine has rounded it: a wrong number is worse than none.
  throw new SqlError("refused", `column \`${column}\` holds a whole number of more than 53 bits: select it as text, with CAST(… AS text)`);
}

const row = (columns, values) => Object.fromEntries(columns.map((column, at) => [column, value(values[at], column)]));

class Connection {
  #database;

  constructor(database) {
    this.#database = text(database, "the name of a database");
  }

  /** All rows of a query, as objects by the names of the columns. Parameters are `$1`, `$2` and so on. */
  query(statement, values = []) {
    return [...this.each(statement, values)];
  }

  /** The rows of a query one by one: at most a thousand, or a mebibyte, are in memory at a time. */
  *each(statement, values = []) {
    let page = ask(query, this.#database, text(statement, "a statement"), parameters(values));
    const mine = ++statements;
    for (;;) {
      for (const values of page.rows) yield row(page.columns, values);
      if (!page.more) return;
      if (mine !== statements) throw new SqlError("refused", "another statement ended the rows of this one: `query` reads them all first");
      page = ask(next, this.#database);
    }
  }

  /** Runs a statement; how many rows it changed. */
  execute(statement, values = []) {
    statements += 1;
    return Number(ask(execute, this.#database, text(statement, "a statement"), parameters(values)));
  }

  /** Runs `work` in a transaction, which is kept where it returns and undone where it throws. */
  transaction(work) {
    statements += 1;
    ask(begin, this.#database);
    let done;
    try {
      done = work(this);
      if (typeof done?.then === "function") {
        throw new TypeError("the function of a transaction cannot be async: statements wait by themselves");
      }
    } catch (error) {
      try {
        rollback(this.#database);
      } catch {
        // The reason that counts is that of the work; what is open ends with the call.
      }
      throw error;
    }
    ask(commit, this.#database);
    return done;
  }
}

/** A database by the name that the operator gave it. It connects with the first statement. */
export const sql = (database) => new Connection(database);
