/** `koala demo`: records a sample service, replays it without its dependencies, and catches a planted bug. */
import { existsSync, readFileSync, realpathSync } from 'node:fs';
import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { delimiter, join, relative, resolve } from 'node:path';
import type { Writable } from 'node:stream';
import { KoalaError } from '../errors.ts';
import { Recording } from '../recording/recording.ts';
import { outboundCalls } from '../recording/model.ts';
import { replay } from '../replay/replay.ts';
import type { ReplayResult } from '../replay/result.ts';
import { replayLines, type TerminalReportOptions } from '../report/terminal.ts';
import { styleFor, type Style } from '../report/style.ts';
import { formatMilliseconds } from '../run/duration.ts';
import type { Program } from '../run/program.ts';
import { record } from '../run/record.ts';
import { requests, send, stock } from './load.ts';
import { demoProgram, freePort, startDependencies, waitForPort, type Dependencies } from './processes.ts';

/** How to run the demo. */
export interface DemoOptions {
  output: Writable;
  /** Use the redis-server in PATH. */
  realRedis: boolean;
  /** Where to record; by default a new temporary directory. */
  to: string | undefined;
  /** Ends the demo early: everything that it started is ended, and the promise rejects. */
  signal: AbortSignal;
}

/** Runs the demo; says whether everything went as it should. */
export async function runDemo(options: DemoOptions): Promise<boolean> {
  const service = shortest(demoProgram('service'));
  if (!existsSync(service)) throw new KoalaError(`${service} does not exist: build it with "npm run build"`);
  const startedAt = performance.now();
  const recording = options.to ?? join(await mkdtemp(join(tmpdir(), 'koala-demo-')), 'recording');
  const teller = new Teller(options.output);
  const dependencies = await startDependencies(options.realRedis);
  try {
    return await tell(teller, options, recording, dependencies, service, startedAt);
  } finally {
    await dependencies.stop();
  }
}

/** A path as one would type it here. */
function shortest(path: string): string {
  const fromHere = relative(process.cwd(), path);
  return fromHere.startsWith('..') ? path : fromHere;
}

async function tell(
  teller: Teller,
  { output, signal }: DemoOptions,
  recording: string,
  dependencies: Dependencies,
  service: string,
  startedAt: number,
): Promise<boolean> {
  const port = await freePort();
  const { redisPort, ratesPort } = dependencies;
  const command = [
    nodeCommand(),
    service,
    '--port',
    `${port}`,
    '--redis',
    `${redisPort}`,
    '--rates',
    `${ratesPort}`,
  ];
  const buggy = [...command, '--bug'];
  const koala = koalaCommand();

  teller.step('A shop in Node, and what it depends on, on free ports of this machine');
  await stock(redisPort);
  teller.line(`the shop        127.0.0.1:${port}  ordinary code: ${service}`);
  teller.line(`Redis           127.0.0.1:${redisPort}  ${dependencies.redisName}`);
  teller.line(`exchange rates  127.0.0.1:${ratesPort}  an HTTP service, embedded`);

  teller.step(`Recording ${requests().length} requests to the shop`);
  teller.command(`koala record --to ${recording} -- ${shell(command)}`);
  await recordShop(command, recording, port, signal);
  const { sessions, calls } = await countSessions(recording);
  teller.line(`${sessions} sessions recorded, with ${calls} calls to Redis and to the exchange rates`);

  teller.step('Redis and the exchange rates are stopped');
  await dependencies.stop();
  teller.line(
    `their processes have ended: 127.0.0.1:${redisPort} and 127.0.0.1:${ratesPort} refuse connections`,
  );

  teller.step('Replaying: the same requests, every dependency mocked from the recording');
  teller.command(`koala replay ${recording} -- ${shell(command)}`);
  const green = await replay({ recording, command, output: 'ignore', signal });
  teller.replay(green);

  teller.step('Replaying against a later version of the shop, into which a bug was planted');
  teller.line('It cuts cents off where it should round them, and asks Redis once too often for an item.');
  teller.command(`koala replay ${recording} -- ${shell(buggy)}`);
  const red = await replay({ recording, command: buggy, output: 'ignore', signal });
  teller.replay(red, { only: examples(red) });
  const caught = namesBothBugs(red);
  if (caught) teller.line('koala replay exits with 1 here, which is what fails a build.');

  const good = green.Passed && green.Sessions.length === requests().length && caught;
  if (!green.Passed) teller.bad('the first replay should have passed, and did not');
  else if (green.Sessions.length !== requests().length)
    teller.bad(`${requests().length} requests were recorded, and not all replayed`);
  if (!caught) teller.bad('the second replay should have named both mistakes, and did not');
  teller.step(
    good ? `All as it should be, in ${formatMilliseconds(performance.now() - startedAt)}` : 'The demo FAILED',
  );
  teller.line(
    `the recording is in ${recording}; look at it, replay it by hand, or record a program of yours:`,
  );
  teller.command(`${koala} sessions list ${recording}`);
  teller.command(
    `${koala} sessions show ${recording} ${red.Sessions.find((session) => !session.Passed)?.SessionId ?? ''}`,
  );
  teller.command(`${koala} replay ${recording} -- ${shell(command)}`);
  teller.command(`${koala} replay ${recording} -- ${shell(buggy)}`);
  teller.command(`${koala} record --to ./rec -- CMD ARG...`);
  output.write('\n');
  return good;
}

