// A program can't tell that it is recorded: CPython's own suites give the same verdicts, test by test, and debuggers work.
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { Client } from './support/client.ts';
import { startKoala } from './support/koala.ts';
import { commandPath, lacking } from './support/needs.ts';
import { compiled } from './support/programs.ts';
import { replayed } from './support/replayed.ts';
import { startRedis } from './support/servers.ts';
import { type Ended, Running, freePort, processes, temporaryFolder } from './support/system.ts';

const soak = process.env['KOALA_SOAK'] === '1';
/** Suites whose servers and clients are within the program: so they run in a replay as well. */
const suites = [
  ['test_select', 'test_httplib', 'test_urllib2_localnet', 'test_subprocess'],
  ['test_socket'],
  // These take minutes.
  ...(soak ? [['test_asyncio'], ['test_ssl'], ['test_multiprocessing_fork']] : []),
];
/**
 * What can't have the same verdict in a replay: OpenSSL appends the keys to a file, and a replay appends to none; the
 * tests read that file.
 */
const appending = new Set(['test_keylog_defaults', 'test_keylog_filename']);
/** How long a suite may take, in milliseconds. */
const LONGEST = 600_000;
/** Machines without such sockets let them wait for ever. */
const ignored = ['*VSOCK*', '*Vsock*'];

/** The verdict of each test, by name: `ok`, `skipped ...`, `FAIL`, `ERROR`, `expected failure`. */
function verdicts(output: string): Map<string, string> {
  const found = new Map<string, string>();
  let name = '';
  for (const line of output.split('\n')) {
    name = /^(\w+ \(test\.[\w.]+\))/.exec(line)?.[1] ?? name;
    // What a test prints may come between its name and its verdict.
    const verdict = /(?:^|\.\.\. )(ok|FAIL|ERROR|expected failure|skipped)(?: .*)?$/.exec(line)?.[1];
    if (verdict !== undefined && name !== '') {
      found.set(name, verdict);
      name = '';
    }
  }
  return found;
}

async function recorded(t: TestContext, program: string[]): Promise<Ended> {
  const to = join(await temporaryFolder(t), 'recording');
  return startKoala(t, ['record', '--to', to, '--', ...program]).end(LONGEST);
}

/** The tests whose verdict is another one under koala. */
function different(bare: Ended, covered: Ended): string[] {
  const [expected, seen] = [verdicts(bare.stdout), verdicts(covered.stdout)];
  assert.ok(expected.size > 100, `only ${expected.size} verdicts:\n${bare.stdout.slice(-2000)}`);
  return [...expected]
    .filter(([name, verdict]) => seen.get(name) !== verdict)
    .map(([name, verdict]) => `${name}: ${verdict}, under koala ${seen.get(name) ?? 'missing'}`);
}

/** The command that runs suites of CPython's. */
function regression(names: readonly string[]): string[] {
  const options = ['-m', 'test', '-v', ...ignored.flatMap((pattern) => ['-i', pattern])];
  return ['/usr/bin/python3', ...options, ...names];
}

for (const names of suites) {
  test(
    `CPython's ${names.join(', ')}, replayed: what is within the program is let through`,
    { skip: lacking('python3', 'cpython-tests') },
    async (t) => {
      const command = regression(names);
      const [path = '', ...args] = command;
      const [bare, replay] = await Promise.all([
        new Running(t, path, args).end(LONGEST),
        replayed(t, command, LONGEST),
      ]);
      const unlike = different(bare, replay);
      assert.deepEqual(
        unlike.filter((name) => !appending.has(name.split(' ')[0] ?? '')),
        [],
      );
    },
  );
}

for (const names of suites) {
  test(`CPython's ${names.join(', ')}`, { skip: lacking('python3', 'cpython-tests') }, async (t) => {
    const command = regression(names);
    const [path = '', ...args] = command;
    // At the same time: they mostly wait.
    const [bare, covered] = await Promise.all([
      new Running(t, path, args).end(LONGEST),
      recorded(t, command),
    ]);
    assert.deepEqual(different(bare, covered), []);
    assert.equal(covered.code, bare.code);
  });
}

/** Serves a few requests under a command that runs the program for us; what that printed. */
async function served(t: TestContext, wrapper: (program: string[]) => string[]): Promise<Ended> {
  const redis = await startRedis(t, { key: 'value' });
  const port = await freePort();
  const to = join(await temporaryFolder(t), 'recording');
  const program = wrapper([compiled('threaded'), String(port), String(redis.port)]);
  const running = startKoala(t, ['record', '--to', to, '--', ...program]);
  await running.listening(port);
  for (let round = 0; round < 3; round += 1) {
    const client = await Client.connect(port);
    const { response } = await client.http('GET', '/key');
    assert.match(response, /^HTTP\/1\.1 200 /);
    client.close();
  }
  // A debugger's signals are its own.
  const [debuggee] = await processes(([path, by]) => path === compiled('threaded') && by === String(port));
  process.kill(debuggee?.pid ?? running.pid, 'SIGTERM');
  const ended = await running.end();
  assert.match(ended.stderr, /koala: 3 sessions recorded/);
  return ended;
}

test('valgrind finds no error', { skip: lacking('gcc', 'redis-server', 'valgrind') }, async (t) => {
  const ended = await served(t, (program) => [commandPath('valgrind'), '--error-exitcode=99', ...program]);
  assert.match(ended.stderr, /ERROR SUMMARY: 0 errors/);
});

test('gdb runs it', { skip: lacking('gcc', 'redis-server', 'gdb') }, async (t) => {
  const ended = await served(t, (program) => [
    commandPath('gdb'),
    '-nx',
    '-batch',
    '-ex',
    'handle SIGTERM nostop noprint pass',
    '-ex',
    'run',
    '--args',
    ...program,
  ]);
  assert.match(ended.stdout, /exited normally/);
});
