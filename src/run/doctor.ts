/** Whether koala can do its work here, and for this command: what `koala doctor` tells. */
import { mkdtemp, rm } from 'node:fs/promises';
import { release, tmpdir } from 'node:os';
import { join } from 'node:path';
import { errorMessage, KoalaError } from '../errors.ts';
import { findBinary, platformName, requireLinux } from '../native/binaries.ts';
import { koalaVersion } from '../native/version.ts';
import { inspectCommand } from './coverable.ts';
import { record } from './record.ts';

/** One thing that was looked at. */
export interface Finding {
  /** What was looked at: `platform`, `binaries`, `recording`, `command`, `coverage`. */
  Name: string;
  /** `problem`: nothing would be recorded or replayed; `warning`: something may be missing. */
  State: 'ok' | 'warning' | 'problem';
  /** What was found, in one line. */
  Detail: string;
  /** What to do about it; empty where there is nothing to do, or nothing that helps. */
  Remedy: string;
}

/** All findings. */
export interface Diagnosis {
  /** Nothing keeps koala from its work. */
  Healthy: boolean;
  Findings: Finding[];
}

const ok = (Name: string, Detail: string): Finding => ({ Name, State: 'ok', Detail, Remedy: '' });

/** A program that asks for one connection, which nobody answers: enough for an event. */
const PROBE = "require('net').connect(1, '127.0.0.1').on('error', () => {})";

/**
 * Examines the machine and, unless it is empty, a command. That is not run; koala's own probe is, recorded into
 * a directory that is removed again.
 */
export async function diagnose(
  command: readonly string[],
  env: NodeJS.ProcessEnv = process.env,
): Promise<Diagnosis> {
  const checks = [platform, binaries, () => recording(env), () => coverage(command, env)];
  const Findings: Finding[] = [];
  for (const check of checks) {
    // What comes first is what the others stand on: its failure is the one worth telling.
    const found = await check();
    Findings.push(...found);
    if (check !== checks[2] && found.some(({ State }) => State === 'problem')) break;
  }
  return { Healthy: Findings.every(({ State }) => State !== 'problem'), Findings };
}

async function platform(): Promise<Finding[]> {
  return checked('platform', '', async () => {
    requireLinux('record');
    return `Linux ${release()}, ${platformName()}, Node ${process.versions.node}, koala ${koalaVersion()}`;
  });
}

async function binaries(): Promise<Finding[]> {
  return checked('binaries', '', async () => {
    const paths = ['koala-agent', 'libkoala.so'].map((name) => findBinary(name));
    return paths.join(', ');
  });
}

/** Records the probe: that shows the log's memory, the sockets, and that the library is loaded and heard. */
async function recording(env: NodeJS.ProcessEnv): Promise<Finding[]> {
  const remedy = 'see whether the temporary directory allows programs (mount option noexec), and sockets';
  const directory = await mkdtemp(join(tmpdir(), 'koala-doctor-'));
  try {
    return await checked('recording', remedy, async () => {
      const to = join(directory, 'recording');
      const { LD_PRELOAD: _, ...plain } = env;
      const result = await record({
        command: [process.execPath, '-e', PROBE],
        to,
        env: plain,
        stdio: ['ignore', 'ignore', 'ignore'],
      });
      if (result.status === undefined) throw new KoalaError(result.problem ?? 'koala-agent failed');
      if (result.status.Events === 0) throw new KoalaError('a probe was run, and nothing of it was seen');
      const { Unresolved } = result.status;
      const missing = Unresolved.length === 0 ? '' : `; without ${Unresolved.join(', ')}`;
      return `a probe was recorded: ${result.status.Events} events${missing}`;
    });
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

async function coverage(command: readonly string[], env: NodeJS.ProcessEnv): Promise<Finding[]> {
  const [name] = command;
  if (name === undefined) return [];
  try {
    const { chain, elf, obstacles } = await inspectCommand(name, env);
    const findings = obstacles.map(({ severity, what, remedy }): Finding => ({
      Name: 'command',
      State: severity,
      Detail: what,
      Remedy: remedy,
    }));
    if (obstacles.some(({ severity }) => severity === 'problem')) return findings;
    if (elf === undefined) {
      findings.push({
        Name: 'command',
        State: 'warning',
        Detail: `${chain.at(-1) ?? name} is no executable that may be read here: whether it can be covered is not known`,
        Remedy: 'record it, and see whether it says that something was recorded',
      });
      return findings;
    }
    const loader = elf.interpreter === undefined ? '' : ` (${elf.interpreter})`;
    return [ok('command', `${chain.join(' -> ')} can be covered${loader}`), ...findings];
  } catch (error) {
    return [problem('command', error, '')];
  }
}

async function checked(name: string, remedy: string, check: () => Promise<string>): Promise<Finding[]> {
  try {
    return [ok(name, await check())];
  } catch (error) {
    return [problem(name, error, remedy)];
  }
}

function problem(Name: string, error: unknown, Remedy: string): Finding {
  if (!(error instanceof KoalaError)) throw error;
  return { Name, State: 'problem', Detail: errorMessage(error), Remedy };
}
