import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Writable } from 'node:stream';
import { test, type TestContext } from 'node:test';
import { call, redis, session, temporary, writeRecording } from '../test-support/sessions.ts';
import { runCli } from './cli.ts';

async function match(
  t: TestContext,
  request: Uint8Array,
  ...options: string[]
): Promise<{ code: number; out: string; err: string }> {
  const recording = await temporary(t);
  await writeRecording(recording, [
    session({ Actions: [call(1, redis('GET', 'item:1')), call(2, redis('GET', 'item:2'))] }),
    session({ SessionId: '1795358265987015099-2', Actions: [call(1, redis('SET', 'total', '7'))] }),
  ]);
  const file = join(await temporary(t), 'request');
  await writeFile(file, request);
  const texts = { out: '', err: '' };
  const into = (name: 'out' | 'err'): Writable =>
    new Writable({
      write: (chunk, _encoding, done) => {
        texts[name] += String(chunk);
        done();
      },
    });
  const code = await runCli(['match', file, recording, ...options], {
    stdout: into('out'),
    stderr: into('err'),
  });
  return { code, ...texts };
}

test('a match names the recorded call', async (t) => {
  const { code, out } = await match(t, redis('GET', 'item:2'));
  assert.equal(code, 0);
  assert.match(out, /^request: redis; compared with 3 recorded calls\n/);
  assert.match(
    out,
    /^matched {2}GET item:2 -> 127\.0\.0\.1:6379 \(session 1795358265987015087-1, action 2\), mark 1\.000$/m,
  );
});

test('what is in no recording is refused, and the nearest call named', async (t) => {
  const { code, out } = await match(t, redis('GET', 'item:9'), '--peer', '127.0.0.1:6379');
  assert.equal(code, 1);
  assert.match(out, /^unmatched {2}127\.0\.0\.1:6379$/m);
  assert.match(out, /^ {2}nearest: GET item:[12] -> /m);
  assert.match(out, /^ {2}differs {2}.*item:[12] -> item:9$/m);
});

test('among the calls of one session, as JSON', async (t) => {
  const { code, out } = await match(t, redis('GET', 'item:1'), '--session', '1795358265987015099', '--json');
  assert.equal(code, 1);
  const report: unknown = JSON.parse(out);
  assert.ok(typeof report === 'object' && report !== null && 'Calls' in report && 'Decisions' in report);
  assert.equal(report.Calls, 1);
  assert.ok(Array.isArray(report.Decisions) && report.Decisions.length === 1);
});

test('mistakes are told in a line', async (t) => {
  const none = await match(t, redis('PING'), '--session', 'nothing-of-this-name');
  assert.equal(none.code, 2);
  assert.match(none.err, /^koala: .*nothing-of-this-name.*\n$/);
  assert.equal((await match(t, redis('PING'), '--match', 'best')).code, 2);
});
