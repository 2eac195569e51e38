// The variables by which a program under the library alone is recorded: what they mean, and what comes of values that
// make no sense. A recording is then not made, and the log says why; a replay reaches nothing, or does not start.
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { readFile, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { Client, parts } from './support/client.ts';
import { agents, koala, record, stop } from './support/koala.ts';
import { installed } from './support/library.ts';
import { lacking } from './support/needs.ts';
import { compiled } from './support/programs.ts';
import { requestSessions } from './support/recording.ts';
import { startRedis } from './support/servers.ts';
import { freePort, Running, temporaryFolder, until } from './support/system.ts';

const skip = lacking('gcc', 'redis-server');

/** What the program answers to a request for `value`, run with these variables. */
async function asked(t: TestContext, env: NodeJS.ProcessEnv): Promise<number> {
  const redis = await startRedis(t, { key: 'value' });
  const port = await freePort();
  const program = new Running(t, compiled('threaded'), [String(port), String(redis.port)], env);
  await program.listening(port);
  const client = await Client.connect(port);
  const { status } = parts((await client.http('GET', '/key')).response);
  client.close();
  process.kill(program.pid, 'SIGTERM');
  const { code, stderr } = await program.end();
  assert.deepEqual({ code, stderr }, { code: 0, stderr: '' });
  return status;
}

const gone = (to: string): Promise<unknown> =>
  until('the end of the agent', async () => (await agents(to)).length === 0);

/** The log, as soon as it says something. */
const said = (path: string): Promise<string> =>
  until(`a line in ${path}`, async () => existsSync(path) && ((await readFile(path, 'utf8')) || false));

const nonsense: [variable: string, value: string][] = [
  ['KOALA_MODE', 'recording'],
  ['KOALA_MODE', 'RECORD'],
  ['KOALA_MODE', 'replayer'],
  ['KOALA_MODE', 'record,'],
  ['KOALA_MODE', 'record replay'],
  ['KOALA_MODE', '\u00ff'],
  ['KOALA_MODE', 'x'.repeat(20_000)],
  ['KOALA_INBOUND_PROTOCOL', 'gopher'],
  ['KOALA_INBOUND_ADDR', '2514'],
  ['KOALA_SUT_ADDR', 'unix:'],
  ['KOALA_OUTBOUND_ADDR', '10.0.0.1:80'],
  ['KOALA_INBOUND_READ_TIMEOUT', 'soon'],
  ['KOALA_OUTBOUND_BYPASS_PORT', '80,x'],
  ['KOALA_OUTBOUND_BYPASS_ADDR', '10.0.0.1'],
  ['KOALA_REPLAYING_MATCH_STRATEGY', 'best'],
  ['KOALA_REPLAYING_MATCH_THRESHOLD', '1.1'],
  ['KOALA_GC_GLOBAL_STATUS_TIMEOUT', '5'],
  ['KOALA_LOG_LEVEL', 'LOUD'],
  ['KOALA_LOG_FORMAT', 'XML'],
  ['KOALA_LOG_FILE', '/proc/koala/log'],
  ['KOALA_RECORD_TO_DIR', '/proc/koala/recording'],
  ['KOALA_RECORD_TO_DIR', '/dev/null'],
  ['KOALA_RECORD_TO_DIR', '/a'.repeat(4000)],
  ['KOALA_RECORD_TO_DIR', '/a'.repeat(10_000)],
];

const short = (value: string): string =>
  value.length > 40 ? `${value.slice(0, 10)}.. (${value.length})` : value;

for (const [variable, value] of nonsense) {
  test(`${variable}=${short(value)}: the program goes on, and the log says why not`, { skip }, async (t) => {
    const { library, to, folder } = await installed(t);
    const runtime = join(folder, 'runtime');
    const env = {
      LD_PRELOAD: library,
      KOALA_RECORD_TO_DIR: to,
      KOALA_RUNTIME_DIR: runtime,
      [variable]: value,
    };
    assert.equal(await asked(t, env), 200);
    const log = await said(join(runtime, 'agent.log'));
    assert.match(log, /ERROR nothing is recorded: /);
    assert.ok(log.includes(variable === 'KOALA_RECORD_TO_DIR' ? value.slice(0, 9) : `${variable}`), log);
    await gone(to);
    assert.deepEqual(await readdir(to).catch(() => []), []);
  });
}

test('what is wrong is said in the log that was asked for', { skip }, async (t) => {
  const { library, to, folder } = await installed(t);
  const log = join(folder, 'koala.log');
  const env = { LD_PRELOAD: library, KOALA_RECORD_TO_DIR: to, KOALA_LOG_FILE: log, KOALA_MODE: 'sing' };
  assert.equal(await asked(t, env), 200);
  const accepted = 'nothing is recorded: KOALA_MODE: "sing" is not understood; accepted: record, replay';
  assert.ok((await said(log)).includes(accepted));
});

test('a replay whose mode makes no sense reaches nothing', { skip }, async (t) => {
  const { library, folder } = await installed(t);
  const log = join(folder, 'koala.log');
  const env = { LD_PRELOAD: library, KOALA_LOG_FILE: log, KOALA_MODE: 'replay,banana' };
  assert.equal(await asked(t, env), 502, 'the program could not connect to Redis');
  assert.match(await said(log), /KOALA_MODE: "replay,banana" is not understood/);
});

test('a recording that could only go to Elasticsearch is said not to be made', { skip }, async (t) => {
  for (const mode of [{}, { KOALA_MODE: 'record' }]) {
    const { library, folder } = await installed(t);
    const log = join(folder, 'koala.log');
    const env = { ...mode, KOALA_RECORD_TO_ES: 'http://127.0.0.1:9/x', KOALA_LOG_FILE: log };
    assert.equal(await asked(t, { ...env, LD_PRELOAD: library }), 200);
    assert.match(
      await said(log),
      /KOALA_RECORD_TO_ES: "http:\/\/127\.0\.0\.1:9\/x" .*set KOALA_RECORD_TO_DIR/,
    );
    const refused = await koala(t, ['record', '--', 'true'], env);
    assert.deepEqual([refused.code, refused.stdout], [2, '']);
    assert.match(refused.stderr, /^koala: record: KOALA_RECORD_TO_ES: [^\n]*--to DIR\n$/);
  }
});

test('nonsense starts no replay', { skip }, async (t) => {
  const folder = join(await temporaryFolder(t), 'recording');
  const redis = await startRedis(t, { key: 'value' });
  const port = await freePort();
  const program = [compiled('threaded'), String(port), String(redis.port)];
  const recording = await record(t, { to: folder, program, port });
  const client = await Client.connect(port);
  await client.http('GET', '/key');
  client.close();
  assert.equal((await stop(recording)).code, 0);
  // The command line sets the others itself.
  const own = new Set(['KOALA_MODE', 'KOALA_RECORD_TO_DIR']);
  for (const [variable, value] of nonsense.filter(([name]) => !own.has(name))) {
    const { code, stdout, stderr } = await koala(t, ['replay', folder, '--', ...program], {
      [variable]: value,
    });
    assert.equal(code, 2, `${variable}=${value}: ${stdout}${stderr}`);
    assert.equal(stdout, '');
    assert.match(stderr, /^[^\n]+\n$/, 'one line');
    assert.ok(stderr.includes(variable), stderr);
  }
});

for (const [name, env, recorded] of [
  ['koala-recorder.so', { KOALA_RECORD_TO_DIR: true }, true],
  ['koala-recorder.so', {}, false],
  ['koala-replayer.so', { KOALA_MODE: 'record', KOALA_RECORD_TO_DIR: true }, true],
  ['libkoala.so', { KOALA_MODE: 'record', KOALA_RECORD_TO_DIR: true }, true],
  ['libkoala.so', { KOALA_MODE: ' ', KOALA_RECORD_TO_DIR: true }, true],
  ['libkoala.so', { KOALA_MODE: 'record' }, false],
  ['libkoala.so', { KOALA_RECORD_TO_ES: 'http://127.0.0.1:9' }, false],
  ['libkoala.so', {}, false],
] as const) {
  test(`${name} with ${JSON.stringify(env)}: ${recorded ? 'a' : 'no'} recording`, { skip }, async (t) => {
    const { library, to } = await installed(t, name);
    const variables = 'KOALA_RECORD_TO_DIR' in env ? { ...env, KOALA_RECORD_TO_DIR: to } : env;
    assert.equal(await asked(t, { ...variables, LD_PRELOAD: library }), 200);
    await gone(to);
    const sessions = await requestSessions(to).catch(() => []);
    assert.equal(sessions.length, recorded ? 1 : 0);
  });
}

for (const [name, env] of [
  ['koala-replayer.so', {}],
  ['libkoala.so', { KOALA_MODE: 'replay' }],
  ['koala-recorder.so', { KOALA_MODE: 'record,replay' }],
] as const) {
  test(
    `${name} with ${JSON.stringify(env)} replays: without an agent nothing is reached`,
    { skip },
    async (t) => {
      const { library } = await installed(t, name);
      assert.equal(await asked(t, { ...env, LD_PRELOAD: library }), 502);
    },
  );
}
