// The agent, its standby, the program, its workers and the command line are killed at random instants, under load and at
// rest: an agent is replaced, nothing is lost, nothing written twice. `npm run soak` does the same for longer.
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { Client, type Exchange, isWholeResponse, parts } from './support/client.ts';
import { agents, record, stop } from './support/koala.ts';
import { type Ledger, answers, assertRecorded, load } from './support/load.ts';
import { lacking } from './support/needs.ts';
import { compiled } from './support/programs.ts';
import { readManifest, readRaw, requestSessions } from './support/recording.ts';
import { startRedis } from './support/servers.ts';
import { freePort, processesOn, type Running, temporaryFolder, until } from './support/system.ts';

const skip = lacking('gcc', 'redis-server');
/** How often each kind of process is killed. */
const ROUNDS = Number(process.env['KOALA_SOAK_ROUNDS'] ?? 8);
/** So often within one recording: what a load was answered is kept in memory. */
const AT_ONCE = 40;
/** The rounds of each recording. */
const recordings = Array.from({ length: Math.ceil(ROUNDS / AT_ONCE) }, (_, part) =>
  Math.min(AT_ONCE, ROUNDS - part * AT_ONCE),
);

/** The parent of a process; 0 if there is no such process any more. */
async function parent(pid: number): Promise<number> {
  const stat = await readFile(`/proc/${pid}/stat`, 'latin1').catch(() => ') Z 0');
  return Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]);
}

/** The agent that records to `folder`, and who stands by. */
async function agentAndStandby(folder: string): Promise<{ agent: number; standby: number }> {
  return until('an agent with one standby', async () => {
    const pids = (await agents(folder)).map(({ pid }) => pid);
    const parents = await Promise.all(pids.map(parent));
    const standbys = pids.filter((_, index) => pids.includes(parents[index] ?? 0));
    const others = pids.filter((pid) => !standbys.includes(pid));
    const [agent, standby] = [others[0], standbys[0]];
    if (others.length !== 1 || standbys.length !== 1 || !agent || !standby) return undefined;
    return { agent, standby };
  });
}

/** kill -9 of a process that may be gone. */
function kill(pid: number): void {
  try {
    if (pid > 0) process.kill(pid, 'SIGKILL');
  } catch {
    // Gone, by itself or with another one.
  }
}

interface Run {
  folder: string;
  port: number;
  recording: Running;
}

async function start(
  t: TestContext,
  name: 'threaded' | 'workers' = 'threaded',
  redis?: { port: number },
): Promise<Run> {
  const folder = join(await temporaryFolder(t), 'recording');
  const port = await freePort();
  const program = [compiled(name), String(port), String((redis ?? (await startRedis(t))).port)];
  return { folder, port, recording: await record(t, { to: folder, program, port }) };
}

for (const [part, rounds] of recordings.entries()) {
  test(
    `kill -9 of the agent under load, ${rounds} times, loses nothing (${part + 1})`,
    { skip, timeout: 300_000 },
    async (t) => {
      const { folder, port, recording } = await start(t);
      const { ledgers, stop: stopLoad, over } = load(port, 8);
      for (let round = 0; round < rounds; round += 1) {
        await sleep(Math.random() ** 3 * 500);
        process.kill((await agentAndStandby(folder)).agent, 'SIGKILL');
      }
      await sleep(100);
      stopLoad();
      await over;
      const { code, stderr } = await stop(recording);
      assert.equal(code, 0, stderr);
      await until('the end of the agent', async () => (await agents(folder)).length === 0);
      assert.ok(answers(ledgers) > 200, `the load got ${answers(ledgers)} answers`);
      const sessions = await assertRecorded(folder, ledgers, { killed: false });
      const manifest = await readManifest(folder);
      assert.equal(manifest['Sessions'], sessions.length);
      assert.equal(typeof manifest['FinishedAt'], 'string');
      assert.deepEqual(manifest['Lost'], { Events: 0, Bytes: 0, Sessions: 0 });
      assert.equal(manifest['Gaps'], 0);
    },
  );
}

