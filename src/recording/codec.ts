/**
 * Sessions to CBOR and back. A session is a CBOR map with the names of `model.ts`; members with their default
 * value are left out, unknown ones are skipped. Pure: runs in the browser too.
 */
import { Decoder, Encoder } from 'cbor-x';
import type {
  Action,
  CallFromInbound,
  Connection,
  Matched,
  Peer,
  ReturnInbound,
  Session,
  UnixAddr,
} from './model.ts';

const options = { useRecords: false, tagUint8Array: false, variableMapSize: true };
const encoder = new Encoder(options);
const decoder = new Decoder(options);

/** What is in the bytes is CBOR, but no session; the message says what is wrong. */
export class SessionFormatError extends Error {
  override name = 'SessionFormatError';
}

/** One session from one CBOR item. */
export function decodeSession(bytes: Uint8Array): Session {
  let item: unknown;
  try {
    item = decoder.decode(bytes);
  } catch (error) {
    throw new SessionFormatError(`not CBOR: ${error instanceof Error ? error.message : String(error)}`);
  }
  return readSession(fields(item, 'a session'));
}

/** One session as one CBOR item, `SessionId` first. */
export function encodeSession(session: Session): Uint8Array {
  const { SessionId, CallFromInbound, ReturnInbound, Actions, Connections, ...rest } = session;
  return encoder.encode({
    SessionId,
    ...sparse(rest),
    ...(CallFromInbound === null ? {} : { CallFromInbound: sparse(CallFromInbound) }),
    ...(ReturnInbound === null ? {} : { ReturnInbound: sparse(ReturnInbound) }),
    ...(Actions.length === 0 ? {} : { Actions: Actions.map(sparse) }),
    ...(Connections.length === 0 ? {} : { Connections: Connections.map(sparse) }),
  });
}

function sparse(value: object): Record<string, unknown> {
  const kept: Record<string, unknown> = {};
  for (const [name, member] of Object.entries(value)) {
    const encoded = isPlain(member) ? sparse(member) : member;
    if (!isDefault(encoded)) kept[name] = encoded;
  }
  return kept;
}

function isPlain(value: unknown): value is object {
  return (
    typeof value === 'object' && value !== null && !Array.isArray(value) && !(value instanceof Uint8Array)
  );
}

function isDefault(value: unknown): boolean {
  if (
    value === null ||
    value === undefined ||
    value === '' ||
    value === 0 ||
    value === 0n ||
    value === false
  ) {
    return true;
  }
  if (value instanceof Uint8Array || Array.isArray(value)) return value.length === 0;
  return isPlain(value) && Object.keys(value).length === 0;
}

type Fields = Readonly<Record<string, unknown>>;

function fields(value: unknown, what: string): Fields {
  if (!isPlain(value)) throw new SessionFormatError(`${what} is not a map`);
  return value as Fields;
}

function readSession(from: Fields): Session {
  const sessionId = text(from, 'SessionId');
  if (sessionId === '') throw new SessionFormatError('it has no SessionId');
  return {
    SessionId: sessionId,
    Context: text(from, 'Context'),
    ThreadId: int(from, 'ThreadId'),
    TraceHeader:
      from['TraceHeader'] === undefined || from['TraceHeader'] === null
        ? null
        : byteString(from, 'TraceHeader'),
    NextSessionId: text(from, 'NextSessionId'),
    CallFromInbound: optional(from, 'CallFromInbound', readCallFromInbound),
    ReturnInbound: optional(from, 'ReturnInbound', readReturnInbound),
    Actions: list(from, 'Actions', readAction),
    TraceId: text(from, 'TraceId'),
    SpanId: text(from, 'SpanId'),
    ProcessId: big(from, 'ProcessId'),
    Pid: int(from, 'Pid'),
    Connections: list(from, 'Connections', readConnection),
    OverlapGroup: text(from, 'OverlapGroup'),
    Incomplete: bool(from, 'Incomplete'),
  };
}

function readCallFromInbound(from: Fields): CallFromInbound {
  return {
    ActionIndex: int(from, 'ActionIndex'),
    OccurredAt: big(from, 'OccurredAt'),
    Peer: readPeer(from),
    UnixAddr: readUnixAddr(from),
    Request: byteString(from, 'Request'),
    ConnectionId: big(from, 'ConnectionId'),
  };
}

function readReturnInbound(from: Fields): ReturnInbound {
  return {
    ActionIndex: int(from, 'ActionIndex'),
    OccurredAt: big(from, 'OccurredAt'),
    Response: byteString(from, 'Response'),
  };
}

