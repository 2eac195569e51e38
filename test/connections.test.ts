// What a request means may depend on its connection: web sockets, and protocols that know their client. And a client may
// go away in the middle of its request.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { Client } from './support/client.ts';
import { makeCertificate } from './support/databases.ts';
import { koala, record, replay, stop } from './support/koala.ts';
import { commandPath, lacking } from './support/needs.ts';
import { programFile } from './support/programs.ts';
import { requestSessions } from './support/recording.ts';
import { freePort, temporaryFolder } from './support/system.ts';

const skip = lacking();

const UPGRADE = 'GET /talk HTTP/1.1\r\nHost: localhost\r\nUpgrade: talk\r\nConnection: Upgrade\r\n\r\n';

interface Recorded {
  folder: string;
  program: string[];
}

/** Records what `drive` does with the program, whose ports it gets. */
async function recorded(
  t: TestContext,
  drive: (httpPort: number, linePort: number) => Promise<void>,
): Promise<Recorded> {
  const folder = join(await temporaryFolder(t), 'recording');
  const [httpPort, linePort] = [await freePort(), await freePort()];
  const program = [process.execPath, programFile('lines.mjs'), String(httpPort), String(linePort)];
  const recording = await record(t, { to: folder, program, port: linePort });
  await drive(httpPort, linePort);
  const { stderr } = await stop(recording);
  assert.match(stderr, /sessions? recorded/);
  return { folder, program };
}

/** Says something and waits for an answer that ends with it. */
const say = (client: Client, text: string): Promise<unknown> =>
  client.exchange(text, (received) => received.endsWith(text));

async function webSockets(httpPort: number): Promise<void> {
  const clients = [await Client.connect(httpPort), await Client.connect(httpPort)];
  for (const client of clients) await client.exchange(UPGRADE, (received) => received.endsWith('\r\n\r\n'));
  // In turn, so that a session is not just behind the one before it on its connection.
  for (const word of ['one', 'two', 'bye']) for (const client of clients) await say(client, word);
  for (const client of clients) client.close();
}

test('what is said on an upgraded connection is replayed on it', { skip }, async (t) => {
  const { folder, program } = await recorded(t, webSockets);
  assert.equal((await requestSessions(folder)).length, 8);
  for (let time = 0; time < 2; time += 1) {
    const { code, stdout, stderr } = await replay(t, folder, program);
    assert.equal(code, 0, stdout + stderr);
    assert.match(stdout, /PASS {2}8 sessions replayed/);
  }
});

test('a change is found in what is said on an upgraded connection', { skip }, async (t) => {
  const { folder, program } = await recorded(t, webSockets);
  const { code, stdout } = await replay(t, folder, [...program, 'good day']);
  assert.equal(code, 1);
  assert.match(stdout, /recorded "2: hello, two", replayed "2: good day, two"/);
  assert.match(stdout, /FAIL {2}8 sessions replayed: 2 passed, 6 failed/);
});

test('what is said on an upgraded connection is not replayed alone', { skip }, async (t) => {
  const { folder, program } = await recorded(t, webSockets);
  const alone = (await requestSessions(folder)).find(({ request }) => request === 'two');
  const { code, stdout } = await koala(t, ['replay', folder, '--session', alone?.id ?? '', '--', ...program]);
  assert.equal(code, 1);
  assert.match(
    stdout,
    /goes on on the upgraded connection of session \S+, which has to be replayed just before it/,
  );
});

test('a protocol that knows its client is replayed connection by connection', { skip }, async (t) => {
  const { folder, program } = await recorded(t, async (_, linePort) => {
    for (const name of ['ada', 'bob']) {
      const client = await Client.connect(linePort);
      await say(client, `${name}\n`);
      await say(client, 'how are you?\n');
      client.close();
    }
  });
  assert.equal((await requestSessions(folder)).length, 4);
  const { code, stdout, stderr } = await replay(t, folder, program);
  assert.equal(code, 0, stdout + stderr);
});

test('a client that leaves off in the middle of its request does so again', { skip }, async (t) => {
  const { folder, program } = await recorded(t, async (httpPort) => {
    const client = await Client.connect(httpPort);
    await client.exchange('GET /half HTTP/1.1\r\nHost:', () => true);
    await client.finish();
  });
  const [session] = await requestSessions(folder);
  assert.match(session?.response ?? '', /^HTTP\/1\.1 400 /);
  const options = ['--timeout', '20s', '--', ...program];
  const { code, stdout, stderr } = await koala(t, ['replay', folder, ...options]);
  assert.equal(code, 0, stdout + stderr);
});

test(
  'who is asked by TLS is told so, and it is not replayed',
  { skip: lacking('openssl', 'curl') },
  async (t) => {
    const folder = await temporaryFolder(t);
    const to = join(folder, 'recording');
    const { key, certificate } = makeCertificate(folder);
    const port = await freePort();
    const files = ['-key', key, '-cert', certificate];
    const program = [
      commandPath('openssl'),
      's_server',
      '-www',
      '-quiet',
      '-accept',
      `127.0.0.1:${port}`,
      ...files,
    ];
    const recording = await record(t, { to, program, port });
    execFileSync(commandPath('curl'), ['-sk', `https://127.0.0.1:${port}/`], { stdio: 'ignore' });
    const { stderr } = await stop(recording);
    assert.match(stderr, new RegExp(`ENCRYPTED: what was asked at 127\\.0\\.0\\.1:${port} came by TLS`));
    const { code, stdout } = await replay(t, to, program);
    assert.equal(code, 1);
    assert.match(stdout, /^skipped \S+: its connection is encrypted/m);
    assert.match(stdout, /no session was replayed/);
  },
);
