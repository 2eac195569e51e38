import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { CallOutbound, Session } from '../recording/model.ts';
import { bytes, call, json, matched, redis, session } from '../test-support/sessions.ts';
import { noiseOf } from './noise.ts';
import { shareOut } from './overlap.ts';
import { History } from './history.ts';
import { compareSessions, type CompareOptions } from './session.ts';

function compare(recorded: Session, replayed: Session, options?: CompareOptions): string[] {
  return compareSessions(recorded, replayed, options).Differences.map(({ Kind, Text }) => `${Kind} ${Text}`);
}

const answer = (response: Uint8Array): Session =>
  session({ ReturnInbound: { ActionIndex: 0, OccurredAt: 1n, Response: response } });
const calls = (...Actions: CallOutbound[]): Session => session({ Actions });

test('equal sessions have no differences', () => {
  const recorded = calls(call(0, redis('GET', 'a')), call(1, redis('GET', 'a')));
  const replayed = calls(
    call(0, redis('GET', 'a'), { Matched: matched(0) }),
    call(1, redis('GET', 'a'), { Matched: matched(1) }),
  );
  assert.deepEqual(compareSessions(recorded, replayed), { Differences: [], Notes: [] });
});

test('status, headers and body of the response', () => {
  assert.deepEqual(
    compare(answer(json(200, { a: 1 }, { 'X-A': '1' })), answer(json(500, { a: 22 }, { 'X-B': '2' }))),
    [
      'status response.status: recorded 200, replayed 500',
      'header response.headers.x-a: recorded "1", replayed nothing',
      'header response.headers.x-b: recorded nothing, replayed "2"',
      'body response.body.a: recorded 1, replayed 22',
    ],
  );
});

test('what differs every time is no difference; how a body is framed is none', () => {
  const chunked = bytes(
    'HTTP/1.1 200 X\r\nContent-Type: application/json\r\ndate: b\r\nX-Request-Id: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n',
  );
  assert.deepEqual(compare(answer(json(200, {}, { Date: 'a', 'X-Request-Id': '1' })), answer(chunked)), []);
});

test('a header of the moment that is no longer there is a difference', () => {
  const [dated, undated] = [answer(json(200, {}, { 'X-Request-Id': '1' })), answer(json(200, {}))];
  assert.deepEqual(compare(dated, undated), [
    'header response.headers.x-request-id: recorded "1", replayed nothing',
  ]);
  assert.equal(compare(undated, dated).length, 1);
});

test('the length of the body of another response is no framing', () => {
  const head = (length: number): Session =>
    answer(bytes(`HTTP/1.1 200 OK\r\nContent-Length: ${length}\r\n\r\n`));
  assert.deepEqual(compare(head(5), head(5)), []);
  assert.deepEqual(compare(head(5), head(6)), [
    'header response.headers.content-length: recorded "5", replayed "6"',
  ]);
});

test('declared noise', () => {
  const noise = noiseOf(['response.body.at', 'response.headers.x-*']);
  const recorded = answer(json(200, { at: 1 }, { 'X-A': '1' }));
  assert.deepEqual(compare(recorded, answer(json(200, { at: 2 }, { 'X-A': '2' })), { noise }), []);
});

test('no response where one was recorded', () => {
  assert.match(compare(session(), session({ ReturnInbound: null }))[0] ?? '', /response-missing/);
  assert.deepEqual(compare(session({ ReturnInbound: null }), session({ ReturnInbound: null })), []);
});

test('a response that is no HTTP is compared by bytes', () => {
  assert.match(compare(answer(bytes('+PONG\r\n')), answer(bytes('+PANG\r\n')))[0] ?? '', /^bytes response/);
});

test('a call that was not made', () => {
  assert.deepEqual(compare(calls(call(0, redis('GET', 'a'))), calls()), [
    'call-missing recorded call was not made: GET a -> 127.0.0.1:6379',
  ]);
});

test('a call in no recording, with the nearest one', () => {
  const recorded = calls(call(3, redis('GET', 'item:1')));
  const replayed = calls(
    call(0, redis('GET', 'item:1'), { Matched: matched(3) }),
    call(1, redis('GET', 'item:2'), {
      Error: 'EOF',
      Matched: matched(-1, {
        NearestActionIndex: 3,
        Reason: 'another key',
        Differences: ['argument 1: item:1 -> item:2'],
      }),
    }),
  );
  const [difference, ...others] = compareSessions(recorded, replayed).Differences;
  assert.deepEqual(others, []);
  assert.equal(
    difference?.Text,
    'call not in the recording: GET item:2 -> 127.0.0.1:6379 (it failed with EOF)',
  );
  assert.deepEqual(difference?.Details, [
    'another key',
    'nearest recorded call: GET item:1 -> 127.0.0.1:6379',
    'argument 1: item:1 -> item:2',
  ]);
});

