import { Command, Option } from 'clipanion';
import { toKoala1 } from '../../recording/koala1.ts';
import { Recording } from '../../recording/recording.ts';
import { printSession } from '../../report/sessions.ts';
import { KoalaCommand } from '../command.ts';

/** `koala sessions show` */
export class SessionsShowCommand extends KoalaCommand {
  static override paths = [['sessions', 'show']];
  static override usage = Command.Usage({
    category: 'Sessions',
    description: 'Show a session: its request, its calls and its response',
    examples: [
      ['Show one; the beginning of its id is enough', '$0 sessions show ./rec 1795358265'],
      ['Print it as koala 1.x JSON', '$0 sessions show ./rec 1795358265 --json'],
    ],
  });

  recording = Option.String({ name: 'RECORDING' });
  id = Option.String({ name: 'ID' });
  json = Option.Boolean('--json', false, { description: 'Print koala 1.x JSON, as export writes it' });

  override async execute(): Promise<number> {
    const recording = await Recording.open(this.recording);
    const found = await recording.find(this.id);
    if (this.json) this.context.stdout.write(`${(await toKoala1(found)).trimEnd()}\n`);
    else printSession(found.session, this.context.stdout);
    return 0;
  }
}
