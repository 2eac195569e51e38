/** What was said on the connections of a recording, whichever session had them then. */
import { describeCall, protocolOf } from '../protocols/describe.ts';
import { purposeOf } from '../protocols/sql.ts';
import { outboundCalls, type CallOutbound, type Session } from '../recording/model.ts';

/** How connections to databases begin: a pool logs in and sets them up at any moment, in whichever session that is. */
export class History {
  /** When a connection was first asked for something, in nanoseconds since 1970. */
  readonly #asked = new Map<bigint, bigint>();
  readonly #loggedIn = new Set<bigint>();

  /** Takes in a session of the recording; they may come in any order. */
  note(session: Session): void {
    for (const call of outboundCalls(session)) {
      const { ConnectionId, OccurredAt } = call;
      const purpose = purposeOf(protocolOf(session, call), call);
      if (purpose === 'connection' && /\(login\)/.test(describeCall(call))) this.#loggedIn.add(ConnectionId);
      if (purpose !== 'work') continue;
      const first = this.#asked.get(ConnectionId);
      if (first === undefined || OccurredAt < first) this.#asked.set(ConnectionId, OccurredAt);
    }
  }

  /** Whether the connection of a call was logged in on, and not asked for anything before the call. */
  isFresh({ ConnectionId, OccurredAt }: CallOutbound): boolean {
    const first = this.#asked.get(ConnectionId);
    return this.#loggedIn.has(ConnectionId) && (first === undefined || first > OccurredAt);
  }
}
