// Every way to come by a socket, to send and receive on it, and to get rid of it.
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { once } from 'node:events';
import { type Server, connect, createServer } from 'node:net';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { Client } from '../support/client.ts';
import { compiled } from '../support/programs.ts';
import { freePort, temporaryFolder } from '../support/system.ts';
import { programPath } from './programs.ts';
import { type Outcome, Traced, assertTrue, lackingAny } from './traced.ts';

const skip = lackingAny('gcc');

/** What is recorded to the byte. */
const whole = (
  'send sendto write writev sendmsg sendmmsg sendfile receive recvmmsg peek ' +
  'system-call reuse dup fork exec shell rights half reset nonblocking fast-open zero-copy threads ' +
  'unix mapped unclosed vfork spawn dprintf splice stdio stdio-unbuffered drained'
).split(' ');

/** Of what the recording may say only that it lacks bytes. */
const gaps = 'thrown-away unseen-send unseen-receive'.split(' ');

const program = (): string => compiled(programPath('sockets'));

async function listening(t: TestContext, server: Server, at: number | string): Promise<void> {
  if (typeof at === 'number') server.listen(at, '127.0.0.1');
  else server.listen(at);
  await once(server, 'listening');
  t.after(() => server.close());
}

/** What comes of these cases. */
async function ask(t: TestContext, cases: string[]): Promise<Outcome> {
  const [port, folder] = [await freePort(), await temporaryFolder(t)];
  const [path, file] = [join(folder, 'echo.sock'), join(folder, 'file')];
  writeFileSync(file, 'a line of the file\n'.repeat(5000));
  for (const at of [port, path]) {
    const server = createServer({ allowHalfOpen: true }, (socket) => {
      socket.on('error', () => {}).pipe(socket);
    });
    await listening(t, server, at);
  }
  const command = [program(), 'ask', String(port), path, file, ...cases];
  const outcome = await (await Traced.start(t, command)).end();
  assert.equal(outcome.ended.code, 0, outcome.ended.stderr);
  return outcome;
}

test('every way to send and receive is recorded to the byte', { skip }, async (t) => {
  assertTrue(await ask(t, whole), { outbound: whole.length });
});

for (const name of gaps) {
  test(`a gap is marked where bytes can't be seen: ${name}`, { skip }, async (t) => {
    const { verdict } = await ask(t, ['send', name]);
    assert.deepEqual(verdict.problems, []);
    assert.ok(verdict.gaps.length <= 1, 'the other connection has none');
    assert.equal(verdict.outbound, 2);
  });
}

test('every way to accept', { skip }, async (t) => {
  const [port, folder] = [await freePort(), await temporaryFolder(t)];
  const path = join(folder, 'serve.sock');
  const command = [program(), 'serve', String(port), path];
  const traced = await Traced.start(t, command, { port });
  for (let number = 0; number < 6; number += 1) {
    const client = await Client.connect(port);
    for (const text of [`number ${number}\n`, 'and again\n']) {
      await client.exchange(text, (received) => received === text);
    }
    client.close();
  }
  for (let number = 0; number < 3; number += 1) {
    const socket = connect({ path });
    await once(socket, 'connect');
    socket.end(`by the path, number ${number}\n`);
    const chunks: Buffer[] = await socket.toArray();
    assert.equal(Buffer.concat(chunks).toString(), `by the path, number ${number}\n`);
  }
  assertTrue(await traced.end(), { inbound: 9 });
});
