// A C program with a thread for each connection and a real Redis, on both libcs.
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { Client, type Exchange, parts } from './support/client.ts';
import { koala, record, replay, stop } from './support/koala.ts';
import { lacking } from './support/needs.ts';
import { compiled } from './support/programs.ts';
import { readManifest, requestSessions } from './support/recording.ts';
import { bulk, resp, startRedis } from './support/servers.ts';
import { freePort, temporaryFolder } from './support/system.ts';

const keys = { one: 'the first', two: 'the second', three: 'x'.repeat(3000) };

interface Recorded {
  folder: string;
  program: string[];
  exchanges: Exchange[];
  redis: number;
}

async function recorded(t: TestContext, binary: string): Promise<Recorded> {
  const folder = join(await temporaryFolder(t), 'recording');
  const redis = await startRedis(t, keys);
  const port = await freePort();
  const program = [binary, String(port), String(redis.port)];
  const recording = await record(t, { to: folder, program, port });
  const exchanges: Exchange[] = [];
  const [a, b] = [await Client.connect(port), await Client.connect(port)];
  for (const [client, path] of [
    [a, '/one'],
    [b, '/two'],
    [a, '/three'],
    [a, '/none'],
    [b, '/one'],
    [a, '/one'],
  ] as const) {
    exchanges.push(await client.http('GET', path));
  }
  a.close();
  b.close();
  const { code, stdout, stderr } = await stop(recording);
  assert.equal(code, 0, stderr);
  assert.match(stdout, /^served 6$/m, 'the output of the program is passed through');
  await redis.stop();
  return { folder, program, exchanges, redis: redis.port };
}

for (const [libc, compiler] of [
  ['glibc', 'gcc'],
  ['musl', 'musl-gcc'],
] as const) {
  const skip = lacking(compiler, 'redis-server');

  test(
    `a threaded program (${libc}) is recorded to the byte and replays green without Redis`,
    { skip },
    async (t) => {
      const { folder, program, exchanges, redis } = await recorded(t, compiled('threaded', compiler));
      assert.deepEqual(
        exchanges.map(({ response }) => parts(response)),
        [
          { status: 200, body: 'one=the first\n' },
          { status: 200, body: 'two=the second\n' },
          { status: 200, body: `three=${keys.three}\n` },
          { status: 404, body: 'none=\n' },
          { status: 200, body: 'one=the first\n' },
          { status: 200, body: 'one=the first\n' },
        ],
      );
      const sessions = await requestSessions(folder);
      assert.deepEqual(
        sessions.map(({ request, response }) => ({ request, response })),
        exchanges,
      );
      const values: Record<string, string> = keys;
      assert.deepEqual(
        sessions.map(({ calls }) => calls),
        ['one', 'two', 'three', 'none', 'one', 'one'].map((key) => [
          {
            ActionType: 'CallOutbound',
            Request: resp('GET', key),
            Response: values[key] === undefined ? '$-1\r\n' : bulk(values[key]),
            Peer: `127.0.0.1:${redis}`,
            Error: '',
            Ambiguous: false,
          },
        ]),
      );
      assert.ok(sessions.every(({ incomplete }) => !incomplete));
      const manifest = await readManifest(folder);
      assert.equal(typeof manifest['FinishedAt'], 'string');
      assert.deepEqual(manifest['Lost'], { Events: 0, Bytes: 0, Sessions: 0 });
      assert.deepEqual(manifest['Command'], program);

      const { code, stdout, stderr } = await replay(t, folder, program);
      assert.equal(code, 0, `${stdout}${stderr}`);
      assert.match(stdout, /6 (sessions )?passed/);
    },
  );

  test(
    `a changed answer of a threaded program (${libc}) is a red replay that names it`,
    { skip },
    async (t) => {
      const { folder, program } = await recorded(t, compiled('threaded', compiler));
      const { code, stdout, stderr } = await replay(t, folder, program, { REGRESSION: 'answer' });
      assert.equal(code, 1, `${stdout}${stderr}`);
      assert.match(stdout, /GET \/one/);
      assert.match(stdout, /changed one=the first/);
    },
  );
}

test(
  'a changed call is never answered with a similar one, and is named',
  { skip: lacking('gcc', 'redis-server') },
  async (t) => {
    const { folder, program } = await recorded(t, compiled('threaded'));
    const { code, stdout, stderr } = await replay(t, folder, program, { REGRESSION: 'call' });
    assert.equal(code, 1, `${stdout}${stderr}`);
    assert.match(stdout, /one0/, 'the report names what was asked');
    assert.doesNotMatch(stdout, /one0=the first/, 'the answer to another key is given to none');
  },
);

test(
  'a program that does not start is no green replay',
  { skip: lacking('gcc', 'redis-server') },
  async (t) => {
    const { folder } = await recorded(t, compiled('threaded'));
    const { code, stdout, stderr } = await replay(t, folder, ['true']);
    assert.notEqual(code, 0, `${stdout}${stderr}`);
  },
);

test(
  'the strategies of koala 1.x replay green, and answer what resembles a recorded call, as koala 1.x did',
  { skip: lacking('gcc', 'redis-server') },
  async (t) => {
    const { folder, program } = await recorded(t, compiled('threaded'));
    const run = (options: string[], env?: NodeJS.ProcessEnv) =>
      koala(t, ['replay', folder, ...options, '--', ...program], env);
    for (const strategy of ['chunk', 'sim']) {
      for (const { code, stdout, stderr } of [
        await run(['--match', strategy]),
        await run([], { KOALA_REPLAYING_MATCH_STRATEGY: strategy }),
      ]) {
        assert.equal(code, 0, `${strategy}: ${stdout}${stderr}`);
        assert.match(stdout, /6 (sessions )?passed/);
      }
    }
    const similar = await run(['--match', 'sim'], { REGRESSION: 'call' });
    assert.equal(similar.code, 1, `${similar.stdout}${similar.stderr}`);
    assert.match(similar.stdout, /recorded "one", replayed "one0"/, 'it is named');
    assert.doesNotMatch(
      similar.stdout,
      /not in the recording: GET one0/,
      'the answer to another key is given',
    );
    const strict = await run(['--match', 'sim', '--threshold', '0.9'], { REGRESSION: 'call' });
    assert.equal(strict.code, 1, `${strict.stdout}${strict.stderr}`);
    assert.match(strict.stdout, /not in the recording: GET one0/);
  },
);
