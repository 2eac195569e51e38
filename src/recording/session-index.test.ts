import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import {
  appendFile,
  chmod,
  readFile,
  readdir,
  rm,
  stat,
  truncate,
  utimes,
  writeFile,
} from 'node:fs/promises';
import { test } from 'node:test';
import { session, temporary, writeRecording } from '../test-support/sessions.ts';
import { encodeSession } from './codec.ts';
import { Recording } from './recording.ts';
import { decodeIndex, encodeIndex, INDEX_FILE, type SessionIndex } from './session-index.ts';
import { summarize, type SessionSummary } from './summary.ts';

const state = { size: 1000, modified: 1_795_358_265_987_015_087n };

function index(count: number): SessionIndex {
  const summary = summarize(session());
  const sessions = Array.from({ length: count }, (_, number) => ({
    offset: number * 10,
    length: 10,
    summary: { ...summary, SessionId: `s-${number}`, Milliseconds: number % 2 === 0 ? null : number / 8 },
  }));
  return { sessions, requests: count, end: count * 10 };
}

test('an index is read as it was written', () => {
  for (const count of [0, 1, 30])
    assert.deepEqual(decodeIndex(encodeIndex(index(count), state), state), index(count));
});

test('an index that is cut, changed, or of another file is none', () => {
  const bytes = encodeIndex(index(5), state);
  for (let length = 0; length < bytes.length; length += 1)
    assert.equal(decodeIndex(bytes.subarray(0, length), state), undefined, `cut at ${length}`);
  for (let at = 0; at < bytes.length; at += 1) {
    const changed = Uint8Array.from(bytes);
    changed[at] = (changed[at] ?? 0) ^ (1 << (at % 8));
    assert.equal(decodeIndex(changed, state), undefined, `changed at ${at}`);
  }
  assert.equal(decodeIndex(bytes, { ...state, size: 1001 }), undefined);
  assert.equal(decodeIndex(bytes, { ...state, modified: state.modified + 1n }), undefined);
  assert.equal(decodeIndex(encodeIndex(index(5), { ...state, size: 49 }), { ...state, size: 49 }), undefined);
  const gap: SessionIndex = { ...index(5), sessions: index(5).sessions.toSpliced(2, 1) };
  assert.equal(decodeIndex(encodeIndex(gap, state), state), undefined, 'a session is left out');
});

test('random bytes are no index', () => {
  for (let round = 0; round < 2000; round += 1)
    assert.equal(decodeIndex(randomBytes(Math.floor(Math.random() * 300)), state), undefined);
});

async function lines(recording: Recording): Promise<SessionSummary[]> {
  const all: SessionSummary[] = [];
  for await (const { summary, place } of recording.summaries()) {
    assert.equal((await recording.read(place)).session.SessionId, summary.SessionId);
    all.push(summary);
  }
  return all;
}

async function walked(recording: Recording): Promise<SessionSummary[]> {
  const all: SessionSummary[] = [];
  for await (const { session: one } of recording.sessions()) all.push(summarize(one));
  return all;
}

const sessions = (count: number) =>
  Array.from({ length: count }, (_, number) => session({ SessionId: `s-${number}` }));

test('a list is the same with an index, without one, and with one that is wrong', async (t) => {
  const directory = await temporary(t);
  const file = await writeRecording(directory, sessions(20));
  const expected = await walked(await Recording.open(directory));
  assert.equal(expected.length, 20);
  assert.deepEqual(await lines(await Recording.open(directory)), expected);
  const path = `${file}${INDEX_FILE}`;
  const written = await readFile(path);
  assert.equal((await stat(path)).mode & 0o777, 0o600);
  assert.equal((await readdir(directory)).length, 3, 'nothing else is left there');
  for (const wrong of [undefined, '', 'garbage', written.subarray(0, 100), encodeIndex(index(3), state)]) {
    await rm(path);
    if (wrong !== undefined) await writeFile(path, wrong);
    const recording = await Recording.open(directory);
    assert.deepEqual(await lines(recording), expected);
    assert.deepEqual(await readFile(path), written, 'it was made anew');
    assert.equal((await recording.find('s-7')).session.SessionId, 's-7');
  }
});

test('an index is used', async (t) => {
  const directory = await temporary(t);
  const file = await writeRecording(directory, sessions(3));
  await lines(await Recording.open(directory));
  // The same size, and it was changed at the same time: that nobody can know.
  const { atime, mtime, size } = await stat(file, { bigint: false });
  await utimes(file, atime, mtime);
  await rm(`${file}${INDEX_FILE}`);
  await lines(await Recording.open(directory));
  await writeFile(file, new Uint8Array(size));
  await utimes(file, atime, mtime);
  const listed: string[] = [];
  for await (const { summary } of (await Recording.open(directory)).summaries())
    listed.push(summary.SessionId);
  assert.deepEqual(listed, ['s-0', 's-1', 's-2']);
});

test('a file that has changed since is read', async (t) => {
  const directory = await temporary(t);
  const file = await writeRecording(directory, sessions(3));
  await lines(await Recording.open(directory));
  await appendFile(file, encodeSession(session({ SessionId: 'later' })));
  const recording = await Recording.open(directory);
  assert.deepEqual(
    (await lines(recording)).map(({ SessionId }) => SessionId),
    ['s-0', 's-1', 's-2', 'later'],
  );
  await truncate(file, (await stat(file)).size - 5);
  const cut = await Recording.open(directory);
  for (let round = 0; round < 2; round += 1) {
    assert.equal((await lines(cut)).length, 3);
    assert.equal(cut.torn.length, 1, 'by an index as without');
    assert.ok(cut.torn[0]?.afterFinish);
  }
});

test('no index is made of a file that is being written, or where nothing can be', async (t) => {
  const directory = await temporary(t);
  await writeRecording(directory, sessions(3), { finished: false });
  assert.equal((await lines(await Recording.open(directory))).length, 3);
  assert.deepEqual(
    (await readdir(directory)).filter((name) => name.endsWith(INDEX_FILE)),
    [],
  );
  const locked = await temporary(t);
  const file = await writeRecording(locked, sessions(3));
  await writeFile(`${file}${INDEX_FILE}`, '');
  await chmod(locked, 0o500);
  try {
    assert.equal((await lines(await Recording.open(locked))).length, 3);
  } finally {
    await chmod(locked, 0o700);
  }
});
