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
import { type AgentMemory, closeMemory, openMemory } from './memory.ts';
import type { RuntimeDirectory } from './runtime-dir.ts';

const READY_TIMEOUT = 20_000;
const FINISH_TIMEOUT = 120_000;
const EXIT_TIMEOUT = 10_000;
/** How long a standby may take to have read what the agent that was killed has read. */
const SUCCESSION_TIMEOUT = 5000;
const LOOK_EVERY = 50;
/** How often it is tried to start an agent that goes on for another one. */
const ATTEMPTS = 5;
const KEPT_STDERR = 64 * 1024;

/** What the agent printed when it was ready. */
export interface Ready {
  ControlSocket: string;
  /** Replay only. */
  InboundAddr: string;
  /** Replay only. */
  OutboundAddr: string;
}

/** The process of an agent, and what it has said on stderr. */
interface Launched {
  child: ChildProcess;
  ready: Ready;
  said: () => string;
}

type Launch = (left: AgentMemory | undefined) => Promise<Launched>;

/** A running agent; when it and its standby are killed, the next one. */
export class Agent {
  readonly ready: Ready;
  readonly control: ControlClient;
  readonly #launch: Launch;
  #launched: Launched;
  #exited: Promise<void>;
  #memory: AgentMemory | undefined;
  /** While another one is started. */
  #succession: Promise<void> | undefined;
  /** It is to end, or is left to itself. */
  #over = false;

  constructor(launched: Launched, launch: Launch) {
    this.ready = launched.ready;
    this.control = new ControlClient(launched.ready.ControlSocket);
    this.#launch = launch;
    this.#launched = launched;
    const { pid } = launched.child;
    // It is that of the standby and of all who go on for them.
    this.#memory = pid === undefined ? undefined : openMemory(pid);
    this.#exited = this.#watch(launched);
  }

  /** Whether it still runs. */
  get running(): boolean {
    const { child } = this.#launched;
    return child.exitCode === null && child.signalCode === null;
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
    this.#forget();
    const { child } = this.#launched;
    child.stdin?.destroy();
    child.stdout?.destroy();
    child.stderr?.destroy();
    child.unref();
  }

  /** Completes the run and waits until the agent is gone. */
  async finish(): Promise<Status> {
    try {
      return await this.#ask(() => this.control.finish(FINISH_TIMEOUT));
    } finally {
      this.#forget();
      this.#launched.child.stdin?.destroy();
      await this.#exit();
    }
  }

  #forget(): void {
    this.#over = true;
    this.control.close();
    closeMemory(this.#memory);
    this.#memory = undefined;
  }

  /** Sees to it that another agent goes on when this one and its standby are dead. Resolves when this one is. */
  #watch({ child }: Launched): Promise<void> {
    // The standby has it, too.
    child.stdout?.once('close', () => {
      if (this.#memory !== undefined && !this.#over) this.#succession = this.#succeed(this.#memory);
    });
    return new Promise((resolve) => {
      if (child.exitCode !== null || child.signalCode !== null) resolve();
      child.once('exit', () => resolve());
    });
  }

  async #succeed(memory: AgentMemory): Promise<void> {
    for (let attempt = 0; attempt < ATTEMPTS && !this.#over; attempt += 1) {
      try {
        this.#launched = await this.#launch(memory);
        this.#exited = this.#watch(this.#launched);
        return;
      } catch {
        // It was killed as well; if it can't be started, whoever asks gets no answer, and says so.
      }
    }
  }

  /** Asks, and asks again where the agent was killed: another one answers in its place as soon as it can. */
  async #ask(question: () => Promise<Status>): Promise<Status> {
    const deadline = Date.now() + SUCCESSION_TIMEOUT;
    for (;;) {
      await this.#succession;
      try {
        return await question();
      } catch (error) {
        if (error instanceof ControlError || this.running || Date.now() >= deadline) {
          const said = this.#launched.said();
          throw new KoalaError(`koala-agent failed: ${said === '' ? errorMessage(error) : said}`);
        }
      }
      await sleep(LOOK_EVERY);
    }
  }

  async #exit(): Promise<void> {
    const timer = setTimeout(() => this.#launched.child.kill('SIGKILL'), EXIT_TIMEOUT);
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
  const launch: Launch = (left) => launchAgent(parameters, runtime, env, left);
  try {
    return new Agent(await launch(undefined), launch);
  } catch (error) {
    await runtime.remove();
    throw error;
  }
}

/** Starts an agent; with what another one has `left`, it goes on for that one. */
async function launchAgent(
  parameters: readonly string[],
  runtime: RuntimeDirectory,
  env: NodeJS.ProcessEnv,
  left: AgentMemory | undefined,
): Promise<Launched> {
  const binary = findBinary('koala-agent');
  const goOn = left === undefined ? [] : ['--go-on', '3,4'];
  const child = spawn(binary, [...parameters, '--runtime-dir', runtime.path, ...goOn], {
    detached: true,
    stdio: ['pipe', 'pipe', 'pipe', ...(left === undefined ? [] : [left.eventLog, left.journal])],
    env: { ...env, LD_PRELOAD: undefined, KOALA_MODE: undefined, KOALA_TOKEN: runtime.token },
  });
  // The agent may be gone when we end; a broken pipe is not an error of ours.
  child.stdin?.on('error', () => undefined);
  let stderr = '';
  child.stderr?.setEncoding('utf8');
  child.stderr?.on('data', (text: string) => {
    stderr = (stderr + text).slice(-KEPT_STDERR);
  });
  const said = (): string => firstLine(stderr);
  try {
    const ready = readReady(await firstOutput(child, said), runtime);
    child.stdout?.resume();
    return { child, ready, said };
  } catch (error) {
    child.kill('SIGKILL');
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
