// A program that is recorded by koala while strace watches it.
import assert from 'node:assert/strict';
import { readFileSync, readdirSync } from 'node:fs';
import { cp, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { agents, startKoala } from '../support/koala.ts';
import { commandPath, lacking } from '../support/needs.ts';
import { type Raw, readManifest, readRaw } from '../support/recording.ts';
import { type Ended, type Running, temporaryFolder, until } from '../support/system.ts';
import { type Verdict, compareDatagrams, compareStreams } from './compare.ts';
import { recordedConnections, recordedDatagrams } from './recorded.ts';
import { Wire, traced } from './wire.ts';

/** What there is when the program has ended. */
export interface Outcome {
  ended: Ended;
  verdict: Verdict;
  wire: Wire;
  sessions: Raw[];
  manifest: Raw;
}

/** Why a test with these needs is skipped; `false` where it is not. */
export const lackingAny = (...names: string[]): string | false => lacking('strace', ...names);

/** What of `/proc/PID` a process shows; empty where it has ended. */
function shown(pid: string | number, file: string): string {
  try {
    return readFileSync(`/proc/${pid}/${file}`, 'latin1');
  } catch {
    return '';
  }
}

const all = (): string[] => readdirSync('/proc').filter((name) => /^\d+$/.test(name));

/** The straces that write to `trace`. */
const tracers = (trace: string): number[] =>
  all()
    .filter((pid) => {
      const [name = '', ...args] = shown(pid, 'cmdline').split('\0');
      return name.endsWith('strace') && args.includes(trace);
    })
    .map(Number);

/** Ends what strace follows, whatever process groups and parents it has. */
function endTracees(trace: string): void {
  const lines = tracers(trace).map((tracer) => `TracerPid:\t${tracer}\n`);
  if (lines.length === 0) return;
  for (const pid of all()) {
    const status = shown(pid, 'status');
    if (lines.some((line) => status.includes(line))) end(Number(pid));
  }
}

function end(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // It has ended by itself.
  }
}

/** A program under strace under koala. */
export class Traced {
  readonly #trace: string;
  readonly #recording: string;
  readonly #running: Running;

  private constructor(trace: string, recording: string, running: Running) {
    this.#trace = trace;
    this.#recording = recording;
    this.#running = running;
  }

  /** Starts it; with `port`, waits until it listens there. */
  static async start(
    t: TestContext,
    program: string[],
    { port, env }: { port?: number; env?: NodeJS.ProcessEnv } = {},
  ): Promise<Traced> {
    const folder = await temporaryFolder(t);
    const [trace, recording] = [join(folder, 'trace'), join(folder, 'recording')];
    // Programs leave their process group, and the agent outlives the command line by design: not so a failed test.
    const endAll = (): void => endTracees(trace);
    process.once('exit', endAll);
    t.after(async () => {
      process.off('exit', endAll);
      endAll();
      for (const { pid } of await agents(recording)) end(pid);
    });
    const options = ['-f', '--seccomp-bpf', '-qq', '-y', '-x', '-s', '1048576', '-o', trace];
    const strace = [commandPath('strace'), ...options, '-e', `trace=${traced}`, '--'];
    const running = startKoala(t, ['record', '--to', recording, '--', ...strace, ...program], env);
    if (port !== undefined) await running.listening(port);
    return new Traced(trace, recording, running);
  }

  /** The process of the program itself: strace's child. */
  async pid(): Promise<number> {
    return until('the program under strace', async () => {
      const children = tracers(this.#trace).map((pid) => shown(pid, `task/${pid}/children`));
      return children.map((text) => Number.parseInt(text, 10)).find((child) => child > 0);
    });
  }

  /** Ends the program by a signal. */
  async stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<Outcome> {
    process.kill(await this.pid(), signal);
    return this.end();
  }

  /** Waits until the program has ended by itself. */
  async end(): Promise<Outcome> {
    const ended = await this.#running.end();
    const sessions = await readRaw(this.#recording);
    const manifest = await readManifest(this.#recording);
    const wire = new Wire(await readFile(this.#trace, 'latin1'));
    const streams = compareStreams(wire, recordedConnections(sessions));
    const { problems, datagrams } = compareDatagrams(wire, recordedDatagrams(sessions));
    const verdict = { ...streams, problems: [...streams.problems, ...problems], datagrams };
    if (process.env['KOALA_GROUND_TRUTH_KEEP']) await this.#keep(process.env['KOALA_GROUND_TRUTH_KEEP']);
    return { ended, verdict, wire, sessions, manifest };
  }

  async #keep(folder: string): Promise<void> {
    await cp(this.#trace, join(folder, 'trace'));
    await cp(this.#recording, join(folder, 'recording'), { recursive: true });
  }
}

/** Fails, with what is wrong socket by socket, unless the recording has all that crossed and nothing else. */
export function assertTrue({ verdict, manifest, wire, ended }: Outcome, least: Partial<Verdict> = {}): void {
  const { problems, gaps, ...seen } = verdict;
  const summary = JSON.stringify(seen);
  assert.ok(
    problems.length === 0,
    `${problems.length} sockets differ (${summary})\n${problems.slice(0, 20).join('\n')}\n${ended.stderr}`,
  );
  assert.deepEqual(gaps, [], 'no connection has a gap');
  assert.deepEqual(manifest['Lost'], { Events: 0, Bytes: 0, Sessions: 0 });
  assert.ok(!wire.ring, 'the program used an io_uring, where strace sees nothing');
  for (const kind of ['inbound', 'outbound', 'inner', 'datagrams', 'bytes'] as const) {
    assert.ok(seen[kind] >= (least[kind] ?? 0), `only ${seen[kind]} ${kind}: ${summary}`);
  }
}
