import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Writable } from 'node:stream';
import { test } from 'node:test';
import { printRecord } from '../report/terminal.ts';
import { useFakeAgent } from '../test-support/fake-agent.ts';
import { temporary } from '../test-support/sessions.ts';
import { ControlClient } from './control.ts';
import { record, type RecordResult } from './record.ts';

const skip = process.platform !== 'linux' && 'recording needs Linux';
const stdio: ['ignore', 'ignore', 'ignore'] = ['ignore', 'ignore', 'ignore'];

function printed(result: RecordResult): string {
  let text = '';
  const stream = new Writable({
    write: (chunk, _encoding, done) => {
      text += String(chunk);
      done();
    },
  });
  printRecord(result, stream);
  return text;
}

test('the exit code is the program\u2019s, and the agent completes the recording', { skip }, async (t) => {
  const log = await useFakeAgent(t, { sessions: 12, processes: 0 });
  const to = join(await temporary(t), 'rec');
  const result = await record({ command: ['sh', '-c', 'exit 7'], to, stdio });
  assert.equal(result.exitCode, 7);
  assert.equal(result.problem, undefined);
  assert.match(await readFile(log, 'utf8'), /^record .*\nGET \/status\nPOST \/finish\n$/);
  assert.match(printed(result), /^koala: 12 sessions recorded to .*rec \(0 lost\)\n$/);
  const killed = await record({ command: ['sh', '-c', 'kill -KILL $$'], to, stdio });
  assert.equal(killed.exitCode, 137);
});

test('the program is covered', { skip }, async (t) => {
  await useFakeAgent(t, { processes: 0 });
  const directory = await temporary(t);
  const script = `echo "$LD_PRELOAD $KOALA_MODE $KOALA_RUNTIME_DIR" > ${join(directory, 'env')}`;
  await record({ command: ['sh', '-c', script], to: join(directory, 'rec'), stdio });
  const [preload = '', mode, runtime = ''] = (await readFile(join(directory, 'env'), 'utf8'))
    .trim()
    .split(' ');
  assert.equal(preload, join(runtime, 'libkoala.so'));
  assert.equal(mode, 'record');
  assert.ok(!existsSync(runtime), 'the runtime directory goes');
});

test('nothing recorded and what was lost are said loudly', { skip }, async (t) => {
  const notCovered = [{ Program: '/bin/su', Reason: 'it gets privileges by its file' }];
  await useFakeAgent(t, { sessions: 0, processes: 0, lost: 3, gaps: 2, notCovered });
  const result = await record({ command: ['true'], to: join(await temporary(t), 'rec'), stdio });
  assert.match(printed(result), /NOTHING WAS RECORDED/);
  assert.match(printed(result), /LOST: 3 events with 0 bytes/);
  assert.match(printed(result), /GAPS: 2 connections with bytes that could not be seen; .* Incomplete/);
  assert.match(printed(result), /NOT COVERED: \/bin\/su: it gets privileges by its file\n/);
});

test('a program that only asks has its boot session', { skip }, async (t) => {
  await useFakeAgent(t, { bootSessions: 1, processes: 0 });
  const result = await record({ command: ['true'], to: join(await temporary(t), 'rec'), stdio });
  assert.match(printed(result), /no request was answered: .* boot session\n$/);
  assert.doesNotMatch(printed(result), /NOTHING/);
});

test('an agent is left to processes that outlive the command', { skip }, async (t) => {
  const log = await useFakeAgent(t, { sessions: 2, processes: 3 });
  const directory = await temporary(t);
  const script = `echo "$KOALA_RUNTIME_DIR" > ${join(directory, 'runtime')}`;
  const result = await record({ command: ['sh', '-c', script], to: join(directory, 'rec'), stdio });
  assert.match(printed(result), /3 processes of it still running: recorded on, until the last has ended\n$/);
  assert.doesNotMatch(await readFile(log, 'utf8'), /finish/);
  const runtime = (await readFile(join(directory, 'runtime'), 'utf8')).trim();
  assert.ok(existsSync(runtime), 'the runtime directory stays');
  // This one would wait for ever.
  const control = new ControlClient(join(runtime, 'control.sock'));
  await control.finish(5000);
  control.close();
});

test('what cannot start leaves no runtime directory and no recording', { skip }, async (t) => {
  await useFakeAgent(t, { fails: 'no memory for the event log' });
  const to = join(await temporary(t), 'rec');
  await assert.rejects(record({ command: ['true'], to, stdio }), /^KoalaError: no memory for the event log$/);
  await assert.rejects(record({ command: ['no-such-command'], to: `${to}2`, stdio }), /command not found/);
  assert.ok(!existsSync(`${to}2`));
});
