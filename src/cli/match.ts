import { readFile } from 'node:fs/promises';
import { buffer } from 'node:stream/consumers';
import { Command, Option } from 'clipanion';
import { describeSystemError, KoalaError } from '../errors.ts';
import { explainMatch } from '../replay/match.ts';
import { STRATEGIES } from '../replay/replay.ts';
import { printMatch } from '../report/match.ts';
import { KoalaCommand, parseChoice, parseNumber } from './command.ts';

/** `koala match` */
export class MatchCommand extends KoalaCommand {
  static override paths = [['match']];
  static override usage = Command.Usage({
    category: 'Recording and replaying',
    description: 'Explain which recorded call a request is, and why',
    details: `
      Decides as a replay would: which recorded call a program that sends the bytes of \`REQUEST\` (a file, or - for
      standard input) would be answered with, at which mark, what differs from it, and which call came second; or why
      it would not be answered, and which call comes closest.

      The exit code is 0 if a call matches, and 1 if none does.
    `,
    examples: [
      ['Ask about a request in a file', '$0 match request.bin ./rec --peer 127.0.0.1:6379'],
      ['Among the calls of one session', '$0 match - ./rec --session 1795358265 < request.bin'],
    ],
  });

  request = Option.String({ name: 'REQUEST' });
  recording = Option.String({ name: 'RECORDING' });
  peer = Option.String('--peer', {
    description: 'Whom the request is sent to: ip:port or unix:/path; whoever was asked by default',
  });
  sessions = Option.Array('--session', [], {
    description: 'Only the calls of this session; may be given again',
  });
  match = Option.String('--match', {
    description: `How calls are matched: ${STRATEGIES.join(', ')}; auto by default`,
  });
  threshold = Option.String('--threshold', {
    description: 'The mark, from 0 to 1, that a changed call needs to be matched; 0.7 by default',
  });
  json = Option.Boolean('--json', false, { description: 'Print a JSON object' });

  override async execute(): Promise<number> {
    const report = await explainMatch({
      request: await readRequest(this.request),
      recording: this.recording,
      peer: this.peer,
      sessions: this.sessions,
      strategy: this.match === undefined ? undefined : parseChoice('--match', this.match, STRATEGIES),
      threshold: this.threshold === undefined ? undefined : parseNumber('--threshold', this.threshold, 0, 1),
    });
    const { stdout } = this.context;
    if (this.json) stdout.write(`${JSON.stringify(report, null, 2)}\n`);
    else printMatch(report, stdout);
    return report.Decisions.some(({ Matched }) => Matched !== null) ? 0 : 1;
  }
}

async function readRequest(path: string): Promise<Uint8Array> {
  if (path === '-') return buffer(process.stdin);
  return readFile(path).catch((error: unknown) => {
    throw new KoalaError(`${path} cannot be read: ${describeSystemError(error)}`);
  });
}
