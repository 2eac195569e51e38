// What only time shows: an agent that is slow for long, and more connections than one would open in a test. `npm run soak`
// does it for a minute, and with two million of them.
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { Client, type Exchange } from './support/client.ts';
import { agents, record, stop } from './support/koala.ts';
import { lacking } from './support/needs.ts';
import { compiled } from './support/programs.ts';
import { readManifest, requestSessions } from './support/recording.ts';
import { startRedis } from './support/servers.ts';
import { Running, freePort, processesOn, temporaryFolder } from './support/system.ts';

const soak = process.env['KOALA_SOAK'] === '1';
const skip = lacking('gcc', 'redis-server');
/** How long the agent is slow, in milliseconds. */
const SLOW = soak ? 60_000 : 4000;
/** How many connections are opened, one after the other. */
const CONNECTIONS = soak ? 2_000_000 : 40_000;
/** By how much the memory of a process may grow, in KiB, from the first tenth of the connections to the last. */
const GROWTH = 4096;

/** A value of which each request puts two copies into the event log. */
const LARGE = 'x'.repeat(1000);

/** Lets a process run for a twentieth of the time. */
function slowDown(pid: number): { stop: () => void } {
  let running = true;
  const toggle = (): void => {
    running = !running;
    process.kill(pid, running ? 'SIGCONT' : 'SIGSTOP');
    timer = setTimeout(toggle, running ? 10 : 190);
  };
  let timer = setTimeout(toggle, 0);
  const end = (): void => {
    clearTimeout(timer);
    process.kill(pid, 'SIGCONT');
  };
  return { stop: end };
}

async function slow(t: TestContext, overflow: 'drop' | 'block'): Promise<void> {
  const folder = join(await temporaryFolder(t), 'recording');
  const redis = await startRedis(t, { large: LARGE });
  const port = await freePort();
  const program = [compiled('threaded'), String(port), String(redis.port)];
  const recording = await record(t, { to: folder, program, port, options: ['--overflow', overflow] });
  const clients = await Promise.all(Array.from({ length: 8 }, () => Client.connect(port)));
  const [agent] = await agents(folder);
  assert.ok(agent);
  const slowed = slowDown(agent.pid);
  const end = Date.now() + SLOW;
  // Only what differs is kept: there are many.
  const answered: string[][] = clients.map(() => []);
  let response = '';
  const ask = async (client: Client, number: string): Promise<Exchange> => {
    const request = `GET /large HTTP/1.1\r\nHost: localhost\r\nX-Number: ${number}\r\n\r\n`;
    return client.exchange(request, (received) => received.endsWith('x\n'));
  };
  const load = clients.map(async (client, connection) => {
    for (let request = 0; Date.now() < end; request += 1) {
      const exchange = await ask(client, `${connection}.${request}`);
      response ||= exchange.response;
      assert.equal(exchange.response, response);
      answered[connection]?.push(exchange.request);
    }
  });
  await Promise.all(load);
  slowed.stop();
  await sleep(3000);
  const later = await Promise.all(clients.map((client, connection) => ask(client, `later${connection}`)));
  for (const client of clients) client.close();
  const { code, stderr } = await stop(recording);
  assert.equal(code, 0, stderr);

  const missing = new Set([...answered.flat(), ...later.map(({ request }) => request)]);
  const all = missing.size;
  for (const { request, response: recorded, calls, incomplete } of await requestSessions(folder)) {
    assert.ok(missing.delete(request), `${request} is recorded once`);
    assert.equal(recorded, response);
    assert.deepEqual([calls.length, incomplete], [1, false], request);
    assert.equal(calls[0]?.Response, `$${LARGE.length}\r\n${LARGE}\r\n`);
  }
  for (const { request } of later) assert.ok(!missing.has(request), `${request} is recorded`);
  const manifest = await readManifest(folder);
  assert.deepEqual(manifest['Lost'], { Events: 0, Bytes: 0, Sessions: 0 });
  assert.deepEqual([manifest['NotAdmitted'], manifest['Gaps']], [missing.size, 0]);
  t.diagnostic(`${all} requests, ${missing.size} not admitted`);
  if (overflow === 'block') assert.equal(missing.size, 0);
  else assert.ok(missing.size > 0 && missing.size < all, 'some are given up, not all');
}

for (const overflow of ['drop', 'block'] as const) {
  test(`a slow agent, ${overflow}: what is recorded is whole, what is not is counted`, { skip }, (t) =>
    slow(t, overflow),
  );
}

/** Answers each request with as many bytes as its path says, written 1 MiB at a time. */
const LARGE_ANSWERS = `
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
class Handler(BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    def log_message(self, *_): pass
    def do_GET(self):
        size = int(self.path[1:])
        self.send_response(200)
        self.send_header('Content-Length', str(size))
        self.end_headers()
        for start in range(0, size, 1 << 20):
            self.wfile.write(b'y' * min(1 << 20, size - start))
HTTPServer(('127.0.0.1', int(sys.argv[1])), Handler).serve_forever()
`;

