/** The report for people: what failed, with each difference named, and the sum. */
import type { Writable } from 'node:stream';
import type { Difference } from '../diff/index.ts';
import type { RecordResult } from '../run/record.ts';
import { formatMilliseconds } from '../run/duration.ts';
import type { ReplayResult, SessionResult } from '../replay/result.ts';
import { count, styleFor, type Style } from './style.ts';

const MAX_SHOWN = 20;

/** How much of a replay to print. */
export interface TerminalReportOptions {
  /** Passed sessions, notes and the scores of calls too. */
  verbose?: boolean;
  /** Of the failed sessions, only these, by id; the sum counts all. */
  only?: ReadonlySet<string>;
}

/** Prints a replay. */
export function printReplay(
  result: ReplayResult,
  stream: Writable,
  options: TerminalReportOptions = {},
): void {
  stream.write(`${replayLines(result, styleFor(stream), options).join('\n')}\n`);
}

/** A replay in lines. */
export function replayLines(
  result: ReplayResult,
  style: Style,
  options: TerminalReportOptions = {},
): string[] {
  const lines: string[] = [];
  let hidden = 0;
  for (const warning of result.Warnings) lines.push(`${style.yellow('warning')} ${warning}`);
  for (const session of result.Sessions) {
    if (session.Passed ? options.verbose !== true : options.only?.has(session.SessionId) === false) {
      if (!session.Passed) hidden += 1;
    } else lines.push(...sessionLines(session, style, options));
  }
  if (hidden > 0) lines.push(style.dim(`        and ${count(hidden, 'more failed session')}`));
  for (const { SessionId, Reason } of result.Skipped) {
    lines.push(`${style.yellow('skipped')} ${SessionId}: ${Reason}`);
  }
  for (const problem of result.Problems) lines.push(`${style.red('failed')}  ${problem}`);
  const notes = result.Sessions.reduce((sum, { Notes }) => sum + Notes.length, 0);
  if (notes > 0 && options.verbose !== true)
    lines.push(style.dim(`        ${count(notes, 'note')} (--verbose)`));
  lines.push(summaryLine(result, style));
  return lines;
}

function sessionLines(session: SessionResult, style: Style, options: TerminalReportOptions): string[] {
  const mark = session.Passed ? style.green('passed') : style.red('failed');
  const lines = [`${mark}  ${style.bold(session.Request)}  ${style.dim(session.SessionId)}`];
  if (session.Error !== '') lines.push(`        ${session.Error}`);
  for (const difference of session.Differences.slice(0, MAX_SHOWN))
    lines.push(...differenceLines(difference, style, options));
  const more = session.Differences.length - MAX_SHOWN;
  if (more > 0) lines.push(style.dim(`        and ${count(more, 'more difference')}`));
  if (options.verbose === true)
    lines.push(...session.Notes.map((note) => style.dim(`        note: ${note}`)));
  return lines;
}

function differenceLines(difference: Difference, style: Style, options: TerminalReportOptions): string[] {
  const { Text, Details, Scores } = difference;
  const said = options.verbose === true ? [...Details, ...Scores] : Details;
  return [`        ${Text}`, ...said.map((line) => style.dim(`          ${line}`))];
}

function summaryLine(result: ReplayResult, style: Style): string {
  const { Passed, Failed, Skipped } = result.Counts;
  const { Answered, Replayed } = result.Calls;
  const sessions = count(result.Sessions.length, 'session');
  const parts = [
    Failed === 0 ? `${Passed} passed` : `${Passed} passed, ${style.red(`${Failed} failed`)}`,
    ...(Skipped === 0 ? [] : [`${Skipped} skipped`]),
  ];
  const verdict = result.Passed ? style.green('PASS') : style.red('FAIL');
  const calls =
    Answered === Replayed
      ? `${count(Answered, 'outbound call')} mocked`
      : `${Answered} of ${count(Replayed, 'outbound call')} mocked`;
  return `${verdict}  ${sessions} replayed: ${parts.join(', ')}; ${calls}; ${formatMilliseconds(result.Milliseconds)}`;
}

/** Prints what a recording came to; loudly where it is not what was wanted. */
export function printRecord(result: RecordResult, stream: Writable): void {
  const style = styleFor(stream);
  const say = (text: string): boolean => stream.write(`koala: ${text}\n`);
  if (result.status === undefined) {
    say(`${style.red('the recording is not complete')}: ${result.problem ?? 'koala-agent failed'}`);
    return;
  }
  const { Sessions, BootSessions, Lost, NotAdmitted, NotSampled, Gaps, Encrypted, Processes } = result.status;
  const { Unresolved, NotCovered, Error: failure } = result.status;
  const lost =
    Lost.Events === 0 && Lost.Sessions === 0 && NotAdmitted === 0 ? '0 lost' : style.red('NOT ALL OF THEM');
  say(`${count(Sessions, 'session')} recorded to ${result.recording} (${lost})`);
  if (Sessions === 0 && Processes === 0) {
    say(
      BootSessions > 0
        ? style.yellow('no request was answered: what the program asked of others is in its boot session')
        : style.red(
            'NOTHING WAS RECORDED: the program answered no request and asked nobody while it ran, or it cannot be covered (see koala doctor)',
          ),
    );
  }
  if (Lost.Events > 0) {
    const what = `${count(Lost.Events, 'event')} with ${count(Lost.Bytes, 'byte')}`;
    say(style.red(`LOST: ${what}; the sessions that lack them are marked Incomplete`));
  }
  if (Lost.Sessions > 0) say(style.red(`LOST: ${count(Lost.Sessions, 'session')} that could not be written`));
  if (NotAdmitted > 0) {
    say(
      style.red(
        `NOT ADMITTED: ${count(NotAdmitted, 'session')}, left out whole because the event log was full (see --overflow)`,
      ),
    );
  }
  if (NotSampled > 0) say(`${count(NotSampled, 'session')} left out by --sample`);
  if (Gaps > 0) {
    const what = `${count(Gaps, 'connection')} with bytes that could not be seen`;
    say(style.red(`GAPS: ${what}; the sessions that used them are marked Incomplete`));
  }
  if (Encrypted.length > 0) {
    say(
      style.red(
        `ENCRYPTED: what was asked at ${Encrypted.join(', ')} came by TLS: it can't be seen, nor replayed`,
      ),
    );
  }
  if (failure !== '') say(style.red(`WRITING STOPPED: ${failure}`));
  if (Unresolved.length > 0) {
    say(style.yellow(`functions that could not be hooked: ${Unresolved.join(', ')}`));
  }
  for (const { Program, Reason } of NotCovered) say(style.red(`NOT COVERED: ${Program}: ${Reason}`));
  if (Processes > 0)
    say(
      `${count(Processes, 'process', 'processes')} of it still running: recorded on, until the last has ended`,
    );
}
