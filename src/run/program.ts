/** Starting the program under test with `libkoala.so` in it, and ending it. */
import { spawn, type ChildProcess, type StdioOptions } from 'node:child_process';
import { constants } from 'node:os';
import { errorMessage, KoalaError } from '../errors.ts';
import { preloadList } from './coverable.ts';
import type { RuntimeDirectory } from './runtime-dir.ts';

const STOP_TIMEOUT = 5000;

/** How a program ended. */
export interface ProgramExit {
  code: number | null;
  signal: NodeJS.Signals | null;
}

/** A running program under test. */
export interface Program {
  readonly pid: number;
  readonly exited: Promise<ProgramExit>;
  /** How it ended, once it did. */
  exit(): ProgramExit | undefined;
  /** Passes a signal on to it. */
  signal(signal: NodeJS.Signals): void;
  /** Ends it: SIGTERM and, 5 seconds later, SIGKILL. */
  stop(): Promise<ProgramExit>;
}

/** How to start it. */
export interface ProgramOptions {
  /** The executable. */
  path: string;
  /** The command as the user typed it: the name and the arguments. */
  command: readonly string[];
  mode: 'record' | 'replay';
  runtime: RuntimeDirectory;
  env: NodeJS.ProcessEnv;
  stdio: StdioOptions;
  /** In a process group of its own, so that `stop` reaches its children too. */
  ownGroup: boolean;
  cwd?: string | undefined;
}

/** The environment that covers a program. */
export function coveredEnvironment(options: ProgramOptions): NodeJS.ProcessEnv {
  return {
    ...options.env,
    LD_PRELOAD: preloadList(options.runtime.library, options.env),
    KOALA_MODE: options.mode,
    KOALA_RUNTIME_DIR: options.runtime.path,
    // Said to the agent; the library would start one by it where there is none.
    KOALA_RECORD_TO_DIR: undefined,
    KOALA_TOKEN: options.runtime.token,
    KOALA_LINEAGE: undefined,
  };
}

/** Starts the program; a `KoalaError` says why it could not be. */
export async function startProgram(options: ProgramOptions): Promise<Program> {
  const [name, ...parameters] = options.command;
  const child = spawn(options.path, parameters, {
    argv0: name ?? options.path,
    stdio: options.stdio,
    env: coveredEnvironment(options),
    detached: options.ownGroup,
    ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
  });
  let ended: ProgramExit | undefined;
  const exited = new Promise<ProgramExit>((resolve) => {
    child.once('exit', (code, signal) => {
      ended = { code, signal };
      resolve(ended);
    });
  });
  await new Promise<void>((resolve, reject) => {
    child.once('spawn', resolve);
    child.once('error', (error) =>
      reject(new KoalaError(`${name ?? options.path} cannot be started: ${errorMessage(error)}`)),
    );
  });
  const { pid } = child;
  if (pid === undefined) throw new KoalaError(`${name ?? options.path} cannot be started`);
  const send = (signal: NodeJS.Signals): void => kill(child, options.ownGroup ? -pid : pid, signal);
  return {
    pid,
    exited,
    exit: () => ended,
    signal: send,
    stop: async () => {
      if (ended === undefined) send('SIGTERM');
      const timer = setTimeout(() => send('SIGKILL'), STOP_TIMEOUT);
      const exit = await exited;
      clearTimeout(timer);
      // What it started and did not end goes with it.
      if (options.ownGroup) kill(child, -pid, 'SIGKILL');
      return exit;
    },
  };
}

function kill(child: ChildProcess, pid: number, signal: NodeJS.Signals): void {
  // A process that has been waited for may have given its number to another; a group that is not empty keeps it.
  if (pid > 0 && (child.exitCode !== null || child.signalCode !== null)) return;
  try {
    process.kill(pid, signal);
  } catch {
    // It has just ended.
  }
}

/** The exit code that a shell gives: the program's own, or 128 and the number of the signal. */
export function shellExitCode(exit: ProgramExit): number {
  if (exit.code !== null) return exit.code;
  return exit.signal === null ? 1 : 128 + constants.signals[exit.signal];
}

/** How it ended, in words. */
export function describeExit(exit: ProgramExit): string {
  return exit.signal === null ? `exit code ${exit.code}` : `signal ${exit.signal}`;
}
