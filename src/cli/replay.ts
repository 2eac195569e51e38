import { readFile } from 'node:fs/promises';
import { Command, Option, UsageError } from 'clipanion';
import { describeSystemError, KoalaError } from '../errors.ts';
import { exitCodeOf, type ReplayResult } from '../replay/result.ts';
import { parseNoise, replay, STRATEGIES } from '../replay/replay.ts';
import { jsonReport, writeJsonReport } from '../report/json.ts';
import { Progress } from '../report/progress.ts';
import { printReplay } from '../report/terminal.ts';
import { parseDuration } from '../run/duration.ts';
import { KoalaCommand, parseChoice, parseNumber } from './command.ts';
import { interruptible } from './interrupt.ts';

/** `koala replay` */
export class ReplayCommand extends KoalaCommand {
  static override paths = [['replay']];
  static override usage = Command.Usage({
    category: 'Recording and replaying',
    description: 'Run a program against a recording and compare what it does',
    details: `
      Runs \`CMD\` with every dependency mocked from the recording, sends it the recorded requests one after
      another, and compares its responses and its calls with the recorded ones. Nothing but what \`--bypass\`
      names is reached for real. What the program prints goes to stderr.

      Exit code 0: every session passed. 1: there are differences, and the report names each. 2: it could not run.
    `,
    examples: [
      ['Replay everything', '$0 replay ./rec -- node server.js'],
      [
        'Replay two sessions; the beginning of an id is enough',
        '$0 replay ./rec --session 17953582 --session 17953590 -- node server.js',
      ],
      ['Write a report for other programs', '$0 replay ./rec --report json=report.json -- node server.js'],
    ],
  });

  recording = Option.String({ name: 'RECORDING' });
  sessions = Option.Array('--session', [], { description: 'Replay this session only; may be given again' });
  match = Option.String('--match', {
    description: `How calls are matched: ${STRATEGIES.join(', ')}; auto by default; chunk and sim are those of koala 1.x`,
  });
  threshold = Option.String('--threshold', {
    description:
      'The mark, from 0 to 1, that a changed call needs to be matched; 0.7 by default; chunk has limits of its own',
  });
  timeout = Option.String('--timeout', '30s', {
    description: 'How long the program may take to listen, and to answer one session',
  });
  bypass = Option.String('--bypass', {
    description: 'Addresses to leave alone: ip:port or :port, separated by commas',
  });
  noise = Option.String('--noise', {
    description: 'A JSON file {"Noise": [...]} of paths that may differ, * for anything',
  });
  reports = Option.Array('--report', [], {
    description: 'json for a report on stdout in place of the text, json=FILE for one in a file',
  });
  verbose = Option.Boolean('-v,--verbose', false, {
    description: 'Show passed sessions, notes and the scores of calls too',
  });
  // A positional of its own before the proxy: a proxy alone would swallow --help.
  program = Option.String({ name: 'CMD' });
  parameters = Option.Proxy({ name: 'ARG' });

  override async execute(): Promise<number> {
    const reports = this.reports.map(parseReport);
    const { stderr, stdout } = this.context;
    const progress = new Progress(stderr);
    const interrupt = interruptible();
    let result: ReplayResult;
    try {
      result = await replay({
        recording: this.recording,
        command: [this.program, ...this.parameters],
        sessions: this.sessions,
        match: this.match === undefined ? undefined : parseChoice('--match', this.match, STRATEGIES),
        threshold:
          this.threshold === undefined ? undefined : parseNumber('--threshold', this.threshold, 0, 1),
        timeout: parseDuration('--timeout', this.timeout),
        bypass: this.bypass,
        noise: this.noise === undefined ? undefined : await readNoise(this.noise),
        signal: interrupt.signal,
        onProgress: (update) => progress.update(update),
      });
    } catch (error) {
      if (!interrupt.signal.aborted) throw error;
      this.say('interrupted');
      return interrupt.exitCode();
    } finally {
      progress.end();
      interrupt.release();
    }
    // First what is shown: a file that cannot be written takes nothing of it away.
    if (reports.some(({ file }) => file === undefined)) stdout.write(jsonReport(result));
    else printReplay(result, stdout, { verbose: this.verbose });
    for (const { file } of reports) if (file !== undefined) await writeJsonReport(result, file);
    return exitCodeOf(result);
  }
}

function parseReport(text: string): { file: string | undefined } {
  const [kind, ...rest] = text.split('=');
  if (kind !== 'json') {
    throw new UsageError(`--report: ${JSON.stringify(text)} is not known; it is json or json=FILE`);
  }
  const file = rest.join('=');
  return { file: file === '' ? undefined : file };
}

async function readNoise(file: string): Promise<string[]> {
  const content = await readFile(file, 'utf8').catch((error: unknown) => {
    throw new KoalaError(`${file} cannot be read: ${describeSystemError(error)}`);
  });
  return parseNoise(file, content);
}
