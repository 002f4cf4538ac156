// `fetch` and what belongs to it, over wasi:http. Leave this file as it is.
//
// `pointsman build` imports from here what a handler's code names, and leaves
// out the rest: a handler without `fetch` carries nothing of it.

import { subscribeDuration } from "wasi:clocks/monotonic-clock@0.2.6";
import { handle } from "wasi:http/outgoing-handler@0.2.6";
import { Fields, httpErrorCode, OutgoingBody, OutgoingRequest, RequestOptions } from "wasi:http/types@0.2.6";
import { poll } from "wasi:io/poll@0.2.6";

import { useIo } from "./async.js";
import { AbortController, AbortSignal, DOMException } from "./abort.js";
import { Headers } from "./headers.js";
import { TextDecoder, TextEncoder } from "./text.js";
import { URL, URLSearchParams } from "./url.js";

export { AbortController, AbortSignal, DOMException, Headers, TextDecoder, TextEncoder, URL, URLSearchParams };

/** What is read or written at once. */
const CHUNK_BYTES = 65_536;
/** Longer than any call: the loop looks again after it. */
const WAIT_MS_MAX = 3_600_000;

/** Who waits for what: `{ pollable, ready }`. */
let waits = [];

function dispose(resource) {
  try {
    resource?.[Symbol.dispose]();
  } catch {
    // It went with its parent, or to the host.
  }
}

useIo(
  (limitMs) => {
    if (waits.length === 0) return false;
    const pollables = waits.map((wait) => wait.pollable);
    let timer;
    if (limitMs !== undefined) pollables.push((timer = subscribeDuration(Math.min(limitMs, WAIT_MS_MAX) * 1_000_000)));
    const ready = new Set(poll(pollables));
    dispose(timer);
    const come = waits.filter((_, index) => ready.has(index));
    waits = waits.filter((_, index) => !ready.has(index));
    for (const { pollable, resolve } of come) {
      dispose(pollable);
      resolve();
    }
    return true;
  },
  () => {
    const left = waits;
    waits = [];
    for (const { pollable, reject } of left) {
      dispose(pollable);
      reject(new DOMException("the call has ended", "AbortError"));
    }
  },
);

/** Waits until `source` has something. Rejects with the signal's reason where it is aborted first. */
function readiness(source, signal) {
  return new Promise((resolve, reject) => {
    const wait = { pollable: source.subscribe(), resolve: () => (stop?.(), resolve()), reject };
    waits.push(wait);
    const stop = signal?._onAbort(() => {
      waits = waits.filter((other) => other !== wait);
      dispose(wait.pollable);
      reject(signal.reason);
    });
  });
}

/** What another try does not change: a request that is not granted or not valid, a response over a limit. In every SDK the same. */
const PERMANENT = new Set([
  "http-request-denied",
  "destination-ip-prohibited",
  "http-request-length-required",
  "http-request-body-size",
  "http-request-method-invalid",
  "http-request-uri-invalid",
  "http-request-uri-too-long",
  "http-request-header-section-size",
  "http-request-header-size",
  "http-request-trailer-section-size",
  "http-request-trailer-size",
  "http-response-header-section-size",
  "http-response-header-size",
  "http-response-body-size",
  "http-response-trailer-section-size",
  "http-response-trailer-size",
]);

/** What the host gave as the error of one of its functions. */
const payload = (error) => error?.payload ?? error;

/** The error of a request, also where it came by way of its stream. */
function codeOf(thrown) {
  const error = payload(thrown);
  return (error?.tag === "last-operation-failed" && httpErrorCode(error.val)) || error;
}

/** The TypeError of a request that failed, as in browsers. What nobody catches becomes `unavailable`. */
function networkError(url, thrown) {
  const code = codeOf(thrown);
  const kind = code?.tag ?? String(code);
  const detail = typeof code?.val === "string" ? `: ${code.val}` : "";
  const error = new TypeError(`fetch of ${url} failed: ${kind}${detail}`, { cause: code });
  if (!PERMANENT.has(kind.toLowerCase())) error[Symbol.for("pointsman.unavailable")] = true;
  return error;
}

/** The bytes of a body, and the content type that goes with its kind. */
function encoded(body) {
  if (body === undefined || body === null) return {};
  if (body instanceof ArrayBuffer) return { bytes: new Uint8Array(body.slice(0)) };
  if (ArrayBuffer.isView(body)) return { bytes: new Uint8Array(body.buffer, body.byteOffset, body.byteLength).slice() };
  const bytes = new TextEncoder().encode(String(body));
  const form = body instanceof URLSearchParams;
  return { bytes, type: form ? "application/x-www-form-urlencoded;charset=UTF-8" : "text/plain;charset=UTF-8" };
}