test('a call made more often than recorded, though it got an answer', () => {
  const recorded = calls(call(0, redis('GET', 'a')));
  const twice = calls(
    call(0, redis('GET', 'a'), { Matched: matched(0) }),
    call(1, redis('GET', 'a'), { Matched: matched(0) }),
  );
  assert.deepEqual(compare(recorded, twice), [
    'call-extra call made more often than recorded: GET a -> 127.0.0.1:6379',
  ]);
});

test('a call that nobody answered for is never passed over', () => {
  assert.match(compare(calls(), calls(call(0, redis('GET', 'a'))))[0] ?? '', /^call-extra/);
});

test('what changed in a Redis command and in an HTTP request', () => {
  const http = (path: string, agent: string, body: string): Uint8Array =>
    bytes(
      `POST ${path} HTTP/1.1\r\nUser-Agent: ${agent}\r\ntraceparent: ${agent}\r\nContent-Length: ${body.length}\r\n\r\n${body}`,
    );
  const recorded = calls(call(0, redis('SET', 'a', '1')), call(1, http('/a', 'x', '{"a":1}')));
  const replayed = calls(
    call(0, redis('SET', 'a', '2'), { Matched: matched(0) }),
    call(1, http('/b', 'y', '{"a":2}'), { Matched: matched(1) }),
  );
  assert.deepEqual(compare(recorded, replayed), [
    'call-changed calls[0].request.args[2]: recorded "1", replayed "2" (in SET)',
    'call-changed calls[1].request.target: recorded POST /a, replayed POST /b',
    'call-changed calls[1].request.headers.user-agent: recorded "x", replayed "y"',
    'call-changed calls[1].request.body.a: recorded 1, replayed 2',
  ]);
});

test('a refused connect must be refused again', () => {
  const recorded = calls(call(0, bytes(''), { Error: 'ECONNREFUSED' }));
  assert.deepEqual(
    compare(recorded, calls(call(0, bytes(''), { Error: 'ECONNREFUSED', Matched: matched(0) }))),
    [],
  );
  assert.match(compare(recorded, calls(call(0, bytes(''), { Matched: matched(0) })))[0] ?? '', /^call-error/);
});

test('a pool that connects at another moment changes nothing', () => {
  const hello = redis('HELLO', '3');
  const set = redis('SELECT', '2');
  const recorded = calls(call(0, hello), call(1, set), call(2, redis('GET', 'a')));
  const replayed = calls(call(0, redis('GET', 'a'), { Matched: matched(2) }));
  assert.deepEqual(compare(recorded, replayed), []);
  assert.equal(compareSessions(recorded, replayed).Notes.length, 2);
  const alone = calls(call(0, set), call(1, redis('GET', 'a')));
  assert.equal(
    compare(alone, calls(call(0, redis('GET', 'a'), { Matched: matched(1) }))).length,
    1,
    'a SELECT of its own',
  );
});

test('calls of an overlap group may be made by another session of it', () => {
  const get = redis('GET', 'a');
  const one = session({ SessionId: 'one', Actions: [call(0, get, { Ambiguous: true })] });
  const two = session({ SessionId: 'two', Actions: [call(0, get), call(1, get)] });
  const borrowed = matched(0, { SessionId: 'two' });
  // The third of three equal calls was recorded with the other session; which of them is which does not matter.
  const oneReplayed = calls(call(0, get, { Matched: matched(0) }), call(1, get, { Matched: borrowed }));
  const twoReplayed = calls(call(0, get, { Matched: matched(0) }));
  const shares = shareOut([
    { recorded: one, replayed: oneReplayed },
    { recorded: two, replayed: twoReplayed },
  ]);
  assert.deepEqual(compare(one, oneReplayed, { shares }), []);
  assert.equal(compareSessions(one, oneReplayed, { shares }).Notes.length, 1);
  assert.deepEqual(compare(two, twoReplayed, { shares }), []);
});

