// curl itself as the recorded program.
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { commandPath } from '../support/needs.ts';
import { startUpstream } from '../support/servers.ts';
import { freePort, temporaryFolder } from '../support/system.ts';
import { concurrency } from './load.ts';
import { Traced, assertTrue, lackingAny } from './traced.ts';

const skip = lackingAny('curl');

test('curl, one transfer after the other on one connection', { skip }, async (t) => {
  const upstream = await startUpstream(t, ({ url }) => ({ body: `${url}\n`.repeat(20_000) }));
  const folder = await temporaryFolder(t);
  const file = join(folder, 'body');
  writeFileSync(file, 'b'.repeat(300_000));
  const base = `http://127.0.0.1:${upstream.port}`;
  const transfers = ['/one', '/two', '/three'].flatMap((path) => ['-o', '/dev/null', `${base}${path}`]);
  const upload = ['--next', '-s', '-o', join(folder, 'answer'), '--data-binary', `@${file}`, `${base}/post`];
  const program = await Traced.start(t, [commandPath('curl'), '-s', ...transfers, ...upload]);
  const outcome = await program.end();
  assert.equal(outcome.ended.code, 0, outcome.ended.stderr);
  assert.ok(readFileSync(join(folder, 'answer'), 'utf8').startsWith('/post'));
  assertTrue(outcome, { outbound: 1, bytes: 700_000 });
});

test('curl, many transfers at once, one of which is refused', { skip }, async (t) => {
  const upstream = await startUpstream(t, ({ url }) => ({ body: `${url}\n`.repeat(2000) }));
  const base = `http://127.0.0.1:${upstream.port}`;
  const many = Array.from({ length: 3 * concurrency }, (_, number) => [
    '-o',
    '/dev/null',
    `${base}/${number}`,
  ]);
  const refused = ['-o', '/dev/null', `http://127.0.0.1:${await freePort()}/`];
  const parallel = ['--parallel', '--parallel-immediate', '--parallel-max', String(concurrency)];
  const program = await Traced.start(t, [commandPath('curl'), '-s', ...parallel, ...many.flat(), ...refused]);
  const outcome = await program.end();
  assert.equal(outcome.ended.code, 7, `the exit code of curl is passed on: ${outcome.ended.stderr}`);
  assertTrue(outcome, { outbound: concurrency, bytes: 350_000 });
});
