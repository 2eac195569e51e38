/**
 * What koala's Rust core offers to TypeScript: one type for both doors, the N-API addon (`crates/node`) and the
 * WASM module (`crates/wasm`, which takes these declarations into its own). Types only.
 */

/** How a request is matched. */
export type Strategy = 'auto' | 'exact';

/** A call of a recording. */
export interface RecordedCall {
  /** Who was asked: `127.0.0.1:6379`, `[::1]:80`, `unix:/path`. */
  peer: string;
  request: Uint8Array;
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
  /** How well it matches, 0 to 1. */
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
  /** All equal calls had been used already. */
  reused: boolean;
}

/** Finds recorded calls. Keeps what was used: the n-th equal request gets the n-th recorded call. */
export interface Matcher {
  find(peer: string, request: Uint8Array): Decision;
}

/** A request, taken apart. */
export interface DecodedRequest {
  /** `http`, `redis`, `mysql`, `postgres`, `thrift`, or empty where nothing was recognised. */
  protocol: string;
  /** In the order in which they were sent. Bytes that are no UTF-8 stand as `\xhh`. */
  fields: { name: string; value: string }[];
}

/** Both doors. */
export interface Native {
  Matcher: new (strategy: Strategy, calls: RecordedCall[]) => Matcher;
  decodeRequest(request: Uint8Array): DecodedRequest;
  /** One session in CBOR as koala 1.x JSON. Throws where it is no session. */
  sessionToKoala1Json(cbor: Uint8Array): string;
  /** One session in koala 1.x JSON as CBOR. Throws where it is no session. */
  sessionFromKoala1Json(json: Uint8Array): Uint8Array;
}
