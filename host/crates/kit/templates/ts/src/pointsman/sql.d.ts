// The types of `sql.js`. Leave this file as it is.

/** A parameter of a statement. A Date is its text in ISO 8601. */
export type Parameter = null | undefined | boolean | number | bigint | string | Uint8Array | Date;

/**
 * A value in a row: dates and exact numbers are text. A whole number that a number cannot hold is a bigint, or
 * an error on an engine that has none to give: select it as text there.
 */
export type Value = null | boolean | number | bigint | string | Uint8Array;

/** A statement failed. Uncaught, what may pass makes the command unavailable, and the rest rejects it. */
export class SqlError extends Error {
  readonly kind: "denied" | "refused" | "unavailable";
  /** The SQLSTATE of PostgreSQL, such as "23505", or the name of SQLite's code, such as "SQLITE_CONSTRAINT_UNIQUE". */
  readonly code?: string;
}

export interface Connection {
  /** All rows of a query, as objects by the names of the columns. Parameters are `$1`, `$2` and so on. */
  query<Row = { [column: string]: Value }>(statement: string, parameters?: readonly Parameter[]): Row[];
  /** The rows of a query one by one: at most a thousand, or a mebibyte, are in memory at a time. */
  each<Row = { [column: string]: Value }>(statement: string, parameters?: readonly Parameter[]): Generator<Row, void>;
  /** Runs a statement; how many rows it changed. */
  execute(statement: string, parameters?: readonly Parameter[]): number;
  /** Runs `work` in a transaction, which is kept where it returns and undone where it throws. */
  transaction<Result>(work: (connection: Connection) => Result): Result;
}

/** A database by the name that the operator gave it. It connects with the first statement. */
export function sql(database: string): Connection;
