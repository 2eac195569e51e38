/**
 * Replaying a recording: the program under test runs with every dependency mocked by the agent, one recorded
 * request after another is sent to it, and what it does is compared. The agent reports facts; the verdict is
 * made here, by `src/diff`. Nothing here touches the network itself.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import {
  compareSessions,
  compareTwice,
  mayBeDrawn,
  noiseOf,
  shareOut,
  type Noise,
  type Shares,
} from '../diff/index.ts';
import { errorMessage, KoalaError } from '../errors.ts';
import type { Strategy } from '../native/api.ts';
import { requireLinux } from '../native/binaries.ts';
import { show } from '../protocols/bytes.ts';
import { describeRequest } from '../protocols/describe.ts';
import { decodeSession } from '../recording/codec.ts';
import { outboundCalls, type Session } from '../recording/model.ts';
import { Recording, type RecordedSession } from '../recording/recording.ts';
import { startAgent, type Agent } from '../run/agent.ts';
import { ControlError } from '../run/control.ts';
import { coverableProgram } from '../run/coverable.ts';
import { describeExit, startProgram, type Program } from '../run/program.ts';
import { makeRuntimeDirectory } from '../run/runtime-dir.ts';
import { planReplay, type Plan } from './plan.ts';
import { waitUntilListening } from './readiness.ts';
import type { ReplayResult, SessionResult } from './result.ts';

/** How calls can be matched, the default first. */
export const STRATEGIES = ['auto', 'chunk', 'sim', 'exact'] as const satisfies readonly Strategy[];

const DEFAULT_TIMEOUT = 30_000;

/** What to replay against what. */
export interface ReplayOptions {
  recording: string;
  /** The command: its name and arguments. */
  command: readonly string[];
  /** Ids of the sessions, or their beginnings; all where there is none. */
  sessions?: readonly string[];
  match?: Strategy | undefined;
  threshold?: number | undefined;
  /** Milliseconds that the program has to listen, and to answer one session. */
  timeout?: number | undefined;
  /** Addresses left alone: `ip:port` or `:port`, comma-separated. */
  bypass?: string | undefined;
  /** Paths of differences that are noise, with `*`. */
  noise?: readonly string[] | undefined;
  env?: NodeJS.ProcessEnv;
  /** What to do with the program's output: to our stderr, or nowhere. */
  output?: 'stderr' | 'ignore';
  /** Ends the replay early; the promise rejects with the signal's reason. */
  signal?: AbortSignal;
  onProgress?: (progress: ReplayProgress) => void;
}

/** How far a replay is. */
export interface ReplayProgress {
  done: number;
  total: number;
  /** The session just done; undefined before the first. */
  session: SessionResult | undefined;
}

/** Replays a recording. A `KoalaError` says that it could not run; differences are in the result. */
export async function replay(options: ReplayOptions): Promise<ReplayResult> {
  requireLinux('replay');
  const startedAt = performance.now();
  const env = replayEnvironment(options);
  const recording = await Recording.open(options.recording);
  const path = await coverableProgram(options.command[0] ?? '', env);
  const plan = await planReplay(recording, options.sessions ?? []);
  const runtime = await makeRuntimeDirectory();
  const agent = await startAgent(['replay', '--recording', recording.directory], runtime, env);
  let program: Program | undefined;
  let run: Run | undefined;
  try {
    const output = options.output === 'ignore' ? 'ignore' : process.stderr.fd;
    program = await startProgram({
      path,
      command: options.command,
      mode: 'replay',
      runtime,
      env,
      stdio: ['ignore', output, output],
      ownGroup: true,
    });
    run = new Run(options, recording, plan, agent, program);
    void run.watch();
    const sessions = await run.replayAll();
    return conclude(options, plan, sessions, run, performance.now() - startedAt);
  } finally {
    run?.over.abort();
    await program?.stop();
    await agent.finish().catch(() => undefined);
    await runtime.remove();
  }
}

function replayEnvironment(options: ReplayOptions): NodeJS.ProcessEnv {
  const base = options.env ?? process.env;
  return {
    ...base,
    KOALA_INBOUND_ADDR: base['KOALA_INBOUND_ADDR'] ?? '127.0.0.1:0',
    KOALA_OUTBOUND_ADDR: base['KOALA_OUTBOUND_ADDR'] ?? '127.0.0.1:0',
    ...(options.match === undefined ? {} : { KOALA_REPLAYING_MATCH_STRATEGY: options.match }),
    ...(options.threshold === undefined
      ? {}
      : { KOALA_REPLAYING_MATCH_THRESHOLD: String(options.threshold) }),
    ...(options.bypass === undefined ? {} : { KOALA_OUTBOUND_BYPASS_ADDR: options.bypass }),
  };
}

