/** Which sessions of a recording are replayed, and in which order. */
import { History } from '../diff/index.ts';
import { KoalaError } from '../errors.ts';
import { connectionOf, isBoot, listenerOf, outboundCalls, type Session } from '../recording/model.ts';
import { describeTorn, type Place, type Recording } from '../recording/recording.ts';

/** What will be replayed. */
export interface Plan {
  /** In the order in which they were asked for; all of them, in the order in which their requests came. */
  places: Place[];
  /** The addresses at which they came in. */
  listeners: Set<string>;
  /** How many outbound calls the boot sessions have. */
  bootCalls: number;
  /** What was said on the connections of the recording. */
  history: History;
  skipped: { SessionId: string; Reason: string }[];
  warnings: string[];
}

/** Reads the recording once and plans its replay; `only` are ids, or unique beginnings of ids. */
export async function planReplay(recording: Recording, only: readonly string[]): Promise<Plan> {
  const chosen: { place: Place; rank: number; at: bigint }[] = [];
  const plan: Plan = {
    places: [],
    listeners: new Set(),
    bootCalls: 0,
    history: new History(),
    skipped: [],
    warnings: [],
  };
  const wanted = new Map(only.map((id) => [id, 0]));
  let sessions = 0;
  const connections = new Connections();
  for await (const { session, place } of recording.sessions()) {
    sessions += 1;
    plan.history.note(session);
    if (isBoot(session)) plan.bootCalls += outboundCalls(session).length;
    const unreadable = connections.unreadable(session);
    const rank = only.findIndex((id) => session.SessionId.startsWith(id));
    if (only.length > 0 && !want(wanted, session.SessionId)) continue;
    const reason = whyNot(session) ?? unreadable;
    if (reason !== undefined) {
      // A boot session has no request: it serves the others, and nobody expects a verdict on it.
      if (!isBoot(session) || only.length > 0)
        plan.skipped.push({ SessionId: session.SessionId, Reason: reason });
      continue;
    }
    chosen.push({ place, rank, at: session.CallFromInbound?.OccurredAt ?? 0n });
    const listener = listenerOf(session);
    if (listener !== '') plan.listeners.add(listener);
  }
  checkTorn(recording, plan);
  for (const [id, count] of wanted) {
    if (count === 0)
      throw new KoalaError(`${recording.directory} has no session ${id}: see koala sessions list`);
    if (count > 1)
      throw new KoalaError(
        `${count} sessions of ${recording.directory} begin with ${id}: give more of the id`,
      );
  }
  if (sessions === 0)
    throw new KoalaError(`${recording.directory} has no sessions: there is nothing to replay`);
  plan.places = chosen
    .sort((left, right) => left.rank - right.rank || compare(left.at, right.at))
    .map(({ place }) => place);
  return plan;
}

function want(wanted: Map<string, number>, sessionId: string): boolean {
  let found = false;
  for (const [id, count] of wanted) {
    if (!sessionId.startsWith(id)) continue;
    wanted.set(id, count + 1);
    found = true;
  }
  return found;
}

function whyNot(session: Session): string | undefined {
  if (isBoot(session)) return 'it is a boot session: it has no request';
  if (session.CallFromInbound === null || session.CallFromInbound.Request.length === 0)
    return 'it has no request';
  if (session.Incomplete) return 'it is incomplete: its process ended, or events of it were lost';
  return undefined;
}

/** The preface of HTTP/2 (RFC 9113 section 3.4), as far as it tells. */
const HTTP2 = Buffer.from('PRI * HTTP/2.0\r\n');

/** Inbound connections of which koala sees bytes and no requests: those to replay would prove nothing. */
class Connections {
  /** By the agent that recorded and its number for the connection. */
  readonly #http2 = new Set<string>();

  /** Why what came in by the session's connection is no request; sessions in the order of the recording. */
  unreadable(session: Session): string | undefined {
    const inbound = session.CallFromInbound;
    if (inbound === null) return undefined;
    if (connectionOf(session, inbound.ConnectionId)?.Encrypted === true)
      return 'its connection is encrypted (TLS): koala cannot see its request';
    const connection = `${session.SessionId.split('-')[1]} ${inbound.ConnectionId}`;
    if (HTTP2.equals(inbound.Request.subarray(0, HTTP2.length))) this.#http2.add(connection);
    return this.#http2.has(connection)
      ? 'its connection speaks HTTP/2, of which koala does not know the requests yet'
      : undefined;
  }
}

/** A recording that was cut after it was finished lacks what someone recorded: a verdict on it would be false. */
function checkTorn(recording: Recording, plan: Plan): void {
  for (const torn of recording.torn) {
    if (torn.afterFinish) throw new KoalaError(describeTorn(torn));
    plan.warnings.push(describeTorn(torn));
  }
}

function compare(left: bigint, right: bigint): number {
  if (left === right) return 0;
  return left < right ? -1 : 1;
}
