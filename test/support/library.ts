// libkoala.so without the command line.
import { chmod, copyFile, mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { findBinary } from '../../src/native/binaries.ts';
import { agents } from './koala.ts';
import { temporaryFolder } from './system.ts';

/** The library, under this name, and the agent beside it, as they would be installed; and where to record. */
export async function installed(
  t: TestContext,
  name = 'libkoala.so',
): Promise<{ library: string; to: string; folder: string }> {
  const folder = await temporaryFolder(t);
  const lib = join(folder, 'lib');
  await mkdir(lib);
  const library = join(lib, name);
  for (const [binary, path] of [
    ['libkoala.so', library],
    ['koala-agent', join(lib, 'koala-agent')],
  ] as const) {
    await copyFile(findBinary(binary), path);
    await chmod(path, 0o755);
  }
  const to = join(folder, 'recording');
  t.after(async () => {
    for (const { pid } of await agents(to)) process.kill(pid, 'SIGKILL');
  });
  return { folder, library, to };
}
