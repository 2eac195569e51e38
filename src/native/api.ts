/**
 * What koala's Rust core offers to TypeScript: one type for both doors, the N-API addon (`crates/node`) and the
 * WASM module (`crates/wasm`, which takes these declarations into its own). Types only.
 */

/** How a request is matched: by its meaning, as koala 1.x does (`chunk` and `sim`), or by its bytes. */
export type Strategy = 'auto' | 'chunk' | 'sim' | 'exact';

/** How calls are matched. */
export interface MatcherOptions {
  /** `auto` by default. */
  strategy?: Strategy | undefined;
  /** The mark, from 0 to 1, that a changed call needs; 0.7 by default. `chunk` has limits of its own. */
  threshold?: number | undefined;
  /**
   * What the sessions that the calls belong to were called with, where that is known. It tells a name that the program
   * makes up, such as the id of a session that it begins, from one that it was told; without it, a name is taken for made
   * up only where the call itself makes what has it, as the key that is written.
   */
  inbound?: readonly Inbound[] | undefined;
}

/** An inbound request of a recorded session. */
export interface Inbound {
  /** What the program was called with; empty where nobody called it, as at its start. */
  request: Uint8Array;
  /** What it answered. */
  response?: Uint8Array | undefined;
}

/** A call: recorded, or sent by a program. */
export interface Call {
  /** Who is asked: `127.0.0.1:6379`, `[::1]:80`, `unix:/path`. */
  peer: string;
  /** The request. The addon reads it where it is, and copies what another thread is to read. */
  request: Uint8Array;
  /**
   * The connection, by any number but 0 that tells it from others. `chunk` and `sim` remember what a connection was
   * answered with; without it, they take all requests to a peer for those of one. `auto` remembers the statements that
   * were prepared on it, and its database; without it, a sent request names what a recorded connection to its peer was
   * told.
   */
  connection?: number | undefined;
  /**
   * Of a recorded call: what it was answered, where that is known. It tells `auto` which fields matter, where names come
   * from, and under which numbers statements were prepared; a sent request is taken to get the answer of the call that
   * is found.
   */
  response?: Uint8Array | undefined;
  /**
   * Of a recorded call: how many of the calls behind it were made before its answer came; none by default. What the answer
   * says, they were not told by it.
   */
  overtaken?: number | undefined;
  /**
   * When it was sent, in milliseconds since 1970 by the clock that the program read. Where that is known of a recorded call
   * and of a sent one, `auto` takes the minute in a key for the recorded one if each is the minute of its call.
   */
  at?: number | undefined;
}

/** What one field of a request contributed to a mark. */
export interface FieldScore {
  name: string;
  /** How much the field tells. */
  weight: number;
  /** How alike the two values are, 0 to 1. */
  score: number;
}

/** Which recorded call a request corresponds to, and why. Indexes count the calls in recorded order. */
export interface Decision {
  /** The recorded call, or `null` where the request is in no recording. */
  index: number | null;
  /** How well it matches, 0 to 1; with `chunk` up to 2. */
  mark: number;
  /** The explanation, in a sentence. */
  reason: string;
  /** The most similar call where nothing matched. */
  nearest: number | null;
  /** The best of the others. */
  runnerUp: { index: number; mark: number } | null;
  fields: FieldScore[];
  /** What differs from the matched or the nearest call, a line each. */
  differences: string[];
  /** The call was an answer before. */
  reused: boolean;
}

/**
 * Finds recorded calls. Keeps what was used: the n-th equal request gets the n-th recorded call. Requests are decided
 * in the order in which they are asked for, whichever of the ways that is.
 */
export interface Matcher {
  find(peer: string, request: Uint8Array, connection?: number, at?: number): Decision;
  /** As `find` for each of the calls. */
  findMany(calls: Call[]): Decision[];
  /** As `findMany`; the addon decides on another thread, the WASM module at once (use it in a Worker). */
  findManyAsync(calls: Call[]): Promise<Decision[]>;
}

/** Makes matchers over the calls of a recording. */
export interface MatcherConstructor {
  new (calls: Call[], options?: MatcherOptions): Matcher;
  /** As `new`; the addon builds on another thread, the WASM module at once. */
  build(calls: Call[], options?: MatcherOptions): Promise<Matcher>;
}

/** A request, taken apart. */
export interface DecodedRequest {
  /** `http`, `redis`, `mysql`, `postgres`, `memcached`, `mongodb`, `fastcgi`, `thrift`, or empty where nothing was recognised. */
  protocol: string;
  /** In the order in which they were sent. Bytes that are no UTF-8 stand as `\xhh`. */
  fields: { name: string; value: string }[];
}

/** Both doors. */
export interface Native {
  Matcher: MatcherConstructor;
  decodeRequest(request: Uint8Array): DecodedRequest;
  /** One session in CBOR as koala 1.x JSON. Throws where it is no session. */
  sessionToKoala1Json(cbor: Uint8Array): string;
  /** One session in koala 1.x JSON as CBOR. Throws where it is no session. */
  sessionFromKoala1Json(json: Uint8Array): Uint8Array;
}
