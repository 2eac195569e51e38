// A load whose every answer is written down: what a recording must hold is what the client got.
import assert from 'node:assert/strict';
import { Client, type Exchange } from './client.ts';
import { type Session, requestSessions } from './recording.ts';

/** What one connection was answered, in order. */
export type Ledger = Exchange[];

/** A load under way. */
export interface Load {
  ledgers: Ledger[];
  /** Ends it; each connection gets the answer that it waits for. */
  stop(): void;
  /** Resolves when the load was ended, or the server is gone. */
  over: Promise<void>;
}

/** Loads a server over some connections, every request with a path of its own. */
export function load(port: number, connections: number): Load {
  const ledgers: Ledger[] = [];
  const end = new AbortController();
  const loops = Array.from({ length: connections }, async (_, connection) => {
    const ledger: Ledger = [];
    ledgers.push(ledger);
    const client = await Client.connect(port);
    try {
      for (let request = 0; !end.signal.aborted; request += 1)
        ledger.push(await client.http('GET', `/c${connection}r${request}`));
    } catch {
      // The server is gone, as planned.
    } finally {
      client.close();
    }
  });
  const stop = (): void => end.abort();
  return { ledgers, stop, over: Promise.all(loops).then(() => undefined) };
}

/** How many answers a load got. */
export const answers = (ledgers: Ledger[]): number => ledgers.reduce((sum, { length }) => sum + length, 0);

/**
 * Asserts that the recording has every answer once, to the byte, with the one call that the program made for it.
 * `killed`: so was the program, so that the last answer of a connection may lack its last event, the only one that a
 * kill can lose: it lies between the return of a call and its commit.
 */
export async function assertRecorded(
  folder: string,
  ledgers: Ledger[],
  { killed }: { killed: boolean },
): Promise<Session[]> {
  const sessions = await requestSessions(folder);
  const byRequest = new Map<string, Session[]>();
  for (const session of sessions) {
    byRequest.set(session.request, [...(byRequest.get(session.request) ?? []), session]);
  }
  for (const ledger of ledgers) {
    for (const [index, { request, response }] of ledger.entries()) {
      const [session, ...others] = byRequest.get(request) ?? [];
      assert.ok(session, `no session of ${request}`);
      assert.equal(others.length, 0, `more than one session of ${request}`);
      if (killed && index === ledger.length - 1 && session.incomplete) continue;
      assert.equal(session.response, response);
      assert.equal(session.calls.length, 1, `the calls of ${request}`);
      assert.equal(session.incomplete, false);
    }
  }
  // Beyond the ledger there is at most the request that each connection had under way.
  const answered = answers(ledgers);
  assert.ok(sessions.length <= answered + ledgers.length, `${sessions.length} sessions, ${answered} answers`);
  return sessions;
}
