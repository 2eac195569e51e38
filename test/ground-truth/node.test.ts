// Node: http, net, pools of mysql2 and pg, in one process and in cluster workers.
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { Client } from '../support/client.ts';
import { startMariaDb, startPostgres } from '../support/databases.ts';
import { startRedis, startUpstream } from '../support/servers.ts';
import { freePort, temporaryFolder } from '../support/system.ts';
import { assertSessions, load } from './load.ts';
import { programPath } from './programs.ts';
import { Traced, assertTrue, lackingAny } from './traced.ts';

const skip = lackingAny('redis-server', 'mariadb', 'postgresql');

/** A name server (RFC 1035) that answers every question with the address 192.0.2.1. */
async function startNameServer(t: TestContext): Promise<number> {
  const socket = createSocket('udp4');
  socket.on('message', (question, { port, address }) => {
    const end = question.indexOf(0, 12) + 5;
    const answer = Buffer.from([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 1]);
    const head = Buffer.from([question[0] ?? 0, question[1] ?? 0, 0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0]);
    socket.send(Buffer.concat([head, question.subarray(12, end), answer]), port, address);
  });
  socket.bind(0, '127.0.0.1');
  await once(socket, 'listening');
  t.after(() => socket.close());
  return (socket.address() as AddressInfo).port;
}

for (const workers of [0, 2]) {
  test(`Node with ${workers === 0 ? 'one process' : `${workers} cluster workers`}`, { skip }, async (t) => {
    const folder = await temporaryFolder(t);
    const file = join(folder, 'file');
    writeFileSync(file, 'piped through the program\n'.repeat(8000));
    const [redis, dns, mysql, postgres] = await Promise.all([
      startRedis(t),
      startNameServer(t),
      startMariaDb(t, [
        'CREATE TABLE trees (id INT PRIMARY KEY, name VARCHAR(50))',
        "INSERT INTO trees VALUES (1, 'blue gum'), (2, 'manna gum'), (3, 'tallowwood')",
      ]),
      startPostgres(t),
    ]);
    const upstream = await startUpstream(t, ({ url }) => ({ body: `${url}\n`.repeat(3000) }));
    const [port, net] = [await freePort(), await freePort()];
    const ports = { port, net, dns, redis: redis.port, upstream: upstream.port };
    const settings = { ...ports, mysql, postgres, file, workers };
    const command = [process.execPath, programPath('service.mjs'), JSON.stringify(settings)];
    const program = await Traced.start(t, command, { port });
    const exchanges = await load(port, 9, (client, round) => {
      const kinds = ['mysql', 'postgres', 'upstream', 'redis', 'all', 'udp', 'stream', 'file', 'post'];
      const kind = kinds[(client + round) % kinds.length];
      const path = `/${kind === 'post' ? 'upstream' : kind}/${client * 10 + round + 1}`;
      if (kind !== 'stream' && kind !== 'post') return { path };
      return { method: 'POST', path, body: `${client}`.repeat(client * 4000 + 1) };
    });
    for (const size of [1, 1000, 200_000]) {
      const client = await Client.connect(net);
      await client.exchange('n'.repeat(size), ({ length }) => length === size);
      await client.finish();
    }
    const outcome = await program.stop();
    assertTrue(outcome, { inbound: 60, outbound: 14, datagrams: 10, bytes: 6_000_000 });
    assertSessions(outcome.sessions, exchanges);
  });
}
