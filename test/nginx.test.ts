// nginx, unmodified, as a proxy in front of an HTTP upstream: an event loop, one or more forked workers.
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { Client, type Exchange, parts } from './support/client.ts';
import { record, replay, stop } from './support/koala.ts';
import { commandPath, lacking } from './support/needs.ts';
import { programFile } from './support/programs.ts';
import { requestSessions } from './support/recording.ts';
import { startUpstream } from './support/servers.ts';
import { freePort, temporaryFolder } from './support/system.ts';

const skip = lacking('nginx');

interface Settings {
  folder: string;
  port: number;
  upstream: number;
  workers: number;
}

/** The command of an nginx with a configuration of its own; a regression is a changed configuration. */
async function nginx({ folder, port, upstream, workers }: Settings, regression = ''): Promise<string[]> {
  const home = join(folder, 'nginx');
  await mkdir(home, { recursive: true });
  const values: Record<string, string> = {
    user: process.getuid?.() === 0 ? 'user root;' : '',
    answer: regression === 'answer' ? '-changed' : '',
    call: regression === 'call' ? '?changed=1' : '',
    folder: home,
    port: String(port),
    upstream: String(upstream),
    workers: String(workers),
  };
  const template = readFileSync(programFile('nginx.conf'), 'utf8');
  const file = join(home, 'nginx.conf');
  writeFileSync(
    file,
    template.replaceAll(/@(\w+)@/g, (_, name: string) => values[name] ?? ''),
  );
  return [commandPath('nginx'), '-c', file, '-p', home];
}

async function recorded(
  t: TestContext,
  workers: number,
): Promise<{ settings: Settings; recording: string; exchanges: Exchange[] }> {
  const folder = await temporaryFolder(t);
  const upstream = await startUpstream(t, ({ url, method }) => ({
    body: `${method} ${url}`,
    headers: { 'Content-Type': 'text/plain' },
  }));
  const settings = { folder, port: await freePort(), upstream: upstream.port, workers };
  const to = join(folder, 'recording');
  const recording = await record(t, { to, program: await nginx(settings), port: settings.port });
  const exchanges: Exchange[] = [];
  for (const keepAlive of [true, false]) {
    let client = await Client.connect(settings.port);
    for (const [method, path, body] of [
      ['GET', '/a', ''],
      ['GET', '/b?x=1', ''],
      ['POST', '/c', 'some=body'],
      ['GET', '/greeting', ''],
    ] as const) {
      exchanges.push(await client.http(method, path, body));
      if (keepAlive) continue;
      client.close();
      client = await Client.connect(settings.port);
    }
    client.close();
  }
  const { code, stderr } = await stop(recording);
  assert.equal(code, 0, stderr);
  assert.equal(upstream.requests(), exchanges.length);
  await upstream.stop();
  return { settings, recording: to, exchanges };
}

for (const workers of [1, 2]) {
  test(`nginx with ${workers} worker(s) is recorded to the byte and replays green`, { skip }, async (t) => {
    const { settings, recording, exchanges } = await recorded(t, workers);
    const bodies = ['GET /a', 'GET /b?x=1', 'POST /c', 'GET /hello'];
    assert.deepEqual(
      exchanges.map(({ response }) => parts(response).body),
      [...bodies, ...bodies],
    );
    const sessions = await requestSessions(recording);
    assert.deepEqual(
      sessions.map(({ request, response }) => ({ request, response })),
      exchanges,
    );
    for (const [index, { calls }] of sessions.entries()) {
      const body = bodies[index % bodies.length] ?? '';
      assert.equal(calls.length, 1, `calls of ${body}`);
      assert.ok(calls[0]?.Request.startsWith(`${body} HTTP/1.1\r\n`), calls[0]?.Request);
      assert.ok(calls[0]?.Response.endsWith(`\r\n\r\n${body}`), calls[0]?.Response);
      assert.equal(calls[0]?.Peer, `127.0.0.1:${settings.upstream}`);
    }
    const { code, stdout, stderr } = await replay(t, recording, await nginx(settings));
    assert.equal(code, 0, `${stdout}${stderr}`);
    assert.match(stdout, /8 (sessions )?passed/);
  });
}

test('files that nginx sends without reading them are recorded to the byte', { skip }, async (t) => {
  const folder = await temporaryFolder(t);
  const upstream = await startUpstream(t, ({ url }) => ({ body: url ?? '' }));
  const settings = { folder, port: await freePort(), upstream: upstream.port, workers: 1 };
  const program = await nginx(settings);
  const files = join(folder, 'nginx', 'files');
  await mkdir(files);
  const large = Array.from({ length: 50_000 }, (_, line) => `line ${line}\n`).join('');
  writeFileSync(join(files, 'small.txt'), 'small');
  writeFileSync(join(files, 'large.txt'), large);
  const to = join(folder, 'recording');
  const recording = await record(t, { to, program, port: settings.port });
  const client = await Client.connect(settings.port);
  const exchanges: Exchange[] = [];
  for (const path of ['/files/small.txt', '/files/large.txt', '/called', '/files/small.txt']) {
    exchanges.push(await client.http('GET', path, ''));
  }
  client.close();
  const { code, stderr } = await stop(recording);
  assert.equal(code, 0, stderr);
  assert.deepEqual(
    exchanges.map(({ response }) => parts(response).body),
    ['small', large, '/called', 'small'],
  );
  const sessions = await requestSessions(to);
  assert.deepEqual(
    sessions.map(({ request, response }) => ({ request, response })),
    exchanges,
  );
  assert.deepEqual(
    sessions.map(({ calls, incomplete }) => [calls.length, incomplete]),
    [
      [0, false],
      [0, false],
      [1, false],
      [0, false],
    ],
  );
});

test('a changed answer of nginx is a red replay that names it', { skip }, async (t) => {
  const { settings, recording } = await recorded(t, 1);
  const { code, stdout, stderr } = await replay(t, recording, await nginx(settings, 'answer'));
  assert.equal(code, 1, `${stdout}${stderr}`);
  assert.match(stdout, /x-service/i);
  assert.match(stdout, /nginx-changed/);
});

test('a changed call of nginx is a red replay that names it', { skip }, async (t) => {
  const { settings, recording } = await recorded(t, 1);
  const { code, stdout, stderr } = await replay(t, recording, await nginx(settings, 'call'));
  assert.equal(code, 1, `${stdout}${stderr}`);
  assert.match(stdout, /changed/);
});
