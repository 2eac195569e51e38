/** The command line: which commands there are, and how their errors are told. */
import { Writable } from 'node:stream';
import { Builtins, Cli, type CommandClass } from 'clipanion';
import { errorCode } from '../errors.ts';
import { koalaVersion } from '../native/version.ts';
import { isUserError, KoalaCommand } from './command.ts';
import { DemoCommand } from './demo.ts';
import { DoctorCommand } from './doctor.ts';
import { MatchCommand } from './match.ts';
import { RecordCommand } from './record.ts';
import { ReplayCommand } from './replay.ts';
import { SessionsListCommand, SessionsSearchCommand } from './sessions/list.ts';
import { SessionsShowCommand } from './sessions/show.ts';
import { SessionsExportCommand, SessionsImportCommand } from './sessions/transfer.ts';

const COMMANDS: readonly CommandClass[] = [
  RecordCommand,
  ReplayCommand,
  MatchCommand,
  SessionsListCommand,
  SessionsSearchCommand,
  SessionsShowCommand,
  SessionsExportCommand,
  SessionsImportCommand,
  DoctorCommand,
  DemoCommand,
  Builtins.HelpCommand,
  Builtins.VersionCommand,
];

/** Runs a command line; gives the exit code. */
export async function runCli(
  parameters: readonly string[],
  streams: { stdout: Writable; stderr: Writable } = process,
): Promise<number> {
  const cli = Cli.from([...COMMANDS], {
    binaryLabel: 'koala',
    binaryName: 'koala',
    binaryVersion: koalaVersion(),
    enableColors: false,
  });
  const context = { ...Cli.defaultContext, stdout: streams.stdout, stderr: streams.stderr };
  try {
    const command = cli.process([...parameters], context);
    // Cli.run would print what our commands throw to stdout, and exit with 1; the builtin ones need it.
    if (command.help || !(command instanceof KoalaCommand)) {
      const help = new Help(streams.stdout);
      return await cli.run(command, { ...context, stdout: help });
    }
    return await command.validateAndExecute();
  } catch (error) {
    streams.stderr.write(`koala: ${describeFailure(error, parameters)}\n`);
    return 2;
  }
}

/** What the values of options are, for the help: clipanion has no names for them. */
const VALUE_NAMES: Readonly<Record<string, string>> = {
  bypass: 'LIST',
  overflow: 'NAME',
  sample: 'RATE',
  'max-disk': 'SIZE',
  match: 'STRATEGY',
  noise: 'FILE',
  peer: 'ADDRESS',
  protocol: 'NAME',
  report: 'json[=FILE]',
  session: 'ID',
  threshold: 'NUMBER',
  timeout: 'DURATION',
  to: 'DIR',
};

const OPTION_WIDTH = 22;

/** Passes help on, with names for the values of options. */
class Help extends Writable {
  readonly #to: Writable;

  constructor(to: Writable) {
    super({ decodeStrings: false });
    this.#to = to;
  }

  override _write(chunk: unknown, _encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    const text = String(chunk)
      .replaceAll(/--([\w-]+) #0/g, (_, option: string) => `--${option} ${VALUE_NAMES[option] ?? 'VALUE'}`)
      .replaceAll(
        /^ {2}(-\S+(?: \S+)?) {3,}(?=\S)/gm,
        (_, option: string) => `  ${option.padEnd(OPTION_WIDTH)}  `,
      )
      .replaceAll('<CMD> ...', '-- CMD ARG...')
      .replaceAll(/ doctor \.\.\.$/gm, ' doctor [-- CMD ARG...]');
    this.#to.write(text, done);
  }
}

function describeFailure(error: unknown, parameters: readonly string[]): string {
  if (isSyntaxError(error)) return describeSyntaxError(error, parameters);
  if (isUserError(error)) return error.message.replaceAll(/\s*\n\s*/g, ' ');
  if (errorCode(error) === 'EPIPE') return 'the output was closed';
  return error instanceof Error ? (error.stack ?? error.message) : String(error);
}

function isSyntaxError(error: unknown): error is Error {
  return (
    error instanceof Error && (error.name === 'UnknownSyntaxError' || error.name === 'AmbiguousSyntaxError')
  );
}

/** How the commands that run a program are called. */
const USAGES: Readonly<Record<string, string>> = {
  record: 'koala record --to DIR -- CMD ARG...',
  replay: 'koala replay RECORDING -- CMD ARG...',
};

/** clipanion's messages have many lines; a user needs one. */
function describeSyntaxError(error: Error, parameters: readonly string[]): string {
  const names = [
    ...new Set(COMMANDS.flatMap((command) => (command.paths ?? []).map(([name]) => name ?? ''))),
  ];
  const commands = names.filter((name) => /^[a-z]/.test(name)).sort();
  const [name] = parameters;
  if (name === undefined) return `say what to do: ${commands.join(', ')}; see koala --help`;
  if (!commands.includes(name)) {
    return `unknown command ${JSON.stringify(name)}: there are ${commands.join(', ')}; see koala --help`;
  }
  const nested = COMMANDS.flatMap((command) => command.paths ?? []).filter((path) => path[0] === name);
  if (nested.every((path) => path.length > 1) && !nested.some((path) => path[1] === parameters[1])) {
    return `${name} needs one of ${nested.map((path) => path[1]).join(', ')}; see koala --help`;
  }
  const [first = ''] = error.message.split('\n');
  const usage = USAGES[name];
  if (usage !== undefined && /^(Command not found|Not enough positional)/.test(first)) {
    return `${name}: something is missing; say ${usage} (see koala ${name} --help)`;
  }
  return `${first.replace(/\.$/, '')}; see koala ${name} --help`;
}
