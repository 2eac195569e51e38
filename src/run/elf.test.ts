import assert from 'node:assert/strict';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { KoalaError } from '../errors.ts';
import { elf } from '../test-support/elf.ts';
import { temporary } from '../test-support/sessions.ts';
import { isSanitizer, readElf } from './elf.ts';

const linux = process.platform !== 'linux' && 'needs ELF programs';

test('a real program is read as the loader would', { skip: linux }, async () => {
  const found = await readElf('/bin/sh');
  assert.ok(found !== undefined);
  assert.equal(found.native, true);
  assert.match(found.interpreter ?? '', /^\/lib.*ld-/);
  assert.ok(
    found.needed.some((name) => /^libc\.|^libc\.musl/.test(name)),
    found.needed.join(' '),
  );
  assert.equal(found.go, false);
  assert.equal(found.sanitized, false);
});

test("Go's build id is recognised", { skip: linux }, async (t) => {
  const directory = await temporary(t);
  const note = Buffer.concat([
    Buffer.from([4, 0, 0, 0, 8, 0, 0, 0, 4, 0, 0, 0]),
    Buffer.from('Go\0\0buildid0', 'latin1'),
  ]);
  const content = elf(4);
  content.writeBigUInt64LE(120n, 72);
  content.writeBigUInt64LE(BigInt(note.length), 96);
  const path = join(directory, 'go');
  await writeFile(path, Buffer.concat([content, note]));
  const found = await readElf(path);
  assert.equal(found?.go, true);
  assert.equal(found?.interpreter, undefined);
});

test('what is no ELF file is none', { skip: linux }, async (t) => {
  const directory = await temporary(t);
  const path = join(directory, 'text');
  await writeFile(path, '#!/bin/sh\n');
  assert.equal(await readElf(path), undefined);
  assert.equal(await readElf(join(directory, 'none')), undefined);
});

test('a damaged file is read as far as it goes, or refused', { skip: linux }, async (t) => {
  const directory = await temporary(t);
  const whole = (await readFile('/bin/sh')).subarray(0, 64 * 1024);
  const path = join(directory, 'damaged');
  // A generator of our own: the same damage in every run.
  let state = 1;
  const random = (below: number): number => {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
  for (let round = 0; round < 300; round += 1) {
    const damaged = Buffer.from(whole.subarray(0, 20 + random(whole.length - 20)));
    for (let count = random(20); count > 0; count -= 1) damaged[4 + random(900)] = random(256);
    await writeFile(path, damaged);
    try {
      await readElf(path);
    } catch (error) {
      assert.ok(error instanceof KoalaError, `round ${round}: ${String(error)}`);
    }
  }
});

test('the runtimes of sanitizers are known by name', () => {
  for (const name of ['libasan.so.8', '/usr/lib/libtsan.so', 'libclang_rt.asan-x86_64.so'])
    assert.ok(isSanitizer(name), name);
  for (const name of ['libc.so.6', 'libkoala.so', 'libasanity.so.1']) assert.ok(!isSanitizer(name), name);
});
