/**
 * Where the items of a CBOR sequence (RFC 8742) end. cbor-x decodes the items; finding their ends first is
 * what tells a torn last item from a damaged file. Pure: runs in the browser too.
 */

/** The bytes are no CBOR item; `offset` is where that showed. */
export class MalformedItemError extends Error {
  override name = 'MalformedItemError';
  readonly offset: number;
  constructor(offset: number) {
    super(`malformed CBOR at byte ${offset}`);
    this.offset = offset;
  }
}

const MAP = 5;
const BREAK = 0xff;
const MAX_DEPTH = 64;
const SESSION_ID = Uint8Array.from([0x69, ...new TextEncoder().encode('SessionId')]);

/**
 * The offset behind the item that begins at `start`, or `undefined` where the bytes end before it does.
 * Throws `MalformedItemError` where no continuation of the bytes could be CBOR.
 */
export function itemEnd(bytes: Uint8Array, start: number): number | undefined {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  /** How many items each open container still wants; -1 where it ends with a break. */
  const open: number[] = [1];
  let offset = start;
  while (open.length > 0) {
    const wanted = open[open.length - 1];
    if (wanted === 0) {
      open.pop();
      continue;
    }
    const initial = bytes[offset];
    if (initial === undefined) return undefined;
    if (initial === BREAK) {
      if (wanted !== -1) throw new MalformedItemError(offset);
      open.pop();
      offset += 1;
      continue;
    }
    if (wanted !== undefined && wanted > 0) open[open.length - 1] = wanted - 1;
    const head = readHead(view, bytes, offset, initial);
    if (head === undefined) return undefined;
    offset = head.next;
    const { major, argument } = head;
    if (major === 2 || major === 3) {
      if (argument === -1) open.push(-1);
      else if (offset + argument > bytes.length) return undefined;
      else offset += argument;
    } else if (major === 4) open.push(argument);
    else if (major === MAP) open.push(argument === -1 ? -1 : argument * 2);
    else if (major === 6) open.push(1);
    if (open.length > MAX_DEPTH) throw new MalformedItemError(offset);
  }
  return offset;
}

interface Head {
  major: number;
  /** The head's argument; -1 for indefinite length. */
  argument: number;
  next: number;
}

function readHead(view: DataView, bytes: Uint8Array, offset: number, initial: number): Head | undefined {
  const major = initial >> 5;
  const info = initial & 0x1f;
  const at = offset + 1;
  if (info < 24) return { major, argument: info, next: at };
  if (info === 31) {
    if (major < 2 || major > MAP) throw new MalformedItemError(offset);
    return { major, argument: -1, next: at };
  }
  if (info > 27) throw new MalformedItemError(offset);
  const size = 1 << (info - 24);
  if (at + size > bytes.length) return undefined;
  if (size === 1) return { major, argument: view.getUint8(at), next: at + 1 };
  if (size === 2) return { major, argument: view.getUint16(at), next: at + 2 };
  if (size === 4) return { major, argument: view.getUint32(at), next: at + 4 };
  const long = view.getBigUint64(at);
  const hasLength = major >= 2 && major <= MAP;
  if (hasLength && long > BigInt(Number.MAX_SAFE_INTEGER)) throw new MalformedItemError(offset);
  return { major, argument: hasLength ? Number(long) : 0, next: at + 8 };
}

/**
 * Whether an item that begins here can be a session: a map whose first name is `SessionId`. Says yes where
 * the bytes end too soon to tell.
 */
export function looksLikeSession(bytes: Uint8Array, start: number): boolean {
  const initial = bytes[start];
  if (initial === undefined) return true;
  if (initial >> 5 !== MAP) return false;
  const info = initial & 0x1f;
  const name = start + 1 + (info >= 24 && info <= 27 ? 1 << (info - 24) : 0);
  for (const [index, expected] of SESSION_ID.entries()) {
    const byte = bytes[name + index];
    if (byte === undefined) return true;
    if (byte !== expected) return false;
  }
  return true;
}
