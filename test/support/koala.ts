// The command line, run as a user runs it: the built one, in a process of its own.
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type { TestContext } from 'node:test';
import { type Ended, type Process, Running, processes } from './system.ts';

const cli = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url));

/** Starts `koala ARGS`. */
export function startKoala(t: TestContext, args: string[], env?: NodeJS.ProcessEnv): Running {
  if (!existsSync(cli)) throw new Error('run `npm run build` first');
  return new Running(t, process.execPath, [cli, ...args], env);
}

/** Runs `koala ARGS` to its end. */
export function koala(t: TestContext, args: string[], env?: NodeJS.ProcessEnv): Promise<Ended> {
  return startKoala(t, args, env).end();
}

/** Starts `koala record --to FOLDER -- PROGRAM` and waits until the program listens on `port`. */
export async function record(
  t: TestContext,
  {
    to,
    program,
    port,
    env,
    options = [],
  }: { to: string; program: string[]; port: number; env?: NodeJS.ProcessEnv; options?: string[] },
): Promise<Running> {
  // The agent outlives the command line by design: not so a failed test.
  t.after(async () => {
    for (const { pid } of await agents(to)) process.kill(pid, 'SIGKILL');
  });
  const recording = startKoala(t, ['record', '--to', to, ...options, '--', ...program], env);
  await recording.listening(port);
  return recording;
}

/** The agents that record to `folder`, and their standbys. */
export function agents(folder: string): Promise<Process[]> {
  return processes(
    ([program = '', ...args]) => /\/koala-(agent|stdby)$/.test(program) && args.includes(folder),
  );
}

/** Ends a recording by SIGTERM to the command line, and waits for it. */
export async function stop(recording: Running): Promise<Ended> {
  process.kill(recording.pid, 'SIGTERM');
  return recording.end();
}

/** Runs `koala replay FOLDER -- PROGRAM`. */
export function replay(
  t: TestContext,
  folder: string,
  program: string[],
  env?: NodeJS.ProcessEnv,
): Promise<Ended> {
  return koala(t, ['replay', folder, '--', ...program], env);
}
