/**
 * What a session did besides its calls: lines that it appended to files, datagrams that nobody answered, names that it
 * looked up. All of it is for logs and counters more often than not, and full of times: those, and the process's own
 * ids, are no differences.
 */
import { asLatin1, asText, clip, show } from '../protocols/bytes.ts';
import { peerOf, type AppendFile, type SendUDP, type Session } from '../recording/model.ts';
import { valueDifference, type Difference } from './difference.ts';
import { isOfTheMoment, type Said } from './moment.ts';
import type { Noise } from './noise.ts';

/** Compares what two sessions did besides their calls. */
export function compareDeeds(
  recorded: Session,
  replayed: Session,
  noise: Noise,
): { Differences: Difference[]; Notes: string[] } {
  const found = { Differences: [] as Difference[], Notes: [] as string[] };
  compareAppends(recorded, replayed, found);
  compareDatagrams(recorded, replayed, found);
  compareNames(replayed, found);
  found.Differences = found.Differences.filter((difference) => !noise(difference.Path));
  return found;
}

type Found = ReturnType<typeof compareDeeds>;

function compareAppends(recorded: Session, replayed: Session, into: Found): void {
  const before = byFile(recorded);
  const after = byFile(replayed);
  for (const file of new Set([...before.keys(), ...after.keys()])) {
    const was = before.get(file) ?? nothing;
    const is = after.get(file) ?? nothing;
    const change = firstChange(
      was.text,
      is.text,
      (line, other) =>
        mask(line, recorded) === mask(other, replayed, recorded) ||
        isOfTheMoment(line, other, saidIn(recorded), saidIn(replayed)),
    );
    if (change === undefined) continue;
    const uncertain = was.uncertain || is.uncertain || recorded.OverlapGroup !== '';
    if (uncertain) {
      into.Notes.push(
        `what was appended to ${file} differs, but not all of it can be told to be this session's`,
      );
      continue;
    }
    const difference = valueDifference(
      'append',
      `appends[${file}].content`,
      change.recorded,
      change.replayed,
    );
    difference.Text = `appended to ${file}: recorded ${quote(change.recorded)}, replayed ${quote(change.replayed)}`;
    into.Differences.push(difference);
  }
}

interface Appended {
  text: string;
  /** Some of it may be another session's, or be missing. */
  uncertain: boolean;
}

const nothing: Appended = { text: '', uncertain: false };

function byFile(session: Session): Map<string, Appended> {
  const files = new Map<string, Appended>();
  for (const action of session.Actions) {
    if (action.ActionType !== 'AppendFile') continue;
    const file = files.get(action.FileName) ?? nothing;
    const uncertain = file.uncertain || isUncertain(action);
    files.set(action.FileName, { text: file.text + readable(action.Content), uncertain });
  }
  return files;
}

function isUncertain(action: AppendFile): boolean {
  return action.Ambiguous || action.Gap;
}

function readable(content: Uint8Array): string {
  return asText(content) ?? asLatin1(content);
}

function firstChange(
  recorded: string,
  replayed: string,
  isSame: (recorded: string, replayed: string) => boolean,
): { recorded: string | null; replayed: string | null } | undefined {
  const before = recorded.split('\n');
  const after = replayed.split('\n');
  for (let at = 0; at < Math.max(before.length, after.length); at++) {
    const [was, is] = [before[at], after[at]];
    if (was !== undefined && is !== undefined && (was === is || isSame(was, is))) continue;
    // Behind the last line break there is no line.
    const line = (text: string | undefined): string | null =>
      text === undefined || text === '' ? null : clip(text, 200);
    return { recorded: line(was), replayed: line(is) };
  }
  return undefined;
}

function quote(text: string | null): string {
  return text === null ? 'nothing' : JSON.stringify(text);
}

function compareDatagrams(recorded: Session, replayed: Session, into: Found): void {
  const before = datagrams(recorded).map((one) => ({ one, key: keyOf(one, recorded) }));
  const after = datagrams(replayed).map((one) => ({ one, key: keyOf(one, replayed, recorded) }));
  const missing = before.filter(({ key }) => {
    const at = after.findIndex((other) => other.key === key);
    if (at >= 0) after.splice(at, 1);
    return at < 0;
  });
  for (const { one } of missing) {
    const peer = peerOf(one);
    const sent = show(one.Content, 200);
    const path = `datagrams[${peer}].content`;
    const answered = replayed.Actions.some(
      (action) =>
        action.ActionType === 'CallOutbound' && peerOf(action) === peer && show(action.Request, 200) === sent,
    );
    if (answered) {
      into.Notes.push(`a datagram to ${peer} was not sent once more: it was answered`);
      continue;
    }
    const at = after.findIndex((other) => peerOf(other.one) === peer);
    const instead = at < 0 ? undefined : after.splice(at, 1)[0];
    const now = instead === undefined ? null : show(instead.one.Content, 200);
    const difference = valueDifference(
      now === null ? 'datagram-missing' : 'datagram-changed',
      path,
      sent,
      now,
    );
    difference.Text =
      now === null
        ? `recorded datagram was not sent: ${sent} -> ${peer}`
        : `datagram to ${peer}: recorded ${quote(sent)}, replayed ${quote(now)}`;
    into.Differences.push(difference);
  }
  for (const { one } of after) {
    const peer = peerOf(one);
    const sent = show(one.Content, 200);
    const difference = valueDifference('datagram-extra', `datagrams[${peer}].content`, null, sent);
    difference.Text = `datagram not in the recording: ${sent} -> ${peer}`;
    into.Differences.push(difference);
  }
}