/** A load that goes on when a worker is killed: each connection has a ledger, and the next one other paths. */
function lastingLoad(port: number, connections: number): { ledgers: Ledger[]; stop: () => Promise<void> } {
  const ledgers: Ledger[] = [];
  const end = new AbortController();
  const loops = Array.from({ length: connections }, async () => {
    while (!end.signal.aborted) {
      const client = await Client.connect(port).catch(() => undefined);
      if (client === undefined) continue;
      const ledger: Ledger = [];
      const number = ledgers.push(ledger);
      try {
        // Short ones, so that threads end and hand on their places in the log.
        for (let request = 0; request < 200 && !end.signal.aborted; request += 1)
          ledger.push(await client.http('GET', `/c${number}r${request}`));
      } catch {
        // Its worker was killed.
      }
      client.close();
    }
  });
  const stopLoad = async (): Promise<void> => {
    end.abort();
    await Promise.all(loops);
  };
  return { ledgers, stop: stopLoad };
}

for (const [part, rounds] of recordings.entries()) {
  test(
    `kill -9 of workers, agents and standbys, ${rounds} times, loses no completed session (${part + 1})`,
    { skip, timeout: 300_000 },
    async (t) => {
      const { folder, port, recording } = await start(t, 'workers');
      const binary = compiled('workers');
      const all = await processesOn(binary, port);
      const parents = await Promise.all(all.map(({ pid }) => parent(pid)));
      const master = all.find((_, index) => !all.some(({ pid }) => pid === parents[index]))?.pid ?? 0;
      const { ledgers, stop: stopLoad } = lastingLoad(port, 8);
      for (let round = 0; round < rounds; round += 1) {
        await sleep(Math.random() ** 3 * 500);
        const workers = (await processesOn(binary, port))
          .map(({ pid }) => pid)
          .filter((pid) => pid !== master);
        const { agent, standby } = await agentAndStandby(folder);
        const worker = workers[Math.floor(Math.random() * workers.length)] ?? 0;
        const victims = [[worker], [agent], [standby], workers, [worker, agent], [agent, worker]];
        for (const pid of victims[Math.floor(Math.random() * victims.length)] ?? []) kill(pid);
      }
      await sleep(100);
      await stopLoad();
      process.kill(master, 'SIGTERM');
      const { code, stderr } = await recording.end();
      assert.equal(code, 0, stderr);
      await until('the end of the agent', async () => (await agents(folder)).length === 0);
      t.diagnostic(`${answers(ledgers)} answers on ${ledgers.length} connections`);
      const sessions = await assertRecorded(folder, ledgers, { killed: true });
      const manifest = await readManifest(folder);
      assert.equal(manifest['Sessions'], sessions.length);
      assert.deepEqual(manifest['Lost'], { Events: 0, Bytes: 0, Sessions: 0 });
      // What a killed worker was at may have a gap; but nothing of it comes after its end, as nobody's.
      assert.deepEqual(
        (await readRaw(folder)).filter(({ Context, Actions }) => Context === 'boot' && Actions !== undefined),
        [],
      );
    },
  );
}

for (const [part, rounds] of recordings.entries()) {
  test(
    `kill -9 of the program, the command line and the agent, ${rounds} times, loses no completed session (${part + 1})`,
    { skip, timeout: 300_000 },
    async (t) => {
      const redis = await startRedis(t);
      const killed = { program: 0, commandLine: 0, agent: 0 };
      for (let round = 0; round < rounds; round += 1) {
        const { folder, port, recording } = await start(t, 'threaded', redis);
        const { ledgers, stop: stopLoad, over } = load(port, 8);
        await sleep(Math.random() ** 2 * 500);
        const [program] = await processesOn(compiled('threaded'), port);
        assert.ok(program);
        const pids = {
          program: program.pid,
          commandLine: recording.pid,
          agent: (await agentAndStandby(folder)).agent,
        };
        const names = ['program', 'commandLine', 'agent'] as const;
        const chosen = names.filter(() => Math.random() < 0.5).toSorted(() => Math.random() - 0.5);
        const victims = chosen.length === 0 ? (['program'] as const) : chosen;
        for (const victim of victims) {
          kill(pids[victim]);
          killed[victim] += 1;
        }
        if (!victims.includes('program')) {
          await sleep(100);
          stopLoad();
          await over;
          process.kill(program.pid, 'SIGTERM');
        }
        await over;
        await until('the end of the agent', async () => (await agents(folder)).length === 0);
        await recording.ended;
        try {
          await assertRecorded(folder, ledgers, { killed: true });
          const manifest = await readManifest(folder);
          assert.deepEqual(manifest['Lost'], { Events: 0, Bytes: 0, Sessions: 0 });
          assert.equal(typeof manifest['FinishedAt'], 'string');
        } catch (error) {
          t.diagnostic(`killed: ${victims.join(', ')}, after ${answers(ledgers)} answers`);
          throw error;
        }
      }
      t.diagnostic(JSON.stringify(killed));
    },
  );
}

