// Mistakes of the user get one clear line on stderr and exit code 2, whatever the mistake.
import assert from 'node:assert/strict';
import { createServer } from 'node:net';
import { once } from 'node:events';
import { appendFile, chmod, mkdir, readFile, readdir, truncate, writeFile } from 'node:fs/promises';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { Client } from './support/client.ts';
import { koala, record } from './support/koala.ts';
import { lacking } from './support/needs.ts';
import { compiled } from './support/programs.ts';
import { readManifest, requestSessions } from './support/recording.ts';
import { type Ended, freePort, temporaryFolder } from './support/system.ts';

const skip = lacking();

function refused({ code, stdout, stderr }: Ended, ...named: (string | RegExp)[]): void {
  assert.equal(code, 2, `${stdout}${stderr}`);
  assert.equal(stdout, '');
  assert.match(stderr, /^[^\n]+\n$/, 'one line');
  assert.doesNotMatch(stderr, /\n *at /, 'no stack trace');
  for (const name of named) {
    if (typeof name === 'string') assert.ok(stderr.includes(name), `${JSON.stringify(stderr)} names ${name}`);
    else assert.match(stderr, name);
  }
}

async function smallRecording(t: TestContext): Promise<{ folder: string; program: string[] }> {
  const folder = join(await temporaryFolder(t), 'recording');
  const port = await freePort();
  // There is no Redis: what the program answers does not matter here.
  const program = [compiled('threaded'), String(port), String(await freePort())];
  const recording = await record(t, { to: folder, program, port });
  const client = await Client.connect(port);
  for (let request = 0; request < 3; request += 1) await client.http('GET', `/r${request}`);
  client.close();
  recording.signalGroup('SIGTERM');
  await recording.end();
  return { folder, program };
}

async function sessionsFile(folder: string): Promise<string> {
  const name = (await readdir(folder)).find((file) => file.endsWith('.cborseq'));
  assert.ok(name);
  return join(folder, name);
}

for (const command of ['/no/such/program', 'no-such-program']) {
  test(`a command that does not exist: ${command}`, { skip }, async (t) => {
    const folder = join(await temporaryFolder(t), 'recording');
    refused(await koala(t, ['record', '--to', folder, '--', command]), command);
  });
}

test('a command that is not executable', { skip }, async (t) => {
  const folder = await temporaryFolder(t);
  const file = join(folder, 'data');
  await writeFile(file, 'data');
  refused(await koala(t, ['record', '--to', join(folder, 'recording'), '--', file]), file);
});

test('a recording directory that is a file', { skip }, async (t) => {
  const file = join(await temporaryFolder(t), 'file');
  await writeFile(file, '');
  refused(await koala(t, ['record', '--to', file, '--', 'true']), file);
  refused(await koala(t, ['record', '--to', join(file, 'below'), '--', 'true']), file);
});

test('a recording directory that is not writable', { skip }, async (t) => {
  // Root may write anywhere but where the kernel itself refuses.
  if (process.getuid?.() === 0) {
    refused(await koala(t, ['record', '--to', '/proc/koala', '--', 'true']), '/proc/koala');
    return;
  }
  const folder = join(await temporaryFolder(t), 'closed');
  await mkdir(folder);
  await chmod(folder, 0o555);
  refused(await koala(t, ['record', '--to', folder, '--', 'true']), folder);
});

test('what is not a recording', { skip }, async (t) => {
  const folder = await temporaryFolder(t);
  for (const args of [
    ['replay', folder, '--', 'true'],
    ['sessions', 'list', folder],
    ['sessions', 'show', folder, 'an-id'],
    ['sessions', 'list', join(folder, 'missing')],
  ]) {
    refused(await koala(t, args), folder);
  }
});

test('a foreign file in a recording', { skip: lacking('gcc') }, async (t) => {
  const { folder, program } = await smallRecording(t);
  const foreign = join(folder, 'sessions-0-0.cborseq');
  await writeFile(foreign, 'This is not a sequence of CBOR items.\n');
  refused(await koala(t, ['sessions', 'list', folder]), foreign);
  refused(await koala(t, ['replay', folder, '--', ...program]), foreign);
});

