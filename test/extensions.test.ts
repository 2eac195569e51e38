// Libraries that a program loads so that they find libc's functions before those of a preloaded library.
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { recordedConnections } from './ground-truth/recorded.ts';
import { koala } from './support/koala.ts';
import { lacking } from './support/needs.ts';
import { compiled } from './support/programs.ts';
import { readManifest, readRaw } from './support/recording.ts';
import { replayed } from './support/replayed.ts';
import { startUpstream } from './support/servers.ts';
import { Running, temporaryFolder } from './support/system.ts';

for (const [way, what, gap] of [
  ['0', 'that is linked to libc', false],
  ['1', 'that looks up what it calls', false],
  ['2', "that sends by libc's own handle, which is said", true],
] as const) {
  test(`an extension loaded with RTLD_DEEPBIND ${what}`, { skip: lacking('gcc') }, async (t) => {
    const upstream = await startUpstream(t, ({ url }) => ({ body: `answer to ${url}` }));
    const extension = compiled('extension', 'gcc', '-shared', '-fPIC');
    const args = [extension, String(upstream.port), '/deep', way];
    const program = compiled('loading');
    const bare = await new Running(t, program, args).end();
    assert.match(bare.stdout, /^[1-9]\d* bytes\n$/, bare.stderr);
    const to = join(await temporaryFolder(t), 'recording');
    const { code, stdout, stderr } = await koala(t, ['record', '--to', to, '--', program, ...args]);
    assert.deepEqual({ code, stdout }, { code: 0, stdout: bare.stdout }, stderr);
    const connections = recordedConnections(await readRaw(to));
    assert.equal(connections.length, 1);
    assert.equal((await readManifest(to))['Gaps'], gap ? 1 : 0);
    const [{ sent = Buffer.of(), received = Buffer.of() } = {}] = connections;
    if (!gap) assert.match(sent.toString(), /^GET \/deep HTTP/);
    assert.match(received.toString(), /answer to \/deep$/);
  });
}

test(
  'an extension with a libc of its own is told of, and reaches nobody in a replay',
  { skip: lacking('gcc') },
  async (t) => {
    let asked = 0;
    const upstream = await startUpstream(t, () => {
      asked += 1;
      return { body: 'answer' };
    });
    const extension = compiled('extension', 'gcc', '-shared', '-fPIC');
    const program = [compiled('loading'), extension, String(upstream.port), '/apart', 'apart'];
    const to = join(await temporaryFolder(t), 'recording');
    const recorded = await koala(t, ['record', '--to', to, '--', ...program]);
    assert.match(recorded.stdout, /^[1-9]\d* bytes\n$/, recorded.stderr);
    assert.match(recorded.stderr, /NOT COVERED: \S*loading\S*: it loads libraries with a libc of their own/);
    assert.equal(asked, 1);
    const { stdout } = await replayed(t, program);
    assert.deepEqual({ stdout, asked }, { stdout: '-1 bytes\n', asked: 1 });
  },
);
