// What a recording says crossed each connection: its sessions and talks, added up.
import type { Raw } from '../support/recording.ts';
import type { Datagram } from './wire.ts';

/** Bytes with the time of their first one, and what decides where times are equal. */
interface Piece {
  time: bigint;
  order: string;
  bytes: Buffer;
}

const list = (value: unknown): Raw[] => (value ?? []) as Raw[];
const time = (value: unknown): bigint => BigInt((value ?? 0) as number | bigint);
const string = (value: unknown): string => String(value ?? '');

/** A number as text that sorts as it does. */
const sortable = (value: unknown): string => string(value).padStart(24, '0');

function piece(value: unknown, at: unknown, order: string): Piece[] {
  const bytes = Buffer.from((value ?? []) as Uint8Array);
  return bytes.length === 0 ? [] : [{ time: time(at), order, bytes }];
}

function earlier(a: Piece, b: Piece): number {
  if (a.time !== b.time) return a.time < b.time ? -1 : 1;
  return a.order < b.order ? -1 : 1;
}

const inOrder = (pieces: Piece[]): Buffer =>
  Buffer.concat(pieces.toSorted(earlier).map(({ bytes }) => bytes));

/** A connection of a recording. */
export class Connection {
  readonly direction: string;
  readonly kind: string;
  readonly local: string;
  readonly peer: string;
  /** The recording says that it lacks bytes of it. */
  readonly gap: boolean;
  readonly #sent: Piece[];
  readonly #received: Piece[];
  readonly sent: Buffer;
  readonly received: Buffer;

  constructor(description: Raw, gap: boolean, sent: Piece[], received: Piece[]) {
    this.direction = string(description['Direction']);
    this.kind = string(description['Kind']);
    this.local = string(description['Local']);
    this.peer = string(description['Peer']);
    this.gap = gap;
    this.#sent = sent;
    this.#received = received;
    this.sent = inOrder(sent);
    this.received = inOrder(received);
  }

  /** It as one with others that have the same addresses. */
  with(others: Connection[]): Connection {
    const all = [this, ...others];
    const { direction, kind, local, peer } = this;
    return new Connection(
      { Direction: direction, Kind: kind, Local: local, Peer: peer },
      all.some(({ gap }) => gap),
      all.flatMap((connection) => connection.#sent),
      all.flatMap((connection) => connection.#received),
    );
  }
}

/** The connections of these sessions. */
export function recordedConnections(sessions: Raw[]): Connection[] {
  const all = new Map<string, { description: Raw; gap: boolean; sent: Piece[]; received: Piece[] }>();
  for (const session of sessions) {
    const id = string(session['SessionId']);
    const of = (connection: unknown): { sent: Piece[]; received: Piece[] } => {
      const key = string(connection);
      const description = described(session, { ConnectionId: connection });
      if (!description) throw new Error(`session ${id} does not describe connection ${key}`);
      const found = all.get(key) ?? { description, gap: false, sent: [], received: [] };
      found.gap ||= description['Gap'] === true;
      all.set(key, found);
      return found;
    };
    const call = session['CallFromInbound'] as Raw | undefined;
    const answer = session['ReturnInbound'] as Raw | undefined;
    if (call) {
      const { sent, received } = of(call['ConnectionId']);
      received.push(...piece(call['Request'], call['OccurredAt'], id));
      sent.push(...piece(answer?.['Response'], answer?.['OccurredAt'], id));
    }
    for (const action of list(session['Actions'])) {
      if (!isStream(session, action)) continue;
      const { sent, received } = of(action['ConnectionId']);
      const order = id + sortable(action['ActionIndex']);
      const asked = action['OccurredAt'];
      sent.push(...piece(action['Request'], asked, order));
      received.push(...piece(action['Response'], action['ResponseTime'] ?? asked, sortable(asked) + order));
    }
  }
  return [...all.values()].map(
    ({ description, gap, sent, received }) => new Connection(description, gap, sent, received),
  );
}

/** The description of the connection of a call. */
const described = (session: Raw, action: Raw): Raw | undefined =>
  list(session['Connections']).find((one) => string(one['ConnectionId']) === string(action['ConnectionId']));

/** Whether an action is a call on a connection, and no datagram. */
const isStream = (session: Raw, action: Raw): boolean =>
  action['ActionType'] === 'CallOutbound' && described(session, action)?.['Kind'] !== 'udp';

/** The datagrams that these sessions say were sent, and came back for them. */
export function recordedDatagrams(sessions: Raw[]): { sent: Datagram[]; received: Datagram[] } {
  const sent: Datagram[] = [];
  const received: Datagram[] = [];
  for (const session of sessions) {
    for (const action of list(session['Actions'])) {
      // A message by syslog(3), which libc puts into words of its own, and which nobody may be there to receive.
      if (((action['UnixAddr'] ?? {}) as Raw)['Name'] === '/dev/log') continue;
      const { IP, Port } = (action['Peer'] ?? {}) as Raw;
      const peer = `${string(IP).includes(':') ? `[${string(IP)}]` : string(IP)}:${string(Port)}`;
      const bytes = (name: string): Buffer => Buffer.from((action[name] ?? []) as Uint8Array);
      if (action['ActionType'] === 'SendUDP') sent.push({ peer, content: bytes('Content') });
      if (action['ActionType'] !== 'CallOutbound' || isStream(session, action)) continue;
      sent.push({ peer, content: bytes('Request') });
      const response = bytes('Response');
      let at = 0;
      for (const size of (action['Datagrams'] ?? [response.length]) as number[]) {
        received.push({ peer, content: response.subarray(at, at + size) });
        at += size;
      }
    }
  }
  return { sent, received };
}
