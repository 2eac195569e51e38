// A recording that is cut short is readable, and holds every completed session.
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { Client, type Exchange } from './support/client.ts';
import { agents, koala, record } from './support/koala.ts';
import { answers, assertRecorded, load } from './support/load.ts';
import { lacking } from './support/needs.ts';
import { compiled, programFile } from './support/programs.ts';
import { readManifest, requestSessions } from './support/recording.ts';
import { startRedis, startUpstream } from './support/servers.ts';
import { freePort, processes, temporaryFolder, until } from './support/system.ts';

/** The program that a koala command line runs. */
async function programPid(binary: string, port: number): Promise<number> {
  const found = await processes((command) => command[0] === binary && command.includes(String(port)));
  assert.equal(found.length, 1, 'one process of the program');
  return found[0]?.pid ?? 0;
}

async function readable(t: TestContext, folder: string, sessions: number): Promise<void> {
  const listed = await koala(t, ['sessions', 'list', folder, '--json']);
  assert.equal(listed.code, 0, listed.stderr);
  const lines = listed.stdout.trim();
  const list = (
    lines.startsWith('[') ? JSON.parse(lines) : lines.split('\n').map((line) => JSON.parse(line))
  ) as unknown[];
  assert.ok(list.length >= sessions, `${list.length} sessions listed, ${sessions} recorded`);
}

test(
  'kill -9 of the program loses no completed session',
  { skip: lacking('gcc', 'redis-server') },
  async (t) => {
    const folder = join(await temporaryFolder(t), 'recording');
    const redis = await startRedis(t);
    const port = await freePort();
    const binary = compiled('threaded');
    const recording = await record(t, {
      to: folder,
      program: [binary, String(port), String(redis.port)],
      port,
    });
    const { ledgers, over } = load(port, 8);
    await sleep(700);
    process.kill(await programPid(binary, port), 'SIGKILL');
    await over;
    const { code } = await recording.end();
    assert.equal(code, 128 + 9, 'the exit code says that the program was killed');
    await until('the end of the agent', async () => (await agents(folder)).length === 0);

    const answered = answers(ledgers);
    assert.ok(answered > 200, `the load got ${answered} answers`);
    await assertRecorded(folder, ledgers, { killed: true });
    await readable(t, folder, answered);
  },
);

for (const program of ['threaded', 'python'] as const) {
  const skip =
    program === 'threaded'
      ? lacking('gcc', 'redis-server')
      : lacking('python3', 'python3-redis', 'redis-server');
  test(`Ctrl-C leaves a complete recording (${program})`, { skip }, async (t) => {
    const folder = join(await temporaryFolder(t), 'recording');
    const redis = await startRedis(t);
    const upstream = await startUpstream(t, () => ({ body: '{"price":1}' }));
    const port = await freePort();
    const command =
      program === 'threaded'
        ? [compiled('threaded'), port, redis.port]
        : ['/usr/bin/python3', programFile('service.py'), port, redis.port, upstream.port];
    const recording = await record(t, { to: folder, program: command.map(String), port });
    const client = await Client.connect(port);
    const exchanges: Exchange[] = [];
    for (let request = 0; request < 20; request += 1)
      exchanges.push(await client.http('GET', `/item/${request}`));
    recording.signalGroup('SIGINT');
    const { code, stderr } = await recording.end();
    client.close();
    assert.equal(code, program === 'threaded' ? 0 : 130, stderr);
    await until('the end of the agent', async () => (await agents(folder)).length === 0);
    const sessions = await requestSessions(folder);
    assert.deepEqual(
      sessions.map(({ request, response }) => ({ request, response })),
      exchanges,
    );
    const manifest = await readManifest(folder);
    assert.equal(typeof manifest['FinishedAt'], 'string', 'the manifest is complete');
    await readable(t, folder, exchanges.length);
  });
}

test(
  'a recording can be continued: the second run adds its sessions',
  { skip: lacking('gcc', 'redis-server') },
  async (t) => {
    const folder = join(await temporaryFolder(t), 'recording');
    const redis = await startRedis(t);
    const expected: Exchange[] = [];
    for (const run of [1, 2]) {
      const port = await freePort();
      const recording = await record(t, {
        to: folder,
        program: [compiled('threaded'), String(port), String(redis.port)],
        port,
      });
      const client = await Client.connect(port);
      expected.push(await client.http('GET', `/run${run}`));
      client.close();
      recording.signalGroup('SIGINT');
      await recording.end();
    }
    const sessions = await requestSessions(folder);
    assert.deepEqual(
      sessions.map(({ request, response }) => ({ request, response })),
      expected,
    );
  },
);
