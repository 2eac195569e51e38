// Holds a recording against the wire, socket by socket and direction by direction.
import type { Bytes } from './bytes.ts';
import type { Connection } from './recorded.ts';
import type { Datagram, Socket, Wire } from './wire.ts';

/** What came of a comparison. */
export interface Verdict {
  /** A paragraph for each socket that the recording has wrong; none where it holds. */
  problems: string[];
  /** How many sockets were compared. */
  inbound: number;
  outbound: number;
  /** How many of them have both ends in the program: their bytes are recorded once, at the end that asked. */
  inner: number;
  datagrams: number;
  /** How many bytes crossed the compared sockets. */
  bytes: number;
  /** A line for each socket whose recording says that it lacks bytes. */
  gaps: string[];
}

/** The address of koala's own socket, by which a program gets the event log. */
const koala = /\/attach\.sock$/;
/** Where helper information is sent: it never reaches the network. */
const helper = '127.127.127.127:127';
/** Where libc asks for names: what it asks and is told is recorded as a lookup, not as datagrams. */
const names = ':53';

/** IPv4-mapped addresses as the IPv4 addresses that they are. */
const plain = (address: string): string => address.replace(/^\[::ffff:([\d.]+)\]/, '$1');

const shown = (bytes: Buffer): string => {
  const text = bytes
    .toString('latin1')
    .replaceAll(/[^ -~]/g, (byte) => `\\x${byte.charCodeAt(0).toString(16).padStart(2, '0')}`);
  return text === '' ? '(nothing)' : text;
};

function explain(what: string, wire: Bytes, recorded: Buffer): string | undefined {
  const at = wire.difference(recorded);
  if (at === undefined) return undefined;
  const from = Math.max(0, at - 24);
  const excerpt = (bytes: Buffer): string => shown(bytes.subarray(from, at + 56));
  return [
    `  ${what}: ${wire.length} bytes crossed, ${recorded.length} are recorded; they differ from byte ${at} on`,
    `    crossed  ..${excerpt(wire.shown())}`,
    `    recorded ..${excerpt(recorded)}`,
  ].join('\n');
}

const name = ({ role, family, local, peer, inode }: Socket): string =>
  `${role} ${family} ${plain(local) || '?'} ${role === 'inbound' ? '<-' : '->'} ${plain(peer) || '?'} (socket ${inode})`;

const isSilent = ({ sent, received }: { sent: { length: number }; received: { length: number } }): boolean =>
  sent.length + received.length === 0;

/** The kind of a connection and the address that is its own: what its two descriptions have in common. */
function key({ direction, kind, local, peer }: Connection): string {
  const [own, other] = [plain(local), plain(peer)];
  if (direction === 'inbound') return `inbound ${kind === 'unix' ? own : other}`;
  return `outbound ${kind === 'unix' ? '' : own} ${other}`;
}

/** What the keys of a socket's connection begin with: all of it, where its addresses are known. */
function keys({ role, family, local, peer }: Socket): { prefixes: string[]; whole: boolean } {
  const unix = family === 'unix';
  const [own, other] = [plain(local), plain(peer)];
  const inbound = `inbound ${unix ? own : other}`;
  const outbound = `outbound ${unix ? '' : own} ${other}`;
  if (role === 'inbound') return { prefixes: [inbound], whole: unix || other !== '' };
  if (role === 'outbound') return { prefixes: [outbound], whole: unix || own !== '' };
  return { prefixes: [inbound, outbound], whole: other !== '' };
}

function isRight(socket: Socket, { sent, received, gap }: Connection): boolean {
  if (gap) return socket.sent.contains(sent) && socket.received.contains(received);
  return socket.sent.difference(sent) === undefined && socket.received.difference(received) === undefined;
}

/** How much of a recording of a socket is right. */
const nearness = (socket: Socket, { sent, received }: Connection): number =>
  (socket.sent.difference(sent) ?? sent.length) + (socket.received.difference(received) ?? received.length);

const paragraph = (title: string, sent: Buffer, received: Buffer): string =>
  [
    title,
    `  sent ${sent.length} bytes: ${shown(sent.subarray(0, 80))}`,
    `  received ${received.length} bytes: ${shown(received.subarray(0, 80))}`,
  ].join('\n');

/** A comparison under way. */
class Comparison {
  readonly verdict = {
    problems: [] as string[],
    inbound: 0,
    outbound: 0,
    inner: 0,
    bytes: 0,
    gaps: [] as string[],
  };
  /** The recorded connections that no socket has been found for, by their keys. */
  readonly #left = new Map<string, Connection[]>();
  /** The addresses from which the program has connected, or the paths to which it has. */
  readonly #asking: Set<string>;