test('a killed standby is replaced, and a session that outlives two agents is whole', { skip }, async (t) => {
  const { folder, port, recording } = await start(t);
  const client = await Client.connect(port);
  const whole = 'GET /slow HTTP/1.1\r\nHost: localhost\r\n\r\n';
  const first = await client.http('GET', '/before');
  await client.exchange(whole.slice(0, 9), () => true);
  for (let round = 0; round < 2; round += 1) {
    const before = await agentAndStandby(folder);
    process.kill(before.standby, 'SIGKILL');
    const after = await until('another standby', async () => {
      const now = await agentAndStandby(folder);
      return now.standby === before.standby ? undefined : now;
    });
    assert.equal(after.agent, before.agent);
    process.kill(after.agent, 'SIGKILL');
    await until('the standby to be the agent', async () => {
      const { agent } = await agentAndStandby(folder);
      return agent === after.standby;
    });
  }
  const rest = await client.exchange(whole.slice(9), isWholeResponse);
  const last = await client.http('GET', '/after');
  client.close();
  const { code, stderr } = await stop(recording);
  assert.equal(code, 0, stderr);
  const sessions = await requestSessions(folder);
  assert.deepEqual(
    sessions.map(({ request, response, incomplete }) => ({ request, response, incomplete })),
    [first, { request: whole, response: rest.response }, last].map((one) => ({ ...one, incomplete: false })),
  );
  assert.equal(parts(rest.response).status, 404);
});

test('who ends the agent by its name does not end its standby with it', { skip }, async (t) => {
  const { folder, port, recording } = await start(t);
  const client = await Client.connect(port);
  const exchanges = [await client.http('GET', '/before')];
  for (let round = 0; round < 3; round += 1) {
    const { standby } = await agentAndStandby(folder);
    const called: number[] = [];
    for (const { pid, command } of await agents(folder)) {
      const name = (await readFile(`/proc/${pid}/comm`, 'utf8')).trim();
      assert.equal(name, pid === standby ? 'koala-stdby' : 'koala-agent');
      assert.ok(command[0]?.endsWith(`/${name}`), command[0]);
      if (name === 'koala-agent') called.push(pid);
    }
    for (const pid of called) process.kill(pid, 'SIGKILL');
    await until('the standby to be the agent', async () => (await agentAndStandby(folder)).agent === standby);
    exchanges.push(await client.http('GET', `/after${round}`));
  }
  client.close();
  assert.equal((await stop(recording)).code, 0);
  await assertRecorded(folder, [exchanges], { killed: false });
});

/** kill -9 of the agent and its standby, of which neither notices that the other is dead. */
async function killBoth(folder: string): Promise<void> {
  const { agent, standby } = await agentAndStandby(folder);
  // A process that is stopped does not run before it is killed.
  for (const pid of [standby, agent]) process.kill(pid, 'SIGSTOP');
  for (const pid of [agent, standby]) kill(pid);
}

