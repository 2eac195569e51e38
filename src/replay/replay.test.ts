import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { test, type TestContext } from 'node:test';
import type { Session } from '../recording/model.ts';
import { useFakeAgent } from '../test-support/fake-agent.ts';
import {
  bytes,
  call,
  json,
  matched,
  redis,
  session,
  temporary,
  writeRecording,
} from '../test-support/sessions.ts';
import { parseNoise, replay } from './replay.ts';

const skip = process.platform !== 'linux' && 'replay needs Linux';
/** A program under test that runs until it is stopped. */
const sleeper = ['sleep', '60'];
const listeners = ['127.0.0.1:8080'];

const recorded = (id: string, more: Partial<Session> = {}): Session =>
  session({ SessionId: id, Actions: [call(0, redis('GET', id))], ...more });
const replayed = (id: string, more: Partial<Session> = {}): Session =>
  session({ SessionId: `r-${id}`, Actions: [call(0, redis('GET', id), { Matched: matched(0) })], ...more });

async function recordingOf(t: TestContext, ...sessions: Session[]): Promise<string> {
  const directory = await temporary(t);
  await writeRecording(directory, sessions);
  return directory;
}

test('equal sessions pass; the agent is finished', { skip }, async (t) => {
  const log = await useFakeAgent(t, { listeners, replies: [replayed('a'), replayed('b')] });
  const recording = await recordingOf(
    t,
    recorded('a'),
    recorded('b'),
    session({ SessionId: 'c', Context: 'boot' }),
  );
  const done: number[] = [];
  const result = await replay({
    recording,
    command: sleeper,
    output: 'ignore',
    match: 'exact',
    onProgress: (progress) => done.push(progress.done),
  });
  assert.equal(result.Passed, true);
  assert.deepEqual(result.Counts, { Passed: 2, Failed: 0, Skipped: 0 });
  assert.deepEqual(result.Calls, { Recorded: 2, Replayed: 2, Answered: 2 });
  assert.deepEqual(done, [0, 1, 2]);
  const asked = await readFile(log, 'utf8');
  assert.match(asked, /^replay "exact"\n/);
  assert.match(asked, /POST \/cbor\nPOST \/cbor\nGET \/status\nPOST \/finish\n$/);
});

test('sessions are replayed in the order of their requests', { skip }, async (t) => {
  await useFakeAgent(t, { listeners, replies: [replayed('a'), replayed('b')] });
  const early = recorded('a');
  if (early.CallFromInbound !== null) early.CallFromInbound.OccurredAt = 1n;
  const result = await replay({
    recording: await recordingOf(t, recorded('b'), early),
    command: sleeper,
    output: 'ignore',
  });
  assert.deepEqual(
    result.Sessions.map(({ SessionId }) => SessionId),
    ['a', 'b'],
  );
  assert.ok(result.Passed);
});

test('differences fail, and what the agent says of a session is its error', { skip }, async (t) => {
  const worse = replayed('a', { ReturnInbound: { ActionIndex: 1, OccurredAt: 1n, Response: json(500, {}) } });
  await useFakeAgent(t, {
    listeners,
    replies: [worse, { status: 504, Error: 'no answer within 1s' }, replayed('c')],
  });
  const recording = await recordingOf(t, recorded('a'), recorded('b'), recorded('c'));
  const result = await replay({ recording, command: sleeper, output: 'ignore' });
  assert.equal(result.Passed, false);
  assert.deepEqual(result.Counts, { Passed: 1, Failed: 2, Skipped: 0 });
  assert.equal(result.Sessions[0]?.Differences[0]?.Text, 'response.status: recorded 200, replayed 500');
  assert.equal(result.Sessions[1]?.Error, 'no answer within 1s');
  assert.deepEqual(result.Problems, []);
});

test('no calls where calls were recorded is a failure, whatever the responses', { skip }, async (t) => {
  await useFakeAgent(t, { listeners, replies: [replayed('a', { Actions: [] })] });
  const noise = ['calls*'];
  const result = await replay({
    recording: await recordingOf(t, recorded('a')),
    command: sleeper,
    output: 'ignore',
    noise,
  });
  assert.equal(result.Passed, false);
  assert.match(result.Problems.join(), /1 outbound calls and the replay saw none/);
});

test('no calls where only the start of the program made some is a failure', { skip }, async (t) => {
  const quiet = { Actions: [] };
  const boot = session({
    SessionId: 'boot',
    Context: 'boot',
    CallFromInbound: null,
    Actions: [call(0, redis('GET', 'settings'))],
  });
  await useFakeAgent(t, { listeners, replies: [replayed('a', quiet)] });
  const result = await replay({
    recording: await recordingOf(t, recorded('a', quiet), boot),
    command: sleeper,
    output: 'ignore',
  });
  assert.equal(result.Passed, false);
  assert.match(result.Problems.join(), /1 outbound calls outside of requests and the replay saw none/);
});