/** The readers that requests and responses share. A body is read once. */
class Body {
  #chunks;
  #used = false;

  constructor(chunks) {
    this.#chunks = chunks;
  }

  get bodyUsed() {
    return this.#used;
  }

  /** The body in pieces: `for await (const bytes of response.body)`. Null where there is none. */
  get body() {
    if (!this.#chunks) return null;
    return { [Symbol.asyncIterator]: () => this.#take(), getReader: () => this.#reader(), cancel: async () => void (await this.#take().return()) };
  }

  #reader() {
    const chunks = this.#take();
    return { read: () => chunks.next(), cancel: async () => void (await chunks.return()), releaseLock() {} };
  }

  #take() {
    if (this.#used) throw new TypeError("the body was read before");
    this.#used = true;
    return this.#chunks();
  }

  async bytes() {
    if (!this.#chunks) return new Uint8Array();
    const parts = [];
    let length = 0;
    for await (const part of this.#take()) {
      parts.push(part);
      length += part.length;
    }
    if (parts.length === 1) return parts[0];
    const whole = new Uint8Array(length);
    let at = 0;
    for (const part of parts) {
      whole.set(part, at);
      at += part.length;
    }
    return whole;
  }

  async arrayBuffer() {
    const { buffer, byteOffset, byteLength } = await this.bytes();
    return buffer.slice(byteOffset, byteOffset + byteLength);
  }

  async text() {
    return new TextDecoder().decode(await this.bytes());
  }

  async json() {
    return JSON.parse(await this.text());
  }
}

const inOneChunk = (bytes) =>
  bytes &&
  async function* () {
    yield bytes;
  };

/** Methods that are written in capitals whatever the case, as the standard has it. */
const NORMAL = ["DELETE", "GET", "HEAD", "OPTIONS", "POST", "PUT"];

export class Request extends Body {
  constructor(input, init = {}) {
    const from = input instanceof Request ? input : undefined;
    const given = init.body ?? undefined;
    const { bytes, type } = given === undefined ? { bytes: from?._bytes } : encoded(given);
    super(inOneChunk(bytes));
    this._bytes = bytes;
    const url = new URL(from ? from.url : String(input));
    if (!["http:", "https:"].includes(url.protocol)) throw new TypeError(`fetch takes http and https, not ${url.protocol}`);
    if (url.username || url.password) throw new TypeError("fetch takes no URL with a name or password: send `Authorization`");
    url.hash = "";
    this.url = url.href;
    const method = String(init.method ?? from?.method ?? "GET");
    this.method = NORMAL.find((name) => name === method.toUpperCase()) ?? method;
    if (bytes && ["GET", "HEAD"].includes(this.method)) throw new TypeError(`a request with ${this.method} has no body`);
    this.headers = new Headers(init.headers ?? from?.headers);
    if (type && !this.headers.has("content-type")) this.headers.set("content-type", type);
    this.signal = init.signal ?? from?.signal ?? new AbortController().signal;
    this.redirect = init.redirect ?? from?.redirect ?? "follow";
    this.follow = Math.min(init.follow ?? from?.follow ?? REDIRECTS_MAX, REDIRECTS_MAX);
  }

  clone() {
    return new Request(this);
  }
}

export class Response extends Body {
  constructor(body, init = {}) {
    const { bytes, type } = typeof body === "function" ? {} : encoded(body);
    super(typeof body === "function" ? body : inOneChunk(bytes));
    this.status = init.status ?? 200;
    if (!Number.isInteger(this.status) || this.status < 200 || this.status > 599) {
      throw new RangeError(`the status must be from 200 to 599, not ${this.status}`);
    }
    this.statusText = init.statusText ?? "";
    this.headers = new Headers(init.headers);
    if (type && !this.headers.has("content-type")) this.headers.set("content-type", type);
    this.url = init.url ?? "";
    this.redirected = init.redirected ?? false;
    this.type = "default";
  }

  get ok() {
    return this.status >= 200 && this.status <= 299;
  }

  static json(data, init = {}) {
    const headers = new Headers(init.headers);
    if (!headers.has("content-type")) headers.set("content-type", "application/json");
    return new Response(JSON.stringify(data), { ...init, headers });
  }
}

/** A chain that is longer has no end as a rule. In every SDK the same. */
const REDIRECTS_MAX = 10;

export async function fetch(input, init) {
  let request = new Request(input, init);
  for (let redirects = 0; ; redirects++) {
    const response = await exchange(request, redirects > 0);
    const location = [301, 302, 303, 307, 308].includes(response.status) && response.headers.get("location");
    if (!location || request.redirect === "manual" || request.follow === 0) return response;
    const failed = (why) => new TypeError(`fetch of ${request.url} failed: ${why}`);
    if (request.redirect === "error") throw failed(`it redirects to ${location}`);
    if (redirects >= request.follow) throw failed(`more than ${request.follow} redirects`);
    await response.body?.cancel();
    request = redirected(request, new URL(location, request.url), response.status);
  }
}

/** The request that a redirect asks for. Credentials do not go to another origin. */
function redirected(request, url, status) {
  const headers = new Headers(request.headers);
  let { method, _bytes: body } = request;
  if (status === 303 ? !["GET", "HEAD"].includes(method) : status < 303 && method === "POST") {
    method = "GET";
    body = undefined;
    for (const name of ["content-encoding", "content-language", "content-length", "content-location", "content-type"]) headers.delete(name);
  }
  if (url.origin !== new URL(request.url).origin) for (const name of ["authorization", "cookie"]) headers.delete(name);
  return new Request(url, { method, headers, body, signal: request.signal, redirect: request.redirect, follow: request.follow });
}

const METHODS = ["get", "head", "post", "put", "delete", "connect", "options", "trace", "patch"];

/** Sends one request; the answer's body is read as it is asked for. */
async function exchange(request, redirected) {
  const { signal, url: href } = request;
  signal.throwIfAborted();
  const outgoing = opened(request);
  const body = request._bytes && outgoing.body();
  let future;
  try {
    future = handle(outgoing, new RequestOptions());
  } catch (error) {
    throw networkError(href, error);
  }
  try {
    if (body) await upload(body, request._bytes, signal);
    let answer;
    while ((answer = future.get() ?? undefined) === undefined) await readiness(future, signal);
    // The outer result is for a second `get`, which does not happen.
    const { tag, val } = answer.val;
    if (tag !== "ok") throw networkError(href, val);
    return received(val, request, redirected);
  } catch (error) {
    throw error instanceof TypeError || signal.aborted ? error : networkError(href, error);
  } finally {
    dispose(future);
  }
}

function opened(request) {
  const url = new URL(request.url);
  let fields;
  const encoder = new TextEncoder();
  try {
    fields = Fields.fromList([...request.headers].map(([name, value]) => [name, encoder.encode(value)]));
  } catch (error) {
    throw new TypeError(`fetch of ${request.url} failed: a header is ${payload(error)?.tag ?? error}`);
  }
  // The host frames a body by this: without it, a small one would go in chunks.
  if (request._bytes) fields.set("content-length", [encoder.encode(String(request._bytes.length))]);
  const outgoing = new OutgoingRequest(fields);
  const method = METHODS.find((name) => name.toUpperCase() === request.method);
  try {
    outgoing.setMethod(method ? { tag: method } : { tag: "other", val: request.method });
    outgoing.setScheme({ tag: url.protocol === "https:" ? "HTTPS" : "HTTP" });
    outgoing.setAuthority(url.host);
    outgoing.setPathWithQuery(url.pathname + url.search);
  } catch {
    throw new TypeError(`fetch of ${request.url} failed: the method or the URL is not valid`);
  }
  return outgoing;
}

async function upload(body, bytes, signal) {
  const stream = body.write();
  try {
    for (let at = 0; at < bytes.length; ) {
      const room = Math.min(stream.checkWrite(), CHUNK_BYTES);
      if (room === 0) {
        await readiness(stream, signal);
        continue;
      }
      stream.write(bytes.subarray(at, at + room));
      at += room;
    }
    stream.flush();
  } catch (error) {
    if (signal.aborted && error === signal.reason) throw error;
    // The server stopped reading: it may have answered all the same.
  }
  dispose(stream);
  try {
    OutgoingBody.finish(body, undefined);
  } catch {
    // As above; what happened is in the answer.
  }
}

function received(incoming, request, redirected) {
  const decoder = new TextDecoder();
  const fields = incoming.headers();
  const headers = fields.entries().map(([name, value]) => [name, decoder.decode(value)]);
  dispose(fields);
  const status = incoming.status();
  const body = incoming.consume();
  const stream = body.stream();
  const empty = request.method === "HEAD" || [204, 304].includes(status);
  const chunks = async function* () {
    try {
      for (;;) {
        const bytes = stream.read(CHUNK_BYTES);
        if (bytes.length > 0) yield Uint8Array.from(bytes);
        else await readiness(stream, request.signal);
      }
    } catch (error) {
      if (payload(error)?.tag !== "closed") throw request.signal.aborted ? error : networkError(request.url, error);
    } finally {
      dispose(stream);
      dispose(body);
      dispose(incoming);
    }
  };
  const response = new Response(empty ? null : chunks, { headers, status, url: request.url, redirected });
  if (empty) for (const resource of [stream, body, incoming]) dispose(resource);
  return response;
}
