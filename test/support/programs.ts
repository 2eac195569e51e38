// The programs of test/programs, compiled once for a test file.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { commandPath } from './needs.ts';

const folder = fileURLToPath(new URL('../programs/', import.meta.url));
const built = new Map<string, string>();
let output: string | undefined;

/** The path of a file of test/programs. */
export const programFile = (name: string): string => resolve(folder, name);

/** The path of a C program of test/programs, or of the one at an absolute path, compiled. */
export function compiled(name: string, compiler = 'gcc', ...flags: string[]): string {
  const key = [name, compiler, ...flags].join(' ');
  const known = built.get(key);
  if (known !== undefined) return known;
  if (output === undefined) {
    const made = mkdtempSync(join(tmpdir(), 'koala-programs-'));
    output = made;
    process.on('exit', () => rmSync(made, { recursive: true, force: true }));
  }
  const path = join(output, key.replaceAll(/[^a-z]+/g, '-'));
  execFileSync(commandPath(compiler), ['-O2', '-pthread', ...flags, '-o', path, programFile(`${name}.c`)]);
  built.set(key, path);
  return path;
}