function datagrams(session: Session): SendUDP[] {
  return session.Actions.filter((action) => action.ActionType === 'SendUDP').filter((one) => !one.Ambiguous);
}

function keyOf(datagram: SendUDP, session: Session, other?: Session): string {
  return `${peerOf(datagram)} ${mask(readable(datagram.Content), session, other)}`;
}

/** A name that the recording does not know fails, and that is told: it explains what else differs. */
function compareNames(replayed: Session, into: Found): void {
  const told = new Set<string>();
  for (const one of replayed.Actions) {
    if (one.ActionType !== 'ResolveName' || one.Error !== 'UNRECORDED') continue;
    const asked = (one.Address === '' ? one.Name : one.Address).toLowerCase();
    if (told.has(asked)) continue;
    told.add(asked);
    const difference = valueDifference('name', `names[${asked}]`, null, asked);
    difference.Text = `name not in the recording: ${asked}`;
    into.Differences.push(difference);
  }
}

const MONTH = '(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)';
const CLOCK = String.raw`\d\d:\d\d:\d\d(?:[.,]\d+)?`;
/** Times as logs have them: ISO 8601, those of web servers (RFC 3164, Common Log Format, PHP), and a bare clock. */
const TIMES = new RegExp(
  [
    String.raw`\d{4}[-/]\d\d[-/]\d\d[T ]${CLOCK}(?: ?(?:Z|[+-]\d\d:?\d\d))?`,
    String.raw`\d\d/${MONTH}/\d{4}:${CLOCK}(?: [+-]\d{4})?`,
    String.raw`\d\d-${MONTH}-\d{4} ${CLOCK}(?: [A-Z][A-Za-z/_]+)?`,
    String.raw`(?:[A-Z][a-z]{2},? )?(?:${MONTH} +\d{1,2}|\d{1,2} ${MONTH}(?: \d{4})?) ${CLOCK}(?: (?:\d{4}|GMT|[+-]\d{4}))?`,
    CLOCK,
  ].join('|'),
  'g',
);
/** Seconds since 1970 with up to nine digits behind them, in one number or behind a point. */
const EPOCHS = /\b(\d{10})(?:\d{3}|\d{6}|\d{9}|\.\d+)?\b/g;
/** The date of a time, in some order. */
const DATE = new RegExp(
  String.raw`(\d{4})[-/](\d\d)[-/](\d\d)|(\d{1,2})[-/ ](${MONTH})[-/ ](\d{4})|(${MONTH}) +(\d{1,2}) .*(\d{4})$`,
);
const DAY = 86_400n;
const NANOSECONDS = 1_000_000_000n;

const saidIn = (session: Session): Said => ({ session, at: session.CallFromInbound?.OccurredAt ?? 0n });

/** The beginning of its day, in seconds since 1970; undefined where the time tells no date. */
function dateOf(time: string): bigint | undefined {
  const found = DATE.exec(time);
  if (found === null) return undefined;
  const [, year, month, day, dayBefore, name, yearBehind, nameFirst, dayBehind, yearLast] = found;
  const date =
    year === undefined
      ? `${dayBefore ?? dayBehind} ${name ?? nameFirst} ${yearBehind ?? yearLast} UTC`
      : `${year}-${month}-${day}T00:00:00Z`;
  const at = Date.parse(date);
  return Number.isNaN(at) ? undefined : BigInt(at) / 1000n;
}

/** How a time is written. */
const formOf = (time: string): string =>
  time
    .replaceAll(/\d+/g, '0')
    .replaceAll(/[A-Z][a-z]{2}/g, 'Aaa')
    .replaceAll(/ +/g, ' ');

/** The text without what is of the moment: times near those of the sessions, and the process's ids and client's port. */
function mask(text: string, session: Session, other?: Session): string {
  const moments = [session, other].flatMap((one) =>
    one?.CallFromInbound === undefined || one.CallFromInbound === null
      ? []
      : [one.CallFromInbound.OccurredAt / NANOSECONDS],
  );
  const near = (seconds: bigint): boolean =>
    moments.some((moment) => seconds > moment - DAY && seconds < moment + DAY);
  let masked = text
    .replaceAll(TIMES, (time) => {
      const date = dateOf(time);
      // In which zone it is written is not known.
      const isNear = date === undefined || near(date) || near(date - DAY) || near(date + DAY);
      return isNear ? `<${formOf(time)}>` : time;
    })
    .replaceAll(EPOCHS, (number: string, seconds: string) =>
      near(BigInt(seconds)) ? `<${number.replace(/\.\d+$/, '.').length} digits>` : number,
    );
  // Small numbers are other things more often.
  for (const [id, name] of [
    [session.Pid, '<pid>'],
    [session.ThreadId, '<thread>'],
  ] as const) {
    if (id >= 100) masked = masked.replaceAll(new RegExp(String.raw`(?<![\d.])${id}(?![\d.])`, 'g'), name);
  }
  const port = session.CallFromInbound?.Peer.Port ?? 0;
  if (port !== 0) masked = masked.replaceAll(new RegExp(`:${port}(?!\\d)`, 'g'), ':<port>');
  return masked;
}
