import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { test } from 'node:test';
import { bytes, call, json, matched, redis, session } from '../test-support/sessions.ts';
import type { Session } from '../recording/model.ts';
import { compareTwice, mayBeDrawn } from './again.ts';
import { compareSessions } from './session.ts';

const hex = (length: number): string => randomBytes(length).toString('hex');
const digest = (text: string): string => createHash('sha256').update(text).digest('hex');

/** A session that pushes a job and answers with `body`. */
function run(job: string, body: unknown): Session {
  const { ReturnInbound } = session();
  assert.ok(ReturnInbound);
  return session({
    ReturnInbound: { ...ReturnInbound, Response: json(200, body) },
    Actions: [call(2, redis('LPUSH', 'queue', `{"jid":"${job}"}`), { Matched: matched(2) })],
  });
}

test('what is another word in each replay is noted', () => {
  for (const draw of [
    () => hex(8),
    () => hex(12),
    () => hex(16),
    () => hex(32),
    () => `token ${hex(20)} of ${hex(16)}.`,
    () => hex(16).toUpperCase(),
    () => randomBytes(16).toString('base64url'),
    () => `token=${randomBytes(32).toString('base64url')}; Path=/`,
  ]) {
    const [recorded, first, second] = [1, 2, 3].map(() => run(draw(), { csrf: draw(), n: 1 }));
    assert.ok(recorded && first && second);
    assert.equal(compareSessions(recorded, first).Differences.length, 2);
    assert.ok(mayBeDrawn(recorded, first, {}));
    const { Differences, Notes } = compareTwice(recorded, first, second, {});
    assert.deepEqual(Differences, []);
    assert.equal(Notes.filter((note) => note.includes('is of the moment:')).length, 2);
  }
});

test('what is the same in both replays is a difference', () => {
  const [token, others] = [hex(16), hex(16)];
  const recorded = run(hex(12), { etag: digest('price 7') });
  const first = run(hex(12), { etag: digest('price 8') });
  const second = run(hex(12), { etag: digest('price 8') });
  assert.ok(mayBeDrawn(recorded, first, {}));
  const { Differences } = compareTwice(recorded, first, second, {});
  assert.deepEqual(
    Differences.map(({ Path }) => Path),
    ['response.body.etag'],
  );
  // One of two words is drawn, and the other is told by the answer.
  const both = (drawn: string, told: string): Session => run(token, { both: `${drawn} and ${told}` });
  const mixed = compareTwice(both(hex(16), token), both(hex(16), others), both(hex(16), others), {});
  assert.equal(mixed.Differences.length, 1);
  // As it was recorded the second time: it is one of two, not drawn.
  const toggled = compareTwice(run(token, {}), run(others, {}), run(token, {}), {});
  assert.equal(toggled.Differences.length, 1);
});

test('what the program was told is not drawn, however it is replaced', () => {
  const [key, job] = [hex(16), hex(12)];
  const told = (word: string): Session => {
    const one = run(job, { key: word });
    const asked = call(1, redis('GET', 'key'), { Matched: matched(1), Response: bytes(`$32\r\n${key}\r\n`) });
    return { ...one, Actions: [asked, ...one.Actions] };
  };
  // The program has the key from its database, and answers with what it finds in its memory.
  const [recorded, first, second] = [told(key), told(hex(16)), told(hex(16))];
  assert.equal(compareTwice(recorded, first, second, {}).Differences.length, 1);
});

test('what differs in no such words is not asked for again', () => {
  const recorded = run('0123456789abcdef', { n: 1 });
  for (const other of [
    run('0123456789abcdef', { n: 2 }),
    run(hex(13), { n: 1 }),
    run('x', { n: 1 }),
    session(),
    recorded,
  ])
    assert.ok(!mayBeDrawn(recorded, other, {}));
  const payload = (role: string): string =>
    Buffer.from(JSON.stringify({ role, iat: 1_795_428_617 })).toString('base64url');
  const job = hex(12);
  // It says something.
  assert.ok(!mayBeDrawn(run(job, { t: payload('user') }), run(job, { t: payload('root') }), {}));
});
