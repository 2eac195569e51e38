// Folders, ports, waiting and processes, each given back when its test ends.
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtemp, readFile, readdir, rm } from 'node:fs/promises';
import { createServer, connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { TestContext } from 'node:test';

/** A folder that is removed when the test ends. */
export async function temporaryFolder(t: TestContext): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'koala-test-'));
  t.after(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

const handedOut = new Set<number>();

/**
 * A port on which nothing listens. It lies below the range from which the kernel takes the ports of outgoing
 * connections, so that none of those takes it before its server does, and is not handed out twice.
 */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = 10_000 + Math.floor(Math.random() * 20_000);
    if (!handedOut.has(port) && (await canListen(port))) {
      handedOut.add(port);
      return port;
    }
  }
}

function canListen(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => resolve(false));
    server.listen({ port, host: '127.0.0.1', exclusive: true }, () => server.close(() => resolve(true)));
  });
}

/** Whether somebody accepts connections there. */
export function isListening(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ port, host: '127.0.0.1' });
    socket.once('error', () => resolve(false));
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
  });
}

/** Waits until `condition` gives something true, and fails after a while, saying `what` it waited for. */
export async function until<T>(
  what: string,
  condition: () => Promise<T | false | undefined> | T | false | undefined,
  milliseconds = 20_000,
): Promise<T> {
  const end = Date.now() + milliseconds;
  for (;;) {
    const value = await condition();
    if (value !== false && value !== undefined) return value;
    if (Date.now() > end) throw new Error(`${what}: not within ${milliseconds} ms`);
    await sleep(20);
  }
}

/** How a process ended, and what it printed. */
export interface Ended {
  code: number | null;
  signal: NodeJS.Signals | null;
  stdout: string;
  stderr: string;
}

const running = new Set<number>();

// The runner ends a file that takes too long, or that is interrupted, by a signal: no hook of a test runs then.
process.on('exit', () => {
  for (const pid of running) signalGroup(pid, 'SIGKILL');
});
for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) process.once(signal, () => process.exit(1));

function signalGroup(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(-pid, signal);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}

/** A process of a test; killed, with its process group, when the test ends. */
export class Running {
  readonly child: ChildProcess;
  readonly ended: Promise<Ended>;
  stdout = '';
  stderr = '';
  #over = false;

  constructor(
    t: TestContext,
    command: string,
    args: string[],
    env: NodeJS.ProcessEnv = {},
    identity: { uid?: number; gid?: number } = {},
  ) {
    const child = spawn(command, args, {
      ...identity,
      env: { ...process.env, ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
      detached: true,
    });
    this.child = child;
    const { pid } = child;
    if (pid !== undefined) running.add(pid);
    child.stdout.on('data', (chunk: Buffer) => (this.stdout += chunk.toString()));
    child.stderr.on('data', (chunk: Buffer) => (this.stderr += chunk.toString()));
    this.ended = new Promise((resolve, reject) => {
      child.once('error', reject);
      child.once('close', (code, signal) => {
        this.#over = true;
        if (pid !== undefined) running.delete(pid);
        resolve({ code, signal, stdout: this.stdout, stderr: this.stderr });
      });
    });
    this.ended.catch(() => {});
    t.after(async () => {
      if (this.#over) return;
      this.signalGroup('SIGKILL');
      await this.ended.catch(() => {});
    });
  }

  get pid(): number {
    if (this.child.pid === undefined) throw new Error('the process did not start');
    return this.child.pid;
  }

  /** As the terminal does on Ctrl-C: to the process and all that it started in its group. */
  signalGroup(signal: NodeJS.Signals): void {
    signalGroup(this.pid, signal);
  }

  /** Waits until somebody listens on the port; fails at once if the process ends instead. */
  async listening(port: number): Promise<void> {
    await until(`a listener on port ${port}`, async () => {
      if (this.#over) throw new Error(`the program ended before it listened:\n${this.stdout}${this.stderr}`);
      return isListening(port);
    });
  }

  /** Waits for its end, but not for ever. */
  async end(milliseconds = 60_000): Promise<Ended> {
    const timer = new AbortController();
    try {
      return await Promise.race([
        this.ended,
        sleep(milliseconds, undefined, { signal: timer.signal }).then(() => {
          throw new Error(`did not end within ${milliseconds} ms:\n${this.stdout}${this.stderr}`);
        }),
      ]);
    } finally {
      timer.abort();
    }
  }
}

/** A process with its command line. */
export interface Process {
  pid: number;
  command: string[];
}

/** Every process whose command line satisfies `wanted`. */
export async function processes(wanted: (command: string[]) => boolean): Promise<Process[]> {
  const found: Process[] = [];
  for (const name of await readdir('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    const text = await readFile(`/proc/${name}/cmdline`, 'utf8').catch(() => '');
    const command = text.split('\0').slice(0, -1);
    if (command.length > 0 && wanted(command)) found.push({ pid: Number(name), command });
  }
  return found;
}

/** The processes of a program that was started with this port as its first argument. */
export function processesOn(binary: string, port: number): Promise<Process[]> {
  return processes(([path, by]) => path === binary && by === String(port));
}