/** A session that was replayed, and what is to be said of it. */
interface Replayed {
  recorded: Session;
  /** The recorded session, encoded. */
  bytes: Uint8Array;
  replayed: Session;
  result: SessionResult;
}

/** How often it is looked at whether the processes of a program that has ended are gone, in milliseconds. */
const LOOK_EVERY = 100;
/** What the agent may need to deliver what they did last, in milliseconds. */
const LAST_WORDS = 1000;

/** One run over a plan. */
class Run {
  /** Aborted when no process of the program is left, or when the run has ended. */
  readonly over = new AbortController();
  readonly problems: string[] = [];
  readonly warnings: string[] = [];
  /** Calls that the program made outside any session. */
  bootCalls = 0;
  readonly #options: ReplayOptions;
  readonly #recording: Recording;
  readonly #plan: Plan;
  readonly #agent: Agent;
  readonly #program: Program;
  readonly #noise: Noise;
  readonly #timeout: number;
  readonly #signal: AbortSignal;
  /** Sessions of overlap groups: their verdict waits for the calls of the others. */
  readonly #overlapping: Replayed[] = [];

  constructor(options: ReplayOptions, recording: Recording, plan: Plan, agent: Agent, program: Program) {
    this.#options = options;
    this.#recording = recording;
    this.#plan = plan;
    this.#agent = agent;
    this.#program = program;
    this.#noise = noiseOf(options.noise);
    this.#timeout = options.timeout ?? DEFAULT_TIMEOUT;
    this.#signal = options.signal ?? new AbortController().signal;
  }

  /** Sees to it that nobody waits for a program that is gone. */
  async watch(): Promise<void> {
    await this.#program.exited;
    while (this.#agent.running && !this.over.signal.aborted) {
      const status = await this.#agent.control.status().catch(() => undefined);
      if (status?.Processes === 0) break;
      await sleep(LOOK_EVERY, undefined, { ref: false });
    }
    await sleep(LAST_WORDS, undefined, { ref: false });
    this.over.abort();
  }

