import assert from 'node:assert/strict';
import { chmod, copyFile, mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { elf } from '../test-support/elf.ts';
import { temporary } from '../test-support/sessions.ts';
import { coverableProgram } from './coverable.ts';

const linux = process.platform !== 'linux' && 'needs ELF programs';

async function program(
  directory: string,
  name: string,
  content: string | Buffer,
  mode = 0o755,
): Promise<string> {
  const path = join(directory, name);
  await writeFile(path, content);
  await chmod(path, mode);
  return path;
}

test('programs are found in PATH and by path', { skip: linux }, async (t) => {
  const directory = await temporary(t);
  const path = await program(directory, 'tool', elf(3));
  assert.equal(await coverableProgram('tool', { PATH: `/nonexistent:${directory}` }), path);
  assert.equal(await coverableProgram(path, {}), path);
  await assert.rejects(coverableProgram('tool', { PATH: '/nonexistent' }), /tool: command not found/);
  await mkdir(join(directory, 'folder'));
  await assert.rejects(coverableProgram(join(directory, 'folder'), {}), /it is a directory/);
  await assert.rejects(coverableProgram(join(directory, 'none'), {}), /it does not exist/);
  await assert.rejects(coverableProgram(await program(directory, 'plain', '', 0o644), {}), /not executable/);
  await assert.rejects(coverableProgram('', {}), /empty/);
});

test('what cannot be covered is refused with the reason', { skip: linux }, async (t) => {
  const directory = await temporary(t);
  const still = await program(directory, 'static', elf(1));
  await assert.rejects(coverableProgram(still, {}), /static.*statically linked/);
  const foreign = elf(3);
  foreign.writeUInt16LE(8, 18);
  await assert.rejects(
    coverableProgram(await program(directory, 'foreign', foreign), {}),
    /another processor/,
  );
  await assert.rejects(
    coverableProgram(await program(directory, 'cut', elf(3).subarray(0, 30)), {}),
    /it is truncated/,
  );
});

test('scripts are as coverable as their interpreters', { skip: linux }, async (t) => {
  const directory = await temporary(t);
  const still = await program(directory, 'static', elf(1));
  const env = { PATH: `${directory}:${process.env['PATH'] ?? ''}` };
  const script = await program(directory, 'script', `#!${still} -x\n`);
  await assert.rejects(coverableProgram(script, env), /statically linked/);
  await assert.rejects(
    coverableProgram(await program(directory, 'by-env', '#!/usr/bin/env -S static -x\n'), env),
    /statically linked/,
  );
  await assert.rejects(
    coverableProgram(await program(directory, 'lost', '#!/no/such/thing\n'), env),
    /does not exist/,
  );
  const shell = await program(directory, 'fine', '#!/bin/sh\nexit 0\n');
  assert.equal(await coverableProgram(shell, env), shell);
  const itself = join(directory, 'itself');
  await program(directory, 'itself', `#!${itself}\n`);
  await assert.rejects(coverableProgram(itself, env), /too many interpreters/);
});

test(
  'privileges that hide LD_PRELOAD',
  { skip: linux || (process.geteuid?.() === 0 ? false : 'needs root to make one') },
  async (t) => {
    const directory = await temporary(t);
    const path = join(directory, 'setuid');
    await copyFile('/bin/true', path);
    const { chown } = await import('node:fs/promises');
    await chown(path, 12_345, 0);
    await chmod(path, 0o4755);
    await assert.rejects(coverableProgram(path, {}), /it is setuid/);
  },
);
