/**
 * What clients of MySQL and PostgreSQL say, as far as a report needs it: which statement it is, and whether it only
 * concerns its connection. What a request means in full is for `crates/protocol` to say.
 */
import type { CallOutbound } from '../recording/model.ts';
import { asLatin1, show } from './bytes.ts';

/** Why a call was made, as far as its bytes tell. */
export type Purpose =
  /** A login, a farewell, a statement that is prepared or closed: a pool does that at any moment. */
  | 'connection'
  /** A statement about the connection itself, as clients send it behind the login. */
  | 'set-up'
  /** It asks for something. */
  | 'work';

/** A request as a report shows it. */
interface Said {
  purpose: Purpose;
  /** In one line. */
  text: string;
}

const ABOUT_THE_CONNECTION =
  /^(?:\/\*[^]*?\*\/)?\s*(?:set (?!global|persist|password)|reset |discard |deallocate |unlisten |use |show (?:variables|session|global|collation|engines|\w+;?$)|select (?:@@|version\(\)|database\(\)|current_schema|connection_id\(\)|(?:pg_catalog\.)?set_config\()|(?:select|with)[^]*pg_type)/i;

/** The purpose of a call on a connection of this protocol; undefined where that is neither of the two. */
export function purposeOf(protocol: string, call: CallOutbound): Purpose | undefined {
  if (protocol !== 'mysql' && protocol !== 'postgres') return undefined;
  if (call.Request.length === 0) return call.Error === '' ? 'connection' : 'work';
  const said = protocol === 'mysql' ? mysql(call.Request) : postgres(call.Request);
  return said?.purpose ?? 'work';
}

/** The request of a call in one line; undefined where its bytes are neither protocol's. */
export function describeSql(call: CallOutbound, before: readonly CallOutbound[] = []): string | undefined {
  return mysql(call.Request, (id) => preparedBefore(id, call, before))?.text ?? postgres(call.Request)?.text;
}

/**
 * Whether the server is still there, which pools ask as well where the protocol has a message for it; JDBC's driver for
 * PostgreSQL by a statement in which nothing stands.
 */
const PING = /^\s*(?:select 1)?\s*;?\s*$/i;

function about(sql: string): Purpose {
  if (PING.test(sql)) return 'connection';
  return ABOUT_THE_CONNECTION.test(sql) ? 'set-up' : 'work';
}

const line = (bytes: Uint8Array): string => show(bytes, 200).replaceAll(/(?:\\[nrt]|\s)+/g, ' ');

const COMMANDS: ReadonlyMap<number, string> = new Map([
  [0x01, 'quit'],
  [0x02, 'use'],
  [0x0e, 'ping'],
  [0x11, 'change user'],
  [0x16, 'prepare'],
  [0x17, 'execute'],
  [0x18, 'send long data'],
  [0x19, 'close statement'],
  [0x1a, 'reset statement'],
  [0x1c, 'fetch'],
  [0x1f, 'reset connection'],
]);
const OF_THE_CONNECTION: ReadonlySet<number> = new Set([0x01, 0x0e, 0x11, 0x16, 0x19, 0x1a, 0x1b, 0x1f]);

/** A packet of a MySQL client. */
function mysql(request: Uint8Array, prepared?: (id: number) => string | undefined): Said | undefined {
  const [low, middle, high, sequence, code] = request;
  if (low === undefined || middle === undefined || high === undefined || code === undefined) return undefined;
  if (low + (middle << 8) + (high << 16) + 4 !== request.length) return undefined;
  if (sequence !== 0) return sequence === undefined ? undefined : { purpose: 'connection', text: '(login)' };
  const body = request.subarray(5);
  if (code === 0x03) {
    // Attributes of the query: none, in one set.
    const sql = body[0] === 0 && body[1] === 1 ? body.subarray(2) : body;
    return { purpose: about(asLatin1(sql)), text: line(sql) };
  }
  const name = COMMANDS.get(code);
  if (name === undefined) return undefined;
  const purpose = OF_THE_CONNECTION.has(code) ? 'connection' : 'work';
  if (code === 0x02 || code === 0x16) return { purpose, text: `${name}: ${line(body)}` };
  if (code < 0x17 || code > 0x1c) return { purpose, text: name };
  const id = numberAt(request, 5);
  return { purpose, text: `${name}: ${prepared?.(id) ?? `statement ${id}`}` };
}

function numberAt(bytes: Uint8Array, at: number): number {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength).getUint32(at, true);
}

/** The statement to which the server gave this number on the connection of a call. */
function preparedBefore(id: number, call: CallOutbound, calls: readonly CallOutbound[]): string | undefined {
  const before = calls.filter(
    (one) =>
      one.ConnectionId === call.ConnectionId &&
      one.ActionIndex < call.ActionIndex &&
      one.Request[4] === 0x16 &&
      one.Response.length >= 9,
  );
  // MariaDB's clients write -1 for the one that was prepared last.
  const found = before.findLast((one) => id === 0xff_ff_ff_ff || numberAt(one.Response, 5) === id);
  return found === undefined ? undefined : line(found.Request.subarray(5));
}

const STARTS: ReadonlyMap<number, string> = new Map([
  [80_877_102, '(cancel)'],
  [80_877_103, '(asks for TLS)'],
  [80_877_104, '(asks for GSSAPI)'],
]);

