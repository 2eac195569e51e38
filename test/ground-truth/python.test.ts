// Python: a thread for each connection, and an event loop, with the clients that services use.
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { type TestContext, test } from 'node:test';
import { startMariaDb, startPostgres } from '../support/databases.ts';
import { startRedis, startUpstream } from '../support/servers.ts';
import { freePort, temporaryFolder } from '../support/system.ts';
import { assertSessions, load } from './load.ts';
import { programPath } from './programs.ts';
import { Traced, assertTrue, lackingAny } from './traced.ts';

const python = (name: string, settings: unknown): string[] => [
  '/usr/bin/python3',
  programPath(name),
  JSON.stringify(settings),
];

test(
  'Python: threads with requests, psycopg2 and PyMySQL',
  { skip: lackingAny('python3', 'requests', 'psycopg2', 'pymysql', 'mariadb', 'postgresql') },
  async (t) => {
    const upstream = await startUpstream(t, ({ url }) => ({ body: `${url}\n`.repeat(url?.length ?? 1) }));
    const [mysql, postgres] = await Promise.all([
      startMariaDb(t, [
        'CREATE TABLE trees (id INT PRIMARY KEY, name VARCHAR(50))',
        "INSERT INTO trees VALUES (1, 'blue gum'), (2, 'manna gum'), (3, 'tallowwood')",
      ]),
      startPostgres(t),
    ]);
    const [port, folder] = [await freePort(), await temporaryFolder(t)];
    const settings = { port, folder, mysql, postgres, upstream: upstream.port };
    const program = await Traced.start(t, python('threads.py', settings), { port });
    const exchanges = await load(port, 10, (client, round) => {
      const number = client * 10 + round + 1;
      const kinds = ['requests', 'postgres', 'mysql', 'echo', 'file'];
      const kind = kinds[(client + round) % kinds.length];
      if (kind === 'echo') return { method: 'POST', path: '/echo', body: 'e'.repeat(number * 400) };
      return { path: `/${kind}/${kind === 'file' ? number * 700 : number}` };
    });
    const outcome = await program.stop();
    assertTrue(outcome, { inbound: 50, outbound: 6, bytes: 2_000_000 });
    assertSessions(outcome.sessions, exchanges);
  },
);

/** A UDP socket that answers what it is sent. */
async function startEcho(t: TestContext): Promise<number> {
  const socket = createSocket('udp4');
  socket.on('message', (message, { port, address }) => socket.send(`${message} back`, port, address));
  socket.bind(0, '127.0.0.1');
  await once(socket, 'listening');
  t.after(() => socket.close());
  return (socket.address() as AddressInfo).port;
}

test('Python: asyncio', { skip: lackingAny('python3', 'redis-server') }, async (t) => {
  const redis = await startRedis(t, { large: 'l'.repeat(20_000) });
  const upstream = await startUpstream(t, ({ url }) => ({ body: `${url}\n`.repeat(3000) }));
  const port = await freePort();
  const settings = { port, redis: redis.port, upstream: upstream.port, udp: await startEcho(t) };
  const program = await Traced.start(t, python('events.py', settings), { port });
  const exchanges = await load(port, 10, (client, round) => {
    const kinds = ['upstream', 'redis', 'both', 'udp', 'echo'];
    const kind = kinds[(client + round) % kinds.length];
    if (kind === 'echo') return { method: 'POST', path: '/echo', body: 'e'.repeat(client * 10_000 + 1) };
    return { path: `/${kind}/${client * 10 + round}` };
  });
  const outcome = await program.stop();
  assertTrue(outcome, { inbound: 50, outbound: 60, datagrams: 30, bytes: 2_000_000 });
  assertSessions(outcome.sessions, exchanges);
});
