// A program in a replay of nothing: what is not within itself is refused, and the rest is let through.
import assert from 'node:assert/strict';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { startAgent } from '../../src/run/agent.ts';
import { coveredEnvironment } from '../../src/run/program.ts';
import { makeRuntimeDirectory } from '../../src/run/runtime-dir.ts';
import { koala } from './koala.ts';
import { type Ended, Running, temporaryFolder } from './system.ts';

/** Runs a program so, to its end, for so many milliseconds at most. */
export async function replayed(t: TestContext, program: string[], longest?: number): Promise<Ended> {
  const to = join(await temporaryFolder(t), 'recording');
  await koala(t, ['record', '--to', to, '--', 'true']);
  const runtime = await makeRuntimeDirectory();
  const env = { KOALA_INBOUND_ADDR: '127.0.0.1:0', KOALA_OUTBOUND_ADDR: '127.0.0.1:0' };
  const agent = await startAgent(['replay', '--recording', to], runtime, { ...process.env, ...env });
  t.after(async () => {
    await agent.finish().catch(() => undefined);
    await runtime.remove();
  });
  const [path = '', ...args] = program;
  const covered = coveredEnvironment({
    path,
    command: program,
    mode: 'replay',
    runtime,
    env: {},
    stdio: 'ignore',
    ownGroup: false,
  });
  const ended = await new Running(t, path, args, covered).end(longest);
  assert.ok((await agent.control.status()).Events > 0, 'it was covered');
  return ended;
}
