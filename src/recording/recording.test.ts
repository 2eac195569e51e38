import assert from 'node:assert/strict';
import { copyFile, mkdir, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { KoalaError } from '../errors.ts';
import { bytes, call, session, temporary, writeRecording } from '../test-support/sessions.ts';
import { encodeSession } from './codec.ts';
import { describeTorn, Recording } from './recording.ts';

async function ids(recording: Recording): Promise<string[]> {
  const found: string[] = [];
  for await (const { session: one } of recording.sessions()) found.push(one.SessionId);
  return found;
}

async function failure(directory: string): Promise<string> {
  try {
    await ids(await Recording.open(directory));
  } catch (error) {
    assert.ok(error instanceof KoalaError, String(error));
    assert.doesNotMatch(error.message, /\n/);
    return error.message;
  }
  return assert.fail('no error');
}

async function recordingOf(
  t: TestContext,
  count: number,
  tail?: Uint8Array,
  finished = true,
): Promise<string> {
  const directory = await temporary(t);
  const sessions = Array.from({ length: count }, (_, index) => session({ SessionId: `s-${index}` }));
  await writeRecording(directory, sessions, { finished, ...(tail === undefined ? {} : { tail }) });
  return directory;
}

test('the sessions of all files come in order, and can be read again by their place', async (t) => {
  const directory = await recordingOf(t, 3);
  const file = join(directory, 'sessions-1795358265000000000-1.cborseq');
  await copyFile(file, join(directory, 'sessions-1795358266000000000-1.cborseq'));
  const recording = await Recording.open(directory);
  assert.deepEqual(await ids(recording), ['s-0', 's-1', 's-2', 's-0', 's-1', 's-2']);
  for await (const { place, session: one, bytes: item } of recording.sessions()) {
    const again = await recording.read(place);
    assert.equal(again.session.SessionId, one.SessionId);
    assert.deepEqual(Buffer.from(again.bytes), Buffer.from(item));
  }
  assert.deepEqual(recording.torn, []);
});

test('sessions larger than what is read at once', async (t) => {
  const directory = await temporary(t);
  const large = (index: number, size: number) =>
    session({ SessionId: `l-${index}`, Actions: [call(0, new Uint8Array(size).fill(index))] });
  await writeRecording(directory, [large(1, 300_000), large(2, 10), large(3, 3_000_000), large(4, 0)]);
  const recording = await Recording.open(directory);
  const sizes: number[] = [];
  for await (const { session: one } of recording.sessions()) {
    const [action] = one.Actions;
    sizes.push(action?.ActionType === 'CallOutbound' ? action.Request.length : -1);
  }
  assert.deepEqual(sizes, [300_000, 10, 3_000_000, 0]);
});

test('a torn last session is skipped and counted, wherever it is torn', async (t) => {
  const item = encodeSession(session());
  for (const length of [1, 5, 13, 100, item.length - 1]) {
    const recording = await Recording.open(await recordingOf(t, 2, item.subarray(0, length), false));
    assert.deepEqual(await ids(recording), ['s-0', 's-1']);
    const [torn] = recording.torn;
    assert.equal(torn?.bytes, length);
    assert.ok(torn !== undefined && !torn.afterFinish);
    assert.match(describeTorn(torn), /1 session was skipped/);
  }
});

test('a file cut after the recording was finished is told from an interrupted one', async (t) => {
  const directory = await recordingOf(t, 2, encodeSession(session()).subarray(0, 50));
  const recording = await Recording.open(directory);
  assert.deepEqual(await ids(recording), ['s-0', 's-1']);
  assert.ok(recording.torn[0]?.afterFinish);
});

test('a file cut between two sessions after the recording was finished', async (t) => {
  const directory = await temporary(t);
  const file = await writeRecording(directory, [session(), session()]);
  await truncate(file, encodeSession(session()).length);
  assert.match(await failure(directory), /has 1 of the 2 sessions that its manifest counts/);
});

test('a directory in the place of a file', async (t) => {
  const directory = await recordingOf(t, 1);
  await mkdir(join(directory, 'a.cborseq'));
  assert.match(await failure(directory), /a\.cborseq cannot be read: it is not a file/);
});

test('zeros that a power loss left are a torn end', async (t) => {
  const recording = await Recording.open(await recordingOf(t, 2, new Uint8Array(4096), false));
  assert.deepEqual(await ids(recording), ['s-0', 's-1']);
  assert.equal(recording.torn.length, 1);
});

test('a foreign or damaged file is an error that names it', async (t) => {
  assert.match(
    await failure(await recordingOf(t, 1, bytes('garbage'))),
    /cborseq is damaged at byte \d+: what follows/,
  );
  const foreign = await recordingOf(t, 1);
  await writeFile(join(foreign, 'a.cborseq'), '{"SessionId": "x"}');
  assert.match(await failure(foreign), /a\.cborseq is damaged at byte 0: it is not a file of sessions/);
  const zeros = await recordingOf(t, 1);
  await writeFile(join(zeros, 'a.cborseq'), new Uint8Array(10));
  assert.match(await failure(zeros), /not a file of sessions/);
});

test('what is not a recording says why', async (t) => {
  const directory = await temporary(t);
  assert.match(await failure(directory), /it has no manifest\.json/);
  assert.match(await failure(join(directory, 'missing')), /does not exist/);
  await writeFile(join(directory, 'file'), '');
  assert.match(await failure(join(directory, 'file')), /not a directory/);
  const manifest = join(directory, 'manifest.json');
  for (const [content, message] of [
    ['{', /not JSON/],
    ['3', /no FormatVersion/],
    ['{"FormatVersion": 99}', /use a newer koala/],
    ['{"FormatVersion": 1, "Files": ["a.cborseq"]}', /a\.cborseq is in its manifest, but not there/],
  ] as const) {
    await writeFile(manifest, content);
    assert.match(await failure(directory), message);
  }
  await truncate(manifest, 0);
  assert.match(await failure(directory), /not JSON/);
});

test('a session is found by the unique beginning of its id', async (t) => {
  const recording = await Recording.open(await recordingOf(t, 12));
  assert.equal((await recording.find('s-3')).session.SessionId, 's-3');
  assert.equal((await recording.find('s-11')).session.SessionId, 's-11');
  assert.equal((await recording.find('s-1')).session.SessionId, 's-1', 'an exact id wins');
  await assert.rejects(recording.find('s-'), /12 sessions .* begin with s-/);
  await assert.rejects(recording.find('nope'), /no session nope/);
});
