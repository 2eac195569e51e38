import assert from 'node:assert/strict';
import { Writable } from 'node:stream';
import { test } from 'node:test';
import type { ReplayResult, SessionResult } from '../replay/result.ts';
import { Progress } from './progress.ts';
import { styleFor } from './style.ts';
import { replayLines } from './terminal.ts';

class Captured extends Writable {
  text = '';
  isTTY = false;
  override _write(chunk: unknown, _encoding: BufferEncoding, done: () => void): void {
    this.text += String(chunk);
    done();
  }
}

const session = (id: string, more: Partial<SessionResult> = {}): SessionResult => ({
  SessionId: id,
  Request: `GET /${id}`,
  Passed: true,
  Error: '',
  Differences: [],
  Notes: ['a note'],
  Milliseconds: 1,
  Calls: { Recorded: 1, Replayed: 1, Answered: 1 },
  ...more,
});
const failed = session('b', {
  Passed: false,
  Differences: [
    {
      Kind: 'status',
      Path: 'response.status',
      Recorded: '200',
      Replayed: '500',
      Text: 'it differs',
      Details: ['so'],
      Scores: ['by much'],
    },
  ],
});
const result = (sessions: SessionResult[], more: Partial<ReplayResult> = {}): ReplayResult => ({
  Recording: 'rec',
  Command: ['x'],
  Passed: sessions.every(({ Passed }) => Passed),
  Sessions: sessions,
  Skipped: [],
  Problems: [],
  Warnings: [],
  Counts: {
    Passed: sessions.filter(({ Passed }) => Passed).length,
    Failed: sessions.filter(({ Passed }) => !Passed).length,
    Skipped: 0,
  },
  Calls: { Recorded: 2, Replayed: 2, Answered: 1 },
  Milliseconds: 1234,
  ...more,
});

const plain = styleFor(new Captured());

test('what failed is named, what passed is counted', () => {
  assert.deepEqual(replayLines(result([session('a'), failed]), plain), [
    'failed  GET /b  b',
    '        it differs',
    '          so',
    '        2 notes (--verbose)',
    'FAIL  2 sessions replayed: 1 passed, 1 failed; 1 of 2 outbound calls mocked; 1.2 s',
  ]);
});

test('passed sessions and notes on request; failed ones may be chosen', () => {
  const verbose = replayLines(result([session('a')]), plain, { verbose: true });
  assert.deepEqual(verbose.slice(0, 2), ['passed  GET /a  a', '        note: a note']);
  const scored = replayLines(result([failed]), plain, { verbose: true });
  assert.deepEqual(scored.slice(1, 4), ['        it differs', '          so', '          by much']);
  const none = replayLines(result([failed, { ...failed, SessionId: 'c' }]), plain, { only: new Set(['c']) });
  assert.match(
    none.join('\n'),
    /^failed {2}GET \/b {2}c\n.*\n.*\n {8}and 1 more failed session\n {8}2 notes \(--verbose\)\nFAIL {2}2 sessions/,
  );
});

test('problems, warnings and skipped sessions are told', () => {
  const lines = replayLines(
    result([], {
      Passed: false,
      Problems: ['no session was replayed'],
      Warnings: ['torn'],
      Skipped: [{ SessionId: 's', Reason: 'incomplete' }],
    }),
    plain,
  );
  assert.deepEqual(lines.slice(0, 3), [
    'warning torn',
    'skipped s: incomplete',
    'failed  no session was replayed',
  ]);
});

test('colours are for terminals that want them', () => {
  const stream = new Captured();
  stream.isTTY = true;
  assert.equal(styleFor(stream, {}).red('x'), '\u001B[31mx\u001B[39m');
  assert.equal(styleFor(stream, { NO_COLOR: '1' }).red('x'), 'x');
  assert.equal(styleFor(stream, { TERM: 'dumb' }).red('x'), 'x');
  assert.equal(plain.red('x'), 'x');
});

test('progress leaves a terminal clean, and other streams without control characters', () => {
  for (const isTTY of [true, false]) {
    const stream = new Captured();
    stream.isTTY = isTTY;
    const progress = new Progress(stream);
    progress.update({ done: 1, total: 2, session: session('a') });
    progress.end();
    assert.equal(stream.text, isTTY ? '\r\u001B[K' : '');
  }
});
