// Many clients at once, and what they know of their own connections.
import assert from 'node:assert/strict';
import { Client, type Exchange } from '../support/client.ts';
import type { Raw } from '../support/recording.ts';

/** How many connections are open at once. */
export const concurrency = 16;

/** A request. */
export interface Request {
  method?: string;
  path: string;
  body?: string;
}

/**
 * Lets `concurrency` clients send `rounds` requests each; every third of them connects anew for each request. Fails
 * where a response is none, or has another status than 200.
 */
export async function load(
  port: number,
  rounds: number,
  request: (client: number, round: number) => Request,
): Promise<Exchange[]> {
  const one = async (number: number): Promise<Exchange[]> => {
    const exchanges: Exchange[] = [];
    let client = await Client.connect(port);
    for (let round = 0; round < rounds; round += 1) {
      const { method = 'GET', path, body = '' } = request(number, round);
      const exchange = await client.http(method, path, body);
      assert.match(exchange.response, /^HTTP\/1\.[01] 200 /, `${method} ${path}`);
      exchanges.push(exchange);
      const closes = /^connection: *close/im.test(exchange.response.split('\r\n\r\n', 1)[0] ?? '');
      if (!closes && number % 3 !== 0) continue;
      await client.finish();
      if (round + 1 < rounds) client = await Client.connect(port);
    }
    // So that nothing is under way when the program is ended.
    await client.finish();
    return exchanges;
  };
  const all = await Promise.all(Array.from({ length: concurrency }, (_, number) => one(number)));
  return all.flat();
}

const latin1 = (value: unknown): string => Buffer.from((value ?? []) as Uint8Array).toString('latin1');

/** Fails unless every exchange is a session of its own, and no other session is of HTTP. */
export function assertSessions(sessions: Raw[], exchanges: Exchange[]): void {
  const line = (request: string, response: string): string => `${request}\n=> ${response}`;
  const inbound = sessions.filter((session) =>
    / HTTP\/1\.\d\r\n/.test(latin1((session['CallFromInbound'] as Raw | undefined)?.['Request'])),
  );
  const recorded = inbound.map((session) =>
    line(
      latin1((session['CallFromInbound'] as Raw)['Request']),
      latin1((session['ReturnInbound'] as Raw | undefined)?.['Response']),
    ),
  );
  const wanted = exchanges.map(({ request, response }) => line(request, response));
  const missing = without(wanted, recorded);
  const invented = without(recorded, wanted);
  const first = (lines: string[]): string =>
    lines
      .slice(0, 3)
      .map((text) => text.slice(0, 600))
      .join('\n---\n');
  assert.ok(
    missing.length === 0,
    `${missing.length} of ${wanted.length} exchanges are no session:\n${first(missing)}`,
  );
  assert.ok(invented.length === 0, `${invented.length} sessions were no exchange:\n${first(invented)}`);
  const cut = inbound.filter((session) => session['Incomplete'] === true);
  assert.equal(cut.length, 0, 'incomplete sessions');
}

/** What `all` has more often than `taken`. */
function without(all: string[], taken: string[]): string[] {
  const counts = new Map<string, number>();
  for (const text of taken) counts.set(text, (counts.get(text) ?? 0) + 1);
  return all.filter((text) => {
    const count = counts.get(text) ?? 0;
    counts.set(text, count - 1);
    return count <= 0;
  });
}
