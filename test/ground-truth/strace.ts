// The output of `strace -f -y -x`: calls with their arguments, each where it was completed.

/** An argument, or part of one, as strace shows it. */
export type Value =
  /** A number, a constant, flags, a pointer. */
  | { kind: 'word'; text: string }
  /** A string; `cut` where strace shows only its beginning. */
  | { kind: 'bytes'; bytes: Buffer; cut: boolean }
  /** A descriptor and what it is: a path, or `socket:[INODE]`. */
  | { kind: 'descriptor'; number: number; target: string; deleted: boolean }
  | { kind: 'list'; items: Value[] }
  | { kind: 'struct'; fields: Map<string, Value> }
  /** `htons(80)` and its like. */
  | { kind: 'call'; name: string; values: Value[] }
  /** What the call was given and what it made of it: `[0] => [8]`. */
  | { kind: 'change'; from: Value; to: Value };

/** A system call. */
export interface Call {
  /** The thread. */
  tid: number;
  name: string;
  values: Value[];
  /** What it returned; `undefined` where the thread was killed in it. */
  result: Value | undefined;
}

const escapes: Record<string, number> = { n: 10, r: 13, t: 9, v: 11, f: 12, '"': 34, '\\': 92 };

/** The bytes of a string between its quotes. */
function unescape(text: string): Buffer {
  if (!text.includes('\\')) return Buffer.from(text, 'latin1');
  if (text.length % 4 === 0) {
    const hex = text.replaceAll(String.raw`\x`, '');
    if (hex.length * 2 === text.length && !hex.includes('\\')) return Buffer.from(hex, 'hex');
  }
  const bytes: number[] = [];
  for (const [whole, hex, octal, letter] of text.matchAll(/\\x(..)|\\([0-7]{1,3})|\\(.)|[^\\]/gs)) {
    if (hex !== undefined) bytes.push(Number.parseInt(hex, 16));
    else if (octal !== undefined) bytes.push(Number.parseInt(octal, 8));
    else if (letter !== undefined) bytes.push(escapes[letter] ?? letter.charCodeAt(0));
    else bytes.push(whole.charCodeAt(0));
  }
  return Buffer.from(bytes);
}

/** Reads values from a line. */
class Reader {
  #text: string;
  at: number;

  constructor(text: string, at: number) {
    this.#text = text;
    this.at = at;
  }