for (const [part, rounds] of recordings.entries()) {
  test(
    `kill -9 of agent and standby at once under load, ${rounds} times, loses nothing (${part + 1})`,
    { skip, timeout: 300_000 },
    async (t) => {
      const { folder, port, recording } = await start(t);
      const { ledgers, stop: stopLoad, over } = load(port, 8);
      for (let round = 0; round < rounds; round += 1) {
        await sleep(Math.random() ** 3 * 500);
        await killBoth(folder);
      }
      await agentAndStandby(folder);
      await sleep(100);
      stopLoad();
      await over;
      const { code, stderr } = await stop(recording);
      assert.equal(code, 0, stderr);
      await until('the end of the agent', async () => (await agents(folder)).length === 0);
      assert.ok(answers(ledgers) > 200, `the load got ${answers(ledgers)} answers`);
      const sessions = await assertRecorded(folder, ledgers, { killed: false });
      const manifest = await readManifest(folder);
      assert.equal(manifest['Sessions'], sessions.length);
      assert.match(
        stderr,
        new RegExp(`^koala: ${sessions.length} sessions recorded to .* \\(0 lost\\)$`, 'm'),
      );
      assert.equal(typeof manifest['FinishedAt'], 'string');
      assert.deepEqual(manifest['Lost'], { Events: 0, Bytes: 0, Sessions: 0 });
      assert.equal(manifest['Gaps'], 0);
    },
  );
}

test('a session that outlives its agent and the standby is whole', { skip }, async (t) => {
  const { folder, port, recording } = await start(t);
  const client = await Client.connect(port);
  const whole = 'GET /slow HTTP/1.1\r\nHost: localhost\r\n\r\n';
  const first = await client.http('GET', '/before');
  await client.exchange(whole.slice(0, 9), () => true);
  for (let round = 0; round < 2; round += 1) {
    await agentAndStandby(folder);
    // Where it is said that nothing is left to read, the request is known to the agent alone.
    await sleep(200);
    await killBoth(folder);
    await agentAndStandby(folder);
  }
  const rest = await client.exchange(whole.slice(9), isWholeResponse);
  const last = await client.http('GET', '/after');
  client.close();
  const { code, stderr } = await stop(recording);
  assert.equal(code, 0, stderr);
  const sessions = await requestSessions(folder);
  assert.deepEqual(
    sessions.map(({ request, response, incomplete, calls }) => ({
      request,
      response,
      incomplete,
      calls: calls.length,
    })),
    [first, { request: whole, response: rest.response }, last].map((one) => ({
      ...one,
      incomplete: false,
      calls: 1,
    })),
  );
});

test('nobody is left to start an agent: the program goes on', { skip }, async (t) => {
  const { folder, port, recording } = await start(t);
  const { ledgers, stop: stopLoad, over } = load(port, 4);
  await until('a load', () => ledgers.every(({ length }) => length > 100));
  process.kill(recording.pid, 'SIGKILL');
  await killBoth(folder);
  const before = answers(ledgers);
  await until('more answers', () => answers(ledgers) > before + 1000);
  stopLoad();
  await over;
  const recorded = new Map((await requestSessions(folder)).map((session) => [session.request, session]));
  assert.ok(recorded.size > 0);
  for (const { request, response } of ledgers.flat())
    if (recorded.has(request)) assert.equal(recorded.get(request)?.response, response);
  assert.deepEqual(await agents(folder), []);
  recording.signalGroup('SIGTERM');
});

test('kill -9 of the command line ends neither the program nor its recording', { skip }, async (t) => {
  const { folder, port, recording } = await start(t);
  const { ledgers, stop: stopLoad, over } = load(port, 4);
  await sleep(200);
  process.kill(recording.pid, 'SIGKILL');
  await sleep(200);
  process.kill((await agentAndStandby(folder)).agent, 'SIGKILL');
  await sleep(200);
  stopLoad();
  await over;
  const client = await Client.connect(port);
  assert.equal(parts((await client.http('GET', '/alive')).response).status, 404);
  client.close();
  t.diagnostic(`${answers(ledgers)} answers`);
  recording.signalGroup('SIGTERM');
  await until('the end of the agent', async () => (await agents(folder)).length === 0);
  const ledger = [...ledgers];
  const sessions = (await requestSessions(folder)).filter(({ request }) => !request.startsWith('GET /alive'));
  assert.ok(sessions.length > 0);
  await assertRecorded(folder, ledger, { killed: true });
  assert.equal(typeof (await readManifest(folder))['FinishedAt'], 'string');
});

/** A value of which each request puts two copies into the event log: some thousand fill it. */
const LARGE = 'x'.repeat(3000);
const REQUESTS = 2500;

