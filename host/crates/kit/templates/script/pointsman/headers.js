// `Headers`. Leave this file as it is.

const NAME = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;

function named(name) {
  if (!NAME.test(name)) throw new TypeError(`\`${name}\` is not a valid header name`);
  return String(name).toLowerCase();
}

function valued(name, value) {
  const text = String(value).replace(/^[\t\r\n ]+|[\t\r\n ]+$/g, "");
  if (/[\0\r\n]/.test(text)) throw new TypeError(`the value of header \`${name}\` has a line break or a NUL in it`);
  return text;
}

export class Headers {
  /** Each name in lower case with its values. */
  #values = new Map();

  constructor(init) {
    if (init === undefined || init === null) return;
    const pairs = typeof init[Symbol.iterator] === "function" ? init : Object.entries(init);
    for (const [name, value] of pairs) this.append(name, value);
  }

  append(name, value) {
    const values = this.#values.get(named(name)) ?? [];
    values.push(valued(name, value));
    this.#values.set(named(name), values);
  }

  set(name, value) {
    this.#values.set(named(name), [valued(name, value)]);
  }

  delete(name) {
    this.#values.delete(named(name));
  }

  get(name) {
    return this.#values.get(named(name))?.join(", ") ?? null;
  }

  has(name) {
    return this.#values.has(named(name));
  }

  getSetCookie() {
    return [...(this.#values.get("set-cookie") ?? [])];
  }

  *entries() {
    for (const name of [...this.#values.keys()].sort()) {
      // The one that cannot be joined.
      if (name === "set-cookie") for (const value of this.getSetCookie()) yield [name, value];
      else yield [name, this.get(name)];
    }
  }

  *keys() {
    for (const [name] of this.entries()) yield name;
  }

  *values() {
    for (const [, value] of this.entries()) yield value;
  }

  forEach(callback, self) {
    for (const [name, value] of this.entries()) callback.call(self, value, name, this);
  }

  [Symbol.iterator]() {
    return this.entries();
  }
}
