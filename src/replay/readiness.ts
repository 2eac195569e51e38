/** Waiting until the program under test listens where the recording says: known from the hooks, not guessed. */
import { readFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { KoalaError } from '../errors.ts';
import type { Agent } from '../run/agent.ts';
import { formatMilliseconds } from '../run/duration.ts';
import { describeExit, type Program } from '../run/program.ts';

const FIRST_PAUSE = 5;
const LONGEST_PAUSE = 100;

/** Resolves when the program listens at each of `wanted`; a `KoalaError` says why it never will. */
export async function waitUntilListening(
  agent: Agent,
  program: Program,
  wanted: ReadonlySet<string>,
  timeout: number,
  signal: AbortSignal,
): Promise<void> {
  const deadline = Date.now() + timeout;
  let pause = FIRST_PAUSE;
  for (;;) {
    const { Listeners, Processes } = await agent.control.status();
    const missing = [...wanted].filter((address) => !Listeners.some((listener) => covers(listener, address)));
    if (missing.length === 0 && (wanted.size > 0 || Listeners.length > 0)) return;
    const exit = program.exit();
    if (exit !== undefined && !daemonized(exit.code, Listeners)) {
      throw new KoalaError(`the program ended with ${describeExit(exit)} before it listened${at(missing)}`);
    }
    if (Date.now() >= deadline) {
      const hint = hintFor(Listeners, Processes > 0 || (await isCovered(program)));
      throw new KoalaError(
        `the program did not listen${at(missing)} within ${formatMilliseconds(timeout)}: ${hint}`,
      );
    }
    await sleep(pause, undefined, { signal });
    pause = Math.min(pause * 1.5, LONGEST_PAUSE);
  }
}

/** Whether a listener receives what is sent to `address`: the same, or any address at the same port. */
export function covers(listener: string, address: string): boolean {
  if (listener === address) return true;
  const [host, port] = splitAddress(listener);
  const [wantedHost, wantedPort] = splitAddress(address);
  if (port === '' || port !== wantedPort) return false;
  return isWildcard(host) || isWildcard(wantedHost);
}

function splitAddress(address: string): [host: string, port: string] {
  const colon = address.lastIndexOf(':');
  if (address.startsWith('unix:') || colon === -1) return [address, ''];
  return [address.slice(0, colon), address.slice(colon + 1)];
}

function isWildcard(host: string): boolean {
  return host === '0.0.0.0' || host === '[::]';
}

/** The first process ended well and others go on. */
function daemonized(code: number | null, listeners: readonly string[]): boolean {
  return code === 0 && listeners.length > 0;
}

function at(missing: readonly string[]): string {
  return missing.length === 0 ? '' : ` at ${missing.join(' and ')}`;
}

/** Whether the program has `libkoala.so` in it (proc(5)): what has not touched the network yet, the agent has not met. */
async function isCovered({ pid }: Program): Promise<boolean> {
  const maps = await readFile(`/proc/${pid}/maps`, 'latin1').catch(() => '');
  return maps.includes('/libkoala.so');
}

function hintFor(listeners: readonly string[], covered: boolean): string {
  if (!covered) return 'libkoala.so was not loaded into it, so that it cannot be covered';
  if (listeners.length === 0) return 'it listens nowhere; --timeout gives it more time';
  return `it listens at ${listeners.join(', ')}; KOALA_SUT_ADDR names another address than the recorded one`;
}
