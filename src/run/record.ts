/** Recording: one program, from its start to its end, into one directory. */
import { resolve } from 'node:path';
import { KoalaError } from '../errors.ts';
import { requireLinux } from '../native/binaries.ts';
import { makeRecordingDirectory } from '../recording/directory.ts';
import { startAgent } from './agent.ts';
import type { Status } from './control.ts';
import { coverableProgram } from './coverable.ts';
import { shellExitCode, startProgram, type Program } from './program.ts';
import { makeRuntimeDirectory } from './runtime-dir.ts';

/** How long the command's other processes may take to end after it; those that take longer are meant to stay. */
const LAST_TIMEOUT = 3000;

/** What to record and where. */
export interface RecordOptions {
  /** The command: its name and arguments. */
  command: readonly string[];
  /** The recording; made if missing, added to if it is one. */
  to: string;
  /** `auto`, `fastcgi`, `http` or `raw`. */
  protocol?: string | undefined;
  /** Addresses left alone: `ip:port` or `:port`, comma-separated. */
  bypass?: string | undefined;
  /** What happens when the event log runs short of room: sessions that begin are given up, or the program waits. */
  overflow?: 'drop' | 'block' | undefined;
  /** The share of the sessions that is recorded, from 0 to 1. */
  sample?: number | undefined;
  /** How many bytes the files of sessions may have; then the oldest go. */
  maxDisk?: number | undefined;
  env?: NodeJS.ProcessEnv;
  /** Where the program's input, output and errors go; by default, where ours do. */
  stdio?: 'inherit' | ['ignore', 'ignore' | number, 'ignore' | number];
  /** Called when the program runs; lets the caller end it. */
  onStart?: (program: Program) => void;
}

/** What came of it. */
export interface RecordResult {
  /** The exit code of the program, as a shell gives it. */
  exitCode: number;
  recording: string;
  /**
   * Undefined where the agent failed; then `problem` says why. Where `Processes` is not 0, so many live on after the
   * command has ended, and are recorded until the last has ended.
   */
  status: Status | undefined;
  problem: string | undefined;
}

/** Runs the program, recorded, until it ends. */
export async function record(options: RecordOptions): Promise<RecordResult> {
  requireLinux('record');
  const base = options.env ?? process.env;
  const env: NodeJS.ProcessEnv = {
    ...base,
    ...(options.protocol === undefined ? {} : { KOALA_INBOUND_PROTOCOL: options.protocol }),
    ...(options.bypass === undefined ? {} : { KOALA_OUTBOUND_BYPASS_ADDR: options.bypass }),
  };
  const recording = resolve(options.to);
  const path = await coverableProgram(options.command[0] ?? '', env);
  await makeRecordingDirectory(options.to);
  const runtime = await makeRuntimeDirectory();
  const agent = await startAgent(
    ['record', '--to', recording, '--command', JSON.stringify(options.command), ...limits(options)],
    runtime,
    env,
  );
  let program: Program;
  try {
    program = await startProgram({
      path,
      command: options.command,
      mode: 'record',
      runtime,
      env,
      stdio: options.stdio ?? 'inherit',
      ownGroup: false,
    });
  } catch (error) {
    await agent.finish().catch(() => undefined);
    await runtime.remove();
    throw error;
  }
  const release = passSignals(program);
  options.onStart?.(program);
  const exit = await program.exited;
  let status: Status | undefined;
  let problem: string | undefined;
  try {
    status = await agent.settle(LAST_TIMEOUT);
    // A daemon, say: the command has done its work, and the agent removes the runtime directory when the last is gone.
    if (status.Processes > 0) agent.leave();
    else status = await agent.finish();
  } catch (error) {
    if (!(error instanceof KoalaError)) throw error;
    problem = error.message;
    await agent.finish().catch(() => undefined);
  } finally {
    release();
    if (status === undefined || status.Processes === 0) await runtime.remove();
  }
  return { exitCode: shellExitCode(exit), recording: options.to, status, problem };
}

function limits({ overflow, sample, maxDisk }: RecordOptions): string[] {
  return [
    ...(overflow === undefined ? [] : ['--overflow', overflow]),
    ...(sample === undefined ? [] : ['--sample', String(sample)]),
    ...(maxDisk === undefined ? [] : ['--max-disk', String(maxDisk)]),
  ];
}

/**
 * The terminal sends Ctrl-C to the program itself, being of its process group: we only outlive it. What is
 * sent to us alone is passed on.
 */
function passSignals(program: Program): () => void {
  const ignore = (): void => undefined;
  const pass = (signal: NodeJS.Signals): void => program.signal(signal);
  process.on('SIGINT', ignore);
  process.on('SIGQUIT', ignore);
  process.on('SIGTERM', pass);
  process.on('SIGHUP', pass);
  return () => {
    process.off('SIGINT', ignore);
    process.off('SIGQUIT', ignore);
    process.off('SIGTERM', pass);
    process.off('SIGHUP', pass);
  };
}