  async replayAll(): Promise<SessionResult[]> {
    const total = this.#plan.places.length;
    if (total === 0) return [];
    const address = this.#options.env?.['KOALA_SUT_ADDR'] ?? process.env['KOALA_SUT_ADDR'];
    const listeners = address === undefined || address === '' ? this.#plan.listeners : new Set([address]);
    await waitUntilListening(this.#agent, this.#program, listeners, this.#timeout, this.#signal);
    this.#options.onProgress?.({ done: 0, total, session: undefined });
    const results: SessionResult[] = [];
    for (const place of this.#plan.places) {
      this.#signal.throwIfAborted();
      const result = await this.#replayOne(await this.#recording.read(place));
      results.push(result);
      this.#options.onProgress?.({ done: results.length, total, session: result });
      if (result.Error !== '' && (await this.#isOver())) {
        const left = total - results.length;
        if (left > 0) this.problems.push(`${left} of ${total} sessions were not replayed`);
        break;
      }
    }
    await this.#judgeOverlapping();
    if (this.#agent.running) await this.#judgeBoot();
    return results;
  }

  async #replayOne({ session, bytes }: RecordedSession): Promise<SessionResult> {
    const result: SessionResult = {
      SessionId: session.SessionId,
      Request: describeRequest(session),
      Passed: false,
      Error: '',
      Differences: [],
      Notes: [],
      Milliseconds: 0,
      Calls: { Recorded: outboundCalls(session).length, Replayed: 0, Answered: 0 },
    };
    const startedAt = performance.now();
    let replayed: Session;
    const signal = AbortSignal.any([this.#signal, this.over.signal]);
    try {
      replayed = decodeSession(await this.#agent.control.replay(bytes, this.#timeout, signal));
    } catch (error) {
      this.#signal.throwIfAborted();
      const exit = this.#program.exit();
      result.Error =
        exit === undefined ? errorMessage(error) : `the program ended with ${describeExit(exit)}`;
      // The agent's answer is a fact about this session; that there is none, about the run.
      if (!(error instanceof ControlError) && exit === undefined) this.problems.push(result.Error);
      result.Milliseconds = performance.now() - startedAt;
      return result;
    }
    result.Milliseconds = performance.now() - startedAt;
    const calls = outboundCalls(replayed);
    result.Calls.Replayed = calls.length;
    result.Calls.Answered = calls.filter(
      // What only concerns a connection may be answered without a recorded call.
      ({ Matched }) => Matched !== null && (Matched.ActionIndex >= 0 || Matched.Mark > 0),
    ).length;
    const one = { recorded: session, bytes, replayed, result };
    if (session.OverlapGroup === '') await this.#judge(one);
    else this.#overlapping.push(one);
    return result;
  }

  /** What a program draws at random tells itself from what it answers by being another one in a second replay. */
  async #judge({ recorded, bytes, replayed, result }: Replayed, shares?: Shares): Promise<void> {
    const options = { noise: this.#noise, shares, history: this.#plan.history };
    let comparison = compareSessions(recorded, replayed, options);
    if (comparison.Differences.length > 0 && mayBeDrawn(recorded, replayed, options)) {
      const signal = AbortSignal.any([this.#signal, this.over.signal]);
      const again = await this.#agent.control.replay(bytes, this.#timeout, signal).catch(() => undefined);
      if (again !== undefined) comparison = compareTwice(recorded, replayed, decodeSession(again), options);
    }
    result.Differences = comparison.Differences;
    result.Notes = comparison.Notes;
    result.Passed = comparison.Differences.length === 0;
  }

  /** What the program asked outside any session is compared too: a call that nothing answered is a new one. */
  async #judgeBoot(): Promise<void> {
    const { BootCalls, BootUnmatched, NotCovered } = await this.#agent.control.status();
    this.bootCalls = BootCalls;
    for (const { Program, Reason } of NotCovered) this.warnings.push(`not covered: ${Program}: ${Reason}`);
    for (const { Peer, Request, Reason } of BootUnmatched) {
      if (this.#noise(`boot.${Peer}`)) continue;
      const said = show(new TextEncoder().encode(Request));
      this.problems.push(
        `call outside any session that is not in the recording: ${said} -> ${Peer} (${Reason})`,
      );
    }
  }

  async #judgeOverlapping(): Promise<void> {
    const groups = new Map<string, Replayed[]>();
    for (const one of this.#overlapping) {
      const { OverlapGroup } = one.recorded;
      groups.set(OverlapGroup, [...(groups.get(OverlapGroup) ?? []), one]);
    }
    for (const group of groups.values()) {
      const shares = shareOut(group, this.#plan.history);
      for (const one of group) await this.#judge(one, shares);
    }
  }

  /** After a failed session: whether there is anything left to replay against. */
  async #isOver(): Promise<boolean> {
    if (!this.#agent.running) {
      this.problems.push('koala-agent ended during the replay');
      return true;
    }
    const exit = this.#program.exit();
    if (exit === undefined) return false;
    const { Processes } = await this.#agent.control.status();
    if (Processes > 0) return false;
    this.problems.push(`the program ended with ${describeExit(exit)} during the replay`);
    return true;
  }
}

function conclude(
  options: ReplayOptions,
  plan: Plan,
  sessions: SessionResult[],
  run: Run,
  milliseconds: number,
): ReplayResult {
  const passed = sessions.filter((session) => session.Passed).length;
  const calls = { Recorded: 0, Replayed: 0, Answered: 0 };
  for (const { Calls } of sessions) {
    calls.Recorded += Calls.Recorded;
    calls.Replayed += Calls.Replayed;
    calls.Answered += Calls.Answered;
  }
  const all = [...run.problems];
  // A session that got no answer says nothing about its calls.
  const expected = sessions.reduce((sum, { Error, Calls }) => sum + (Error === '' ? Calls.Recorded : 0), 0);
  if (sessions.length === 0) all.push('no session was replayed');
  else if (expected > 0 && calls.Replayed === 0) {
    all.push(
      `the recording has ${expected} outbound calls and the replay saw none: the program is not covered`,
    );
  } else if (plan.bootCalls > 0 && calls.Replayed === 0 && run.bootCalls === 0) {
    all.push(
      `the recording has ${plan.bootCalls} outbound calls outside of requests and the replay saw none at all`,
    );
  }
  return {
    Recording: options.recording,
    Command: [...options.command],
    Passed: all.length === 0 && passed === sessions.length,
    Sessions: sessions,
    Skipped: plan.skipped,
    Problems: all,
    Warnings: [...plan.warnings, ...run.warnings],
    Counts: {
      Passed: passed,
      Failed: sessions.length - passed,
      Skipped: plan.skipped.length,
    },
    Calls: calls,
    Milliseconds: milliseconds,
  };
}

/** Reads a noise file's content: JSON with the one member `Noise`, an array of paths. */
export function parseNoise(name: string, content: string): string[] {
  let value: unknown;
  try {
    value = JSON.parse(content);
  } catch (error) {
    throw new KoalaError(`${name} is not JSON: ${errorMessage(error)}`);
  }
  const patterns: unknown =
    typeof value === 'object' && value !== null && 'Noise' in value ? value.Noise : undefined;
  if (!Array.isArray(patterns) || !patterns.every((item) => typeof item === 'string')) {
    throw new KoalaError(`${name} is not a noise file: it needs {"Noise": ["response.body.at", …]}`);
  }
  return patterns;
}
