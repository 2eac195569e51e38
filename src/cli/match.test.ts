import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Writable } from 'node:stream';
import { test, type TestContext } from 'node:test';
import { bytes, call, redis, session, temporary, writeRecording } from '../test-support/sessions.ts';
import type { Session } from '../recording/model.ts';
import { runCli } from './cli.ts';

async function match(
  t: TestContext,
  request: Uint8Array,
  ...options: string[]
): Promise<{ code: number; out: string; err: string }> {
  return matchAmong(t, recorded, request, ...options);
}

const recorded = [
  session({ Actions: [call(1, redis('GET', 'item:1')), call(2, redis('GET', 'item:2'))] }),
  session({ SessionId: '1795358265987015099-2', Actions: [call(1, redis('SET', 'total', '7'))] }),
];

async function matchAmong(
  t: TestContext,
  sessions: readonly Session[],
  request: Uint8Array,
  ...options: string[]
): Promise<{ code: number; out: string; err: string }> {
  const recording = await temporary(t);
  await writeRecording(recording, sessions);
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

test('what sessions were called with tells which names their program makes up', async (t) => {
  const [old, now] = ['5315d05bea55d14822e8cef4f94cb00f', 'ac508a40922ac4b6319e82f5d6b538b2'];
  const actions = [
    call(1, redis('GET', `session:${old}`), { Response: bytes('$-1\r\n') }),
    call(2, redis('SETEX', `session:${old}`, '60', 'a')),
  ];
  const { CallFromInbound, ReturnInbound } = session();
  assert.ok(CallFromInbound !== null && ReturnInbound !== null);
  const begun = session({
    ReturnInbound: { ...ReturnInbound, Response: bytes(`HTTP/1.1 200 OK\r\nSet-Cookie: sid=${old}\r\n\r\n`) },
    Actions: actions,
  });
  const asked = redis('GET', `session:${now}`);
  const { code, out } = await matchAmong(t, [begun], asked);
  assert.equal(code, 0, out);
  assert.match(out, /the token in argument 1 is new in the recording and in this run/);

  const told = session({
    CallFromInbound: { ...CallFromInbound, Request: bytes(`GET / HTTP/1.1\r\nCookie: sid=${old}\r\n\r\n`) },
    Actions: actions,
  });
  assert.equal((await matchAmong(t, [told], asked)).code, 1);
});

test('mistakes are told in a line', async (t) => {
  const none = await match(t, redis('PING'), '--session', 'nothing-of-this-name');
  assert.equal(none.code, 2);
  assert.match(none.err, /^koala: .*nothing-of-this-name.*\n$/);
  assert.equal((await match(t, redis('PING'), '--match', 'best')).code, 2);
});
