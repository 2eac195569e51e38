import { Command, Option } from 'clipanion';
import { printDiagnosis } from '../report/doctor.ts';
import { diagnose } from '../run/doctor.ts';
import { KoalaCommand } from './command.ts';

/** `koala doctor` */
export class DoctorCommand extends KoalaCommand {
  static override paths = [['doctor']];
  static override usage = Command.Usage({
    category: 'Recording and replaying',
    description: 'Say whether a program can be covered, and why not',
    details: `
      Looks at the machine, records a probe of its own, and looks at \`CMD\` without running it: a program that is
      statically linked, setuid, built by Go or for another processor, or that a daemon starts, cannot be covered by a
      preloaded library.

      The exit code is 0 if nothing stands in the way, and 1 if something does.
    `,
    examples: [
      ['Look at the machine', '$0 doctor'],
      ['Ask about a service', '$0 doctor -- php-fpm8.2 -F'],
    ],
  });

  json = Option.Boolean('--json', false, { description: 'Print a JSON object' });
  // No proxy, which without a required positional before it would take --json and --help for the command.
  command = Option.Rest({ name: 'CMD' });

  override async execute(): Promise<number> {
    const diagnosis = await diagnose(this.command);
    const { stdout } = this.context;
    if (this.json) stdout.write(`${JSON.stringify(diagnosis, null, 2)}\n`);
    else printDiagnosis(diagnosis, stdout);
    return diagnosis.Healthy ? 0 : 1;
  }
}