  constructor(sockets: Socket[], connections: Connection[]) {
    for (const connection of connections) {
      if (isSilent(connection) && !connection.gap) continue;
      this.#left.set(key(connection), [...(this.#left.get(key(connection)) ?? []), connection]);
    }
    this.#asking = new Set(
      sockets
        .filter(({ role }) => role === 'outbound')
        .map(({ family, local, peer }) => (family === 'unix' ? peer : plain(local))),
    );
  }

  /** The connections that may be this socket's. */
  #candidates(socket: Socket): Connection[] {
    const { prefixes, whole } = keys(socket);
    if (whole) return prefixes.flatMap((prefix) => this.#left.get(prefix) ?? []);
    const { role, peer } = socket;
    return [...this.#left.values()]
      .flat()
      .filter((one) => role !== 'outbound' || plain(one.peer) === plain(peer))
      .filter(({ direction }) => role === 'unknown' || direction === role);
  }

  #take(...connections: Connection[]): void {
    for (const connection of connections) {
      const others = (this.#left.get(key(connection)) ?? []).filter((other) => other !== connection);
      this.#left.set(key(connection), others);
    }
  }

  /** Finds the connection of a socket if it is recorded right. */
  settle(socket: Socket): boolean {
    const candidates = this.#candidates(socket);
    const right = candidates.filter((connection) => isRight(socket, connection));
    let found = right.find(({ gap }) => !gap);
    if (!found && candidates.length > 1 && socket.family !== 'unix' && keys(socket).whole) {
      // A socket that a program was started with is another connection there, with the same addresses.
      const joined = candidates[0]?.with(candidates.slice(1));
      if (joined && isRight(socket, joined)) {
        this.#take(...candidates);
        found = joined;
      }
    }
    found ??= right[0];
    if (!found) return false;
    this.#take(found);
    if (found.gap) {
      const { sent, received } = found;
      this.verdict.gaps.push(
        `${name(socket)}: ${sent.length} of ${socket.sent.length} bytes sent are recorded, ` +
          `${received.length} of ${socket.received.length} received: ${shown(socket.sent.shown().subarray(0, 24))}..`,
      );
    }
    return true;
  }

  /** Says what is wrong with a socket that is not recorded right. */
  blame(socket: Socket): void {
    const candidates = this.#candidates(socket);
    const nearest = candidates.toSorted((a, b) => nearness(socket, b) - nearness(socket, a))[0];
    const { problems } = this.verdict;
    if (nearest) {
      this.#take(nearest);
      const gap = nearest.gap ? ', with a gap, but not only that' : '';
      const differences = [
        explain('sent', socket.sent, nearest.sent),
        explain('received', socket.received, nearest.received),
      ];
      const lines = [`${name(socket)}: recorded otherwise${gap}`, ...differences];
      problems.push(lines.filter((line) => line !== undefined).join('\n'));
    } else if (this.#isInner(socket)) {
      this.verdict.inner += 1;
    } else {
      problems.push(paragraph(`${name(socket)}: not recorded`, socket.sent.shown(), socket.received.shown()));
    }
  }

  #isInner({ role, family, local, peer }: Socket): boolean {
    return role === 'inbound' && this.#asking.has(family === 'unix' ? local : plain(peer));
  }

  /** Says which recorded connections no socket was found for. */
  blameRest(): void {
    for (const { direction, kind, local, peer, sent, received } of [...this.#left.values()].flat()) {
      const title = `${direction} ${kind} ${local} ${peer}: recorded, but no such socket was seen`;
      this.verdict.problems.push(paragraph(title, sent, received));
    }
  }
}

const isStream = ({ datagram, role, family, local, peer }: Socket): boolean =>
  !datagram &&
  role !== 'pair' &&
  role !== 'listener' &&
  !koala.test(peer) &&
  (/^inet6?$/.test(family) || (family === 'unix' && local + peer !== ''));

/** Compares the connections of a recording with the sockets of its program. */
export function compareStreams(wire: Wire, connections: Connection[]): Omit<Verdict, 'datagrams'> {
  const sockets = [...wire.sockets.values()].filter(isStream);
  const comparison = new Comparison(sockets, connections);
  const { verdict } = comparison;
  const used = sockets.filter((socket) => !isSilent(socket) || socket.sent.maybe.length > 0);
  for (const socket of used) {
    if (socket.role === 'outbound') verdict.outbound += 1;
    else verdict.inbound += 1;
    verdict.bytes += socket.sent.length + socket.received.length;
  }
  // Those that are surely right first, so that no other is taken for theirs.
  const known = used.toSorted((a, b) => Number(keys(b).whole) - Number(keys(a).whole));
  const wrong = known.filter((socket) => !comparison.settle(socket));
  for (const socket of wrong) comparison.blame(socket);
  comparison.blameRest();
  return verdict;
}

/** Compares datagrams one by one, whatever their order; those without content are left out. */
function compareEach(what: string, crossed: Datagram[], recorded: Datagram[]): string[] {
  const line = ({ peer, content }: Datagram): string => `${what} ${plain(peer)}: ${shown(content)}`;
  const isMeant = ({ peer, content }: Datagram): boolean =>
    peer !== helper && !peer.endsWith(names) && content.length > 0;
  const left = recorded.filter(isMeant).map(line);
  const problems: string[] = [];
  for (const datagram of crossed.filter(isMeant).map(line)) {
    const at = left.indexOf(datagram);
    if (at < 0) problems.push(`${datagram}: not recorded`);
    else left.splice(at, 1);
  }
  return [...problems, ...left.map((datagram) => `${datagram}: recorded, but never crossed`)];
}

/** Compares the datagrams that a program sent, and the answers to them, with those of a recording. */
export function compareDatagrams(
  wire: Wire,
  recorded: { sent: Datagram[]; received: Datagram[] },
): Pick<Verdict, 'problems' | 'datagrams'> {
  const sockets = [...wire.sockets.values()].filter(
    ({ datagram, family }) => datagram && family.startsWith('inet'),
  );
  const sent = sockets.flatMap(({ datagramsSent }) => datagramsSent);
  const answers = sockets.flatMap(({ datagramsReceived }) => datagramsReceived);
  const problems = [
    ...compareEach('datagram to', sent, recorded.sent),
    ...compareEach('datagram from', answers, recorded.received),
  ];
  return { problems, datagrams: sent.length + answers.length };
}
