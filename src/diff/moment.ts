/**
 * What differs because it is another moment: a time that is as far from now as it was from then, and an id that the program
 * has made up. Both are told by where they come from, not by how they look alone.
 */
import { asLatin1 } from '../protocols/bytes.ts';
import { outboundCalls, type Session } from '../recording/model.ts';
import { mayHoldTheSame, SEALED } from './sealed.ts';

/** How far two times may be from being equally far from the moments at which they were said, in milliseconds. */
const TOLERANCE = 10_000;

/** A count of seconds that is farther from its moment is a number like others: two years, in milliseconds. */
const FARTHEST = 2 * 366 * 86_400_000;

/** From the beginning of the Gregorian calendar to 1970, in milliseconds. */
const UUID_EPOCH = 12_219_292_800_000;

const CLOCK = String.raw`\d\d:\d\d:\d\d(?:[.,]\d{1,9})?`;
const MONTH = '(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)';
/**
 * What is encrypted (1), times as ISO 8601 and SQL (2) and HTTP (3) write them, seconds since 1970 or parts of them (4), the
 * time before a signature, in base 62 or 64 (5), signatures in base 64 (6), ids that begin with the seconds in hex, of
 * PHP's `uniqid` and of MongoDB (7), other ids, shorter ones in hex among them (8), minutes in words and counts of what has
 * passed since 1970 (9).
 */
const PARTS = new RegExp(
  [
    `(${SEALED})`,
    String.raw`(\b\d{4}-\d\d-\d\d[T ]${CLOCK}(?: ?(?:Z|[+-]\d\d(?::?\d\d)?))?)`,
    String.raw`(\b[A-Z][a-z]{2}, \d\d[ -]${MONTH}[ -]\d{4} \d\d:\d\d:\d\d GMT)`,
    String.raw`((?<![\w.-])[12]\d{9}(?:\d{3}|\d{6}|\d{9}|\.\d+)?(?![\w.]))`,
    String.raw`((?<=[:.])(?=[\w-]*[A-Z\d])[\w-]{6}(?=[:.][\w-]{27,}))`,
    String.raw`((?<=[:.])[0-9a-zA-Z+/]{27,}={0,2}(?![\w+/=-]))`,
    String.raw`((?<![a-zA-Z\d])[\da-f]{8}(?:[\da-f]{16}|[\da-f]{5}(?:\d\.\d{8})?)(?![\w.]))`,
    String.raw`(\b[\da-fA-F]{8}-(?:[\da-fA-F]{4}-){3}[\da-fA-F]{12}\b|(?<![\w/+-])(?![\w-]*[_-][\da-f]{13}(?:\d\.\d{8})?(?![\w.]))[\w-]{20,}(?![\w/+-])|(?<![\w/+-])(?:[\da-f]{16,19}|[\dA-F]{16,19})(?![\w/+-]))`,
    String.raw`((?<![\w.-])(?:20\d\d-\d\d-\d\d[T ]\d\d:\d\d(?!:?\d)|20\d{10}|\d{5,9})(?![\w.]))`,
  ].join('|'),
  'g',
);

/** Two messages that correspond: of the recording, and of the replay. */
export interface Said {
  session: Session;
  /** When it was said, in nanoseconds since 1970. */
  at: bigint;
  /** Only what came before this action can be where a value is from. */
  before?: number;
}

/** Whether a word that is another one in the replay was drawn at random: its place in the text, and both words. */
export type IsRedrawn = (place: string, recorded: string, replayed: string) => boolean;