for (const overflow of ['drop', 'block'] as const) {
  const what = overflow === 'drop' ? 'is incomplete, and its bytes are counted' : 'waits, and is whole';
  test(`a session that is larger than the log ${what}`, { skip: lacking('python3') }, async (t) => {
    const folder = join(await temporaryFolder(t), 'recording');
    const port = await freePort();
    const program = ['/usr/bin/python3', '-c', LARGE_ANSWERS, String(port)];
    const recording = await record(t, { to: folder, program, port, options: ['--overflow', overflow] });
    const [agent] = await agents(folder);
    assert.ok(agent);
    const size = 100 << 20;
    const client = await Client.connect(port);
    process.kill(agent.pid, 'SIGSTOP');
    const answer = client.exchange(
      `GET /${size} HTTP/1.1\r\nHost: localhost\r\n\r\n`,
      (received) => received.length > size,
    );
    if (overflow === 'drop') await answer;
    else await sleep(1500);
    process.kill(agent.pid, 'SIGCONT');
    const { response } = await answer;
    await sleep(500);
    const later = await client.exchange('GET /5 HTTP/1.1\r\nHost: localhost\r\n\r\n', (received) =>
      received.endsWith('yyyyy'),
    );
    client.close();
    const { stderr } = await stop(recording);
    const [first, second, ...others] = await requestSessions(folder);
    assert.ok(first && second && others.length === 0, stderr);
    assert.deepEqual([second.request, second.response], [later.request, later.response]);
    assert.equal(second.incomplete, false);
    const manifest = await readManifest(folder);
    const { Events, Bytes } = manifest['Lost'] as { Events: number; Bytes: number };
    if (overflow === 'block') {
      assert.ok(first.response === response, `${first.response?.length} of ${response.length}`);
      assert.deepEqual([Events, Bytes, manifest['Gaps'], first.incomplete], [0, 0, 0, false]);
    } else {
      assert.deepEqual([manifest['Gaps'], first.incomplete], [1, true]);
      const unseen = response.length - (first.response?.length ?? 0);
      assert.ok(Events > 0 && Bytes > 0 && Bytes <= unseen, `${Bytes} of ${unseen}`);
      assert.match(stderr, /LOST: \d+ events.*Incomplete/);
    }
  });
}

/** The memory of a process that is its own, in KiB. */
async function memory(pid: number): Promise<number> {
  return Number(/^RssAnon:\s+(\d+)/m.exec(await readFile(`/proc/${pid}/status`, 'utf8'))?.[1]);
}

test(`the memory of program and agent does not grow by ${CONNECTIONS} connections`, { skip }, async (t) => {
  const folder = join(await temporaryFolder(t), 'recording');
  const redis = await startRedis(t);
  const port = await freePort();
  const binary = compiled('threaded');
  const program = [binary, String(port), String(redis.port)];
  const recording = await record(t, { to: folder, program, port, options: ['--max-disk', '64M'] });
  const [recorded] = await processesOn(binary, port);
  assert.ok(recorded);
  const samples: { program: number; agent: number }[] = [];
  let answered = 0;
  for (let part = 0; part < 10; part += 1) {
    const callers = new Running(t, compiled('callers'), [String(port), String(CONNECTIONS / 10)]);
    answered += Number((await callers.end(600_000)).stdout);
    const measured = await Promise.all((await agents(folder)).map(({ pid }) => memory(pid).catch(() => 0)));
    samples.push({ program: await memory(recorded.pid), agent: Math.max(...measured) });
  }
  t.diagnostic(samples.map((sample) => `${sample.program}/${sample.agent} KiB`).join(', '));
  const { code, stderr } = await stop(recording);
  assert.equal(code, 0, stderr);
  assert.equal(answered, CONNECTIONS);
  const manifest = await readManifest(folder);
  const { Sessions: removed } = (manifest['Removed'] ?? { Sessions: 0 }) as { Sessions: number };
  const sum = Number(manifest['Sessions']) + removed + Number(manifest['NotAdmitted']);
  // Whether a listener is there was asked by a connection without a request.
  assert.equal(sum, CONNECTIONS, JSON.stringify(manifest));
  assert.deepEqual([manifest['Lost'], manifest['Gaps']], [{ Events: 0, Bytes: 0, Sessions: 0 }, 0]);
  const [first, last] = [samples[0], samples.at(-1)];
  assert.ok(first && last);
  assert.ok(last.program - first.program < GROWTH, `the program: ${first.program} to ${last.program} KiB`);
  assert.ok(last.agent - first.agent < GROWTH, `the agent: ${first.agent} to ${last.agent} KiB`);
});
