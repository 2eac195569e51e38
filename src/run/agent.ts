/**
 * Starting and ending koala-agent. It runs detached, in a session of its own, because it must outlive this
 * process; the pipe to its standard input stays open so that it notices when we are gone.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { errorMessage, KoalaError } from '../errors.ts';
import { findBinary } from '../native/binaries.ts';
import { ControlClient, ControlError, type Status } from './control.ts';
import type { RuntimeDirectory } from './runtime-dir.ts';

const READY_TIMEOUT = 20_000;
const FINISH_TIMEOUT = 120_000;
const EXIT_TIMEOUT = 10_000;
/** How long a standby may take to have read what the agent that was killed has read. */
const SUCCESSION_TIMEOUT = 5000;
const LOOK_EVERY = 50;
const KEPT_STDERR = 64 * 1024;

/** What the agent printed when it was ready. */
export interface Ready {
  ControlSocket: string;
  /** Replay only. */
  InboundAddr: string;
  /** Replay only. */
  OutboundAddr: string;
}

/** A running agent. */
export class Agent {
  readonly ready: Ready;
  readonly control: ControlClient;
  readonly #child: ChildProcess;
  readonly #stderr: () => string;
  readonly #exited: Promise<void>;

  constructor(child: ChildProcess, ready: Ready, stderr: () => string) {
    this.#child = child;
    this.ready = ready;
    this.control = new ControlClient(ready.ControlSocket);
    this.#stderr = stderr;
    this.#exited = new Promise((resolve) => {
      if (child.exitCode !== null || child.signalCode !== null) resolve();
      child.once('exit', () => resolve());
    });
  }

  /** Whether it still runs. */
  get running(): boolean {
    return this.#child.exitCode === null && this.#child.signalCode === null;
  }

  /** Waits until every process of the program has ended, at most `timeout` ms; how it stands then. */
  async settle(timeout: number): Promise<Status> {
    const deadline = Date.now() + timeout;
    for (;;) {
      const status = await this.#ask(() => this.control.status());
      if (status.Processes === 0 || Date.now() >= deadline) return status;
      await sleep(LOOK_EVERY);
    }
  }

  /** Leaves the agent to itself: it goes on until the last process of the program has ended. */
  leave(): void {
    this.control.close();
    this.#child.stdin?.destroy();
    this.#child.stdout?.destroy();
    this.#child.stderr?.destroy();
    this.#child.unref();
  }

  /** Completes the run and waits until the agent is gone. */
  async finish(): Promise<Status> {
    try {
      return await this.#ask(() => this.control.finish(FINISH_TIMEOUT));
    } finally {
      this.control.close();
      this.#child.stdin?.destroy();
      await this.#exit();
    }
  }

  /** Asks, and asks again where the agent was killed: its standby answers in its place as soon as it can. */
  async #ask(question: () => Promise<Status>): Promise<Status> {
    const deadline = Date.now() + SUCCESSION_TIMEOUT;
    for (;;) {
      try {
        return await question();
      } catch (error) {
        if (error instanceof ControlError || this.running || Date.now() >= deadline) {
          const said = this.#stderr();
          throw new KoalaError(`koala-agent failed: ${said === '' ? errorMessage(error) : said}`);
        }
      }
      await sleep(LOOK_EVERY);
    }
  }

  async #exit(): Promise<void> {
    const timer = setTimeout(() => this.#child.kill('SIGKILL'), EXIT_TIMEOUT);
    await this.#exited;
    clearTimeout(timer);
  }
}

/** Starts an agent with `parameters` and waits until it is ready. */
export async function startAgent(
  parameters: readonly string[],
  runtime: RuntimeDirectory,
  env: NodeJS.ProcessEnv,
): Promise<Agent> {
  const binary = findBinary('koala-agent');
  const child = spawn(binary, [...parameters, '--runtime-dir', runtime.path], {
    detached: true,
    stdio: ['pipe', 'pipe', 'pipe'],
    env: { ...env, LD_PRELOAD: undefined, KOALA_MODE: undefined, KOALA_TOKEN: runtime.token },
  });
  // The agent may be gone when we end; a broken pipe is not an error of ours.
  child.stdin.on('error', () => undefined);
  let stderr = '';
  child.stderr.setEncoding('utf8');
  child.stderr.on('data', (text: string) => {
    stderr = (stderr + text).slice(-KEPT_STDERR);
  });
  const said = (): string => firstLine(stderr);
  try {
    const ready = readReady(await firstOutput(child, said), runtime);
    child.stdout.resume();
    return new Agent(child, ready, said);
  } catch (error) {
    child.kill('SIGKILL');
    await runtime.remove();
    throw error;
  }
}

/** The agent's first line on stdout. A `KoalaError` tells what it said on stderr instead. */
async function firstOutput(child: ChildProcess, said: () => string): Promise<string> {
  return new Promise((resolve, reject) => {
    const { stdout } = child;
    if (stdout === null) throw new Error('koala-agent was started without a standard output');
    const lines = createInterface({ input: stdout });
    const timer = setTimeout(
      () => reject(new KoalaError(`koala-agent was not ready within ${READY_TIMEOUT / 1000} s`)),
      READY_TIMEOUT,
    );
    lines.once('line', (line) => {
      clearTimeout(timer);
      lines.close();
      resolve(line);
    });
    child.once('error', (error) => {
      clearTimeout(timer);
      reject(new KoalaError(`koala-agent cannot be started: ${errorMessage(error)}`));
    });
    // `close` comes after the last of stderr, `exit` may come before.
    child.once('close', (code, signal) => {
      clearTimeout(timer);
      const ended = `koala-agent ended with ${signal ?? `exit code ${code}`}`;
      reject(new KoalaError(said() === '' ? ended : said()));
    });
  });
}

function readReady(line: string, runtime: RuntimeDirectory): Ready {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    value = undefined;
  }
  const from: Record<string, unknown> = typeof value === 'object' && value !== null ? { ...value } : {};
  if (from['Ready'] !== true)
    throw new KoalaError(`koala-agent said ${JSON.stringify(line)} instead of being ready`);
  const text = (name: string): string | undefined =>
    typeof from[name] === 'string' ? from[name] : undefined;
  return {
    ControlSocket: text('ControlSocket') ?? runtime.controlSocket,
    InboundAddr: text('InboundAddr') ?? '',
    OutboundAddr: text('OutboundAddr') ?? '',
  };
}

function firstLine(text: string): string {
  const line = text.split('\n').find((one) => one.trim() !== '') ?? '';
  return line.trim().replace(/^koala-agent: /, '');
}
