// The types of `pointsman.js`. Leave this file as it is.

/** A value that JSON can hold. */
export type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json | undefined };

/** One command on its way to this handler. */
export interface Command {
  /** A UUID, the same for every handler of the command. */
  readonly id: string;
  /** The command as it was sent: one JSON object. */
  readonly attributes: { readonly [name: string]: Json | undefined };
  /** Which try this is: 1 on the first. */
  readonly attempt: number;
  /** Stable across retries: the idempotency key of side effects. */
  readonly deliveryId: string;
  /** The caller's W3C trace context, where it sent one. */
  readonly traceparent?: string;
}

/** The command is wrong for this handler: it will not be tried again. */
export class Rejected extends Error {}

/**
 * It cannot be done now: it will be tried again, `retryAfterMs` from now at the earliest. Fractions are rounded
 * up; what is not a number from 0 to `Number.MAX_SAFE_INTEGER` throws a `TypeError` or `RangeError`.
 */
export class Unavailable extends Error {
  constructor(message: string, options?: { retryAfterMs?: number });
  readonly retryAfterMs?: number;
}

/** Log lines, one function a level. */
export const log: Record<"trace" | "debug" | "info" | "warn" | "error", (message: unknown) => void>;

declare global {
  /** Writes log lines, too. */
  var console: Record<"trace" | "debug" | "log" | "info" | "warn" | "error", (...parts: unknown[]) => void>;
}

/** The value of `key` in this handler's configuration, or undefined. */
export function config(key: string): string | undefined;

/** The wall clock in milliseconds since 1970. */
export function nowMs(): number;

/**
 * Waits that many milliseconds, from 0 to `Number.MAX_SAFE_INTEGER`; throws a `RangeError` otherwise.
 * It costs no CPU time and counts towards the timeout.
 */
export function sleepMs(durationMs: number): void;

/** `count` random bytes, a whole number from 0 to 65,536; throws a `RangeError` otherwise. */
export function randomBytes(count: number): Uint8Array;

/** The types that an attribute may be asked for, by the name that `field` takes. */
interface Types {
  string: string;
  number: number;
  boolean: boolean;
  array: readonly Json[];
  object: { readonly [key: string]: Json | undefined };
}

/** One attribute of a command. Rejects it where the attribute is missing or of another type. */
export function field<Type extends keyof Types>(command: Command, name: string, type: Type): Types[Type];

/** Makes a function from a command to an answer what the component exports. It may be `async`. */
export function handler(handle: (command: Command) => Json | void | Promise<Json | void>): { handle(command: unknown): string | undefined };
