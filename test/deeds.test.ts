// What a program does besides its calls: name lookups, datagrams, appends to files.
import assert from 'node:assert/strict';
import { createSocket } from 'node:dgram';
import { existsSync } from 'node:fs';
import { readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { Client, parts } from './support/client.ts';
import { record, replay, stop } from './support/koala.ts';
import { lacking } from './support/needs.ts';
import { compiled, programFile } from './support/programs.ts';
import { type Raw, readRaw } from './support/recording.ts';
import { Running, freePort, temporaryFolder, until } from './support/system.ts';

/** A server that answers each datagram with itself. */
async function startEcho(t: TestContext): Promise<{ port: number; heard: string[]; stop(): Promise<void> }> {
  const socket = createSocket('udp4');
  const heard: string[] = [];
  socket.on('message', (message, from) => {
    heard.push(message.toString());
    socket.send(`echo ${message.toString()}`, from.port, from.address);
  });
  await new Promise<void>((resolve) => socket.bind(0, '127.0.0.1', resolve));
  let open = true;
  const close = (): Promise<void> =>
    new Promise((resolve) => {
      if (!open) return resolve();
      open = false;
      socket.close(() => resolve());
    });
  t.after(close);
  return { port: socket.address().port, heard, stop: close };
}

function actions(session: Raw): Raw[] {
  return (session['Actions'] ?? []) as Raw[];
}

const text = (bytes: unknown): string => Buffer.from((bytes ?? []) as Uint8Array).toString();

async function ask(port: number, paths: string[]): Promise<unknown[]> {
  const client = await Client.connect(port);
  const bodies: unknown[] = [];
  for (const path of paths) {
    const { status, body } = parts((await client.http('GET', path)).response);
    assert.equal(status, 200, body);
    bodies.push(JSON.parse(body));
  }
  client.close();
  return bodies;
}

async function requests(folder: string): Promise<Raw[]> {
  return (await readRaw(folder)).filter((session) => session['CallFromInbound'] !== undefined);
}

test(
  'names, datagrams and appends of a Python service are recorded, and replay with nothing behind it',
  { skip: lacking('python3') },
  async (t) => {
    const folder = await temporaryFolder(t);
    const recording = join(folder, 'recording');
    const log = join(folder, 'app.log');
    const echo = await startEcho(t);
    const port = await freePort();
    const program = ['/usr/bin/python3', programFile('deeds.py'), String(port), String(echo.port), log];
    const running = await record(t, { to: recording, program, port });
    const paths = [
      '/names?q=localhost',
      '/names?q=no.such.invalid',
      '/ask?q=one',
      '/count?q=hits',
      '/append?q=x',
    ];
    const [here, nowhere, answered] = await ask(port, paths);
    const { stderr } = await stop(running);
    assert.match(stderr, /5 sessions recorded/);
    await echo.stop();

    assert.deepEqual((here as Raw)['numeric'], ['192.0.2.1']);
    assert.ok(Number((nowhere as Raw)['addresses']) < 0);
    assert.deepEqual(answered, {
      answer: 'echo ask one',
      source: true,
      second: 'echo again one',
      peer: true,
    });
    const sessions = await requests(recording);
    const lookups = actions(sessions[1] ?? {});
    assert.ok(lookups.length > 0 && lookups.every((one) => one['Name'] === 'no.such.invalid'));
    assert.deepEqual(
      actions(sessions[2] ?? {}).map((call) => [
        call['ActionType'],
        text(call['Request']),
        text(call['Response']),
      ]),
      [
        ['CallOutbound', 'ask one', 'echo ask one'],
        ['CallOutbound', 'again one', 'echo again one'],
      ],
    );
    assert.deepEqual(
      actions(sessions[3] ?? {}).map((one) => [one['ActionType'], text(one['Content'])]),
      [['SendUDP', 'hits:1|c']],
    );
    const appended = actions(sessions[4] ?? {});
    assert.deepEqual(
      appended.map((one) => one['FileName']),
      [log, `${log}.raw`],
    );
    const before = await readFile(log, 'utf8');
    assert.equal(text(appended[0]?.['Content']), before, 'the log has nothing else');

    const green = await replay(t, recording, program);
    assert.equal(green.code, 0, green.stdout + green.stderr);
    assert.equal(await readFile(log, 'utf8'), before, 'nothing is appended by a replay');

    const red = await replay(t, recording, [...program, 'changed']);
    assert.equal(red.code, 1, red.stdout + red.stderr);
    const said = red.stdout + red.stderr;
    assert.match(said, /recorded "hits:1\|c", replayed "hits:2\|c"/);
    assert.match(
      said,
      /appended to .*app\.log: recorded ".* appended x", replayed ".* appended x otherwise"/,
    );
    assert.match(said, /5 sessions replayed: 3 passed, 2 failed/);
  },
);

test('a replay does not make the files that it is to append to', { skip: lacking('python3') }, async (t) => {
  const folder = await temporaryFolder(t);
  const recording = join(folder, 'recording');
  const [log, other] = [join(folder, 'app.log'), join(folder, 'other.log')];
  const port = await freePort();
  const program = (file: string): string[] => [
    '/usr/bin/python3',
    programFile('deeds.py'),
    String(port),
    '9',
    file,
  ];
  const running = await record(t, { to: recording, program: program(log), port });
  await ask(port, ['/append?q=x']);
  await stop(running);
  const { code } = await replay(t, recording, program(other));
  assert.equal(code, 1, 'it appends to another file');
  assert.equal(existsSync(other), false);
});

for (const compiler of ['gcc', 'musl-gcc']) {
  const skip = lacking(compiler);
  test(
    `streams of stdio that append are recorded as the lines are written (${compiler})`,
    { skip },
    async (t) => {
      const folder = await temporaryFolder(t);
      const recording = join(folder, 'recording');
      const log = join(folder, 'stdio.log');
      await writeFile(log, 'before\n');
      const port = await freePort();
      const program = [compiled('stdio', compiler), String(port), log];
      const running = await record(t, { to: recording, program, port });
      const client = await Client.connect(port);
      for (const path of ['/one', '/two']) await client.http('GET', path);
      client.close();
      await stop(running);
      const sessions = await requests(recording);
      const appended = (session: Raw | undefined): string =>
        actions(session ?? {})
          .map((one) => text(one['Content']))
          .join('');
      assert.equal(appended(sessions[0]), 'GET /one by fprintf\nby fputs\nby putc\nby write\n');
      assert.equal(appended(sessions[1]), 'GET /two by fprintf\nby fputs\nby putc\nby write\n');
      const written = await readFile(log, 'utf8');
      assert.equal(written, `before\n${appended(sessions[0])}${appended(sessions[1])}`);
      const { code, stdout, stderr } = await replay(t, recording, program);
      assert.equal(code, 0, stdout + stderr);
      assert.equal(await readFile(log, 'utf8'), written);
    },
  );
}

/** Ways of appending, and whether the recording has what was appended; otherwise it says that it lacks it. */
const ways = {
  open: true,
  openat: true,
  openat2: true,
  pwrite64: true,
  pwritev: true,
  fork: true,
  vfork: true,
  lent: true,
  shell: true,
  // Written by libc's own stream, at the end of the process.
  'fork-print': true,
  'vfork-print': true,
  'lent-print': true,
  'shell-echo': true,
  // By a builtin of the shell, whose stream is libc's.
  'shell-bash': true,
  // libc opens the file in the child.
  spawn: false,
};

for (const compiler of ['gcc', 'musl-gcc']) {
  test(
    `appends by number, and by children's output (${compiler})`,
    { skip: lacking(compiler) },
    async (t) => {
      const folder = await temporaryFolder(t);
      const recording = join(folder, 'recording');
      const log = join(folder, 'app.log');
      const port = await freePort();
      const program = [compiled('deeds', compiler), 'serve', String(port), log];
      const running = await record(t, { to: recording, program, port });
      const client = await Client.connect(port);
      for (const way of Object.keys(ways)) {
        assert.equal(parts((await client.http('GET', `/${way}`)).response).status, 200, way);
      }
      client.close();
      await stop(running);
      // Those that wait for a child are delivered later.
      const id = (session: Raw): string => String(session['SessionId']);
      const sessions = (await requests(recording)).toSorted((a, b) => (id(a) < id(b) ? -1 : 1));
      const appended = sessions.map((session) =>
        actions(session).map((one) => [
          one['ActionType'],
          one['FileName'],
          text(one['Content']),
          one['Gap'] === true,
        ]),
      );
      assert.deepEqual(
        appended,
        Object.entries(ways).map(([way, seen]) => [['AppendFile', log, seen ? `by ${way}\n` : '', !seen]]),
      );
      const before = await readFile(log, 'utf8');
      assert.equal(
        before,
        Object.keys(ways)
          .map((way) => `by ${way}\n`)
          .join(''),
      );
      const { code, stdout, stderr } = await replay(t, recording, program);
      assert.equal(await readFile(log, 'utf8'), before, 'nothing is appended by a replay');
      assert.equal(code, 0, stdout + stderr);
    },
  );
}

/** What is sent to `/dev/log`, where the test may make that; nobody else is to have it. */
async function startSystemLog(t: TestContext): Promise<Running | undefined> {
  if (process.getuid?.() !== 0 || existsSync('/dev/log') || lacking('python3')) return undefined;
  const script = [
    'import os, socket',
    's = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)',
    's.bind("/dev/log")',
    'while True: print(s.recv(65536).decode(), flush=True)',
  ];
  t.after(() => rm('/dev/log', { force: true }));
  const running = new Running(t, '/usr/bin/python3', ['-c', script.join('\n')]);
  await until('/dev/log', () => existsSync('/dev/log'));
  return running;
}

for (const compiler of ['gcc', 'musl-gcc']) {
  test(`messages to the system's log (${compiler})`, { skip: lacking(compiler) }, async (t) => {
    const system = await startSystemLog(t);
    const recording = join(await temporaryFolder(t), 'recording');
    const port = await freePort();
    const program = [compiled('deeds', compiler), 'serve', String(port), '/nowhere'];
    const running = await record(t, { to: recording, program, port });
    const client = await Client.connect(port);
    await client.http('GET', '/log');
    client.close();
    await stop(running);
    const sent = actions((await requests(recording))[0] ?? {});
    const peers = new Set(sent.map((one) => (one['UnixAddr'] as Raw)['Name']));
    const [first, ...others] = sent.map((one) => `${String(one['ActionType'])} ${text(one['Content'])}`);
    assert.match(first ?? '', /^SendUDP <12>log: No such file or directory$/);
    assert.deepEqual(others, [`SendUDP <142>${'7'.padStart(2000)}`, 'SendUDP <19>not a %s']);
    assert.deepEqual([...peers], ['/dev/log']);
    if (system) await until('the message', () => system.stdout.includes('not a %s'));
    const heard = system?.stdout;
    const green = await replay(t, recording, program);
    assert.equal(green.code, 0, green.stdout + green.stderr);
    assert.equal(system?.stdout, heard, 'a replay says nothing to the system');
  });
}
