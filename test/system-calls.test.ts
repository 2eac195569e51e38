// koala adds no system call to a send or receive on a known socket: the request loop of a program has the same system
// calls, in the same order, with and without it.
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { Client } from './support/client.ts';
import { startKoala } from './support/koala.ts';
import { commandPath, lacking } from './support/needs.ts';
import { compiled } from './support/programs.ts';
import { startRedis } from './support/servers.ts';
import { Running, freePort, temporaryFolder } from './support/system.ts';

const requests = 300;

interface Call {
  name: string;
  text: string;
}

/** The calls of each thread in the output of `strace -f`, those that were interrupted in it put together again. */
function parse(trace: string): Map<string, Call[]> {
  const threads = new Map<string, Call[]>();
  const open = new Map<string, string>();
  for (const line of trace.split('\n')) {
    const [, thread = '', rest = ''] = /^(\d+) +(.*)$/.exec(line) ?? [];
    if (rest.endsWith('<unfinished ...>')) {
      open.set(thread, rest.slice(0, -'<unfinished ...>'.length));
      continue;
    }
    const resumed = /^<\.\.\. \w+ resumed>(.*)$/.exec(rest);
    const text = resumed ? `${open.get(thread) ?? ''}${resumed[1] ?? ''}` : rest;
    const name = /^(\w+)\(/.exec(text)?.[1];
    if (name === undefined) continue;
    threads.set(thread, [...(threads.get(thread) ?? []), { name, text }]);
  }
  return threads;
}

/** The calls of each thread that served requests, from the arrival of its second one to that of its last. */
function requestLoops(trace: string): string[][] {
  const loops: string[][] = [];
  for (const calls of parse(trace).values()) {
    const arrivals = calls.flatMap(({ name, text }, index) =>
      name === 'recvfrom' && text.includes('"GET /') ? [index] : [],
    );
    if (arrivals.length > 2) loops.push(calls.slice(arrivals[1], arrivals.at(-1)).map(({ name }) => name));
  }
  return loops;
}

async function traced(t: TestContext, koala: boolean): Promise<string[][]> {
  const folder = await temporaryFolder(t);
  const redis = await startRedis(t, { key: 'value' });
  const port = await freePort();
  const trace = join(folder, 'trace');
  const tracer = [commandPath('strace'), '-f', '-s', '16', '-o', trace];
  const program = [...tracer, compiled('threaded'), String(port), String(redis.port)];
  const [command = '', ...args] = program;
  const running = koala
    ? startKoala(t, ['record', '--to', join(folder, 'recording'), '--', ...program])
    : new Running(t, command, args);
  await running.listening(port);
  const clients = [await Client.connect(port), await Client.connect(port)];
  for (let request = 0; request < requests; request += 1) {
    for (const client of clients) await client.http('GET', '/key');
  }
  for (const client of clients) client.close();
  running.signalGroup('SIGTERM');
  await running.end();
  return requestLoops(await readFile(trace, 'utf8'));
}

test(
  'the request loop has the same system calls with and without koala',
  { skip: lacking('gcc', 'redis-server', 'strace') },
  async (t) => {
    const bare = await traced(t, false);
    const recorded = await traced(t, true);
    assert.equal(bare.length, 2, 'two threads served requests');
    const loop = ['recvfrom', 'sendto', 'recvfrom', 'sendto'];
    assert.deepEqual(
      bare,
      [1, 2].map(() => Array.from({ length: requests - 2 }, () => loop).flat()),
    );
    assert.deepEqual(recorded, bare);
  },
);