test('what came in encrypted or by HTTP/2 is not replayed, and that is said', { skip }, async (t) => {
  await useFakeAgent(t, { listeners, replies: [replayed('3-a-3')] });
  const on = (ConnectionId: bigint, text: string): Partial<Session> => {
    const { CallFromInbound, Connections } = session();
    assert.ok(CallFromInbound);
    return {
      CallFromInbound: { ...CallFromInbound, Request: bytes(text), ConnectionId },
      Connections: Connections.map((one) => ({ ...one, ConnectionId, Encrypted: ConnectionId === 1n })),
    };
  };
  const recording = await recordingOf(
    t,
    recorded('1-a-1', on(1n, '\x16\x03\x01')),
    recorded('2-a-2', on(2n, 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n')),
    recorded('3-a-3', on(3n, 'GET / HTTP/1.1\r\n\r\n')),
    recorded('4-a-4', on(2n, '\0\0\x07\x01')),
  );
  const result = await replay({ recording, command: sleeper, output: 'ignore' });
  assert.deepEqual(result.Counts, { Passed: 1, Failed: 0, Skipped: 3 });
  assert.deepEqual(
    result.Skipped.map(({ Reason }) => Reason.split(/[:,]/)[0]),
    ['its connection is encrypted (TLS)', 'its connection speaks HTTP/2', 'its connection speaks HTTP/2'],
  );
});

test('nothing replayed is a failure', { skip }, async (t) => {
  await useFakeAgent(t, { listeners });
  const recording = await recordingOf(t, recorded('a', { Incomplete: true }));
  const result = await replay({ recording, command: sleeper, output: 'ignore' });
  assert.equal(result.Passed, false);
  assert.deepEqual(result.Problems, ['no session was replayed']);
  assert.match(result.Skipped[0]?.Reason ?? '', /incomplete/);
});

test('calls of an overlap group are looked for in the whole group', { skip }, async (t) => {
  const group = { OverlapGroup: 'g' };
  const both = [
    call(0, redis('GET', 'a'), { Matched: matched(0) }),
    call(1, redis('GET', 'b'), { Matched: matched(0, { SessionId: 'b' }) }),
  ];
  await useFakeAgent(t, {
    listeners,
    replies: [replayed('a', { Actions: both }), replayed('b', { Actions: [] })],
  });
  const recording = await recordingOf(t, recorded('a', group), recorded('b', group));
  const result = await replay({ recording, command: sleeper, output: 'ignore' });
  assert.deepEqual(
    result.Sessions.flatMap(({ Differences }) => Differences),
    [],
  );
  assert.ok(result.Passed);
});

test('a program that ends before it listens', { skip }, async (t) => {
  await useFakeAgent(t, {});
  const recording = await recordingOf(t, recorded('a'));
  await assert.rejects(
    replay({ recording, command: ['sh', '-c', 'exit 3'], output: 'ignore' }),
    /^KoalaError: the program ended with exit code 3 before it listened at 127\.0\.0\.1:8080/,
  );
});

test('a program that never listens there, with what it does', { skip }, async (t) => {
  const recording = await recordingOf(t, recorded('a'));
  const options = { recording, command: sleeper, output: 'ignore', timeout: 50 } as const;
  await useFakeAgent(t, { listeners: ['127.0.0.1:9999'] });
  await assert.rejects(
    replay(options),
    /did not listen at 127\.0\.0\.1:8080 within 50 ms: it listens at 127\.0\.0\.1:9999/,
  );
  await useFakeAgent(t, { listeners: [], processes: 0 });
  await assert.rejects(replay(options), /libkoala\.so was not loaded into it/);
});

test('a program that ends in the middle', { skip }, async (t) => {
  const reset = { status: 502, Error: 'the connection was reset', after: 800 };
  await useFakeAgent(t, { listeners, processes: 0, replies: [reset] });
  const recording = await recordingOf(t, recorded('a'), recorded('b'));
  const result = await replay({ recording, command: ['sh', '-c', 'sleep 0.3; exit 4'], output: 'ignore' });
  assert.equal(result.Passed, false);
  assert.equal(result.Sessions[0]?.Error, 'the program ended with exit code 4');
  assert.deepEqual(result.Problems, [
    'the program ended with exit code 4 during the replay',
    '1 of 2 sessions were not replayed',
  ]);
});

test('an agent that cannot start says why in its own words', { skip }, async (t) => {
  await useFakeAgent(t, { fails: '127.0.0.1:2514 is in use' });
  const recording = await recordingOf(t, recorded('a'));
  await assert.rejects(
    replay({ recording, command: sleeper, output: 'ignore' }),
    /^KoalaError: 127\.0\.0\.1:2514 is in use$/,
  );
});

test('an abort ends a session that hangs, the program and the agent', { skip }, async (t) => {
  const log = await useFakeAgent(t, { listeners, replies: [] });
  const recording = await recordingOf(t, recorded('a'));
  const startedAt = performance.now();
  const signal = AbortSignal.timeout(500);
  await assert.rejects(replay({ recording, command: sleeper, output: 'ignore', signal }));
  assert.ok(performance.now() - startedAt < 10_000);
  assert.match(await readFile(log, 'utf8'), /POST \/finish\n$/);
});

test('sessions are chosen by the beginnings of their ids', { skip }, async (t) => {
  await useFakeAgent(t, { listeners, replies: [replayed('bb')] });
  const recording = await recordingOf(t, recorded('ab'), recorded('ac'), recorded('bb'));
  const options = { recording, command: sleeper, output: 'ignore' } as const;
  const result = await replay({ ...options, sessions: ['b'] });
  assert.deepEqual(
    result.Sessions.map(({ SessionId }) => SessionId),
    ['bb'],
  );
  await assert.rejects(replay({ ...options, sessions: ['a'] }), /2 sessions .* begin with a/);
  await assert.rejects(replay({ ...options, sessions: ['x'] }), /no session x/);
});

test('noise files', () => {
  assert.deepEqual(parseNoise('n', '{"Noise": ["a", "b*"]}'), ['a', 'b*']);
  for (const bad of ['', '[]', '{"Noise": "a"}', '{"Noise": [1]}'])
    assert.throws(() => parseNoise('n', bad), /^KoalaError: n is not/);
});
