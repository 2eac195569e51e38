/** Making the directory of a recording. */
import { constants } from 'node:fs';
import { access, mkdir, stat } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { describeSystemError, errorCode, KoalaError } from '../errors.ts';

/** Makes the directory; a `KoalaError` says why it cannot hold what is to be written. */
export async function makeRecordingDirectory(directory: string): Promise<void> {
  if (directory === '') throw new KoalaError('the name of the directory is empty');
  try {
    await makeWithParents(resolve(directory));
    await access(directory, constants.W_OK | constants.X_OK);
  } catch (error) {
    throw new KoalaError(`${directory} cannot be written to: ${describe(error)}`);
  }
}

function describe(error: unknown): string {
  switch (errorCode(error)) {
    case 'EEXIST':
    case 'ENOTDIR':
      return 'there is a file in its place';
    case 'ENOENT':
      return 'no directory can be made there';
    default:
      return describeSystemError(error);
  }
}

/** Node's own `recursive` never returns where the kernel answers ENOENT below a directory that is there: /proc. */
async function makeWithParents(directory: string): Promise<void> {
  try {
    await mkdir(directory, { mode: 0o700 });
  } catch (error) {
    const code = errorCode(error);
    if (code === 'EEXIST' && (await stat(directory)).isDirectory()) return;
    const parent = dirname(directory);
    if (code !== 'ENOENT' || (await exists(parent))) throw error;
    await makeWithParents(parent);
    await mkdir(directory, { mode: 0o700 });
  }
}

async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}
