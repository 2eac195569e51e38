// The values of src/native/api.ts, from the numbers and the one text that crates/wasm/src/packed.rs wrote: two
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
