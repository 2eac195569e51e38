// Redis itself as the recorded program: the server, an event loop that knows nothing of HTTP, and its benchmark.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { test } from 'node:test';
import { promisify } from 'node:util';
import { Client } from '../support/client.ts';
import { commandPath } from '../support/needs.ts';
import { resp, startRedis } from '../support/servers.ts';
import { freePort, temporaryFolder, until } from '../support/system.ts';
import { concurrency } from './load.ts';
import { Traced, assertTrue, lackingAny } from './traced.ts';

const run = promisify(execFile);
const skip = lackingAny('redis-server', 'redis-benchmark');

/** Arguments of a redis-benchmark against this port. */
const benchmark = (port: number, ...more: string[]): string[] =>
  `-q -h 127.0.0.1 -p ${port} -c ${concurrency}`.split(' ').concat(more);

for (const threads of ['1', '4']) {
  test(`redis-server with ${threads} I/O thread(s)`, { skip }, async (t) => {
    const [port, folder] = [await freePort(), await temporaryFolder(t)];
    const settings = { port, bind: '127.0.0.1', save: '', dir: folder, 'io-threads': threads };
    const args = Object.entries(settings).flatMap(([name, value]) => [`--${name}`, String(value)]);
    if (threads !== '1') args.push('--io-threads-do-reads', 'yes');
    const program = await Traced.start(t, [commandPath('redis-server'), ...args], { port });
    await run(commandPath('redis-benchmark'), benchmark(port, '-n', '400', '-t', 'set,get,lrange_100,mset'));
    await run(
      commandPath('redis-benchmark'),
      benchmark(port, '-n', '640', '-P', '16', '-d', '300', '-t', 'set,get'),
    );
    const client = await Client.connect(port);
    const large = 'x'.repeat(300_000);
    await client.exchange(resp('SET', 'large', large), (received) => received.endsWith('\r\n'));
    const { response } = await client.exchange(resp('GET', 'large'), (received) => received.length > 300_000);
    assert.ok(response.includes(large));
    client.close();
    const outcome = await program.stop();
    assertTrue(outcome, { inbound: 6 * concurrency, bytes: 500_000 });
  });
}

test('redis-benchmark, with pipelines', { skip }, async (t) => {
  const redis = await startRedis(t);
  for (const args of [
    ['-n', '500', '-t', 'set,get,lpush,lrange_100'],
    ['-n', '640', '-P', '16', '-d', '300', '-t', 'set,get'],
    ['-n', '500', '--threads', '4', '-t', 'set,get'],
  ]) {
    const program = await Traced.start(t, [
      commandPath('redis-benchmark'),
      ...benchmark(redis.port, ...args),
    ]);
    assertTrue(await program.end(), { outbound: concurrency, bytes: 40_000 });
  }
});

for (const diskless of ['yes', 'no']) {
  test(`redis-server with a replica, repl-diskless-sync ${diskless}`, { skip }, async (t) => {
    const [port, folder] = [await freePort(), await temporaryFolder(t)];
    const settings = { port, bind: '127.0.0.1', save: '', dir: folder, 'repl-diskless-sync': diskless };
    const args = Object.entries({ ...settings, 'repl-diskless-sync-delay': 0 });
    const program = await Traced.start(
      t,
      [commandPath('redis-server'), ...args.flatMap(([name, value]) => [`--${name}`, String(value)])],
      { port },
    );
    await run(
      commandPath('redis-benchmark'),
      benchmark(port, '-n', '400', '-r', '1000', '-d', '2000', '-t', 'set'),
    );
    const client = await Client.connect((await startRedis(t)).port);
    await client.exchange(resp('REPLICAOF', '127.0.0.1', String(port)), (received) =>
      received.endsWith('\r\n'),
    );
    await run(commandPath('redis-benchmark'), benchmark(port, '-n', '400', '-t', 'incr'));
    await until('the replica', async () => {
      const { response } = await client.exchange(resp('INFO', 'replication'), (received) =>
        received.includes('master_link_status'),
      );
      return response.includes('master_link_status:up');
    });
    client.close();
    const outcome = await program.stop();
    assertTrue(outcome, { inbound: 2 * concurrency, bytes: 500_000 });
  });
}
