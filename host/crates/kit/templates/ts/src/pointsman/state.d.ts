// The types of `state.js`. Leave this file as it is.

import type { Json } from "../pointsman.js";

/** Nothing was done. Uncaught, what may pass makes the command unavailable, and the rest rejects it. */
export class StateError extends Error {
  readonly kind: "denied" | "invalid" | "unavailable";
}

interface TimeToLive {
  /** The entry is gone once so many milliseconds are over. */
  ttlMs?: number;
}

/** What the handler remembers from one call to the next. */
export const state: {
  /** The value of `key`, or undefined. */
  get(key: string): any;
  /** Sets `key`. */
  set(key: string, value: Json, options?: TimeToLive): void;
  /** Removes `key`; whether it was there. */
  delete(key: string): boolean;
  /** Sets `key` to `value`, or removes it, if it stands for `expected` now; undefined is nothing. Whether it did. */
  compareAndSet(key: string, expected: Json | undefined, value: Json | undefined, options?: TimeToLive): boolean;
  /**
   * Adds to the whole number that `key` stands for, which is 0 where there is none. The sum. One of more than 53 bits is an
   * error, and what was added is taken back.
   */
  increment(key: string, by?: number, options?: TimeToLive): number;
  /** The entries whose keys begin with `prefix`, in the order of their keys. */
  list(prefix?: string): Generator<[key: string, value: any], void>;
};