/** Whether two texts are the same but for what is of the moment. They are not if they are equal. */
export function isOfTheMoment(
  recorded: string,
  replayed: string,
  then: Said,
  now: Said,
  isRedrawn: IsRedrawn = () => false,
): boolean {
  const [plain, plainNow] = [unescaped(recorded), unescaped(replayed)];
  const [left, right] = [split(plain), split(plainNow)];
  if (plain === plainNow || !haveSameTexts(left, right) || !isEscapedAlike(recorded, replayed)) return false;
  return left.parts.every((part, at) => {
    const other = right.parts[at];
    if (other === undefined || part.kind !== other.kind) return false;
    // What the program was told, it has not drawn.
    const wasRedrawn = (): boolean =>
      isUntold(part.text, then) && isUntold(other.text, now) && isRedrawn(String(at), part.text, other.text);
    if (part.text === other.text) return true;
    if (part.kind === 'period') return isOfItsMoment(part.text, other.text, then, now);
    if (part.kind === 'sealed') return mayHoldTheSame(part.text, other.text);
    if (part.time !== undefined && other.time !== undefined) {
      // What reads the one need not understand the other.
      if (part.kind === 'time' && !isWrittenAlike(part.text, other.text)) return false;
      const passed = part.time - milliseconds(then.at);
      const asFar = Math.abs(passed - (other.time - milliseconds(now.at))) <= TOLERANCE;
      const isCount = /^[\d.]+$/.test(part.text);
      if (part.kind === 'time') return asFar && (!isCount || Math.abs(passed) <= FARTHEST);
      // Only now does a program make up an id of now.
      const isOfNow = asFar && Math.abs(passed) <= TOLERANCE;
      if (isOfNow && isUntold(part.text, then) && isUntold(other.text, now)) return true;
      return wasRedrawn();
    }
    if (part.text.length !== other.text.length) return false;
    if (part.kind === 'signed time') {
      const [signature, another] = [left.parts[at + 1]?.text ?? '', right.parts[at + 1]?.text ?? ''];
      return signature !== another && [signature, another].every(isSignature);
    }
    const [inside, otherInside] = [jsonIn(part.text), jsonIn(other.text)];
    if (inside !== undefined && otherInside !== undefined)
      return isOfTheMoment(inside, otherInside, then, now, (place, ...words) =>
        isRedrawn(`${at}.${place}`, ...words),
      );
    if (wasRedrawn()) return true;
    // A digest tells of what it was made of: another one needs another moment or id before it, in the same text.
    const before = left.parts[at - 1];
    if (before !== undefined && left.texts[at]?.length === 1 && before.text !== right.parts[at - 1]?.text)
      return isDigest(part.text) && isDigest(other.text);
    return isNewName(part.text, other.text, now) || (isMadeUp(part.text, then) && isMadeUp(other.text, now));
  });
}

interface Part {
  text: string;
  /** A signed time stands before a signature; only its maker can read it, as what is sealed. */
  kind: 'sealed' | 'period' | 'time' | 'signed time' | 'timed id' | 'word';
  /** In milliseconds since 1970. */
  time: number | undefined;
}

/** What is counted since 1970, in seconds, as the matcher has it. */
const UNITS = [60, 10, 15, 30, 300, 600, 900, 3600, 86_400] as const;

/** Whether each of two texts is the minute, or the number of another length of time, in which it was said. */
function isOfItsMoment(recorded: string, replayed: string, then: Said, now: Said): boolean {
  if (recorded.length !== replayed.length) return false;
  const [before, after] = [minutes(recorded), minutes(replayed)];
  // It was made up to a second before it was said.
  const [earlier, later] = [then, now].map((said) => {
    const seconds = milliseconds(said.at) / 1000;
    return [seconds, seconds - 1];
  });
  const isFor = (is: (then: number, now: number) => boolean): boolean =>
    earlier?.some((one) => later?.some((other) => is(one, other))) ?? false;
  if (before !== undefined && after !== undefined)
    return isFor((one, other) => before - Math.floor(one / 60) === after - Math.floor(other / 60));
  return UNITS.some((unit) =>
    isFor(
      (one, other) =>
        Math.floor(one / unit) === Number(recorded) && Math.floor(other / unit) === Number(replayed),
    ),
  );
}

/** Since 1970, of a minute in words. */
function minutes(text: string): number | undefined {
  const [, year, month, day, hour, minute] = /^(\d{4})-?(\d\d)-?(\d\d)[T ]?(\d\d):?(\d\d)$/.exec(text) ?? [];
  if (year === undefined) return undefined;
  return Date.parse(`${year}-${month}-${day}T${hour}:${minute}:00Z`) / 60_000;
}

