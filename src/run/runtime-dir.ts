/**
 * The runtime directory of one run: a copy of `libkoala.so` that every user can read, for programs that
 * give up privileges, and the sockets that the agent makes. The agent removes it when it ends.
 */
import { chmod, copyFile, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
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
  /** Removes it; for when no agent came to do so. */
  remove(): Promise<void>;
}

/** Makes a runtime directory with `libkoala.so` in it. */
export async function makeRuntimeDirectory(): Promise<RuntimeDirectory> {
  const source = findBinary('libkoala.so');
  // LD_PRELOAD is split at spaces and colons.
  const temporary = tmpdir();
  const base = /[\s:]/.test(temporary) || temporary.length > LONGEST ? '/tmp' : temporary;
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
    return { path, library, controlSocket: join(path, 'control.sock'), remove };
  } catch (error) {
    await remove();
    throw new KoalaError(`${path} cannot be used: ${describeSystemError(error)}`);
  }
}
