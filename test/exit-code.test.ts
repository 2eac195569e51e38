// `koala record` is invisible to whoever runs it: the program's output, input and exit code are its own.
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { koala } from './support/koala.ts';
import { lacking } from './support/needs.ts';
import { temporaryFolder } from './support/system.ts';

const skip = lacking();

for (const [script, expected] of [
  ['exit 0', 0],
  ['exit 7', 7],
  ['kill -TERM $$', 128 + 15],
  ['kill -KILL $$', 128 + 9],
] as const) {
  test(`record passes the exit code of \`${script}\` through`, { skip }, async (t) => {
    const folder = join(await temporaryFolder(t), 'recording');
    const { code, stderr } = await koala(t, ['record', '--to', folder, '--', 'sh', '-c', script]);
    assert.equal(code, expected, stderr);
  });
}

test("the program's stdout and stderr are its own", { skip }, async (t) => {
  const folder = join(await temporaryFolder(t), 'recording');
  const { stdout, stderr } = await koala(t, [
    'record',
    '--to',
    folder,
    '--',
    'sh',
    '-c',
    'echo out; echo err >&2',
  ]);
  assert.equal(stdout, 'out\n', 'koala adds nothing to stdout');
  assert.match(stderr, /^err$/m);
});

test('arguments that look like options reach the program', { skip }, async (t) => {
  const folder = join(await temporaryFolder(t), 'recording');
  const { stdout } = await koala(t, [
    'record',
    '--to',
    folder,
    '--',
    'echo',
    '--help',
    '-h',
    '--',
    '--to',
    'x',
  ]);
  assert.equal(stdout, '--help -h -- --to x\n');
});
