// The types of `emit.js`. Leave this file as it is.

import type { Json } from "../pointsman.js";

/** A command was not taken. Uncaught, it rejects the command that is handled. */
export class EmitError extends Error {
  readonly kind: "denied" | "invalid";
}

/** Emits a command, which enters the queue once the handler has succeeded. Its id. */
export function emit(
  command: { readonly [name: string]: Json | undefined },
  options?: {
    /** It runs no sooner than that. */
    delayMs?: number;
    /** Commands of one key run one after the other, handler by handler. */
    orderingKey?: string;
    /** Higher runs first; 0 where nothing is said. */
    priority?: number;
  },
): string;