function readAction(from: Fields): Action {
  const type = text(from, 'ActionType');
  const common = { ActionIndex: int(from, 'ActionIndex'), OccurredAt: big(from, 'OccurredAt') };
  switch (type) {
    case 'CallOutbound':
      return {
        ActionType: type,
        ...common,
        SocketFD: int(from, 'SocketFD'),
        Peer: readPeer(from),
        ResponseTime: big(from, 'ResponseTime'),
        UnixAddr: readUnixAddr(from),
        Request: byteString(from, 'Request'),
        Response: byteString(from, 'Response'),
        CSpanId: text(from, 'CSpanId'),
        ConnectionId: big(from, 'ConnectionId'),
        ThreadId: int(from, 'ThreadId'),
        Ambiguous: bool(from, 'Ambiguous'),
        Error: text(from, 'Error'),
        Datagrams: ints(from, 'Datagrams'),
        Matched: optional(from, 'Matched', readMatched),
      };
    case 'SendUDP':
      return {
        ActionType: type,
        ...common,
        Peer: readPeer(from),
        Content: byteString(from, 'Content'),
        UnixAddr: readUnixAddr(from),
        Ambiguous: bool(from, 'Ambiguous'),
      };
    case 'AppendFile':
      return {
        ActionType: type,
        ...common,
        FileName: text(from, 'FileName'),
        Content: byteString(from, 'Content'),
        Ambiguous: bool(from, 'Ambiguous'),
        Gap: bool(from, 'Gap'),
      };
    case 'ReadStorage':
      return { ActionType: type, ...common, Content: byteString(from, 'Content') };
    case 'ResolveName':
      return {
        ActionType: type,
        ...common,
        Name: text(from, 'Name'),
        Address: text(from, 'Address'),
        Service: text(from, 'Service'),
        Family: text(from, 'Family'),
        Addresses: texts(from, 'Addresses'),
        CanonicalName: text(from, 'CanonicalName'),
        Error: text(from, 'Error'),
        Ambiguous: bool(from, 'Ambiguous'),
      };
    default:
      throw new SessionFormatError(`it has an action of unknown type ${JSON.stringify(type)}`);
  }
}

function readMatched(from: Fields): Matched {
  return {
    SessionId: text(from, 'SessionId'),
    ActionIndex: int(from, 'ActionIndex'),
    Mark: float(from, 'Mark'),
    Reason: text(from, 'Reason'),
    NearestActionIndex: int(from, 'NearestActionIndex'),
    Differences: texts(from, 'Differences'),
    Fields: list(from, 'Fields', (field) => ({
      Name: text(field, 'Name'),
      Weight: float(field, 'Weight'),
      Score: float(field, 'Score'),
    })),
    RunnerUp: optional(from, 'RunnerUp', (second) => ({
      SessionId: text(second, 'SessionId'),
      ActionIndex: int(second, 'ActionIndex'),
      Mark: float(second, 'Mark'),
    })),
  };
}

function readPeer(from: Fields): Peer {
  const peer = optional(from, 'Peer', (value) => value) ?? {};
  return { IP: text(peer, 'IP'), Port: int(peer, 'Port'), Zone: text(peer, 'Zone') };
}

function readUnixAddr(from: Fields): UnixAddr {
  const address = optional(from, 'UnixAddr', (value) => value) ?? {};
  return { Name: text(address, 'Name'), Net: text(address, 'Net') };
}

function readConnection(from: Fields): Connection {
  return {
    ConnectionId: big(from, 'ConnectionId'),
    Direction: text(from, 'Direction'),
    Kind: text(from, 'Kind'),
    Local: text(from, 'Local'),
    Peer: text(from, 'Peer'),
    Protocol: text(from, 'Protocol'),
    Encrypted: bool(from, 'Encrypted'),
    ServerName: text(from, 'ServerName'),
    End: text(from, 'End'),
    Gap: bool(from, 'Gap'),
  };
}

function wrong(name: string, wanted: string): SessionFormatError {
  return new SessionFormatError(`${name} is not ${wanted}`);
}

function text(from: Fields, name: string): string {
  const value = from[name];
  if (value === undefined || value === null) return '';
  if (typeof value !== 'string') throw wrong(name, 'a text');
  return value;
}

function int(from: Fields, name: string): number {
  const value = from[name];
  if (value === undefined || value === null) return 0;
  if (typeof value === 'number' && Number.isSafeInteger(value)) return value;
  if (typeof value === 'bigint' && BigInt.asIntN(53, value) === value) return Number(value);
  throw wrong(name, 'an integer in range');
}

function float(from: Fields, name: string): number {
  const value = from[name];
  if (value === undefined || value === null) return 0;
  if (typeof value === 'number') return value;
  if (typeof value === 'bigint') return Number(value);
  throw wrong(name, 'a number');
}

/** cbor-x gives a number below 2^32 and a bigint above: here both become a bigint. */
function big(from: Fields, name: string): bigint {
  const value = from[name];
  if (value === undefined || value === null) return 0n;
  if (typeof value === 'bigint') return value;
  if (typeof value === 'number' && Number.isSafeInteger(value)) return BigInt(value);
  throw wrong(name, 'an integer');
}

function bool(from: Fields, name: string): boolean {
  const value = from[name];
  if (value === undefined || value === null) return false;
  if (typeof value !== 'boolean') throw wrong(name, 'true or false');
  return value;
}

function byteString(from: Fields, name: string): Uint8Array {
  const value = from[name];
  if (value === undefined || value === null) return new Uint8Array();
  if (!(value instanceof Uint8Array)) throw wrong(name, 'a byte string');
  return value;
}

function optional<T>(from: Fields, name: string, read: (value: Fields) => T): T | null {
  const value = from[name];
  return value === undefined || value === null ? null : read(fields(value, name));
}

function list<T>(from: Fields, name: string, read: (value: Fields) => T): T[] {
  return array(from, name).map((item) => read(fields(item, `an item of ${name}`)));
}

function texts(from: Fields, name: string): string[] {
  return array(from, name).map((item) => {
    if (typeof item !== 'string') throw wrong(name, 'an array of texts');
    return item;
  });
}

function ints(from: Fields, name: string): number[] {
  return array(from, name).map((item) => {
    if (typeof item !== 'number' || !Number.isSafeInteger(item)) throw wrong(name, 'an array of integers');
    return item;
  });
}

function array(from: Fields, name: string): unknown[] {
  const value = from[name];
  if (value === undefined || value === null) return [];
  if (!Array.isArray(value)) throw wrong(name, 'an array');
  return value;
}