/** As in a cookie or a query. */
function unescaped(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** Whether what is escaped in the one is not written out in the other. What is never escaped may be part of any word. */
function isEscapedAlike(recorded: string, replayed: string): boolean {
  if (!/%[\da-f]{2}/i.test(recorded + replayed)) return true;
  if (haveSameTexts(split(recorded), split(replayed))) return true;
  const writtenOut = (text: string): string => [...text.replaceAll(/[\w.~!'()*%-]/g, '')].toSorted().join('');
  return writtenOut(recorded) === writtenOut(replayed);
}

/** An object of JSON that a word is in base 64, as tokens have it that are signed (JWT, sessions in cookies). */
function jsonIn(word: string): string | undefined {
  if (!word.startsWith('eyJ')) return undefined;
  try {
    const text = atob(word.replaceAll('-', '+').replaceAll('_', '/'));
    JSON.parse(text);
    return text;
  } catch {
    return undefined;
  }
}

/** The times and ids in a text, and what is between them. */
interface Split {
  parts: Part[];
  texts: string[];
}

const haveSameTexts = (left: Split, right: Split): boolean =>
  left.texts.join('\0') === right.texts.join('\0');

function split(text: string): Split {
  const parts: Part[] = [];
  const texts: string[] = [];
  let end = 0;
  for (const found of text.matchAll(PARTS)) {
    const [whole, sealed, iso, http, seconds, signedTime, , timedId, , period] = found;
    texts.push(text.slice(end, found.index));
    if (sealed !== undefined) parts.push({ text: whole, kind: 'sealed', time: undefined });
    else if (period !== undefined) parts.push({ text: whole, kind: 'period', time: undefined });
    else if (timedId === undefined) {
      const time = timeOf(iso, http, seconds);
      const word = signedTime === undefined ? 'word' : 'signed time';
      parts.push({ text: whole, kind: time === undefined ? word : 'time', time });
    } else
      parts.push({ text: whole, kind: 'timed id', time: Number.parseInt(timedId.slice(0, 8), 16) * 1000 });
    end = found.index + whole.length;
  }
  texts.push(text.slice(end));
  return { parts, texts };
}

/** Whether two times are written in one form: as text, or counted in one unit. */
function isWrittenAlike(recorded: string, replayed: string): boolean {
  const [left, right] = [formOf(recorded), formOf(replayed)];
  if (left.form !== right.form) return false;
  // How many digits a fraction has depends on it: zeros at its end are left out by many.
  if ((left.fraction === '') !== (right.fraction === '')) return false;
  if (left.zone === right.zone) return true;
  // With summer time its hour may have come or gone.
  const form = (zone: string): string => zone.replaceAll(/\d/g, '0').replace('-', '+');
  const [before, after] = [minutesOf(left.zone), minutesOf(right.zone)];
  return form(left.zone) === form(right.zone) && Math.abs(before - after) === 60;
}

/** How a time is written, but for its digits. */
function formOf(time: string): { form: string; fraction: string; zone: string } {
  const [, whole = '', fraction = '', rest = ''] =
    /^(.*?\d\d:\d\d:\d\d|\d+)(?:[.,](\d+))?(.*)$/.exec(time) ?? [];
  const mark = fraction === '' ? '' : time.charAt(whole.length);
  const form = (whole + mark).replaceAll(/\d/g, '0').replaceAll(/[A-Z][a-z]{2}/g, 'Aaa');
  return { form, fraction, zone: rest };
}

/** Of an offset from UTC, as `+01:00` or `+0100`; of anything else no number. */
function minutesOf(zone: string): number {
  const [, sign = '', hour, minute] = /^ ?([+-])(\d\d):?(\d\d)$/.exec(zone) ?? [];
  return Number(`${sign}1`) * (Number(hour) * 60 + Number(minute));
}

function timeOf(
  iso: string | undefined,
  http: string | undefined,
  seconds: string | undefined,
): number | undefined {
  if (iso !== undefined) {
    const [, day = '', clock = '', zone = 'Z'] = /^(.{10}).([\d:.,]+) ?(.*)$/.exec(iso) ?? [];
    // Without a zone it is in one that is the same for both.
    const offset = /^[+-]\d\d$/.test(zone) ? `${zone}:00` : zone.replace(/^([+-]\d\d)(\d\d)$/, '$1:$2');
    const [whole, fraction = ''] = clock.split(/[.,]/);
    return Date.parse(
      `${day}T${whole}.${fraction.slice(0, 3).padEnd(3, '0')}${offset === '' ? 'Z' : offset}`,
    );
  }
  if (http !== undefined) return Date.parse(http.replaceAll('-', ' '));
  if (seconds === undefined) return undefined;
  if (seconds.includes('.')) return Number(seconds) * 1000;
  return Number(seconds) / 10 ** (seconds.length - 13);
}

const milliseconds = (nanoseconds: bigint): number => Number(nanoseconds / 1_000_000n);

/** The lengths of digests from MD5 to SHA-512 in base 64, with and without what fills them up, and in hex. */
const DIGESTS: ReadonlySet<number> = new Set([22, 24, 27, 28, 38, 40, 43, 44, 64, 86, 88]);
const HEX_DIGESTS: ReadonlySet<number> = new Set([32, 40, 56, 64, 96, 128]);

/** A digest that signs, in base 64: in hex it is a key as often as not. */
function isSignature(word: string): boolean {
  return isDigest(word) && /[A-Z]/.test(word) && /[g-z]/.test(word);
}

function isDigest(word: string): boolean {
  return (/^[0-9a-f]+$/i.test(word) ? HEX_DIGESTS : DIGESTS).has(word.length);
}

/** Whether the matcher has found that a word of the recording and one of the replay are new names of the same thing. */
function isNewName(recorded: string, replayed: string, { session }: Said): boolean {
  return outboundCalls(session).some(
    ({ Matched }) =>
      Matched !== null &&
      Matched.ActionIndex >= 0 &&
      Matched.Reason.includes('is new in the recording and in this run') &&
      Matched.Differences.some((line) => {
        const [, before = '', after = ''] = /^[^:]*: ([^]*) -> ([^]*)$/.exec(line) ?? [];
        return before.includes(recorded) && before.replace(recorded, replayed) === after;
      }),
  );
}

/**
 * Whether a word was drawn at random by the program: nobody has told it the word before it said so, and it is neither
 * made of something else (a digest, or a UUID of versions 3 and 5) nor says something itself (JSON in base 64, long data).
 */
function isMadeUp(word: string, said: Said): boolean {
  const uuid = /^[0-9a-f]{8}-[0-9a-f]{4}-([0-9a-f])/i.exec(word)?.[1];
  const random =
    uuid === undefined
      ? isPlainUuid(word, said) ||
        (word.length <= 36 && !isDigest(word) && !/^[0-9a-f]+$|^e[yJ]|[+/=]/i.test(word))
      : /[1467]/.test(uuid);
  return random && isDrawn(word) && isUntold(word, said);
}

/** Whether a word looks drawn: by its digits or, where they are few, by letters side by side that no language has there. */
function isDrawn(word: string): boolean {
  const digits = word.replaceAll(/\D/g, '').length;
  const letters = word.replaceAll(/[^a-z]/gi, '').length;
  if (letters < 3 || digits >= 3) return letters >= 3;
  const kinds = word.replaceAll(/[a-z]/g, 'a').replaceAll(/[A-Z]/g, 'A').replaceAll(/\d/g, '0');
  const changes = [...kinds].filter((kind, at) => at > 0 && kind !== kinds[at - 1]).length;
  const pairs = [...word.toLowerCase()].flatMap((letter, at) => {
    const next = word[at + 1]?.toLowerCase() ?? '';
    return /^[a-z]{2}$/.test(letter + next)
      ? [SECONDS[letter.charCodeAt(0) - 97]?.includes(next) ?? false]
      : [];
  });
  const odd = pairs.filter((usual) => !usual).length;
  return odd >= 4 && odd * 3 >= pairs.length && (digits > 0 || changes * 3 >= word.length);
}

/** For each letter from `a` on, those that stand behind it in words, as the matcher has them. */
const SECONDS: readonly string[] = (
  'abcdeghiklmnprstuvxy abeilorsuwy acehiklorstuwyz adeilorsuwy abcdefghijklmnoprstuvwx aefiloru aeghilnorsuwy ' +
  'aeiouwy abcdefgjklmnoprstvxz aeijouwy aeioswy abdeghilmopstuy abeimopsuwy acdefghijklnopstuvwy ' +
  'abcdefghijklmnoprstuvwx aeiloprstuwy u acdefgilmnoprstuwyz acehilopstuwyz acefhilmoprstuwy abcdegilmnoprst aei ' +
  'aeio eipt aeiopstu e'
).split(' ');

/**
 * Whether a word is a UUID without hyphens that was made now, of version 1, or at random, of version 4. A digest looks like
 * the one never, and like the other once in 64 times; like it in the recording and in the replay, once in 4096.
 */
function isPlainUuid(word: string, said: Said): boolean {
  const [, low = '', middle = '', version, high = ''] =
    /^([0-9a-f]{8})([0-9a-f]{4})([14])([0-9a-f]{3})[89ab][0-9a-f]{15}$/i.exec(word) ?? [];
  if (version !== '1') return version === '4';
  // In tenths of microseconds since 1582 (RFC 9562).
  const time = Number(BigInt(`0x${high}${middle}${low}`) / 10_000n) - UUID_EPOCH;
  return Math.abs(time - milliseconds(said.at)) <= TOLERANCE;
}

/** Whether nobody has told the program a word before it said so. */
function isUntold(word: string, { session, at, before }: Said): boolean {
  const knows = (bytes: Uint8Array | undefined): boolean =>
    bytes !== undefined && asLatin1(bytes).includes(word);
  if (knows(session.CallFromInbound?.Request)) return false;
  const calls = outboundCalls(session).filter(
    ({ ActionIndex }) => before === undefined || ActionIndex < before,
  );
  // What the program has said, nobody told it later, as a process of its own does that was asked before.
  const said = calls.find(({ Request }) => knows(Request))?.OccurredAt ?? at;
  return calls.every(({ Response, ResponseTime }) => !knows(Response) || said < ResponseTime);
}
