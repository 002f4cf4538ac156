// Promises, timers and the loop that runs them. Leave this file as it is.
//
// A handler's export is synchronous and the engine runs no promise jobs during
// a call, so the promises here keep a queue of their own. `pointsman build`
// turns `async` and `await` into code that uses them.

import { now, sleep } from "pointsman:handler/clock@0.2.0";

/** More is no longer one call's work; the loop looks at all of them in each turn. */
const TIMERS_MAX = 10_000;

const jobs = [];
/** Rejected promises that nobody has looked at. */
const unhandled = new Set();
const timers = new Map();
let lastTimer = 0;
/** Set by `fetch.js`: waits for I/O, at most that many milliseconds, or without a limit. False where there is none to wait for. */
let waitForIo = () => false;
let forgetIo = () => {};

export function useIo(wait, forget) {
  waitForIo = wait;
  forgetIo = forget;
}

class Promise {
  #state = "pending";
  #value;
  #reactions = [];

  constructor(executor) {
    if (typeof executor !== "function") throw new TypeError("a promise needs a function");
    let settled = false;
    const once = (settle) => (value) => {
      if (settled) return;
      settled = true;
      settle(value);
    };
    const reject = once((reason) => this.#settle("rejected", reason));
    // A thenable's own settlement comes later, so it gets functions of its own.
    const resolve = once((value) => this.#resolve(value));
    try {
      executor(resolve, reject);
    } catch (error) {
      reject(error);
    }
  }

  #resolve(value) {
    if (value === this) return this.#settle("rejected", new TypeError("a promise cannot resolve to itself"));
    let then;
    try {
      then = value !== null && (typeof value === "object" || typeof value === "function") ? value.then : undefined;
    } catch (error) {
      return this.#settle("rejected", error);
    }
    if (typeof then !== "function") return this.#settle("fulfilled", value);
    jobs.push(() => {
      let settled = false;
      const once = (settle) => (result) => {
        if (settled) return;
        settled = true;
        settle(result);
      };
      const reject = once((reason) => this.#settle("rejected", reason));
      try {
        then.call(value, once((result) => this.#resolve(result)), reject);
      } catch (error) {
        reject(error);
      }
    });
  }

  #settle(state, value) {
    this.#state = state;
    this.#value = value;
    if (state === "rejected" && this.#reactions.length === 0) unhandled.add(this);
    for (const reaction of this.#reactions) jobs.push(reaction);
    this.#reactions = [];
  }

  then(onFulfilled, onRejected) {
    const Species = this.constructor?.[Symbol.species] ?? Promise;
    return new Species((resolve, reject) => {
      const reaction = () => {
        const fulfilled = this.#state === "fulfilled";
        const callback = fulfilled ? onFulfilled : onRejected;
        if (typeof callback !== "function") return fulfilled ? resolve(this.#value) : reject(this.#value);
        try {
          resolve(callback(this.#value));
        } catch (error) {
          reject(error);
        }
      };
      unhandled.delete(this);
      if (this.#state === "pending") this.#reactions.push(reaction);
      else jobs.push(reaction);
    });
  }

  catch(onRejected) {
    return this.then(undefined, onRejected);
  }

  finally(callback) {
    if (typeof callback !== "function") return this.then(callback, callback);
    return this.then(
      (value) => Promise.resolve(callback()).then(() => value),
      (reason) =>
        Promise.resolve(callback()).then(() => {
          throw reason;
        }),
    );
  }

  get [Symbol.toStringTag]() {
    return "Promise";
  }

  static get [Symbol.species]() {
    return this;
  }

  static resolve(value) {
    return value instanceof Promise && value.constructor === this ? value : new this((resolve) => resolve(value));
  }

  static reject(reason) {
    return new this((_, reject) => reject(reason));
  }

  static withResolvers() {
    const made = {};
    made.promise = new this((resolve, reject) => Object.assign(made, { resolve, reject }));
    return made;
  }

  static try(callback, ...args) {
    return new this((resolve) => resolve(callback(...args)));
  }

  static race(values) {
    return new this((resolve, reject) => {
      for (const value of values) this.resolve(value).then(resolve, reject);
    });
  }

  static all(values) {
    return collect(this, values, (promise, set, reject) => promise.then(set, reject));
  }

  static allSettled(values) {
    return collect(this, values, (promise, set) =>
      promise.then(
        (value) => set({ status: "fulfilled", value }),
        (reason) => set({ status: "rejected", reason }),
      ),
    );
  }

  static any(values) {
    return new this((resolve, reject) => {
      collect(this, values, (promise, set) => promise.then(resolve, set)).then((errors) =>
        reject(new AggregateError(errors, "all promises were rejected")),
      );
    });
  }
}

/** A promise of a list with what `watch` sets for each value, in their order. */
function collect(Kind, values, watch) {
  return new Kind((resolve, reject) => {
    const results = [];
    let open = 1;
    const done = () => --open === 0 && resolve(results);
    for (const value of values) {
      const index = results.push(undefined) - 1;
      open++;
      const set = (result) => {
        results[index] = result;
        done();
      };
      watch(Kind.resolve(value), set, reject);
    }
    done();
  });
}

globalThis.Promise = Promise;
globalThis.queueMicrotask = (callback) => void Promise.resolve().then(callback);

// The engine's own would wait for its own promises.
Array.fromAsync = async (items, map, self) => {
  const list = [];
  for await (const item of items) list.push(map ? await map.call(self, item, list.length) : item);
  return list;
};

function start(callback, delay, every, args) {
  if (typeof callback !== "function") throw new TypeError(`a timer takes a function, not ${typeof callback}`);
  if (timers.size >= TIMERS_MAX) throw new RangeError(`more than ${TIMERS_MAX} timers at once`);
  // As in browsers: what is not a number is 0, and fractions end.
  const wait = Math.max(0, Math.trunc(Number(delay)) || 0);
  timers.set(++lastTimer, { callback, args, due: Number(now()) + wait, every: every ? Math.max(1, wait) : undefined });
  return lastTimer;
}

globalThis.setTimeout = (callback, delay, ...args) => start(callback, delay, false, args);
globalThis.setInterval = (callback, delay, ...args) => start(callback, delay, true, args);
globalThis.clearTimeout = globalThis.clearInterval = (id) => void timers.delete(id);

function runJobs() {
  // By index: `shift` would move all the others each time.
  for (let next = 0; next < jobs.length; next++) jobs[next]();
  jobs.length = 0;
}

/** Runs the timers that are due, in the order of their times. */
function runTimers() {
  const time = Number(now());
  const due = [...timers].filter(([, timer]) => timer.due <= time).sort(([, one], [, other]) => one.due - other.due);
  for (const [id, timer] of due) {
    // One before it may have stopped it.
    if (timers.get(id) !== timer) continue;
    if (timer.every === undefined) timers.delete(id);
    else timer.due = time + timer.every;
    timer.callback(...timer.args);
    runJobs();
  }
}

/** Waits for whatever comes first. False where nothing can come any more. */
function wait() {
  let due = Infinity;
  for (const timer of timers.values()) due = Math.min(due, timer.due);
  const time = due === Infinity ? undefined : Math.max(0, due - Number(now()));
  if (waitForIo(time)) return true;
  if (time === undefined) return false;
  if (time > 0) sleep(time);
  return true;
}

/**
 * What the promise comes to; runs all that it waits for. Throws its reason.
 * `report` gets the reason of each other promise that nobody looked at.
 */
function settled(promise, report) {
  let result;
  try {
    promise.then(
      (value) => (result = { value }),
      (reason) => (result = { reason }),
    );
    for (runJobs(); !result; runJobs()) {
      if (!wait()) throw new Error("the handler waits for a promise that nothing can settle any more");
      runJobs();
      if (!result) runTimers();
    }
    for (const other of unhandled) other.then(undefined, report);
    runJobs();
  } catch (error) {
    // Thrown by a timer's own function, which nobody can catch.
    result = { reason: error };
  }
  if ("reason" in result) throw result.reason;
  return result.value;
}

/** Ends what a call has left, so that the next one in this instance does not see it. */
function forget() {
  timers.clear();
  // Requests that nobody awaited fail now, and let go of what they hold.
  forgetIo();
  try {
    runJobs();
  } finally {
    forgetIo();
    jobs.length = 0;
    timers.clear();
    unhandled.clear();
  }
}

globalThis[Symbol.for("pointsman.loop")] = { settled, forget };
