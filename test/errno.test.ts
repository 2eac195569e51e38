// Every hook leaves errno as libc does: untouched where a call succeeds, with libc's reason where it fails.
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { findBinary } from '../src/native/binaries.ts';
import { koala } from './support/koala.ts';
import { lacking } from './support/needs.ts';
import { compiled } from './support/programs.ts';
import { replayed } from './support/replayed.ts';
import { Running, temporaryFolder } from './support/system.ts';

interface Elf {
  exports: string[];
}

/** What libkoala.so hooks: what it exports. */
async function hooks(): Promise<string[]> {
  const reader = new URL('../scripts/lib/elf.mjs', import.meta.url).href;
  const { readElf } = (await import(reader)) as { readElf: (bytes: Buffer) => Elf };
  return readElf(await readFile(findBinary('libkoala.so'))).exports;
}

/** The functions that the program knows how to call, and whether its libc has them. */
async function functions(t: TestContext, program: string): Promise<Map<string, boolean>> {
  const { stdout } = await new Running(t, program, []).end();
  const lines = stdout.trim().split('\n');
  return new Map(lines.map((line) => [line.split(' ')[1] ?? '', line.startsWith('has ')]));
}

/**
 * What a replay has in common with the program alone. What libc tells of its way to name servers, `hosts` and `/dev/log` is
 * not among it: a replay does not go there.
 */
function result(stdout: string): string[] {
  const elsewhere = /^(?:__)?(?:res_|gethost|getnameinfo|openlog|v?syslog)/;
  return stdout.split('\n').map((line) => (elsewhere.test(line) ? line.replace(/ \(\d+\)$/, '') : line));
}

test('every hook has a line in errno.c', { skip: lacking('gcc') }, async (t) => {
  const known = await functions(t, compiled('errno'));
  const missing = (await hooks()).filter((name) => !known.has(name));
  assert.deepEqual(missing, []);
});

for (const [libc, compiler] of [
  ['glibc', 'gcc'],
  ['musl', 'musl-gcc'],
] as const) {
  test(`errno is what ${libc} makes it, function by function`, { skip: lacking(compiler) }, async (t) => {
    const program = compiled('errno', compiler);
    const names = [...(await functions(t, program))].flatMap(([name, has]) => (has ? [name] : []));
    assert.ok(names.length > 80, `${names.length} functions`);
    const folder = await temporaryFolder(t);
    const bare = await new Running(t, program, names).end();
    assert.equal(bare.code, 0, bare.stderr);
    assert.ok(
      names.every((name) => bare.stdout.includes(`\n${name} 0: `) || bare.stdout.startsWith(`${name} 0: `)),
    );
    assert.doesNotMatch(bare.stdout, /status/, 'no way ended early');

    const recorded = await koala(t, ['record', '--to', join(folder, 'recording'), '--', program, ...names]);
    assert.equal(recorded.code, 0, recorded.stderr);
    assert.deepEqual(recorded.stdout.split('\n'), bare.stdout.split('\n'), 'recorded');
    const { stdout: replay } = await replayed(t, [program, ...names]);
    assert.deepEqual(result(replay), result(bare.stdout), 'replayed');
    const library = { LD_PRELOAD: findBinary('libkoala.so') };
    const states = {
      inert: library,
      'without an agent': { ...library, KOALA_MODE: 'record', KOALA_RUNTIME_DIR: join(folder, 'nowhere') },
    };
    for (const [state, env] of Object.entries(states)) {
      const { stdout } = await new Running(t, program, names, env).end();
      assert.deepEqual(stdout.split('\n'), bare.stdout.split('\n'), state);
    }
  });
}
