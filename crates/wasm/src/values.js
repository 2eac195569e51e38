// The values of src/native/api.ts on their way into the module, each checked, and out of it, from the numbers and the one text that crates/wasm/src/packed.rs wrote: two
// crossings for any value, and no member is named twice. Written in the order in which it is read here.

class Packed {
  #numbers;
  #text;
  #number = 0;
  #character = 0;

  constructor(numbers, text) {
    this.#numbers = numbers;
    this.#text = text;
  }

  number() {
    return this.#numbers[this.#number++];
  }

  index() {
    const index = this.number();
    return index < 0 ? null : index;
  }

  string() {
    const start = this.#character;
    this.#character += this.number();
    return this.#text.slice(start, this.#character);
  }

  list(read) {
    const items = [];
    for (let left = this.number(); left > 0; left -= 1) items.push(read(this));
    return items;
  }
}

const string = (packed) => packed.string();
const field = (packed) => ({ name: packed.string(), value: packed.string() });
const score = (packed) => ({ name: packed.string(), weight: packed.number(), score: packed.number() });
const runnerUp = (packed) => ({ index: packed.number(), mark: packed.number() });

const decision = (packed) => ({
  index: packed.index(),
  mark: packed.number(),
  reason: packed.string(),
  nearest: packed.index(),
  runnerUp: packed.number() === 0 ? null : runnerUp(packed),
  fields: packed.list(score),
  differences: packed.list(string),
  reused: packed.number() === 1,
});

export function unpackDecision(numbers, text) {
  return decision(new Packed(numbers, text));
}

export function unpackDecisions(numbers, text) {
  return new Packed(numbers, text).list(decision);
}

export function unpackRequest(numbers, text) {
  const packed = new Packed(numbers, text);
  return { protocol: packed.string(), fields: packed.list(field) };
}

/** A member that may be missing, as may be the object that has it. */
const optional = (value, name) => value?.[name] ?? undefined;

/** A value that must be what it is asked to be. */
function must(is, name, kind) {
  if (!is) throw new TypeError(`${name}: not ${kind}`);
}

function bytes(value, name) {
  must(value instanceof Uint8Array, name, 'a Uint8Array');
  return value;
}

export function peerOf({ peer }) {
  must(typeof peer === 'string', 'peer', 'a string');
  return peer;
}

export const requestOf = ({ request }) => bytes(request, 'request');
export const responseOf = ({ response }) => bytes(response ?? new Uint8Array(), 'response');

export const atOf = ({ at }) => at ?? undefined;
export const overtakenOf = ({ overtaken }) => overtaken ?? 0;

export function connectionOf({ connection }) {
  return typeof connection === 'number' ? connection : undefined;
}

export function strategyOf(options) {
  const strategy = optional(options, 'strategy');
  return strategy === undefined ? undefined : String(strategy);
}

export function thresholdOf(options) {
  const threshold = optional(options, 'threshold');
  return threshold === undefined || typeof threshold === 'number' ? threshold : Number.NaN;
}

export function inboundOf(options) {
  const inbound = optional(options, 'inbound') ?? [];
  must(Array.isArray(inbound), 'inbound', 'an array');
  return inbound;
}

export const kept = async (value) => value;

export async function broken(error) {
  throw error;
}
