import assert from 'node:assert/strict';
import { join } from 'node:path';
import { Writable } from 'node:stream';
import { test } from 'node:test';
import { call, redis, session, temporary, writeRecording } from '../test-support/sessions.ts';
import { runCli } from './cli.ts';

class Captured extends Writable {
  text = '';
  override _write(chunk: unknown, _encoding: BufferEncoding, done: () => void): void {
    this.text += String(chunk);
    done();
  }
}

async function run(...parameters: string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  const stdout = new Captured();
  const stderr = new Captured();
  const code = await runCli(parameters, { stdout, stderr });
  return { code, stdout: stdout.text, stderr: stderr.text };
}

test('mistakes get one line on stderr and exit code 2', async () => {
  for (const [parameters, message] of [
    [['frobnicate'], /unknown command "frobnicate"/],
    [['sessions'], /sessions needs one of list, search, show, export, import/],
    [['sessions', 'frob'], /sessions needs one of/],
    [['record'], /see koala record --help/],
    [['record', '--', 'true'], /--to DIR/],
    [['record', '--frob', '--', 'true'], /--frob/],
    [['record', '--to-es', 'http://127.0.0.1:9', '--', 'true'], /--to-es: .* cannot write .*: --to DIR/],
    [['record', '--to', 'x', '--protocol', 'smtp', '--', 'true'], /--protocol: "smtp" is not known/],
    [['sessions', 'list'], /Not enough positional arguments/],
    [['replay', 'recording', '--'], /replay: something is missing; say koala replay RECORDING -- CMD ARG/],
    [['record', '--to', 'x'], /record: something is missing; say koala record --to DIR -- CMD ARG/],
    [['sessions', 'list', '/nonexistent'], /\/nonexistent does not exist/],
    [['replay', 'x', '--report', 'html', '--', 'true'], /--report: "html" is not known; it is json/],
    [['replay', 'x', '--threshold', '2', '--', 'true'], /--threshold/],
    [['replay', 'x', '--timeout', 'soon', '--', 'true'], /--timeout/],
    [
      ['replay', 'x', '--match', 'best', '--', 'true'],
      /--match: "best" is not known; it is one of auto, chunk, sim, exact/,
    ],
  ] as const) {
    const { code, stdout, stderr } = await run(...parameters);
    assert.equal(code, 2, parameters.join(' '));
    assert.equal(stdout, '');
    assert.match(stderr, /^koala: [^\n]+\n$/);
    assert.match(stderr, message);
  }
});

test('help names the values of options, for every command', async () => {
  for (const path of [
    ['record'],
    ['replay'],
    ['demo'],
    ['sessions', 'list'],
    ['sessions', 'show'],
    ['sessions', 'export'],
  ]) {
    const { code, stdout, stderr } = await run(...path, '--help');
    assert.equal(code, 0);
    assert.equal(stderr, '');
    assert.match(stdout, /Examples/, path.join(' '));
    assert.doesNotMatch(stdout, /#0|VALUE/, path.join(' '));
  }
  assert.match((await run('record', '--help')).stdout, /koala record -- CMD ARG/);
  assert.match((await run()).stdout, /sessions search/);
  assert.match((await run('--version')).stdout, /^\d+\.\d+\.\d+\n$/);
});

test('sessions are listed, searched and shown', async (t) => {
  const directory = await temporary(t);
  await writeRecording(directory, [
    session({ SessionId: 'a-1', Actions: [call(0, redis('GET', 'item:3'))] }),
    session({ SessionId: 'b-2', Incomplete: true, ReturnInbound: null }),
    session({ SessionId: 'c-3', Context: 'boot', CallFromInbound: null, ReturnInbound: null }),
  ]);
  const listed = await run('sessions', 'list', directory);
  assert.equal(listed.code, 0);
  assert.match(listed.stdout, /a-1 +GET \/x +200 +1 +8\.9 ms/);
  assert.match(listed.stdout, /b-2 .*no response.*incomplete/);
  assert.match(listed.stdout, /c-3 +\(boot\)/);
  const json: unknown = JSON.parse((await run('sessions', 'list', directory, '--json')).stdout);
  assert.ok(Array.isArray(json) && json.length === 3);
  const found = await run('sessions', 'search', directory, 'item:3');
  assert.match(found.stdout, /a-1/);
  assert.doesNotMatch(found.stdout, /b-2/);
  const shown = await run('sessions', 'show', directory, 'a');
  assert.match(shown.stdout, /call 0: redis GET item:3 -> 127\.0\.0\.1:6379/);
  assert.match(shown.stdout, /HTTP\/1\.1 200/);
});

test('a torn recording is read and said; one cut later is exit code 2', async (t) => {
  const directory = await temporary(t);
  const tail = Uint8Array.from([0xb9]);
  const file = await writeRecording(directory, [session()], { tail, finished: false });
  const torn = await run('sessions', 'list', directory);
  assert.equal(torn.code, 0);
  assert.match(torn.stderr, /^koala: warning: [^\n]+\n$/);
  assert.ok(torn.stderr.includes(file));
  await writeRecording(directory, [session()], { tail });
  const cut = await run('sessions', 'list', directory);
  assert.equal(cut.code, 2);
  assert.match(cut.stdout, /GET \/x/);
  const replayed = await run('replay', directory, '--', join('/bin', 'true'));
  assert.equal(replayed.code, 2);
  assert.match(replayed.stderr, /truncated after the recording was finished/);
});