/** The messages of a PostgreSQL client, or what it begins with. */
function postgres(request: Uint8Array): Said | undefined {
  const view = new DataView(request.buffer, request.byteOffset, request.byteLength);
  if (request[0] === 0 && request.length >= 8 && view.getUint32(0) === request.length) {
    return { purpose: 'connection', text: STARTS.get(view.getUint32(4)) ?? '(login)' };
  }
  const messages = messagesOf(request);
  if (messages === undefined) return undefined;
  const texts: string[] = [];
  let purpose: Purpose = 'connection';
  for (const { kind, body } of messages) {
    if (kind === 'Q' || kind === 'P') {
      const from = kind === 'Q' ? 0 : body.indexOf(0) + 1;
      const sql = body.subarray(from, Math.max(body.indexOf(0, from), from));
      texts.push(kind === 'Q' ? line(sql) : `prepare: ${line(sql)}`);
      if (kind === 'Q') purpose = about(asLatin1(sql));
    } else if (kind === 'B') {
      const values = boundTo(body);
      if (texts.length === 0) texts.push(`execute: ${values.name}`);
      else texts.push((texts.pop() ?? '').replace(/^prepare: /, ''));
      if (values.text !== '') texts.push(values.text);
      purpose = texts.length > 0 ? about(texts[0] ?? '') : 'work';
    } else if (kind === 'E') purpose = texts.length === 0 ? 'work' : purpose;
    else if (kind === 'p') texts.push('(login)');
    else if (kind === 'X') texts.push('(farewell)');
    else if (kind === 'C') texts.push('close statement');
    else if ('Fcdf'.includes(kind)) purpose = 'work';
  }
  return { purpose, text: texts.length === 0 ? line(request) : texts.join(' ') };
}

/** A statement of PostgreSQL's extended protocol with the values that it runs with. */
export interface BoundStatement {
  /** The name under which it was prepared; empty for the unnamed one. */
  name: string;
  /** Its text, where the same request prepares it. */
  sql: string | undefined;
  /** How its values are written, and they. */
  values: string;
}

/** What a request to PostgreSQL prepares, by name, and what it runs; undefined where it is no such request. */
export function boundStatements(
  request: Uint8Array,
): { prepared: ReadonlyMap<string, string>; run: BoundStatement[] } | undefined {
  const prepared = new Map<string, string>();
  const run: BoundStatement[] = [];
  for (const { kind, body } of messagesOf(request) ?? []) {
    const first = body.indexOf(0);
    const second = body.indexOf(0, first + 1);
    if (!'PB'.includes(kind)) continue;
    if (first < 0 || second < 0) return undefined;
    const [one, other] = [asLatin1(body.subarray(0, first)), asLatin1(body.subarray(first + 1, second))];
    if (kind === 'P') prepared.set(one, other);
    else run.push({ name: other, sql: prepared.get(other), values: valuesOf(body.subarray(second + 1)) });
  }
  return prepared.size + run.length > 0 ? { prepared, run } : undefined;
}

/** The messages of a PostgreSQL client; undefined where there are none, or not all of one. */
function messagesOf(request: Uint8Array): { kind: string; body: Uint8Array }[] | undefined {
  const view = new DataView(request.buffer, request.byteOffset, request.byteLength);
  const messages: { kind: string; body: Uint8Array }[] = [];
  for (let at = 0; at < request.length;) {
    if (at + 5 > request.length) return undefined;
    const kind = String.fromCharCode(request[at] ?? 0);
    const end = at + 1 + view.getUint32(at + 1);
    if (end < at + 5 || end > request.length || !'QPBCDEFHSXcdfp'.includes(kind)) return undefined;
    messages.push({ kind, body: request.subarray(at + 5, end) });
    at = end;
  }
  return messages;
}

/** The formats and values of a `Bind` message, without the formats that are wanted for its results. */
function valuesOf(bound: Uint8Array): string {
  const view = new DataView(bound.buffer, bound.byteOffset, bound.byteLength);
  if (bound.length < 2) return asLatin1(bound);
  let at = 2 + view.getUint16(0) * 2;
  if (at + 2 > bound.length) return asLatin1(bound);
  const count = view.getUint16(at);
  at += 2;
  for (let index = 0; index < count && at + 4 <= bound.length; index += 1) {
    at += 4 + Math.max(view.getInt32(at), 0);
  }
  return asLatin1(bound.subarray(0, at));
}

/** The statement's name and the values of a `Bind` message. */
function boundTo(body: Uint8Array): { name: string; text: string } {
  const portal = body.indexOf(0);
  const end = body.indexOf(0, portal + 1);
  const name = asLatin1(body.subarray(portal + 1, Math.max(end, portal + 1)));
  const view = new DataView(body.buffer, body.byteOffset, body.byteLength);
  const values: string[] = [];
  let at = end + 1;
  if (end < 0 || at + 2 > body.length) return { name, text: '' };
  at += 2 + view.getUint16(at) * 2;
  if (at + 2 > body.length) return { name, text: '' };
  const count = view.getUint16(at);
  at += 2;
  for (let index = 0; index < count && at + 4 <= body.length; index += 1) {
    const length = view.getInt32(at);
    at += 4;
    values.push(length < 0 ? 'NULL' : show(body.subarray(at, at + length), 40));
    at += Math.max(length, 0);
  }
  return { name, text: values.length === 0 ? '' : `[${values.join(', ')}]` };
}