test('a broken manifest', { skip: lacking('gcc') }, async (t) => {
  const { folder } = await smallRecording(t);
  await truncate(join(folder, 'manifest.json'), 10);
  refused(await koala(t, ['sessions', 'list', folder]), 'manifest.json');
});

for (const [finished, expected] of [
  [false, 0],
  [true, 2],
] as const) {
  const what = finished
    ? 'a file cut after its recording was finished'
    : 'a session torn by the end of the recorder';
  test(`${what} is said; what is whole is read`, { skip: lacking('gcc') }, async (t) => {
    const { folder } = await smallRecording(t);
    const file = await sessionsFile(folder);
    const whole = await readFile(file);
    await appendFile(file, whole.subarray(0, 40));
    if (!finished) {
      const manifest = await readManifest(folder);
      await writeFile(join(folder, 'manifest.json'), JSON.stringify({ ...manifest, FinishedAt: null }));
    }
    const { code, stdout, stderr } = await koala(t, ['sessions', 'list', folder]);
    assert.equal(code, expected, stderr);
    for (const path of ['/r0', '/r1', '/r2']) assert.ok(stdout.includes(path), stdout);
    assert.match(stderr, /^[^\n]+\n$/, 'one line');
    assert.ok(stderr.includes(file), stderr);
  });
}

test('bytes behind a session that are none', { skip: lacking('gcc') }, async (t) => {
  const { folder } = await smallRecording(t);
  const file = await sessionsFile(folder);
  await appendFile(file, Buffer.alloc(64, 0xff));
  refused(await koala(t, ['sessions', 'list', folder]), file);
});

test('a port in use', { skip: lacking('gcc') }, async (t) => {
  const { folder, program } = await smallRecording(t);
  const server = createServer();
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => server.close());
  const address = `127.0.0.1:${(server.address() as AddressInfo).port}`;
  for (const name of ['KOALA_INBOUND_ADDR', 'KOALA_OUTBOUND_ADDR']) {
    refused(await koala(t, ['replay', folder, '--', ...program], { [name]: address }), address);
  }
});

test('a program that takes longer than --timeout to begin', { skip: lacking('gcc') }, async (t) => {
  const { folder, program } = await smallRecording(t);
  const slow = ['sh', '-c', 'sleep 30; exec "$@"', 'sh', ...program];
  const ended = await koala(t, ['replay', folder, '--timeout', '1s', '--', ...slow]);
  refused(ended, /did not listen at .* within 1\.0 s: it listens nowhere; --timeout gives it more time/);
});

test('a static binary', { skip: lacking('gcc') }, async (t) => {
  const { folder } = await smallRecording(t);
  const binary = compiled('keeper', 'gcc', '-static');
  refused(await koala(t, ['record', '--to', join(folder, '..', 'static'), '--', binary]), binary, /static/);
  refused(await koala(t, ['replay', folder, '--', binary]), binary, /static/);
});

test('a setting that cannot be understood', { skip: lacking('gcc') }, async (t) => {
  const { folder, program } = await smallRecording(t);
  refused(
    await koala(t, ['replay', folder, '--', ...program], { KOALA_INBOUND_READ_TIMEOUT: 'soon' }),
    'KOALA_INBOUND_READ_TIMEOUT',
  );
});

test('usage: no command, no such option, no such subcommand', { skip }, async (t) => {
  const folder = join(await temporaryFolder(t), 'recording');
  refused(await koala(t, ['record', '--to', folder]));
  refused(await koala(t, ['record', '--', 'true']), '--to');
  refused(await koala(t, ['record', '--no-such-option', '--to', folder, '--', 'true']), '--no-such-option');
  refused(await koala(t, ['no-such-command']), 'no-such-command');
});

test('nothing is recorded by a refused command', { skip }, async (t) => {
  const folder = join(await temporaryFolder(t), 'recording');
  await koala(t, ['record', '--to', folder, '--', '/no/such/program']);
  const sessions = await requestSessions(folder).catch(() => []);
  assert.deepEqual(sessions, []);
});
