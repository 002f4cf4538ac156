// `URL` and `URLSearchParams`, for http and https. Leave this file as it is.

const formEncoded = (text) =>
  encodeURIComponent(String(text).replace(/[\ud800-\udfff]/gu, "\ufffd"))
    .replace(/[!'()~]/g, (sign) => `%${sign.charCodeAt(0).toString(16).toUpperCase()}`)
    .replace(/%20/g, "+");

function formDecoded(text) {
  const spaced = text.replace(/\+/g, " ");
  try {
    return decodeURIComponent(spaced);
  } catch {
    // A `%` that begins nothing stays as it is.
    return spaced;
  }
}

export class URLSearchParams {
  #pairs = [];
  #changed = () => {};

  constructor(init = "", changed) {
    if (typeof init === "string") {
      for (const part of init.replace(/^\?/, "").split("&").filter(Boolean)) {
        const [name, ...value] = part.split("=");
        this.#pairs.push([formDecoded(name), formDecoded(value.join("="))]);
      }
    } else {
      const pairs = typeof init[Symbol.iterator] === "function" ? init : Object.entries(init);
      for (const [name, value] of pairs) this.#pairs.push([String(name), String(value)]);
    }
    if (changed) this.#changed = changed;
  }

  append(name, value) {
    this.#pairs.push([String(name), String(value)]);
    this.#changed();
  }

  set(name, value) {
    const index = this.#pairs.findIndex(([known]) => known === name);
    this.#pairs = this.#pairs.filter(([known], at) => known !== name || at === index);
    if (index < 0) this.#pairs.push([String(name), String(value)]);
    else this.#pairs[index] = [String(name), String(value)];
    this.#changed();
  }

  delete(name) {
    this.#pairs = this.#pairs.filter(([known]) => known !== name);
    this.#changed();
  }

  get(name) {
    return this.#pairs.find(([known]) => known === name)?.[1] ?? null;
  }

  getAll(name) {
    return this.#pairs.filter(([known]) => known === name).map(([, value]) => value);
  }

  has(name) {
    return this.#pairs.some(([known]) => known === name);
  }

  sort() {
    this.#pairs.sort(([one], [other]) => (one < other ? -1 : one > other ? 1 : 0));
    this.#changed();
  }

  forEach(callback, self) {
    for (const [name, value] of this.#pairs) callback.call(self, value, name, this);
  }

  get size() {
    return this.#pairs.length;
  }

  entries() {
    return this.#pairs.map(([name, value]) => [name, value])[Symbol.iterator]();
  }

  keys() {
    return this.#pairs.map(([name]) => name)[Symbol.iterator]();
  }

  values() {
    return this.#pairs.map(([, value]) => value)[Symbol.iterator]();
  }

  [Symbol.iterator]() {
    return this.entries();
  }

  toString() {
    return this.#pairs.map(([name, value]) => `${formEncoded(name)}=${formEncoded(value)}`).join("&");
  }
}

const PARTS = /^([a-z][a-z0-9+.-]*:)?(?:\/\/([^/?#]*))?([^?#]*)(\?[^#]*)?(#.*)?$/i;
const DEFAULT_PORTS = { "http:": "80", "https:": "443" };

/** What may not stand in a URL as it is, percent-encoded; what is encoded already stays so. */
const escaped = (text) =>
  encodeURI(text.replace(/[\ud800-\udfff]/gu, "\ufffd"))
    .replace(/%25/g, "%")
    .replace(/%5B/g, "[")
    .replace(/%5D/g, "]");

function withoutDots(path) {
  const kept = [];
  const segments = path.split("/").slice(1);
  segments.forEach((segment, index) => {
    const dots = segment.replace(/%2e/gi, ".");
    if (dots === "..") kept.pop();
    if (dots !== "." && dots !== "..") kept.push(segment);
    else if (index === segments.length - 1) kept.push("");
  });
  return `/${kept.join("/")}`;
}

export class URL {
  constructor(url, base) {
    const text = String(url).trim().replace(/[\t\r\n]/g, "");
    const invalid = () => new TypeError(`\`${text}\` is not a valid URL${base === undefined ? "" : ` relative to \`${base}\``}`);
    const [, scheme, authority, path, query, hash] = PARTS.exec(text) ?? [];
    const from = scheme || base === undefined ? undefined : new URL(base);
    this.protocol = (scheme ?? from?.protocol ?? "").toLowerCase();
    if (!DEFAULT_PORTS[this.protocol] || (scheme && !authority) || authority === "") throw invalid();
    if (authority === undefined) {
      if (!from) throw invalid();
      for (const part of ["username", "password", "hostname", "port"]) this[part] = from[part];
      const folder = from.pathname.slice(0, from.pathname.lastIndexOf("/") + 1);
      const whole = path === "" ? from.pathname : path.startsWith("/") ? path : folder + path;
      this.pathname = withoutDots(escaped(whole.replace(/\\/g, "/")));
      this.#search = query ?? (path === "" ? from.search : "");
    } else {
      if (!this.#setAuthority(authority)) throw invalid();
      this.pathname = withoutDots(escaped((path || "/").replace(/\\/g, "/")));
      this.#search = query ?? "";
    }
    this.search = this.#search;
    this.hash = escaped(hash ?? "");
  }

  #search = "";
  #params;
  username = "";
  password = "";

  #setAuthority(authority) {
    const at = authority.lastIndexOf("@");
    if (at >= 0) {
      const [name, ...password] = authority.slice(0, at).split(":");
      this.username = name;
      this.password = password.join(":");
    }
    // Names in other scripts are not turned into ASCII: write them as `xn--…`.
    const [, host, port = ""] = /^(\[[0-9a-f:.]+\]|[a-z0-9._~-]+)(?::(\d*))?$/i.exec(authority.slice(at + 1)) ?? [];
    if (!host || Number(port) > 65_535) return false;
    this.hostname = host.toLowerCase();
    this.port = port === "" || port === DEFAULT_PORTS[this.protocol] ? "" : String(Number(port));
    return true;
  }

  get host() {
    return this.hostname + (this.port && `:${this.port}`);
  }

  get origin() {
    return `${this.protocol}//${this.host}`;
  }

  get search() {
    return this.#search;
  }

  set search(query) {
    const text = escaped(String(query).replace(/^\?/, "")).replace(/#/g, "%23");
    this.#search = text && `?${text}`;
    this.#params = undefined;
  }

  get searchParams() {
    this.#params ??= new URLSearchParams(this.#search, () => {
      const text = this.#params.toString();
      this.#search = text && `?${text}`;
    });
    return this.#params;
  }

  get href() {
    const password = this.password && `:${this.password}`;
    const user = this.username || password ? `${this.username}${password}@` : "";
    return `${this.protocol}//${user}${this.host}${this.pathname}${this.search}${this.hash}`;
  }

  toString() {
    return this.href;
  }

  toJSON() {
    return this.href;
  }

  static canParse(url, base) {
    try {
      return Boolean(new URL(url, base));
    } catch {
      return false;
    }
  }
}