  /** The values up to the closing bracket, which is taken too. */
  values(close: string): Value[] {
    const values: Value[] = [];
    for (;;) {
      this.#skip();
      const next = this.#text[this.at];
      if (next === undefined) return values;
      if (next === close) {
        this.at += 1;
        return values;
      }
      if (next === ',') {
        this.at += 1;
        continue;
      }
      values.push(this.#value());
    }
  }

  #skip(): void {
    for (;;) {
      while (this.#text[this.at] === ' ') this.at += 1;
      if (!this.#text.startsWith('/*', this.at)) return;
      const end = this.#text.indexOf('*/', this.at);
      this.at = end < 0 ? this.#text.length : end + 2;
    }
  }

  #value(): Value {
    const value = this.#plain();
    this.#skip();
    if (!this.#text.startsWith('=>', this.at)) return value;
    this.at += 2;
    this.#skip();
    return { kind: 'change', from: value, to: this.#plain() };
  }

  #plain(): Value {
    if (this.#text.startsWith('@"', this.at)) this.at += 1;
    switch (this.#text[this.at]) {
      case '"':
        return this.#string();
      case '[':
        this.at += 1;
        return { kind: 'list', items: this.values(']') };
      case '{':
        this.at += 1;
        return this.#struct();
      default:
        return this.#word();
    }
  }

  #string(): Value {
    const start = this.at + 1;
    let end = start;
    for (;;) {
      end = this.#text.indexOf('"', end);
      if (end < 0) throw new Error(`a string does not end: ${this.#text.slice(0, 200)}`);
      let escape = end;
      while (this.#text[escape - 1] === '\\') escape -= 1;
      if ((end - escape) % 2 === 0) break;
      end += 1;
    }
    this.at = end + 1;
    const cut = this.#text.startsWith('...', this.at);
    if (cut) this.at += 3;
    return { kind: 'bytes', bytes: unescape(this.#text.slice(start, end)), cut };
  }

  #struct(): Value {
    const fields = new Map<string, Value>();
    for (;;) {
      this.#skip();
      const next = this.#text[this.at];
      if (next === undefined) return { kind: 'struct', fields };
      this.at += next === '}' || next === ',' ? 1 : 0;
      if (next === '}') return { kind: 'struct', fields };
      if (next === ',') continue;
      const name = /\w+=(?!>)/y;
      name.lastIndex = this.at;
      const key = name.exec(this.#text)?.[0].slice(0, -1);
      if (key !== undefined) this.at += key.length + 1;
      const value = this.#value();
      fields.set(key ?? (value.kind === 'call' ? value.name : String(fields.size)), value);
    }
  }

  #word(): Value {
    const word = /(?:(?! *=>)[^,[\]{}()<"])*/y;
    word.lastIndex = this.at;
    const text = word.exec(this.#text)?.[0].trimEnd() ?? '';
    this.at = word.lastIndex;
    const next = this.#text[this.at];
    if (next === '<' && /^\d+$/.test(text)) {
      const end = this.#text.indexOf('>', this.at);
      const target = unescape(this.#text.slice(this.at + 1, end)).toString('latin1');
      this.at = end + 1;
      const deleted = this.#text.startsWith('(deleted)', this.at);
      if (deleted) this.at += '(deleted)'.length;
      return { kind: 'descriptor', number: Number(text), target, deleted };
    }
    if (next === '(') {
      this.at += 1;
      return { kind: 'call', name: text, values: this.values(')') };
    }
    // Nothing that is known: so that reading goes on.
    if (text === '') this.at += 1;
    return { kind: 'word', text };
  }
}

function result(shown: string | undefined): Value | undefined {
  if (shown === undefined || shown.startsWith('?')) return undefined;
  return shown.startsWith('-') ? { kind: 'word', text: shown } : new Reader(shown, 0).values('\n')[0];
}

function parse(tid: number, text: string): Call | undefined {
  const name = /^(\w+)\(/.exec(text)?.[1];
  if (name === undefined) return undefined;
  const reader = new Reader(text, name.length + 1);
  const values = reader.values(')');
  const shown = /^ *= (.*)$/s.exec(text.slice(reader.at))?.[1];
  return { tid, name, values, result: result(shown) };
}

const unfinished = '<unfinished ...>';

/** The calls of a trace for whose text `wanted` holds, in the order in which they were completed. */
export function* calls(trace: string, wanted: (text: string) => boolean): Generator<Call> {
  const open = new Map<number, string>();
  let start = 0;
  while (start < trace.length) {
    const newline = trace.indexOf('\n', start);
    const end = newline < 0 ? trace.length : newline;
    const line = trace.slice(start, end);
    start = end + 1;
    const [, pid = '', rest = ''] = /^(\d+) +(.*)$/s.exec(line) ?? [];
    const tid = Number(pid);
    if (rest.startsWith('+++') || rest.startsWith('---')) {
      const text = open.get(tid);
      if (rest.startsWith('+++') && text !== undefined && wanted(text)) {
        const call = parse(tid, text);
        if (call) yield { ...call, result: undefined };
      }
      if (rest.startsWith('+++')) open.delete(tid);
      continue;
    }
    const resumed = /^<\.\.\. \w+ resumed>/.exec(rest)?.[0];
    let text = rest;
    if (resumed !== undefined) {
      text = (open.get(tid) ?? '') + rest.slice(resumed.length);
      open.delete(tid);
    }
    if (text.endsWith(unfinished)) {
      open.set(tid, text.slice(0, -unfinished.length));
      continue;
    }
    if (!wanted(text)) continue;
    const call = parse(tid, text);
    if (call) yield call;
  }
}
