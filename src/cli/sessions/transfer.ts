import { Command, Option } from 'clipanion';
import { KoalaError } from '../../errors.ts';
import { exportSessions, importSessions } from '../../recording/koala1.ts';
import { Recording } from '../../recording/recording.ts';
import { count } from '../../report/style.ts';
import { KoalaCommand } from '../command.ts';
import { reportTorn } from './read.ts';

/** `koala sessions export` */
export class SessionsExportCommand extends KoalaCommand {
  static override paths = [['sessions', 'export']];
  static override usage = Command.Usage({
    category: 'Sessions',
    description: 'Write sessions as koala 1.x JSON, one file a session',
    examples: [['Export all', '$0 sessions export ./rec --to ./json']],
  });

  recording = Option.String({ name: 'RECORDING' });
  to = Option.String('--to', { required: true, description: 'The directory for the files' });
  sessions = Option.Array('--session', [], { description: 'Export this session only; may be given again' });

  override async execute(): Promise<number> {
    const recording = await Recording.open(this.recording);
    let wanted: Set<string> | undefined;
    if (this.sessions.length > 0) {
      wanted = new Set();
      for (const id of this.sessions) wanted.add((await recording.find(id)).session.SessionId);
    }
    const written = await exportSessions(recording, this.to, wanted);
    if (written === 0) throw new KoalaError(`${this.recording} has no sessions to export`);
    this.say(`${count(written, 'session')} exported to ${this.to}`);
    return reportTorn(recording, this.context.stderr);
  }
}

/** `koala sessions import` */
export class SessionsImportCommand extends KoalaCommand {
  static override paths = [['sessions', 'import']];
  static override usage = Command.Usage({
    category: 'Sessions',
    description: 'Add koala 1.x JSON sessions to a recording, made if missing',
    examples: [
      ['Import a directory that koala 1.x recorded', '$0 sessions import ./rec /tmp/sessions'],
      ['Import one file', '$0 sessions import ./rec 1795358265987015087-6871'],
    ],
  });

  recording = Option.String({ name: 'RECORDING' });
  files = Option.Rest({ name: 'FILE', required: 1 });

  override async execute(): Promise<number> {
    const imported = await importSessions(this.recording, this.files);
    this.say(`${count(imported, 'session')} imported into ${this.recording}`);
    return 0;
  }
}
