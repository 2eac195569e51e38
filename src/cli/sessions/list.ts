import { Command, Option } from 'clipanion';
import { Recording } from '../../recording/recording.ts';
import { sessionContains, summarize, type SessionSummary } from '../../recording/summary.ts';
import { listHeading, listLine } from '../../report/sessions.ts';
import { KoalaCommand } from '../command.ts';
import { reportTorn } from './read.ts';

/** `koala sessions list` and, with a text, `koala sessions search` */
abstract class ListingCommand extends KoalaCommand {
  recording = Option.String({ name: 'RECORDING' });
  json = Option.Boolean('--json', false, { description: 'Print a JSON array' });

  protected async list(needle: Uint8Array | undefined): Promise<number> {
    const { stdout, stderr } = this.context;
    const recording = await Recording.open(this.recording);
    // Printed at the end: a damaged recording gives its one line of error and no half of a list.
    const summaries: SessionSummary[] = [];
    if (needle === undefined) for await (const { summary } of recording.summaries()) summaries.push(summary);
    else
      for await (const { session } of recording.sessions())
        if (sessionContains(session, needle)) summaries.push(summarize(session));
    if (this.json) stdout.write(`${JSON.stringify(summaries, null, 2)}\n`);
    else if (summaries.length > 0)
      stdout.write(`${[listHeading(), ...summaries.map(listLine)].join('\n')}\n`);
    else this.say(`no sessions${needle === undefined ? '' : ' found'} in ${this.recording}`);
    return reportTorn(recording, stderr);
  }
}

/** `koala sessions list` */
export class SessionsListCommand extends ListingCommand {
  static override paths = [['sessions', 'list']];
  static override usage = Command.Usage({
    category: 'Sessions',
    description: 'List the sessions of a recording',
    examples: [
      ['List them', '$0 sessions list ./rec'],
      ['List them for another program', '$0 sessions list ./rec --json'],
    ],
  });

  override async execute(): Promise<number> {
    return this.list(undefined);
  }
}

/** `koala sessions search` */
export class SessionsSearchCommand extends ListingCommand {
  static override paths = [['sessions', 'search']];
  static override usage = Command.Usage({
    category: 'Sessions',
    description: 'List the sessions in whose bytes a text occurs',
    examples: [['Find who asked for a key', '$0 sessions search ./rec item:3']],
  });

  text = Option.String({ name: 'TEXT' });

  override async execute(): Promise<number> {
    return this.list(new TextEncoder().encode(this.text));
  }
}
