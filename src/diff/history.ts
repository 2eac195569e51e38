/** What was said on the connections of a recording, whichever session had them then. */
import { describeCall, protocolOf } from '../protocols/describe.ts';
import { boundStatements, purposeOf } from '../protocols/sql.ts';
import { outboundCalls, peerOf, type CallOutbound, type Session } from '../recording/model.ts';

/** How connections to databases begin: a pool logs in and sets them up at any moment, in whichever session that is. */
export class History {
  /** When a connection was first asked for something, in nanoseconds since 1970. */
  readonly #asked = new Map<bigint, bigint>();
  readonly #loggedIn = new Set<bigint>();
  /** Statements that PostgreSQL was told to prepare, by connection and name. */
  readonly #prepared = new Map<bigint, Map<string, string>>();

  /** Takes in a session of the recording; they may come in any order. */
  note(session: Session): void {
    for (const call of outboundCalls(session)) {
      const { ConnectionId, OccurredAt } = call;
      const protocol = protocolOf(session, call);
      if (protocol === 'postgres') this.#notePrepared(call);
      const purpose = purposeOf(protocol, call);
      if (purpose === 'connection' && /\(login\)/.test(describeCall(call))) this.#loggedIn.add(ConnectionId);
      if (purpose !== 'work') continue;
      const first = this.#asked.get(ConnectionId);
      if (first === undefined || OccurredAt < first) this.#asked.set(ConnectionId, OccurredAt);
    }
  }

  #notePrepared({ ConnectionId, Request }: CallOutbound): void {
    for (const [name, sql] of boundStatements(Request)?.prepared ?? []) {
      if (name === '') continue;
      const known = this.#prepared.get(ConnectionId) ?? new Map<string, string>();
      // Drivers that give a name again are rare, and mean the same by it.
      if (!known.has(name)) this.#prepared.set(ConnectionId, known.set(name, sql));
    }
  }

  /**
   * What a recorded call asks, and whom; equal for calls that are one as good as the other. Which statements a client of
   * PostgreSQL prepares, and how it names them, is the connection's.
   */
  question(call: CallOutbound): string {
    return `${peerOf(call)} ${this.#statements(call) ?? call.Request.join(' ')}`;
  }

  #statements({ ConnectionId, Request }: CallOutbound): string | undefined {
    const run = boundStatements(Request)?.run ?? [];
    const texts = run.map(({ name, sql, values }) => {
      const text = sql ?? this.#prepared.get(ConnectionId)?.get(name);
      return text === undefined ? undefined : `${text}\0${values}`;
    });
    return texts.length === 0 || texts.includes(undefined) ? undefined : texts.join('\0');
  }

  /** Whether the connection of a call was logged in on, and not asked for anything before the call. */
  isFresh({ ConnectionId, OccurredAt }: CallOutbound): boolean {
    const first = this.#asked.get(ConnectionId);
    return this.#loggedIn.has(ConnectionId) && (first === undefined || first > OccurredAt);
  }
}
