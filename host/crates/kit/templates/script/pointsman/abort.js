// `AbortController`, `AbortSignal` and the errors they make. Leave this file as it is.

export class DOMException extends Error {
  constructor(message = "", name = "Error") {
    super(message);
    this.name = name;
  }
}

export class AbortSignal {
  aborted = false;
  reason = undefined;
  onabort = null;
  #listeners = new Set();

  throwIfAborted() {
    if (this.aborted) throw this.reason;
  }

  addEventListener(type, listener, options) {
    if (type !== "abort" || !listener) return;
    for (const known of this.#listeners) if (known.listener === listener) return;
    this.#listeners.add({ listener, once: options?.once === true });
  }

  removeEventListener(type, listener) {
    for (const known of this.#listeners) if (type === "abort" && known.listener === listener) this.#listeners.delete(known);
  }

  /** Calls back once when it is aborted; gives what takes that back. */
  _onAbort(listener) {
    const known = { listener, once: true };
    this.#listeners.add(known);
    return () => this.#listeners.delete(known);
  }

  _abort(reason = new DOMException("the operation was aborted", "AbortError")) {
    if (this.aborted) return;
    this.aborted = true;
    this.reason = reason;
    const event = { type: "abort", target: this };
    for (const known of [...this.#listeners]) {
      if (known.once) this.#listeners.delete(known);
      if (typeof known.listener === "function") known.listener.call(this, event);
      else known.listener.handleEvent(event);
    }
    this.onabort?.(event);
  }

  static abort(reason) {
    const signal = new AbortSignal();
    signal._abort(reason);
    return signal;
  }

  static timeout(delayMs) {
    const signal = new AbortSignal();
    const reason = new DOMException(`timed out after ${delayMs} ms`, "TimeoutError");
    // Where nobody catches it, the command is tried again.
    reason[Symbol.for("pointsman.unavailable")] = true;
    setTimeout(() => signal._abort(reason), delayMs);
    return signal;
  }

  static any(signals) {
    const any = new AbortSignal();
    for (const signal of signals) {
      if (signal.aborted) any._abort(signal.reason);
      else signal._onAbort(() => any._abort(signal.reason));
    }
    return any;
  }
}

export class AbortController {
  signal = new AbortSignal();

  abort(reason) {
    this.signal._abort(reason);
  }
}
