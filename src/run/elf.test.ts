import assert from 'node:assert/strict';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { KoalaError } from '../errors.ts';
import { temporary } from '../test-support/sessions.ts';
import { isSanitizer, readElf } from './elf.ts';

const linux = process.platform !== 'linux' && 'needs ELF programs';

test('a real program is read as the loader would', { skip: linux }, async () => {
  const elf = await readElf('/bin/sh');
  assert.ok(elf !== undefined);
  assert.equal(elf.native, true);
  assert.match(elf.interpreter ?? '', /^\/lib.*ld-/);
  assert.ok(
    elf.needed.some((name) => /^libc\.|^libc\.musl/.test(name)),
    elf.needed.join(' '),
  );
  assert.equal(elf.go, false);
  assert.equal(elf.sanitized, false);
});

test("Go's build id is recognised", { skip: linux }, async (t) => {
  const directory = await temporary(t);
  const note = Buffer.concat([
    Buffer.from([4, 0, 0, 0, 8, 0, 0, 0, 4, 0, 0, 0]),
    Buffer.from('Go\0\0buildid0', 'latin1'),
  ]);
  const content = Buffer.alloc(64 + 56);
  content.write('\u007fELF', 'latin1');
  content[4] = 2;
  content[5] = 1;
  content.writeUInt16LE(process.arch === 'arm64' ? 183 : 62, 18);
  content.writeBigUInt64LE(64n, 32);
  content.writeUInt16LE(56, 54);
  content.writeUInt16LE(1, 56);
  content.writeUInt32LE(4, 64);
  content.writeBigUInt64LE(120n, 72);
  content.writeBigUInt64LE(BigInt(note.length), 96);
  const path = join(directory, 'go');
  await writeFile(path, Buffer.concat([content, note]));
  const elf = await readElf(path);
  assert.equal(elf?.go, true);
  assert.equal(elf?.interpreter, undefined);
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
