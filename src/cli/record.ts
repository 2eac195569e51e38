import { Command, Option } from 'clipanion';
import { KoalaError } from '../errors.ts';
import { printRecord } from '../report/terminal.ts';
import { record } from '../run/record.ts';
import { KoalaCommand, parseChoice } from './command.ts';
import { parseShare, parseSize } from './quantity.ts';

const PROTOCOLS = ['auto', 'http', 'raw'] as const;
const OVERFLOWS = ['drop', 'block'] as const;

const NO_ELASTICSEARCH =
  'this koala cannot write to Elasticsearch or OpenSearch; say where the recording goes: --to DIR';

/** `koala record` */
export class RecordCommand extends KoalaCommand {
  static override paths = [['record']];
  static override usage = Command.Usage({
    category: 'Recording and replaying',
    description: 'Run a program and record what it does on the network',
    details: `
      Runs \`CMD\` with \`libkoala.so\` in it. Every request that it answers becomes a session: the request, the
      response, and each call that the program made to answer it.

      Ctrl-C ends the program as it would without koala, and leaves a complete recording. The exit code is the
      program's own, or 128 and the number of the signal that ended it.

      Recording into a directory that is a recording already adds to it.

      Where the program does more than can be written down, whole requests are left out and counted; with
      \`--overflow block\` the program waits instead.
    `,
    examples: [
      ['Record a Node service until it is stopped', '$0 record --to ./rec -- node server.js'],
      [
        'Leave a database and the metrics port alone',
        '$0 record --to ./rec --bypass 10.0.0.7:3306,:8125 -- ./service',
      ],
      [
        'Record one request of a hundred, and keep the last 500 MB of them',
        '$0 record --to ./rec --sample 1/100 --max-disk 500M -- ./service',
      ],
    ],
  });

  to = Option.String('--to', {
    description: 'The directory of the recording (or set KOALA_RECORD_TO_DIR)',
    env: 'KOALA_RECORD_TO_DIR',
  });
  toEs = Option.String('--to-es', { hidden: true });
  protocol = Option.String('--protocol', {
    description: `The protocol of the requests: ${PROTOCOLS.join(', ')}; auto by default`,
  });
  bypass = Option.String('--bypass', {
    description: 'Addresses to leave alone: ip:port or :port, separated by commas',
  });
  overflow = Option.String('--overflow', {
    description: `When the event log is full, drop requests or block the program: ${OVERFLOWS.join(', ')}; drop by default`,
  });
  sample = Option.String('--sample', {
    description: 'The share of the requests to record: 0.01 or 1/100; all by default',
  });
  maxDisk = Option.String('--max-disk', {
    description: 'How large the recording may become, as 500M or 2G; then the oldest sessions go',
  });
  // A positional of its own before the proxy: a proxy alone would swallow --help.
  program = Option.String({ name: 'CMD' });
  parameters = Option.Proxy({ name: 'ARG' });

  override async execute(): Promise<number> {
    if (this.toEs !== undefined) throw new KoalaError(`record: --to-es: ${NO_ELASTICSEARCH}`);
    if (this.to === undefined) {
      // As the library has it: for where no directory is given.
      const { KOALA_RECORD_TO_ES: url = '' } = process.env;
      if (url.trim() !== '') throw new KoalaError(`record: KOALA_RECORD_TO_ES: ${NO_ELASTICSEARCH}`);
      throw new KoalaError('record: say where the recording goes: --to DIR');
    }
    const result = await record({
      command: [this.program, ...this.parameters],
      to: this.to,
      protocol: this.protocol === undefined ? undefined : parseChoice('--protocol', this.protocol, PROTOCOLS),
      bypass: this.bypass,
      overflow: this.overflow === undefined ? undefined : parseChoice('--overflow', this.overflow, OVERFLOWS),
      sample: this.sample === undefined ? undefined : parseShare('--sample', this.sample),
      maxDisk: this.maxDisk === undefined ? undefined : parseSize('--max-disk', this.maxDisk),
    });
    printRecord(result, this.context.stderr);
    return result.exitCode;
  }
}
