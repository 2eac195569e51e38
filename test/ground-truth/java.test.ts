// Java on the machine's JDK: threads, pools, and a selector loop.
import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { commandPath } from '../support/needs.ts';
import { startRedis, startUpstream } from '../support/servers.ts';
import { freePort, isListening, temporaryFolder, until } from '../support/system.ts';
import { assertSessions, load } from './load.ts';
import { programPath } from './programs.ts';
import { Traced, assertTrue, lackingAny } from './traced.ts';

test(
  'Java: HttpServer, HttpURLConnection, HttpClient, sockets and channels',
  { skip: lackingAny('java', 'redis-server') },
  async (t) => {
    const folder = await temporaryFolder(t);
    execFileSync(commandPath('javac'), ['-d', folder, programPath('Service.java')]);
    const file = join(folder, 'file');
    writeFileSync(file, 'from the kernel to the kernel\n'.repeat(10_000));
    const redis = await startRedis(t);
    const upstream = await startUpstream(t, ({ url }) => ({ body: `${url}\n`.repeat(500) }));
    const [port, nio] = [await freePort(), await freePort()];
    const ports = [port, nio, upstream.port, redis.port].map(String);
    const java = [commandPath('java'), '-Xshare:auto', '-XX:TieredStopAtLevel=1', '-Xmx256m', '-cp', folder];
    const program = await Traced.start(t, [...java, 'Service', ...ports, file], { port });
    await until('the selector loop', () => isListening(nio));
    const exchanges = await load(port, 10, (client, round) => {
      const kinds = ['url', 'client', 'socket', 'channel', 'echo'];
      const path = `/${kinds[(client + round) % kinds.length]}/${client}/${round}`;
      return round % 3 === 0 && !/socket|channel/.test(path)
        ? { method: 'POST', path, body: `${client}`.repeat(client * 1000 + 1) }
        : { path };
    });
    exchanges.push(...(await load(nio, 3, (client) => ({ path: `/file/${client}` }))));
    const outcome = await program.stop();
    assertTrue(outcome, { inbound: 80, outbound: 30, bytes: 10_000_000 });
    assertSessions(outcome.sessions, exchanges);
  },
);