const numbered = (number: string): string =>
  `GET /large HTTP/1.1\r\nHost: localhost\r\nX-Number: ${number}\r\n\r\n`;

async function overload(t: TestContext, overflow: 'drop' | 'block'): Promise<void> {
  const folder = join(await temporaryFolder(t), 'recording');
  const redis = await startRedis(t, { large: LARGE });
  const port = await freePort();
  const program = [compiled('threaded'), String(port), String(redis.port)];
  const recording = await record(t, { to: folder, program, port, options: ['--overflow', overflow] });
  const clients = await Promise.all(Array.from({ length: 4 }, () => Client.connect(port)));
  const { agent } = await agentAndStandby(folder);
  // An agent that has nothing of the processor for a while.
  process.kill(agent, 'SIGSTOP');
  const exchanges: Exchange[] = [];
  const loops = clients.map(async (client, connection) => {
    for (let request = 0; request < REQUESTS; request += 1)
      exchanges.push(await client.exchange(numbered(`${connection}.${request}`), isWholeResponse));
  });
  if (overflow === 'drop') await Promise.all(loops);
  else await sleep(5000);
  const before = exchanges.length;
  process.kill(agent, 'SIGCONT');
  await Promise.all(loops);
  if (overflow === 'block') assert.ok(before < clients.length * REQUESTS, 'the program waited for the agent');
  // When there is room again, the same connections are recorded as ever.
  await sleep(2000);
  const later = await Promise.all(clients.map((client, number) => client.http('GET', `/later${number}`)));
  for (const client of clients) client.close();
  const { code, stderr } = await stop(recording);
  assert.equal(code, 0, stderr);

  const sessions = await requestSessions(folder);
  const manifest = await readManifest(folder);
  assert.deepEqual(manifest['Lost'], { Events: 0, Bytes: 0, Sessions: 0 });
  const byRequest = new Map([...exchanges, ...later].map((exchange) => [exchange.request, exchange]));
  for (const { request, response, calls, incomplete } of sessions) {
    assert.equal(response, byRequest.get(request)?.response, `the response to ${request}`);
    assert.equal(calls.length, 1);
    assert.equal(incomplete, false);
    byRequest.delete(request);
  }
  for (const { request } of later) assert.ok(!byRequest.has(request), `${request} is recorded`);
  assert.equal(manifest['NotAdmitted'], byRequest.size, 'what is not there is counted');
  if (overflow === 'block') assert.equal(byRequest.size, 0);
  else {
    assert.ok(byRequest.size > 0 && sessions.length > 50, `${byRequest.size} of ${exchanges.length}`);
    assert.match(stderr, new RegExp(`NOT ADMITTED: ${byRequest.size} session`));
  }
}

test('an overloaded agent: whole sessions are given up, counted and said', { skip }, (t) =>
  overload(t, 'drop'),
);

test('an overloaded agent: the program waits, and nothing is lost', { skip }, (t) => overload(t, 'block'));

test('a sample is of whole sessions', { skip }, async (t) => {
  const folder = join(await temporaryFolder(t), 'recording');
  const redis = await startRedis(t);
  const port = await freePort();
  const program = [compiled('threaded'), String(port), String(redis.port)];
  const recording = await record(t, { to: folder, program, port, options: ['--sample', '1/4'] });
  const client = await Client.connect(port);
  const exchanges = new Map<string, string>();
  for (let request = 0; request < 100; request += 1) {
    const one = await client.http('GET', `/r${request}`);
    exchanges.set(one.request, one.response);
  }
  client.close();
  const { stderr } = await stop(recording);
  const sessions = await requestSessions(folder);
  assert.ok(sessions.length >= 20 && sessions.length <= 30, `${sessions.length} of 100`);
  for (const { request, response, calls, incomplete } of sessions) {
    assert.equal(response, exchanges.get(request));
    assert.deepEqual([calls.length, incomplete], [1, false]);
  }
  const manifest = await readManifest(folder);
  assert.equal(manifest['NotSampled'], 100 - sessions.length);
  assert.match(stderr, new RegExp(`${100 - sessions.length} sessions left out by --sample`));
});