test('statements of an overlap group are the same whatever their connections call them', () => {
  const message = (type: string, ...parts: (string | number[])[]) => {
    const body = parts.flatMap((part) => (typeof part === 'string' ? [...bytes(part)] : part));
    const length = body.length + 4;
    return [
      type.charCodeAt(0),
      length >> 24,
      (length >> 16) & 255,
      (length >> 8) & 255,
      length & 255,
      ...body,
    ];
  };
  const prepare = (name: string) => message('P', `${name}\0SELECT a FROM t WHERE id = $1\0`, [0, 0]);
  const run = (name: string, id: string) => message('B', `\0${name}\0`, [0, 0, 0, 1, 0, 0, 0, 1], id, [0, 0]);
  const on = (ConnectionId: bigint, ...messages: number[][]) => {
    const made = call(0, Uint8Array.from(messages.flat()));
    return { ...made, ConnectionId };
  };
  const boot = session({
    SessionId: 'boot',
    Actions: [on(1n, prepare('S_1')), on(2n, prepare('S_7'))],
    Connections: [1n, 2n].map((id) => connection(id, 'postgres')),
  });
  const history = new History();
  history.note(boot);
  const shared = (id: string) => {
    const one = session({ SessionId: 'one', Actions: [on(1n, run('S_1', '4'))] });
    const two = session({ SessionId: 'two', Actions: [on(2n, run('S_7', id))] });
    const three = session({ SessionId: 'three' });
    // The third session has made the call of the second one, and was given the answer to that of the first.
    const live = { ...on(9n, prepare(''), run('', '4')), Matched: matched(0, { SessionId: 'one' }) };
    const oneReplayed = calls({ ...live, Matched: matched(0) });
    const group = [
      { recorded: one, replayed: oneReplayed },
      { recorded: two, replayed: calls() },
      { recorded: three, replayed: calls(live) },
    ];
    return shareOut(group, history);
  };
  assert.deepEqual([...shared('4').answeredElsewhere], ['two#0']);
  assert.equal(shared('4').tooMany.size, 0);
  assert.equal(shared('5').tooMany.size, 1, 'that was another question');
});

test('a call that no session of an overlap group has left is one too many', () => {
  const get = redis('GET', 'a');
  const one = session({ SessionId: 'one' });
  const two = session({ SessionId: 'two', Actions: [call(0, get)] });
  const oneReplayed = calls(call(0, get, { Matched: matched(0, { SessionId: 'two' }) }));
  const twoReplayed = calls(call(0, get, { Matched: matched(0) }));
  const shares = shareOut([
    { recorded: one, replayed: oneReplayed },
    { recorded: two, replayed: twoReplayed },
  ]);
  assert.deepEqual(compare(one, oneReplayed, { shares }), [
    'call-extra call made more often than recorded: GET a -> 127.0.0.1:6379',
  ]);
  assert.deepEqual(compare(two, twoReplayed, { shares }), []);
});

test('a call that is answered from outside the session is one too many, but for what sets connections up', () => {
  const boot = matched(4, { SessionId: 'boot' });
  const replayed = (request: Uint8Array): Session => calls(call(0, request, { Matched: boot }));
  assert.deepEqual(compare(calls(), replayed(redis('GET', 'b'))), [
    'call-extra call not in the recording of this session: GET b -> 127.0.0.1:6379',
  ]);
  for (const request of [redis('PING'), redis('SELECT', '2'), bytes(''), bytes('\u0001hello')]) {
    assert.deepEqual(compare(calls(), replayed(request)), []);
    assert.equal(compareSessions(calls(), replayed(request)).Notes.length, 1);
  }
});

test('calls in another order are the same calls, and that is said', () => {
  const recorded = calls(call(1, redis('GET', 'a')), call(2, redis('GET', 'b')));
  const replayed = calls(
    call(1, redis('GET', 'b'), { Matched: matched(2) }),
    call(2, redis('GET', 'a'), { Matched: matched(1) }),
  );
  assert.deepEqual(compareSessions(recorded, replayed), {
    Differences: [],
    Notes: ['calls were made in another order: GET b -> 127.0.0.1:6379 before GET a -> 127.0.0.1:6379'],
  });
});

const mysql = (code: number, body: string, sequence = 0): Uint8Array =>
  bytes(`${String.fromCodePoint(body.length + 1, 0, 0, sequence, code)}${body}`);
const connection = (ConnectionId: bigint, Protocol: string): Session['Connections'][number] => ({
  ConnectionId,
  Direction: 'outbound',
  Kind: 'tcp',
  Local: '',
  Peer: '127.0.0.1:6379',
  Protocol,
  Encrypted: false,
  ServerName: '',
  End: '',
  Gap: false,
});
const onMySql = (...Actions: CallOutbound[]): Session =>
  session({ Actions, Connections: [connection(2n, 'mysql')] });