async function recordShop(
  command: readonly string[],
  recording: string,
  port: number,
  signal: AbortSignal,
): Promise<void> {
  let load: Promise<void> | undefined;
  const result = await record({
    command,
    to: recording,
    stdio: ['ignore', 'ignore', process.stderr.fd],
    onStart: (program) => {
      signal.addEventListener('abort', () => program.signal('SIGTERM'), { once: true });
      load = sendLoad(program, port);
      // Awaited below; until then, a failure is not unhandled.
      load.catch(() => undefined);
    },
  });
  signal.throwIfAborted();
  await load;
  if (result.problem !== undefined) throw new KoalaError(result.problem);
}

async function sendLoad(program: Program, port: number): Promise<void> {
  try {
    await waitForPort(port, () => program.exit() === undefined);
    await send(port);
  } finally {
    program.signal('SIGTERM');
  }
}

async function countSessions(directory: string): Promise<{ sessions: number; calls: number }> {
  const recording = await Recording.open(directory);
  const counts = { sessions: 0, calls: 0 };
  for await (const { session } of recording.sessions()) {
    if (session.CallFromInbound === null) continue;
    counts.sessions += 1;
    counts.calls += outboundCalls(session).length;
  }
  return counts;
}

function namesBothBugs(result: ReplayResult): boolean {
  const differences = result.Sessions.flatMap((session) => session.Differences);
  const price = differences.some(({ Path }) => Path === 'response.body.price');
  const call = differences.some(({ Kind, Text }) => Kind === 'call-extra' && Text.includes('GET discount:'));
  return !result.Passed && price && call;
}

/** Two failed sessions of either kind are enough to see. */
function examples(result: ReplayResult): Set<string> {
  const shown = new Set<string>();
  for (const kind of ['body', 'call-extra']) {
    const some = result.Sessions.filter((session) => session.Differences.some(({ Kind }) => Kind === kind));
    for (const session of some.slice(0, 2)) shown.add(session.SessionId);
  }
  return shown;
}

/** Tells what happens. */
class Teller {
  readonly #output: Writable;
  readonly #style: Style;
  #steps = 0;

  constructor(output: Writable) {
    this.#output = output;
    this.#style = styleFor(output);
  }

  step(text: string): void {
    this.#steps += 1;
    this.#output.write(`\n${this.#style.bold(`${this.#steps}. ${text}`)}\n`);
  }

  line(text: string): void {
    this.#output.write(`   ${text}\n`);
  }

  bad(text: string): void {
    this.#output.write(`   ${this.#style.red(text)}\n`);
  }

  command(text: string): void {
    this.#output.write(`   ${this.#style.dim('$')} ${text}\n`);
  }

  replay(result: ReplayResult, options: TerminalReportOptions = {}): void {
    for (const line of replayLines(result, this.#style, options)) this.line(line);
  }
}

/** Words as a shell takes them. */
function shell(words: readonly string[]): string {
  return words
    .map((word) => (/^[\w./:=@%+,-]+$/.test(word) ? word : `'${word.replaceAll("'", String.raw`'\''`)}'`))
    .join(' ');
}

/** `node`, if that is this Node. */
function nodeCommand(): string {
  for (const directory of (process.env['PATH'] ?? '').split(delimiter)) {
    try {
      return realpathSync(join(directory, 'node')) === realpathSync(process.execPath)
        ? 'node'
        : process.execPath;
    } catch {
      // Not in this directory.
    }
  }
  return process.execPath;
}

/** How the user can call koala from here. */
function koalaCommand(): string {
  for (let directory = process.cwd(); ; directory = resolve(directory, '..')) {
    if (existsSync(join(directory, 'node_modules/.bin/koala')) || isOurPackage(directory)) return 'npx koala';
    if (directory === resolve(directory, '..')) break;
  }
  const main = process.argv[1];
  return main === undefined ? 'npx koala' : shell(['node', main]);
}

function isOurPackage(directory: string): boolean {
  try {
    return /"name":\s*"@koala-replay\/koala"/.test(readFileSync(join(directory, 'package.json'), 'utf8'));
  } catch {
    return false;
  }
}
