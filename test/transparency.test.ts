// A program can't tell that it is recorded: CPython's own suites give the same verdicts, test by test, and debuggers work.
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { Client } from './support/client.ts';
import { testSuites } from './support/cpython.ts';
import { startKoala } from './support/koala.ts';
import { commandPath, lacking } from './support/needs.ts';
import { compiled } from './support/programs.ts';
import { startRedis } from './support/servers.ts';
import { type Ended, freePort, processesOn, temporaryFolder } from './support/system.ts';

testSuites([
  { names: ['test_select', 'test_httplib', 'test_urllib2_localnet', 'test_subprocess'] },
  { names: ['test_socket'] },
]);

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
  const [debuggee] = await processesOn(compiled('threaded'), port);
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