test('a connection that was there already, or is opened anew, is a note', () => {
  const login = [
    call(1, bytes('')),
    call(2, mysql(0x8d, 'proof', 1)),
    call(3, mysql(3, 'SET NAMES utf8mb4')),
  ];
  const query = call(4, mysql(3, 'SELECT a FROM t'));
  const asked = { ...query, Matched: matched(4) };
  const fresh = onMySql(...login, query);
  const pooled = compareSessions(fresh, onMySql(asked));
  assert.deepEqual([pooled.Differences, pooled.Notes.length], [[], 3]);
  const elsewhere = login.map((one) => ({ ...one, Matched: matched(7, { SessionId: 'other' }) }));
  const opened = compareSessions(onMySql(query), onMySql(...elsewhere, asked));
  assert.deepEqual([opened.Differences, opened.Notes.length], [[], 3]);
  // On a connection that is in use, it changes what is asked then.
  const set = call(3, mysql(3, 'SET NAMES utf8mb4'));
  assert.deepEqual(
    compare(onMySql({ ...query, ActionIndex: 1 }, set), onMySql({ ...query, Matched: matched(1) })),
    ['call-missing recorded call was not made: SET NAMES utf8mb4 -> 127.0.0.1:6379'],
  );
});

test('a connection that another session had opened is set up by whichever needs it first', () => {
  const at = (time: bigint, one: CallOutbound): CallOutbound => ({ ...one, OccurredAt: time });
  const login = at(1n, call(1, mysql(0x8d, 'proof', 1)));
  const set = at(2n, call(1, mysql(3, "SET time_zone = '+00:00'")));
  const query = at(3n, call(2, mysql(3, 'SELECT a FROM t')));
  const recorded = onMySql(set, query);
  const replayed = onMySql({ ...query, Matched: matched(2) });
  const missing = (...others: Session[]): number => {
    const history = new History();
    for (const one of [recorded, ...others]) history.note(one);
    return compareSessions(recorded, replayed, { history }).Differences.length;
  };
  assert.equal(missing(onMySql(login)), 0);
  // Where it was used before, or nobody knows its beginning, it changes what is asked then.
  const before = onMySql(login, at(1n, call(3, mysql(3, 'SELECT b FROM t'))));
  assert.deepEqual([missing(before), missing()], [1, 1]);
});

test('what differs in a statement is what the matcher has named', () => {
  const recorded = onMySql(call(1, mysql(3, 'SELECT a FROM t')));
  const changed = { Differences: ['column b: (absent) -> b', 'statement name: s1 -> s2'] };
  const replayed = onMySql(call(1, mysql(3, 'SELECT a, b FROM t'), { Matched: matched(1, changed) }));
  assert.deepEqual(compare(recorded, replayed), [
    'call-changed calls[0].request.column b: recorded (absent), replayed b',
  ]);
});

test('many times in a statement are of the moment if each of them is', () => {
  const statement = onMySql(call(1, mysql(3, 'SELECT 1')));
  const { OccurredAt } = call(1, mysql(3, 'SELECT 1'));
  const then = Number(OccurredAt / 1_000_000n);
  const later = 86_400_000;
  const times = (from: number, last = 0) =>
    Array.from({ length: 40 }, (_, at) => new Date(from + at * 1000 + (at === 39 ? last : 0)).toISOString());
  const asked = (now: string[]) =>
    onMySql(
      call(1, mysql(3, 'SELECT 1'), {
        OccurredAt: OccurredAt + BigInt(later) * 1_000_000n,
        Matched: matched(1, { Differences: [`where at: ${times(then).join()} -> ${now.join()}`] }),
      }),
    );
  assert.deepEqual(compare(statement, asked(times(then + later))), []);
  assert.equal(compare(statement, asked(times(then + later, 60_000))).length, 1);
});

test('a call in no recording is explained by its scores and the runner-up', () => {
  const recorded = calls(call(1, redis('GET', 'a')), call(2, redis('GET', 'b')));
  const { Differences } = compareSessions(
    recorded,
    calls(
      call(1, redis('GET', 'c'), {
        Matched: matched(-1, {
          NearestActionIndex: 1,
          Fields: [{ Name: 'key', Weight: 4, Score: 0 }],
          RunnerUp: { SessionId: '', ActionIndex: 2, Mark: 0.25 },
        }),
      }),
    ),
  );
  assert.deepEqual(Differences[0]?.Details, ['nearest recorded call: GET a -> 127.0.0.1:6379']);
  assert.deepEqual(Differences[0]?.Scores, [
    'key           weight 4.00  agrees 0.00',
    'runner-up: GET b -> 127.0.0.1:6379, mark 0.250',
  ]);
});
