// Connections that one end or the other resets, and connects that fail when the program has gone on: what crossed before
// is recorded, nothing else is, and how it ended is said.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type Socket, connect, createServer } from 'node:net';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { startKoala } from './support/koala.ts';
import { lacking } from './support/needs.ts';
import { programFile } from './support/programs.ts';
import { type Raw, readManifest, readRaw, readSessions, requestSessions } from './support/recording.ts';
import { Running, freePort, temporaryFolder, until } from './support/system.ts';

/** Resets before it has answered anything, or amid its answer; or leaves that to the program. */
async function startPeer(t: TestContext): Promise<number> {
  const server = createServer((socket) => {
    socket.on('error', () => {});
    socket.once('data', (data) => {
      const way = data.toString();
      if (way === 'before') socket.resetAndDestroy();
      else if (way !== 'within') socket.write('the whole');
      // What was received is lost with a reset, unless it was read before.
      else socket.write('part', () => setTimeout(() => socket.resetAndDestroy(), 200));
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => server.close());
  const address = server.address();
  assert.ok(address !== null && typeof address === 'object');
  return address.port;
}

async function dial(port: number): Promise<Socket> {
  const socket = connect(port, '127.0.0.1').on('error', () => {});
  await once(socket, 'connect');
  return socket;
}

/** What the program prints, when clients have reset their connections to it in all ways. */
async function used(running: Running, port: number): Promise<string> {
  await until('the service', () => running.stdout.includes('serving'));
  (await dial(port)).resetAndDestroy();
  await until('the first reset', () => running.stdout.endsWith('serving\nECONNRESET\n'));
  for (const word of ['after', 'before'] as const) {
    const client = await dial(port);
    client.write(word);
    if (word === 'after') await once(client, 'data');
    else await until('the request', () => running.stdout.endsWith("b'before'\n"));
    client.resetAndDestroy();
  }
  const last = await dial(port);
  last.write('end');
  await once(last, 'data');
  last.end();
  const { code, stdout, stderr } = await running.end();
  assert.equal(code, 0, stderr);
  return stdout;
}

/** How a connection ended, by its number in the session. */
function ends(session: Raw): Map<string, unknown> {
  const connections = (session['Connections'] ?? []) as Raw[];
  return new Map(connections.map((one) => [String(one['ConnectionId']), one['End']]));
}

test('resets and late failures', { skip: lacking('python3') }, async (t) => {
  const peer = await startPeer(t);
  const [bare, port, nobody] = [await freePort(), await freePort(), await freePort()];
  const program = (at: number): string[] =>
    ['/usr/bin/python3', '-u', programFile('resets.py')].concat([at, peer, nobody].map(String));
  const [python = '', ...args] = program(bare);
  const expected = await used(new Running(t, python, args), bare);
  const to = join(await temporaryFolder(t), 'recording');
  const running = startKoala(t, ['record', '--to', to, '--', ...program(port)]);
  assert.equal(await used(running, port), expected);
  assert.equal((await readManifest(to))['Gaps'], 0);

  const raw = await readRaw(to);
  const boot = raw.find(({ Context }) => Context === 'boot');
  assert.ok(boot);
  const asked = ((boot['Actions'] ?? []) as Raw[]).map(({ ConnectionId }) =>
    ends(boot).get(String(ConnectionId)),
  );
  const [calls] = (await readSessions(to)).filter((session) => session.boot).map((session) => session.calls);
  assert.deepEqual(
    (calls ?? []).map(({ Request, Response, Error }, at) => [Request, Response, Error, asked[at]]),
    [
      ['before', '', 'ECONNRESET', 'reset'],
      ['within', 'part', 'ECONNRESET', 'reset'],
      ['own', 'the whole', '', 'closed'],
      ['unread', 'th', '', 'closed'],
      ['', '', 'ECONNREFUSED', 'ECONNREFUSED'],
      ['', '', 'ECONNREFUSED', 'ECONNREFUSED'],
    ],
  );

  const answered = (await requestSessions(to)).map(({ request, response }) => [request, response]);
  assert.deepEqual(answered, [
    ['after', 'answer to after'],
    ['before', undefined],
    ['end', 'answer to end'],
  ]);
  const inbound = raw.filter((session) => session['CallFromInbound'] !== undefined);
  const how = inbound.map((session) => [...ends(session).values()].join());
  assert.deepEqual(how, ['reset', 'reset', 'peer-closed']);
});
