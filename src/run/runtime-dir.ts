/**
 * The runtime directory of one run: a copy of `libkoala.so` that every user can read, for programs that
 * give up privileges, and the sockets that the agent makes. The agent removes it when it ends.
 */
import { randomBytes } from 'node:crypto';
import { chmod, copyFile, mkdtemp, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { describeSystemError, KoalaError } from '../errors.ts';
import { findBinary } from '../native/binaries.ts';

/** The path of a unix socket has at most 107 bytes; the sockets' names need some of them. */
const LONGEST = 60;

/** Where a run lives. */
export interface RuntimeDirectory {
  path: string;
  /** What to preload. */
  library: string;
  controlSocket: string;
  /** What is in the environment of the program and of nobody else: 32 characters. */
  token: string;
  /** Removes it; for when no agent came to do so. */
  remove(): Promise<void>;
}

/** Makes a runtime directory with `libkoala.so` in it. */
export async function makeRuntimeDirectory(): Promise<RuntimeDirectory> {
  const source = findBinary('libkoala.so');
  // LD_PRELOAD is split at spaces and colons.
  const temporary = tmpdir();
  const usable =
    !/[\s:]/.test(temporary) && temporary.length <= LONGEST && (await canEverybodyEnter(temporary));
  const base = usable ? temporary : '/tmp';
  let path: string;
  try {
    path = await mkdtemp(join(base, 'koala-'));
  } catch (error) {
    throw new KoalaError(`no directory can be made in ${base}: ${describeSystemError(error)}`);
  }
  const remove = (): Promise<void> => rm(path, { recursive: true, force: true });
  try {
    const library = join(path, 'libkoala.so');
    await chmod(path, 0o755);
    await copyFile(source, library);
    await chmod(library, 0o755);
    const token = randomBytes(16).toString('hex');
    return { path, library, controlSocket: join(path, 'control.sock'), token, remove };
  } catch (error) {
    await remove();
    throw new KoalaError(`${path} cannot be used: ${describeSystemError(error)}`);
  }
}

/** Whether other users can reach what is in this directory: the program may become another one. */
async function canEverybodyEnter(directory: string): Promise<boolean> {
  for (let path = directory; ; path = dirname(path)) {
    const mode = (await stat(path).catch(() => undefined))?.mode ?? 0;
    if ((mode & 0o001) === 0) return false;
    if (path === dirname(path)) return true;
  }
}
