// The bytes that crossed a socket in one direction, as far as strace shows them.

/** Bytes of which some may be known by their number only: those that the kernel moved by itself. */
export class Bytes {
  #parts: (Buffer | number)[] = [];
  length = 0;
  /** What a killed thread was sending: any part of it, from its beginning, may have crossed. */
  maybe: Buffer = Buffer.alloc(0);

  add(part: Buffer | number): void {
    const size = typeof part === 'number' ? part : part.length;
    if (size === 0) return;
    this.#parts.push(part);
    this.length += size;
  }

  /** The known bytes, and dots for the others. */
  shown(): Buffer {
    return Buffer.concat(
      this.#parts.map((part) => (typeof part === 'number' ? Buffer.alloc(part, '.') : part)),
    );
  }

  /** Where `other` begins to differ; `undefined` where it is the same. */
  difference(other: Buffer): number | undefined {
    let at = 0;
    for (const part of this.#parts) {
      const size = typeof part === 'number' ? part : part.length;
      const piece = other.subarray(at, at + size);
      if (typeof part !== 'number' && !part.equals(piece)) {
        const common = Math.min(part.length, piece.length);
        for (let index = 0; index < common; index += 1) {
          if (part[index] !== piece[index]) return at + index;
        }
      }
      if (piece.length < size) return at + piece.length;
      at += size;
    }
    const rest = other.subarray(at);
    return this.maybe.subarray(0, rest.length).equals(rest) ? undefined : at;
  }

  /** Whether `other` is what is left of this where some bytes are taken out: what a recording with a gap may be. */
  contains(other: Buffer): boolean {
    let at = 0;
    for (const part of [...this.#parts, this.maybe]) {
      if (typeof part === 'number') at += Math.min(part, other.length - at);
      else for (const byte of part) if (at < other.length && other[at] === byte) at += 1;
    }
    return at === other.length;
  }
}
